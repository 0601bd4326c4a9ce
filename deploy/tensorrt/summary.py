"""An engine's passport as facts of its manifest, which ``paredown show`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.tensorrt import layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.tensorrt.layers import Layer
    from deploy.tensorrt.passport import Passport


def _fused(found: int, blocks: int, shown: Sequence[Layer]) -> str:
    """How many attention blocks were fused, as far as the layers show their inside."""
    hidden = sum(one.opaque for one in shown)
    if hidden and found < blocks:
        return f"at least {found} of {blocks} blocks (layers that do not show their inside: {hidden})"
    return f"{found} of {blocks} blocks"


def facts(made: Passport, blocks: int) -> dict[str, Any]:
    """The passport as facts for the manifest, which ``paredown show`` prints.

    Args:
        made: the passport.
        blocks: attention blocks of the graph.
    """
    where = made.gpu and (
        f"{made.gpu.name}, compute capability {made.gpu.compute_capability}, driver {made.gpu.driver}, "
        f"CUDA {made.gpu.cuda}"
    )
    targets = ", ".join(made.options.compute_capabilities) or "the library's own choice"
    found: dict[str, Any] = {
        "engine": f"{made.flavor} {made.tensorrt}, for {where or f'compute capability: {targets}'}",
        "precision": made.precision,
        "profiles": [str(profile) for profile in made.profiles],
        "findings": list(made.findings),
        "rebuild": made.command(),
    }
    if made.layers is None:
        return {**found, "layers": f"not known: {made.layers_missing}"}
    return {
        **found,
        "fused_attention": _fused(made.fused_attention or 0, blocks, made.layers),
        "layer_precisions": layers.precisions(made.layers),
        "layers": [
            {
                "layer": one.name,
                "type": one.type,
                "precision": one.precision,
                "fused attention": "yes" if one.fused_attention else "",
            }
            for one in made.layers
        ],
    }
