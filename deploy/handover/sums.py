"""The checksums of a bundle: a file for ``sha256sum -c``, and a check that also sees what was added."""

from __future__ import annotations

import json
from pathlib import Path

from compress.artifact import Artifact, digest_file
from compress.errors import ArtifactError
from deploy.handover.build_engine import SUMS

FACTS, ARTIFACT = "bundle.json", "artifact"


def _files(folder: Path) -> list[str]:
    """Every file below a folder but the checksums, by its POSIX path."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != SUMS)


def seal(folder: Path) -> None:
    """Write the checksums, last."""
    lines = [f"{digest_file(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder claims to be a bundle."""
    return (folder / FACTS).is_file() and (folder / SUMS).is_file()


def verify(folder: Path) -> Artifact:
    """Compare every file of a bundle with its checksum; gives the artifact in it.

    An engine that the bundle's own script built is the one file that may have come later.

    Raises:
        ArtifactError: a file was changed, is missing or was added; all of them are named.
    """
    if not is_bundle(folder):
        raise ArtifactError(f"{folder} is no bundle of paredown: it has no {FACTS} and {SUMS}")
    listed: dict[str, str] = {}
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        checksum, _, name = line.partition("  ")
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtifactError(
                f"{folder / SUMS} has the line '{line[:80]}', which names no file of the bundle"
            )
        listed[name] = checksum
    there = set(_files(folder))
    built = None
    if FACTS in listed and FACTS in there and digest_file(folder / FACTS) == listed[FACTS]:
        built = json.loads((folder / FACTS).read_text(encoding="utf-8"))["built_on_target"]
    wrong = [f"missing {name}" for name in sorted(listed.keys() - there)]
    wrong += [f"added {name}" for name in sorted(there - listed.keys() - {built})]
    wrong += [
        f"changed {name}"
        for name in sorted(listed.keys() & there)
        if digest_file(folder / name) != listed[name]
    ]
    if wrong:
        raise ArtifactError(
            f"the bundle {folder} is not what was handed over: {'; '.join(wrong)}. Copy it again; nothing of "
            "it was loaded."
        )
    return Artifact.open(folder / ARTIFACT)
