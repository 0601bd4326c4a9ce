"""Which runtime opens which kind of artifact, and opening it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import catalog
from compress.errors import UserError

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.runtimes import Runner

# Where an artifact runs when nothing is said.
_DEVICES = {"tensorrt": "cuda"}
# What opens each kind when nothing is said.
RUNTIMES = {"torch": "pytorch", "onnx": "ort", "tensorrt": "trt"}


def runner(
    artifact: Artifact,
    runtime: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Runner:
    """A runner for an artifact, not yet open.

    Args:
        artifact: sealed and verified.
        runtime: name in the catalog; the kind's own when None.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``cuda`` for an engine and ``cpu`` for the rest when None.
        threads: CPU threads; all CPUs when None.
        options: of the runtime.

    Raises:
        UserError: the runtime does not exist or does not open this kind.
    """
    name = runtime or RUNTIMES[artifact.kind]
    if runtime is None and catalog.canonical(name) not in catalog.names("runtime"):
        raise UserError(f"{artifact.path} is {artifact.kind}, and no runtime here opens that kind")
    instance: Runner = catalog.runtime(name)(
        artifact, device or _DEVICES.get(artifact.kind, "cpu"), threads, **options
    )
    return instance
