"""The checksums of a bundle: a file for ``sha256sum -c``, and a check that also sees what was added.

The checksums cover every byte of the bundle, the artifact's manifest and its seal included. As with the seal,
they show damage and edits and are no signature: whoever can write the folder can write them anew. So what the
bundle says of itself is read through a model and held against the artifact in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from compress.artifacts.artifact import Artifact, digest_file, plain_files
from compress.errors import ArtifactError
from deploy.handover.build_engine import SUMS

FACTS, ARTIFACT = "bundle.json", "artifact"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_LARGEST = 64 * 2**20


class Facts(BaseModel):
    """What ``bundle.json`` says.

    Attributes:
        name: of the model, in the card and in Triton.
        artifact: content id of the artifact.
        seal: of the artifact's manifest.
        kind: of the artifact.
        task: of the artifact.
        built_on_target: where the script puts the engine; None where nothing is built.
        paredown: version that wrote the bundle.
        onnxruntime: version that the graph needs at least; None where any will do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = 2
    name: str
    artifact: str
    seal: str
    kind: str
    task: str
    built_on_target: str | None
    paredown: str
    onnxruntime: str | None = None


def _names(folder: Path, paths: Iterable[Path]) -> list[str]:
    """Files below a folder but the checksums, by their POSIX path."""
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name != SUMS)


def seal(folder: Path) -> None:
    """Write the checksums, last."""
    names = _names(folder, (path for path in folder.rglob("*") if path.is_file()))
    lines = [f"{digest_file(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder claims to be a bundle."""
    return (folder / FACTS).exists() or (folder / SUMS).exists()


def _text(folder: Path, name: str) -> str:
    """The text of a file of a bundle.

    Raises:
        ArtifactError: it is no plain file, or no text.
    """
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"{folder} is no bundle of paredown: it has no plain file {name}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ArtifactError(f"{path} is larger than such a file can be: copy the bundle again")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise ArtifactError(f"{path} cannot be read as text: copy the bundle again") from cause


def _listed(folder: Path) -> dict[str, str]:
    """Checksum by name.

    Raises:
        ArtifactError: a line names no file of the bundle, or one twice.
    """
    listed: dict[str, str] = {}
    for text in _text(folder, SUMS).splitlines():
        line = _LINE.fullmatch(text)
        name = line[2] if line else ""
        inside = PurePosixPath(name)
        if line is None or inside.is_absolute() or ".." in inside.parts or inside.as_posix() != name:
            raise ArtifactError(
                f"{folder / SUMS} has the line {text[:80]!r}, which names no file of the bundle"
            )
        if name in listed:
            raise ArtifactError(f"{folder / SUMS} names {name} twice: copy the bundle again")
        listed[name] = line[1]
    return listed


def _facts(folder: Path) -> Facts:
    """What the bundle says of itself.

    Raises:
        ArtifactError: it says nothing that this version understands, or names a place outside.
    """
    try:
        facts = Facts.model_validate_json(_text(folder, FACTS))
    except ValidationError as cause:
        first = cause.errors()[0]
        raise ArtifactError(
            f"{folder / FACTS} is damaged or of another version of paredown "
            f"({'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}): make the bundle again"
        ) from cause
    built = facts.built_on_target
    if built is not None and (PurePosixPath(built).is_absolute() or ".." in PurePosixPath(built).parts):
        raise ArtifactError(
            f"{folder / FACTS}: built_on_target is {built[:80]!r}, which is no place in the bundle"
        )
    return facts


def verify(folder: Path) -> Artifact:
    """Compare every file of a bundle with its checksum; gives the artifact in it.

    An engine that the bundle's own script built is the one file that may have come later.

    Raises:
        ArtifactError: a file was changed, is missing or was added (a link, a pipe and a folder too), all of
            them named, or the bundle says of itself what its artifact is not.
    """
    for name in (FACTS, SUMS):
        _text(folder, name)
    listed = _listed(folder)
    built = None
    if listed.get(FACTS) == digest_file(folder / FACTS):
        facts = _facts(folder)
        built = facts.built_on_target
    present = set(_names(folder, plain_files(folder, (folder / built).parent if built else None)))
    wrong = [f"missing {name}" for name in sorted(listed.keys() - present)]
    wrong += [f"added {name}" for name in sorted(present - listed.keys() - {built})]
    wrong += [
        f"changed {name}"
        for name in sorted(listed.keys() & present)
        if digest_file(folder / name) != listed[name]
    ]
    if wrong:
        raise ArtifactError(
            f"the bundle {folder} is not what was handed over: {'; '.join(wrong)}. Copy it again; nothing of "
            "it was loaded."
        )
    artifact = Artifact.open(folder / ARTIFACT)
    _check_facts(folder, facts, artifact, listed)
    return artifact


def _check_facts(folder: Path, facts: Facts, artifact: Artifact, listed: dict[str, str]) -> None:
    """Hold what a bundle says of itself, and what it serves, against its artifact.

    Raises:
        ArtifactError: they differ.
    """
    claims = {"artifact": facts.artifact, "seal": facts.seal, "kind": facts.kind, "task": facts.task}
    actual = {
        "artifact": artifact.id,
        "seal": artifact.seal,
        "kind": artifact.kind,
        "task": artifact.task,
    }
    for field, value in claims.items():
        if value != actual[field]:
            raise ArtifactError(
                f"{folder / FACTS}: {field} is {value[:80]!r}, and the artifact in the bundle has "
                f"{actual[field]!r}: make the bundle again"
            )
    sealed = {entry.sha256 for entry in artifact.manifest.files.values()}
    served = PurePosixPath("triton", facts.name, "1")
    for name, checksum in listed.items():
        if PurePosixPath(name).parent == served and checksum not in sealed:
            raise ArtifactError(
                f"{folder / name} is served and is no file of the bundle's artifact: make the bundle again"
            )
