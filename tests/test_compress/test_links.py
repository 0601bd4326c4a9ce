"""Files that travel with a model are its own: other links are refused, but for those of a hub's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from compress.errors import ModelError
from compress.model import checkpoint, hub, links


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tokenizer, and a secret beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    tiny.save_tokenizer(folder)
    (tmp_path / "secret").write_text("a private key")
    return folder


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE.txt", "COPYING", "vocab.txt", "tokenizer.model"])
def test_a_link_out_of_the_folder_carries_nothing_along(name: str, model: Path, tmp_path: Path) -> None:
    """Neither into an artifact nor, as the name of a license, into a manifest."""
    (model / name).symlink_to("../secret")
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match=rf"{name} is a link to .*/secret, outside of the model's folder"):
        checkpoint.copy_sidecars(model, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    if name in ("LICENSE", "COPYING"):
        with pytest.raises(ModelError, match="is a link"):
            hub.license_of(model)


def test_a_link_for_a_read_me(model: Path, tmp_path: Path) -> None:
    """Its header names the license."""
    (tmp_path / "notes.md").write_text("---\nlicense: hidden\n---\n")
    (model / "README.md").symlink_to(tmp_path / "notes.md")
    with pytest.raises(ModelError, match=r"README\.md is a link"):
        hub.license_of(model)


@pytest.mark.parametrize("cache", ["models--owner--name", "a copy of a cache"])
def test_links_of_a_cache_and_within_the_folder_go_on_working(
    cache: str, model: Path, tmp_path: Path
) -> None:
    """A snapshot's files all lie among the blobs of its cache, wherever that was moved to."""
    blobs, snapshot = tmp_path / cache / "blobs", tmp_path / cache / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copyfile(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    (blobs / "license").write_text("Apache-2.0")
    (snapshot / "LICENSE").symlink_to("../../blobs/license")
    (snapshot / "COPYING").symlink_to("LICENSE")
    out = tmp_path / "out"
    out.mkdir()
    checkpoint.copy_sidecars(snapshot, out)
    assert {file.name for file in out.iterdir()} == {file.name for file in snapshot.iterdir()}
    assert not any(file.is_symlink() for file in out.iterdir())
    assert hub.license_of(snapshot) == "Apache-2.0"


def test_a_folder_filled_from_a_cache(model: Path, tmp_path: Path) -> None:
    """Its files may lie in the cache of the machine; a folder called blobs is not enough."""
    cached = tmp_path / "hub" / "models--owner--name" / "blobs"
    other = tmp_path / "hub" / "private" / "blobs"
    for place in (cached, other):
        place.mkdir(parents=True)
        (place / "sha").write_text("MIT")
    (model / "LICENSE").symlink_to(cached / "sha")
    assert links.outside(model / "LICENSE", model) is None
    assert hub.license_of(model) == "MIT"
    (model / "NOTICE").symlink_to(other / "sha")
    assert links.outside(model / "NOTICE", model) == other / "sha"


def test_a_folder_that_is_itself_a_link(model: Path, tmp_path: Path) -> None:
    """What counts is where its files lie."""
    (tmp_path / "named").symlink_to(model)
    (model / "LICENSE").write_text("MIT")
    (model / "COPYING").symlink_to("LICENSE")
    assert hub.license_of(tmp_path / "named") == "MIT"
    assert "COPYING" in {file.name for file in checkpoint.sidecars(tmp_path / "named")}
