"""The verb verify: every byte of an artifact or a bundle, and what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def verify(
    artifact: Annotated[Path, typer.Argument(help="The folder of a sealed artifact or of a bundle.")],
    as_json: _options.Json = False,
) -> None:
    """Check every byte of an artifact, or of a bundle, against its checksums, and what it holds."""
    from compress.artifacts.artifact import Artifact
    from deploy import content
    from deploy.handover import sums

    opened = sums.verify(artifact) if sums.is_bundle(artifact) else Artifact.open(artifact)
    content.check(opened)
    payload = {
        "path": str(artifact),
        "id": opened.id,
        "seal": opened.seal,
        "files": len(opened.manifest.files),
        "verified": True,
    }
    _options.emit(
        payload,
        as_json,
        lambda: _rendering.console().print(
            f"{artifact}: {payload['files']} files unchanged, id {opened.id}, seal {opened.seal}",
            soft_wrap=True,
        ),
    )
