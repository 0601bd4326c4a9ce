"""A sealed folder and its manifest: what travels between stages, and into production.

An artifact is a folder with a ``manifest.json`` that was written last and lists every other file
with its SHA-256. Its *content id* is the SHA-256 of kind, task and those checksums: the same bytes
have the same id wherever they were made.

The manifest itself has a *seal*: its last member is the SHA-256 of every byte of the file before it. Whoever
opens an artifact has the seal compared first, so that no byte of lineage, figures, licenses or checksums
changes unseen, be it a blank. The seal is taken of the bytes as they lie in the file and not of what they
mean: no library's way of writing a number decides whether an artifact opens.

The seal is no part of the content id, on purpose. The manifest holds time, machine and seconds: with it in
the id, the same stage on the same input would have another id on every run, no key would be met again, and
the results of two machines could not be compared. The id says *what content this is*, and keys, parents and
reports name it; the seal says *that this manifest is the one that was written with it*. The two together
name one sealed folder, and a bundle records both.

A seal is a checksum and no signature: it shows damage, and edits by whoever did not reckon with it. Who can
write the folder can also seal it anew. Content that comes from elsewhere is therefore checked for what it is
(``deploy.content``), and a seal that was noted down elsewhere shows whether it is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from compress.errors import ArtifactError
from compress.label_names import LabelNames
from compress.reading import files, json_values

Kind = Literal["torch", "onnx", "tensorrt"]
MANIFEST = "manifest.json"
SCHEMA: Literal[2] = 2

# No manifest comes near it, and nothing larger is read.
_LARGEST_MANIFEST = 64 * 2**20
_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\n\Z')
_SEAL_BYTES = len(',\n "seal": ""\n}\n') + 64

Seed = Annotated[int, Field(ge=0, lt=2**63)]
StageName = Annotated[str, Field(min_length=1, max_length=200)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Frozen):
    """Checksum and size of one file."""

    sha256: str
    bytes: int = Field(ge=0, lt=2**63)


class Step(_Frozen):
    """One stage of the lineage, oldest first."""

    stage: StageName
    config: dict[str, Any]
    id: str
    seed: Seed


class Origin(_Frozen):
    """Where model and data came from, as far as is known."""

    model: str | None = None
    model_license: str | None = None
    data: dict[str, Any] | None = None
    data_fingerprint: str | None = None
    data_columns: dict[str, str] | None = None
    data_license: str | None = None
    labels: LabelNames = LabelNames()


class _Data(BaseModel):
    """What a stage recorded of its rows, as far as paredown reads it again."""

    columns: dict[str, str] | None = None
    rows: dict[str, int | None] | None = None


class _Coverage(BaseModel):
    """How much of a quantized graph multiplies in eight bits."""

    products: int
    eight_bit: int
    macs_share: float


class _Batch(BaseModel):
    """What the answers of a quantized graph owe to the other rows of their batch."""

    batch_size: int
    rows: int
    differ: int | None
    largest: float
    ranges: str


# What an engine says in place of its layers where nothing here can open it.
NotKnown = Annotated[str, Field(pattern="^not known: ")]


class _Facts(BaseModel):
    """The recorded facts that paredown reads again; all others are only shown."""

    data: _Data | None = None
    coverage: _Coverage | None = None
    batch: _Batch | None = None
    layers: list[int] | list[dict[str, Any]] | NotKnown | None = None
    seconds: float | None = None


class Manifest(_Frozen):
    """What an artifact says of itself."""

    schema_version: Literal[2] = SCHEMA
    kind: Kind
    task: str
    stage: StageName
    config: dict[str, Any]
    seed: Seed
    key: str | None
    parent: str | None
    lineage: tuple[Step, ...]
    origin: Origin
    facts: dict[str, Any]
    environment: dict[str, str]
    created: str
    files: dict[str, FileEntry]

    @field_validator("facts")
    @classmethod
    def _types(cls, facts: dict[str, Any]) -> dict[str, Any]:
        _Facts.model_validate(facts)
        return facts


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with files.opened(path, error=ArtifactError) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_id(kind: str, task: str, files: dict[str, FileEntry]) -> str:
    """The id of a content: SHA-256 over kind, task and the files' checksums."""
    sums = {name: entry.sha256 for name, entry in files.items()}
    return digest_text(canonical_json({"kind": kind, "task": task, "files": sums}))


def inventory(folder: Path) -> dict[str, FileEntry]:
    """Every regular file below a folder but the manifest, by its POSIX path, with checksum and size.

    Raises:
        ArtifactError: a link, a special file or an empty folder, which a sealed folder must not hold, or a
            file that cannot be read.
    """
    files: dict[str, FileEntry] = {}
    for path in plain_files(folder):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        try:
            files[name] = FileEntry(sha256=digest_file(path), bytes=path.stat().st_size)
        except OSError as cause:
            raise ArtifactError(f"{path} cannot be read: {cause.strerror}") from cause
    return files


def plain_files(folder: Path, may_be_empty: Path | None = None) -> list[Path]:
    """Every file below a folder, sorted, where it holds nothing but plain files.

    Args:
        folder: to walk; links are not followed.
        may_be_empty: a folder below it that may hold nothing; every other one must.

    Raises:
        ArtifactError: there is a link, a special file (a pipe, a device, a socket) or an empty folder.
    """
    files: list[Path] = []
    try:
        for path in sorted(folder.rglob("*")):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if path != may_be_empty and not any(path.iterdir()):
                    raise ArtifactError(f"{path} is an empty folder: an artifact holds plain files only")
            elif stat.S_ISREG(mode):
                files.append(path)
            else:
                raise ArtifactError(f"{path} is a link or special file: an artifact holds plain files only")
    except OSError as cause:
        raise ArtifactError(f"{cause.filename or folder} cannot be read: {cause.strerror}") from cause
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

    @property
    def seal(self) -> str:
        """The manifest's seal, as it lies in the folder now."""
        return _unsealed(self.path / MANIFEST)[1]

    def file(self, name: str) -> Path:
        """The path of a listed file, which is a plain one inside the folder.

        Raises:
            ArtifactError: the manifest does not list it, or it is a link, a pipe or not there.
        """
        if name not in self.manifest.files:
            names = ", ".join(sorted(self.manifest.files))
            raise ArtifactError(f"the artifact {self.path} has no file '{name}'; it has: {names}")
        path = self.path / name
        if path.resolve() != self.path.resolve() / name or not path.is_file():
            raise ArtifactError(
                f"{path} is not there, or a link or special file: an artifact holds plain files only. "
                "Build it again; nothing of it was loaded."
            )
        return path

    def read_json(self, name: str) -> Any:
        """The content of a listed JSON file."""
        return json_values.read(self.file(name), error=ArtifactError)

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Artifact:
        """Open a sealed folder, checking every byte unless told not to.

        Raises:
            ArtifactError: there is no sealed artifact, or its content changed.
        """
        manifest_file = path / MANIFEST
        if not os.path.lexists(path):
            raise ArtifactError(f"{path} does not exist: check the path; an artifact is a folder")
        if not os.path.lexists(manifest_file):
            raise ArtifactError(
                f"{path} is not a sealed artifact (no {MANIFEST}): give a folder that paredown wrote, "
                "or a Hugging Face model folder where one is accepted"
            )
        content, _ = _unsealed(manifest_file)
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as cause:
            first = cause.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ArtifactError(
                f"{manifest_file} is damaged or of another version of paredown "
                f"({cause.error_count()} errors, first: {field}: {first['msg']}): build it again"
            ) from cause
        for name in manifest.files:
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise ArtifactError(f"{path}: the manifest names a path outside the folder: {name!r:.200}")
        artifact = cls(path=path, manifest=manifest)
        if verify:
            artifact.verify()
        return artifact

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            ArtifactError: a file was changed, is missing or was added; all of them are named.
        """
        present = inventory(self.path)
        listed = self.manifest.files
        wrong = [f"missing {name}" for name in sorted(listed.keys() - present.keys())]
        wrong += [f"added {name}" for name in sorted(present.keys() - listed.keys())]
        wrong += [
            f"changed {name}"
            for name in sorted(listed.keys() & present.keys())
            if listed[name] != present[name]
        ]
        if wrong:
            raise ArtifactError(
                f"the artifact {self.path} is not what was sealed: {'; '.join(wrong)}. "
                "Build it again; nothing of it was loaded."
            )


def is_sealed(path: Path) -> bool:
    """Whether a folder claims to be an artifact; a link or pipe in the manifest's place is a claim too."""
    return os.path.lexists(path / MANIFEST)


def _unsealed(file: Path) -> tuple[bytes, str]:
    """A manifest's JSON without its seal, and the seal.

    Raises:
        ArtifactError: it is no plain file, has no seal, or a byte of it changed since it was sealed.
    """
    try:
        state = file.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _LARGEST_MANIFEST:
            raise ArtifactError(
                f"{file} is a link, a special file or of absurd size: a manifest is a plain file. "
                "Build the artifact again"
            )
        content = file.read_bytes()
    except OSError as cause:
        raise ArtifactError(f"{file} cannot be read: {cause.strerror}") from cause
    body, tail = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    seal = _SEAL.fullmatch(tail)
    if seal is None:
        _refuse_unsealed(file, content)
    if hashlib.sha256(body).hexdigest().encode() != seal[1]:
        raise ArtifactError(
            f"{file} was changed after it was sealed: its seal does not fit what it says of lineage, figures "
            "and files. Build the artifact again, or copy it again; nothing of it was loaded."
        )
    return body + b"\n}\n", seal[1].decode()


def _refuse_unsealed(file: Path, content: bytes) -> NoReturn:
    """Say that a manifest is of a version without a seal, or that it is damaged."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        tree = None
    if isinstance(tree, dict) and tree.get("schema_version") == 1:
        raise ArtifactError(
            f"{file} is of an older version of paredown, whose manifests had no seal: nothing shows whether "
            "its lineage and figures are those that were written. Build it again with the same command "
            "(what the store holds of it is built anew)"
        )
    raise ArtifactError(
        f"{file} is damaged or of another version of paredown (it does not end in its seal): build it again"
    )


def sealed_text(manifest: Manifest) -> str:
    """The text of ``manifest.json``: JSON whose last member is the SHA-256 of all before it."""
    body = manifest.model_dump_json(indent=1).removesuffix("\n}")
    return f'{body},\n "seal": "{digest_text(body)}"\n}}\n'


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with its seal so that it is there whole or not at all."""
    temporary = folder / f".{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(sealed_text(manifest))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)
