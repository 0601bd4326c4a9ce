"""From a torch artifact to something that runs: export, quantize, compare, predict.

``load(path)`` opens any artifact for predictions; nothing heavy is imported before it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import telemetry

if TYPE_CHECKING:
    from deploy.predictor import Predictor

__all__ = ["load"]

telemetry.switch_off()


def load(
    path: str | Path,
    *,
    runtime: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Predictor:
    """Open a sealed artifact for predictions.

    Example:
        >>> with deploy.load("runs/mine/model") as model:  # doctest: +SKIP
        ...     print(model.predict(["a fine film"])[0].label)

    Args:
        path: of the artifact.
        runtime: name in the catalog; the kind's own when None.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``cuda`` for an engine and ``cpu`` for the rest when None.
        threads: CPU threads; all CPUs when None.
        options: of the runtime.

    Raises:
        UserError: the artifact was changed, or cannot run there.
    """
    from compress.artifacts.artifact import Artifact
    from deploy.predictor import Predictor

    return Predictor(Artifact.open(Path(path)), runtime=runtime, device=device, threads=threads, **options)
