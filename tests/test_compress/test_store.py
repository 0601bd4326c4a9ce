"""The store: whole or not at all, one builder a key, and tidy after kills."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact, Manifest, Origin, Step
from compress.artifacts.store import Building, Store, deliver
from compress.errors import ArtifactError, UserError


def manifest_for(folder: Path) -> Manifest:
    """A manifest of what a folder holds."""
    files = artifacts.inventory(folder)
    step = Step(stage="make", config={}, id=artifacts.content_id("torch", "t", files), seed=0)
    return Manifest(
        kind="torch",
        task="t",
        stage="make",
        config={},
        seed=0,
        key="k" * 64,
        parent=None,
        lineage=(step,),
        origin=Origin(),
        facts={},
        environment={},
        created="2026-01-01T00:00:00+00:00",
        files=files,
    )


def build(store: Store, key: str, text: str = "content") -> Artifact:
    """Seal one file under a key."""
    with store.building(key) as building:
        (building.out / "file.txt").write_text(text)
        return store.seal(key, building, manifest_for(building.out))


def test_a_sealed_key_is_found_and_verified(tmp_path: Path) -> None:
    """What was sealed under a key is given back with the same id."""
    store = Store(tmp_path)
    artifact = build(store, "a" * 64)
    stored = store.get("a" * 64)
    assert stored is not None
    assert stored.id == artifact.id
    assert store.get("b" * 64) is None


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    """Asking for a key or listing does not create the store."""
    store = Store(tmp_path / "store")
    assert store.get("a" * 64) is None
    assert store.entries() == []
    assert not (tmp_path / "store").exists()


def test_a_failed_builder_leaves_nothing_half_written(tmp_path: Path) -> None:
    """An exception in the builder removes its folder, keeps the scratch and seals nothing."""
    store = Store(tmp_path)

    def fail(building: Building) -> None:
        (building.out / "half").write_text("x")
        (building.scratch / "checkpoint").write_text("y")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), store.building("a" * 64) as building:
        fail(building)
    assert not store.has("a" * 64)
    assert list((tmp_path / "building").iterdir()) == []
    assert (tmp_path / "scratch" / ("a" * 64) / "checkpoint").read_text() == "y"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_took_a_folders_place_in_the_store_is_removed(tmp_path: Path, kind: str) -> None:
    """A link or file where a key's folders belong is taken away: nothing is written where a link leads."""
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    for name in ("artifacts", "scratch"):
        (store.root / name).mkdir(parents=True)
        place = store.root / name / ("a" * 64)
        place.symlink_to(elsewhere) if kind == "link" else place.write_text("x")
    with store.building("a" * 64) as building:
        (building.scratch / "checkpoint").write_text("y")
        (building.out / "file.txt").write_text("x")
        artifact = store.seal("a" * 64, building, manifest_for(building.out))
    assert not artifact.path.is_symlink()
    assert store.get("a" * 64) is not None
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_entries_that_cannot_be_opened_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Entries of an older version or with a damaged manifest are left out, in one sentence for all."""
    store = Store(tmp_path)
    sealed = [build(store, letter * 64) for letter in "abc"]
    for artifact in sealed[:2]:
        manifest = artifact.path / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with caplog.at_level("WARNING"):
        assert [entry.key for entry in store.entries()] == ["c" * 64]
    assert len(caplog.records) == 1
    assert "2 of the store's entries cannot be opened" in caplog.text
    assert len(store.prune(damaged=True)) == 2


def test_sealing_drops_the_scratch(tmp_path: Path) -> None:
    """A sealed stage needs no checkpoints any more."""
    store = Store(tmp_path)
    with store.building("a" * 64) as building:
        (building.scratch / "checkpoint").write_text("y")
        (building.out / "file.txt").write_text("x")
        store.seal("a" * 64, building, manifest_for(building.out))
    assert not (tmp_path / "scratch" / ("a" * 64)).exists()


def test_leftovers_of_a_killed_builder_are_removed(tmp_path: Path) -> None:
    """The next builder of a key finds an empty folder and removes what a killed one left."""
    store = Store(tmp_path)
    left = tmp_path / "building" / ("a" * 64 + ".dead")
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    with store.building("a" * 64) as building:
        assert list(building.out.iterdir()) == []
        assert not left.exists()


def test_a_changed_entry_is_refused_and_can_be_pruned(tmp_path: Path) -> None:
    """One changed byte is named with the way out, and prune --damaged removes the entry."""
    store = Store(tmp_path)
    artifact = build(store, "a" * 64)
    build(store, "b" * 64)
    (artifact.path / "file.txt").write_text("c0ntent")
    with pytest.raises(ArtifactError, match=r"changed file\.txt.*store prune --damaged"):
        store.get("a" * 64)
    assert store.prune(damaged=True) == [artifact.path]
    assert store.get("a" * 64) is None
    assert store.has("b" * 64)


def test_prune_keeps_what_was_used_lately(tmp_path: Path) -> None:
    """Age counts from the last use; nothing young is removed."""
    store = Store(tmp_path)
    build(store, "a" * 64)
    assert store.prune(unused_for=timedelta(days=1)) == []
    assert store.prune(unused_for=timedelta(0)) == [store.path("a" * 64)]


def test_prune_refuses_while_a_builder_works(tmp_path: Path) -> None:
    """A locked key means that somebody builds: nothing is removed under their feet."""
    store = Store(tmp_path)
    with store.building("a" * 64), pytest.raises(UserError, match="in use"):
        Store(tmp_path).prune(everything=True)


@pytest.mark.parametrize("harm", ["change", "remove", "add", "link"])
def test_verify_finds_every_kind_of_change(tmp_path: Path, harm: str) -> None:
    """A changed, missing or added byte, or a link, is found and the file is named."""
    artifact = build(Store(tmp_path), "a" * 64)
    target = artifact.path / "file.txt"
    if harm == "change":
        target.write_text("kontent")
    elif harm == "remove":
        target.unlink()
    elif harm == "add":
        (artifact.path / "more.txt").write_text("")
    else:
        target.unlink()
        target.symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match=r"file\.txt|more\.txt"):
        Artifact.open(artifact.path)


def test_deliver_copies_whole_and_refuses_a_folder_in_use(tmp_path: Path) -> None:
    """A delivery is a verified copy; another folder's content is never touched."""
    artifact = build(Store(tmp_path / "store"), "a" * 64)
    out = tmp_path / "out"
    assert deliver(artifact, out).id == artifact.id
    assert Artifact.open(out).id == artifact.id
    assert deliver(artifact, out).path == out  # the same again is no error
    occupied = tmp_path / "other"
    occupied.mkdir()
    (occupied / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="in use"):
        deliver(artifact, occupied)
    assert [path.name for path in occupied.iterdir()] == ["mine.txt"]
    shutil.rmtree(out)
    out.mkdir()
    assert deliver(artifact, out).id == artifact.id  # an empty folder is fine
