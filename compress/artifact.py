"""A sealed folder and its manifest: what travels between stages, and into production.

An artifact is a folder with a ``manifest.json`` that was written last and lists every other file
with its SHA-256. Its *content id* is the SHA-256 of kind, task and those checksums: the same bytes
have the same id wherever they were made. Time, machine and seed are in the manifest and not in the id.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from compress.errors import ArtifactError

Kind = Literal["torch", "onnx", "tensorrt"]
MANIFEST = "manifest.json"
SCHEMA: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Frozen):
    """Checksum and size of one file."""

    sha256: str
    bytes: int


class Step(_Frozen):
    """One stage of the lineage, oldest first."""

    stage: str
    config: dict[str, Any]
    id: str
    seed: int


class Origin(_Frozen):
    """Where model and data came from, as far as is known."""

    model: str | None = None
    model_license: str | None = None
    data: dict[str, Any] | None = None
    data_fingerprint: str | None = None
    data_columns: dict[str, str] | None = None
    data_license: str | None = None


class Manifest(_Frozen):
    """What an artifact says of itself."""

    schema_version: Literal[1] = SCHEMA
    kind: Kind
    task: str
    stage: str
    config: dict[str, Any]
    seed: int
    key: str | None
    parent: str | None
    lineage: tuple[Step, ...]
    origin: Origin
    facts: dict[str, Any]
    environment: dict[str, str]
    created: str
    files: dict[str, FileEntry]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_id(kind: str, task: str, files: dict[str, FileEntry]) -> str:
    """The id of a content: SHA-256 over kind, task and the files' checksums."""
    sums = {name: entry.sha256 for name, entry in files.items()}
    return digest_text(canonical_json({"kind": kind, "task": task, "files": sums}))


def inventory(folder: Path) -> dict[str, FileEntry]:
    """Every regular file below a folder but the manifest, by its POSIX path, with checksum and size.

    Raises:
        ArtifactError: a link or special file, which a sealed folder must not hold.
    """
    files: dict[str, FileEntry] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(f"{path} is a link or special file: an artifact holds plain files only")
        if path.is_file() and name != MANIFEST:
            files[name] = FileEntry(sha256=digest_file(path), bytes=path.stat().st_size)
    return files


@dataclass(frozen=True)
class Artifact:
    """A frozen handle on a sealed folder.

    Attributes:
        path: the folder.
        manifest: what it says of itself.
    """

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """The content id."""
        return content_id(self.manifest.kind, self.manifest.task, self.manifest.files)

    @property
    def kind(self) -> Kind:
        """What the folder holds."""
        return self.manifest.kind

    @property
    def task(self) -> str:
        """The task's name in the catalog."""
        return self.manifest.task

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    def file(self, name: str) -> Path:
        """The path of a listed file.

        Raises:
            ArtifactError: the manifest does not list it.
        """
        if name not in self.manifest.files:
            known = ", ".join(sorted(self.manifest.files))
            raise ArtifactError(f"the artifact {self.path} has no file '{name}'; it has: {known}")
        return self.path / name

    def read_json(self, name: str) -> Any:
        """The content of a listed JSON file."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Artifact:
        """Open a sealed folder, checking every byte unless told not to.

        Raises:
            ArtifactError: there is no sealed artifact, or its content changed.
        """
        manifest_file = path / MANIFEST
        if not path.exists():
            raise ArtifactError(f"{path} does not exist: check the path; an artifact is a folder")
        if not manifest_file.is_file():
            raise ArtifactError(
                f"{path} is not a sealed artifact (no {MANIFEST}): give a folder that paredown wrote, "
                "or a Hugging Face model folder where one is accepted"
            )
        try:
            manifest = Manifest.model_validate_json(manifest_file.read_bytes())
        except ValidationError as cause:
            raise ArtifactError(
                f"{manifest_file} is damaged or of another version of paredown "
                f"({cause.error_count()} errors, first: {cause.errors()[0]['msg']}): build it again"
            ) from cause
        artifact = cls(path=path, manifest=manifest)
        if verify:
            artifact.verify()
        return artifact

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            ArtifactError: a file was changed, is missing or was added; all of them are named.
        """
        for name in self.manifest.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ArtifactError(f"{self.path}: the manifest names a path outside the folder: {name}")
        found = inventory(self.path)
        listed = self.manifest.files
        wrong = [f"missing {name}" for name in sorted(listed.keys() - found.keys())]
        wrong += [f"added {name}" for name in sorted(found.keys() - listed.keys())]
        wrong += [
            f"changed {name}" for name in sorted(listed.keys() & found.keys()) if listed[name] != found[name]
        ]
        if wrong:
            raise ArtifactError(
                f"the artifact {self.path} is not what was sealed: {'; '.join(wrong)}. "
                "Build it again; nothing of it was loaded."
            )


def is_sealed(path: Path) -> bool:
    """Whether a folder claims to be an artifact."""
    return (path / MANIFEST).is_file()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest so that it is there whole or not at all."""
    temporary = folder / f".{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(manifest.model_dump_json(indent=1))
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)
