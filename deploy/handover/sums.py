"""The checksums of a bundle: a file for ``sha256sum -c``, and a check that also sees what was added."""

from __future__ import annotations

from pathlib import Path

from compress.artifact import Artifact, digest_file
from compress.errors import ArtifactError
from compress.reading import files, json_values, utf8
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
    return files.is_file(folder / FACTS) and files.is_file(folder / SUMS)


def _built_on_target(file: Path) -> str | None:
    """The one file that may come after sealing, as a bundle's facts name it.

    Raises:
        ArtifactError: the facts are no such facts.
    """
    facts = json_values.read(file, error=ArtifactError)
    if not isinstance(facts, dict) or "built_on_target" not in facts:
        raise ArtifactError(f"{file} does not say what is built on the target: hand the bundle over again")
    name = facts["built_on_target"]
    inside = isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts
    if name is not None and not inside:
        raise ArtifactError(f"{file}: 'built_on_target' is {name!r}, which names no file of the bundle")
    return str(name) if inside else None


def verify(folder: Path) -> Artifact:
    """Compare every file of a bundle with its checksum; gives the artifact in it.

    An engine that the bundle's own script built is the one file that may have come later.

    Raises:
        ArtifactError: a file was changed, is missing or was added; all of them are named.
    """
    if not is_bundle(folder):
        raise ArtifactError(f"{folder} is no bundle of paredown: it has no {FACTS} and {SUMS}")
    listed: dict[str, str] = {}
    for line in utf8.read(folder / SUMS, error=ArtifactError).splitlines():
        checksum, _, name = line.partition("  ")
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtifactError(
                f"{folder / SUMS} has the line '{line[:80]}', which names no file of the bundle"
            )
        listed[name] = checksum
    there = set(_files(folder))
    built = None
    if FACTS in listed and FACTS in there and digest_file(folder / FACTS) == listed[FACTS]:
        built = _built_on_target(folder / FACTS)
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
