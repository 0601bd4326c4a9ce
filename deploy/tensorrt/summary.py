"""An engine's passport as facts of its manifest, which ``paredown show`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.tensorrt import layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.tensorrt.layers import Layer
    from deploy.tensorrt.passport import Passport


def _fused(count: int, blocks: int, listed: Sequence[Layer]) -> str:
    """How many attention blocks were fused, as far as the layers show their inside."""
    hidden = sum(layer.opaque for layer in listed)
    if hidden and count < blocks:
        return f"at least {count} of {blocks} blocks (layers that do not show their inside: {hidden})"
    return f"{count} of {blocks} blocks"


def facts(record: Passport, blocks: int) -> dict[str, Any]:
    """The passport as facts for the manifest, which ``paredown show`` prints.

    Args:
        record: the passport.
        blocks: attention blocks of the graph.
    """
    machine = record.gpu and (
        f"{record.gpu.name}, compute capability {record.gpu.compute_capability}, driver {record.gpu.driver}, "
        f"CUDA {record.gpu.cuda}"
    )
    targets = ", ".join(record.options.compute_capabilities) or "the library's own choice"
    entries: dict[str, Any] = {
        "engine": f"{record.flavor} {record.tensorrt}, for {machine or f'compute capability: {targets}'}",
        "precision": record.precision,
        "profiles": [str(profile) for profile in record.profiles],
        "findings": list(record.findings),
        "rebuild": record.command(),
    }
    if record.layers is None:
        return {**entries, "layers": f"not known: {record.layers_missing}"}
    return {
        **entries,
        "fused_attention": _fused(record.fused_attention or 0, blocks, record.layers),
        "layer_precisions": layers.precisions(record.layers),
        "layers": [
            {
                "layer": layer.name,
                "type": layer.type,
                "precision": layer.precision,
                "fused attention": "yes" if layer.fused_attention else "",
            }
            for layer in record.layers
        ],
    }
