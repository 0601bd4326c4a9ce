"""Sealed folders: ids from content alone, and any changed, missing or added byte is found."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from compress.artifacts import artifact
from compress.artifacts.artifact import Artifact, FileEntry, Manifest, Origin, Step
from compress.errors import ArtifactError


def _seal(folder: Path, **changes: Any) -> Artifact:
    manifest = Manifest(
        **{
            "kind": "torch",
            "task": "text-classification",
            "stage": "load",
            "config": {"model": "m"},
            "seed": 3,
            "key": None,
            "parent": None,
            "lineage": (Step(stage="load", config={}, id="0" * 64, seed=3),),
            "origin": Origin(model="m"),
            "facts": {"seconds": 1.5},
            "environment": {"python": "3.11"},
            "created": "2026-01-01T00:00:00+00:00",
            "files": artifact.inventory(folder),
            **changes,
        }
    )
    artifact.write_manifest(folder, manifest)
    return Artifact.open(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files, one of them below."""
    root = tmp_path / "made"
    (root / "sub").mkdir(parents=True)
    (root / "a.json").write_text('{"x": 1}')
    (root / "sub" / "b.bin").write_bytes(b"\x00\x01")
    return root


def test_the_id_is_the_content_alone(folder: Path) -> None:
    """The id is the SHA-256 of kind, task and checksums, computed here by hand; not of seed or time."""
    sums = {
        "a.json": hashlib.sha256(b'{"x": 1}').hexdigest(),
        "sub/b.bin": hashlib.sha256(b"\x00\x01").hexdigest(),
    }
    text = json.dumps(
        {"files": sums, "kind": "torch", "task": "text-classification"}, sort_keys=True, separators=(",", ":")
    )
    expected = hashlib.sha256(text.encode()).hexdigest()
    first = _seal(folder)
    assert first.id == expected
    assert _seal(folder, seed=9, created="2027-01-01", stage="prune", config={}).id == expected
    assert _seal(folder, kind="onnx").id != expected
    (folder / "a.json").write_text('{"x": 2}')
    assert _seal(folder).id != expected


def test_opening_gives_what_was_sealed(folder: Path) -> None:
    """The manifest survives writing and reading; listed files can be reached, others not."""
    sealed = _seal(folder)
    assert Artifact.open(folder) == sealed
    assert sealed.manifest.lineage[0].stage == "load"
    assert sealed.size_bytes == 10
    assert (sealed.kind, sealed.task) == ("torch", "text-classification")
    assert sealed.read_json("a.json") == {"x": 1}
    assert sealed.file("sub/b.bin") == folder / "sub" / "b.bin"
    with pytest.raises(ArtifactError, match=r"has no file 'c'; it has: a\.json, sub/b\.bin"):
        sealed.file("c")
    assert artifact.is_sealed(folder)
    assert not artifact.is_sealed(folder / "sub")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "a.json").write_text('{"x": 2}'), r"changed a\.json"),
        (lambda f: (f / "sub" / "b.bin").write_bytes(b"\x00\x01\x00"), r"changed sub/b\.bin"),
        (lambda f: (f / "a.json").unlink(), r"missing a\.json"),
        (lambda f: (f / "sub" / "new").write_text(""), "added sub/new"),
        (lambda f: (f / ".hidden").write_text("x"), r"added \.hidden"),
    ],
)
def test_any_other_byte_is_found(damage: Any, reason: str, folder: Path) -> None:
    """A changed, missing or added file is named, and the artifact is not opened."""
    _seal(folder)
    damage(folder)
    with pytest.raises(ArtifactError, match=f"is not what was sealed: {reason}. Build it again"):
        Artifact.open(folder)
    assert Artifact.open(folder, verify=False).task == "text-classification"


def test_all_differences_are_named_at_once(folder: Path) -> None:
    """Several differences are listed in one sentence."""
    _seal(folder)
    (folder / "a.json").unlink()
    (folder / "sub" / "b.bin").write_bytes(b"")
    (folder / "c").write_text("")
    with pytest.raises(ArtifactError, match=r"missing a\.json; added c; changed sub/b\.bin"):
        Artifact.open(folder)


def test_every_single_byte_counts(folder: Path) -> None:
    """Each bit flip in each file is found."""
    _seal(folder)
    for path in (folder / "a.json", folder / "sub" / "b.bin"):
        content = path.read_bytes()
        for position in range(len(content)):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(ArtifactError, match="changed"):
                Artifact.open(folder)
        path.write_bytes(content)
    Artifact.open(folder)


@pytest.mark.parametrize("bit", [0x01, 0x20])
def test_every_byte_of_the_manifest_counts(bit: int, folder: Path) -> None:
    """Each flipped byte of a manifest is found, blanks and the seal itself included, checked or not."""
    _seal(folder)
    manifest = folder / "manifest.json"
    content = manifest.read_bytes()
    for position in range(len(content)):
        manifest.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
        with pytest.raises(ArtifactError):
            Artifact.open(folder, verify=False)
    for position in range(len(content) + 1):
        manifest.write_bytes(content[:position] + b" " + content[position:])
        with pytest.raises(ArtifactError):
            Artifact.open(folder, verify=False)
        manifest.write_bytes(content[:position] + content[position + 1 :])
        if position < len(content):
            with pytest.raises(ArtifactError):
                Artifact.open(folder, verify=False)
    manifest.write_bytes(content)
    assert Artifact.open(folder).seal == hashlib.sha256(content[: content.rindex(b',\n "seal"')]).hexdigest()


def test_the_seal_is_no_part_of_the_id(folder: Path) -> None:
    """Another time or machine is another seal and the same id: what keys and parents name stays."""
    first = _seal(folder)
    before = first.seal
    second = _seal(folder, created="2027-01-01", environment={"python": "3.12"})
    assert second.id == first.id
    assert second.seal != before


def test_a_manifest_without_a_seal_is_refused_with_the_way_out(folder: Path) -> None:
    """What an older version wrote had no seal: it is said, and what to do."""
    _seal(folder)
    content = json.loads((folder / "manifest.json").read_text())
    del content["seal"]
    (folder / "manifest.json").write_text(json.dumps({**content, "schema_version": 1}, indent=1) + "\n")
    with pytest.raises(ArtifactError, match=r"older version of paredown, whose manifests had no seal.*Build"):
        Artifact.open(folder)


@pytest.mark.parametrize(
    "facts",
    [{"data": []}, {"data": {"columns": ["text"]}}, {"seconds": "fast"}, {"layers": "all"}],
)
def test_facts_that_are_read_again_have_their_types(facts: Any, folder: Path) -> None:
    """A manifest that was sealed anew with facts of wrong types is named by its field."""
    manifest = _seal(folder).manifest.model_copy(update={"facts": facts})
    artifact.write_manifest(folder, manifest)
    with pytest.raises(ArtifactError, match=r"first: facts\.(data|seconds|layers).*build it again"):
        Artifact.open(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", -5), ("seed", 2**70), ("stage", ""), ("kind", "pickle"), ("lineage", [5])]
)
def test_fields_of_a_manifest_are_bounded(field: str, value: Any, folder: Path) -> None:
    """What a stage would stumble over later is refused on opening, by its field."""
    text = artifact.sealed_text(_seal(folder).manifest)
    body = json.dumps({**json.loads(text), field: value}, indent=1).removesuffix("\n}")
    tail = body.rindex(',\n "seal"')
    body = body[:tail]
    (folder / "manifest.json").write_text(f'{body},\n "seal": "{artifact.digest_text(body)}"\n}}\n')
    with pytest.raises(ArtifactError, match=rf"first: {field}"):
        Artifact.open(folder)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_manifest_or_file_that_is_replaced(kind: str, folder: Path, tmp_path: Path) -> None:
    """A manifest or sealed file replaced by a link to its like, a pipe or a folder is refused."""
    sealed = _seal(folder)
    for name in ("manifest.json", "a.json"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if kind == "link":
            (tmp_path / name).write_bytes(content)
            (folder / name).symlink_to(tmp_path / name)
        elif kind == "pipe":
            os.mkfifo(folder / name)
        else:
            (folder / name).mkdir()
        with pytest.raises(ArtifactError):
            Artifact.open(folder)
        if name == "a.json":
            with pytest.raises(ArtifactError, match="plain files only"):
                sealed.file(name)
        (folder / name).rmdir() if kind == "folder" else (folder / name).unlink()
        (folder / name).write_bytes(content)
    assert Artifact.open(folder).id == sealed.id


def test_an_added_folder_is_found(folder: Path) -> None:
    """An empty folder has no checksum, and is no part of an artifact all the same."""
    _seal(folder)
    (folder / "more").mkdir()
    with pytest.raises(ArtifactError, match="more is an empty folder"):
        Artifact.open(folder)


def test_links_and_special_files_are_refused(folder: Path, tmp_path: Path) -> None:
    """A sealed folder holds plain files only: a link could change without being noticed."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    link = folder / "link"
    link.symlink_to(outside)
    with pytest.raises(ArtifactError, match="is a link or special file"):
        artifact.inventory(folder)
    link.unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ArtifactError, match="is a link or special file"):
        artifact.inventory(folder)


def test_a_manifest_cannot_name_files_outside(folder: Path) -> None:
    """Names that leave the folder are refused before anything is read."""
    _seal(folder)
    for name in ("../outside", "/etc/passwd", "a/../../b", "a\0b"):
        with pytest.raises(ArtifactError, match="names a path outside the folder"):
            _seal(folder, files={name: FileEntry(sha256="0" * 64, bytes=1)})
        with pytest.raises(ArtifactError, match="names a path outside the folder"):
            Artifact.open(folder, verify=False)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"schema_version": 2}', "[]"])
def test_damaged_manifests(text: str, folder: Path) -> None:
    """A manifest that is damaged or of another version is one sentence."""
    _seal(folder)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="is damaged or of another version of paredown"):
        Artifact.open(folder)


def test_a_folder_that_is_not_sealed(folder: Path) -> None:
    """Without a manifest there is no artifact, and the sentence says what would do."""
    with pytest.raises(
        ArtifactError, match=r"is not a sealed artifact \(no manifest\.json\): give a folder that"
    ):
        Artifact.open(folder)


def test_an_unknown_key_in_a_manifest(folder: Path) -> None:
    """Strict: what this version does not know is not ignored."""
    _seal(folder)
    content = json.loads((folder / "manifest.json").read_text())
    body = json.dumps({**content, "seal": 1, "extra": 1}, indent=1).removesuffix("\n}")
    text = f'{body},\n "seal": "{artifact.digest_text(body)}"\n}}\n'
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"another version of paredown \(2 errors.*(seal|extra): Extra"):
        Artifact.open(folder)


def test_canonical_json() -> None:
    """Equal values give equal text whatever their order; what is no JSON is refused."""
    assert artifact.canonical_json({"b": 1, "a": [1.5, "ü"]}) == '{"a":[1.5,"ü"],"b":1}'
    assert artifact.canonical_json({"a": [1.5, "ü"], "b": 1}) == artifact.canonical_json(
        {"b": 1, "a": [1.5, "ü"]}
    )
    with pytest.raises(ValueError, match="JSON"):
        artifact.canonical_json(float("nan"))
    assert artifact.digest_text("abc").startswith("ba7816bf8f01cfea")


def test_the_order_of_files_does_not_matter() -> None:
    """The id of a content does not depend on the order in which files were listed."""
    first, second = FileEntry(sha256="1" * 64, bytes=1), FileEntry(sha256="2" * 64, bytes=2)
    assert artifact.content_id("torch", "t", {"a": first, "b": second}) == artifact.content_id(
        "torch", "t", {"b": second, "a": first}
    )
    assert artifact.content_id("torch", "t", {"a": first, "b": second}) != artifact.content_id(
        "torch", "t", {"a": second, "b": first}
    )
