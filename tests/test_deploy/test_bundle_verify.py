"""What ``verify`` sees of a bundle: files replaced or added, and facts that are not its artifact's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_deploy

from compress.errors import ArtifactError
from deploy.handover import sums
from deploy.handover.bundle import Target, bundle

ROWS = tiny_deploy.text_rows()
PROFILES = ("batch=1:4:8,length=1:16:16", "batch=1:4:8,length=17:32:32")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny classifier as an FP32 and an FP16 graph."""
    root = tmp_path_factory.mktemp("bundle")
    torch = tiny_deploy.text_artifact(root / "torch")
    onnx = tiny_deploy.run("export_onnx", torch, root / "onnx", ROWS).artifact
    half = tiny_deploy.run("half_precision", onnx, root / "fp16", ROWS).artifact
    return SimpleNamespace(onnx=onnx, half=half)


def _replaced(file: Path, by: str) -> None:
    """A file of a bundle that became a link to its like, a pipe or a folder."""
    outside = file.parents[1] / "outside"
    shutil.move(file, outside)
    if by == "link":
        file.symlink_to(outside)
    elif by == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()


@pytest.mark.parametrize("by", ["link", "pipe", "folder"])
@pytest.mark.parametrize(
    "name", ["README.md", "SHA256SUMS", "bundle.json", "artifact/manifest.json", "triton/out/1/model.onnx"]
)
def test_what_took_a_files_place_is_found(
    name: str, by: str, models: SimpleNamespace, tmp_path: Path
) -> None:
    """A link to the same bytes, a pipe and a folder are no file of the bundle, and nothing hangs."""
    out = bundle(models.onnx, tmp_path / "out")
    _replaced(out / name, by)
    assert sums.is_bundle(out)
    with pytest.raises(ArtifactError):
        sums.verify(out)


@pytest.mark.parametrize("build", [False, True])
def test_what_was_added_is_found(build: bool, models: SimpleNamespace, tmp_path: Path) -> None:
    """Links, pipes and folders have no checksum and are found all the same, empty or not."""
    target = Target(profiles=PROFILES) if build else None
    out = bundle(models.half, tmp_path / "out", target=target)
    assert sums.verify(out).id == models.half.id
    for add in (
        lambda: (out / "more").symlink_to("/etc/passwd"),
        lambda: (out / "more").symlink_to(tmp_path),
        lambda: (out / "more").symlink_to("nowhere"),
        lambda: os.mkfifo(out / "more"),
        lambda: (out / "more").mkdir(),
        lambda: (out / "artifact" / "more").mkdir(),
        lambda: (out / "triton" / "out" / "2").mkdir(),
    ):
        before = set(out.rglob("*"))
        add()
        with pytest.raises(ArtifactError, match="plain files only"):
            sums.verify(out)
        for path in set(out.rglob("*")) - before:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert sums.verify(out).id == models.half.id


def _sealed_anew(out: Path, **facts: Any) -> None:
    """Other facts, with checksums that fit again."""
    tree = json.loads((out / "bundle.json").read_text())
    (out / "bundle.json").write_text(json.dumps({**tree, **facts}))
    sums.seal(out)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"built_on_target": 5}, "built_on_target: Input should be a valid string"),
        ({"built_on_target": "../../etc/passwd"}, "is no place in the bundle"),
        ({"built_on_target": "/etc/passwd"}, "is no place in the bundle"),
        ({"name": None}, "name: Input should be a valid string"),
        ({"artifact": "0" * 64}, "artifact is '0000"),
        ({"seal": "0" * 64}, "seal is '0000"),
        ({"kind": "torch"}, "kind is 'torch', and the artifact in the bundle has 'onnx'"),
        ({"task": "token-classification"}, "task is 'token-classification'"),
        ({"schema_version": 1}, "schema_version: Input should be 2"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_facts_that_are_not_the_artifacts(
    facts: dict[str, Any], words: str, models: SimpleNamespace, tmp_path: Path
) -> None:
    """What a bundle says of itself is read through a model and held against the artifact in it."""
    out = bundle(models.onnx, tmp_path / "out")
    _sealed_anew(out, **facts)
    with pytest.raises(ArtifactError, match=words):
        sums.verify(out)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "{}"])
def test_a_bundle_of_broken_files(text: str, models: SimpleNamespace, tmp_path: Path) -> None:
    """Facts and checksums that are no JSON, no text or no list of files are a sentence."""
    out = bundle(models.onnx, tmp_path / "out")
    (out / "bundle.json").write_text(text)
    sums.seal(out)
    with pytest.raises(ArtifactError, match=r"bundle\.json is damaged"):
        sums.verify(out)
    for content in (b"\xff\xfe", b"no checksum\n", b"0" * 64 + b"  /etc/passwd\n", text.encode()):
        (out / "SHA256SUMS").write_bytes(content)
        with pytest.raises(ArtifactError):
            sums.verify(out)


def test_a_served_graph_is_the_artifacts(models: SimpleNamespace, tmp_path: Path) -> None:
    """Another graph in the Triton repository is found, though its checksum was written anew."""
    out = bundle(models.onnx, tmp_path / "out")
    served = out / "triton" / "out" / "1" / "model.onnx"
    served.unlink()
    shutil.copyfile(models.half.file("model.onnx"), served)
    sums.seal(out)
    with pytest.raises(ArtifactError, match="is served and is no file of the bundle's artifact"):
        sums.verify(out)
