"""From a name to a folder: paths, hub ids from a hub on loopback, the cache, and each way to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fake_hub
import pytest
from huggingface_hub import constants

from compress.errors import ModelError
from compress.model import hub
from compress.model.hub import Snapshot

Ask = Callable[..., Snapshot]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Resolve a reference against a hub at an address, with a cache of this test's own."""

    def _ask(
        endpoint: str, reference: str, revision: str | None = None, *, offline: bool = False
    ) -> Snapshot:
        # huggingface_hub reads its settings when it is imported.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub._download.cache_clear()
        return hub.resolve(reference, revision)

    return _ask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A hub with one model repository."""
    repository = tmp_path / "hub" / "models" / "someone" / "classifier"
    (repository / "onnx").mkdir(parents=True)
    usable = ("config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE")
    for name in (*usable, "pytorch_model.bin", "modeling.py", "onnx/config.json"):
        (repository / name).write_text(f"content of {name}")
    return tmp_path / "hub"


def test_a_hub_id_becomes_its_snapshot(root: Path, ask: Ask) -> None:
    """The snapshot comes with its commit, without pickles, code and subfolders; then the cache serves it."""
    commit = fake_hub.commit_of(root / "models" / "someone" / "classifier")
    with fake_hub.serve(root) as (endpoint, requests):
        first = ask(endpoint, "someone/classifier")
        assert (first.label, first.revision) == (f"someone/classifier@{commit}", commit)
        names = {path.name for path in first.folder.iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE"}
        assert (first.folder / "config.json").read_text() == "content of config.json"
        assert not [line for line in requests if ".bin" in line or ".py" in line or "onnx" in line]
        assert ask(endpoint, "someone/classifier", commit).folder == first.folder
    assert ask("http://127.0.0.1:9", "someone/classifier", offline=True) == first


def test_within_a_process_a_branch_means_one_commit(root: Path, ask: Ask) -> None:
    """A branch that moves between two questions of one run does not give two models."""
    with fake_hub.serve(root) as (endpoint, _):
        first = ask(endpoint, "someone/classifier")
        (root / "models" / "someone" / "classifier" / "config.json").write_text("moved")
        assert hub.resolve("someone/classifier") == first
        assert ask(endpoint, "someone/classifier").revision != first.revision


@pytest.mark.parametrize(
    ("reference", "revision", "reason"),
    [
        ("someone/nothing", None, "There is no folder and no hub model 'someone/nothing': check the name"),
        ("someone/classifier", "v9", "The hub model someone/classifier has no revision 'v9': check its"),
        ("someone/gated-model", None, "asks for a login or for its terms to be accepted"),
        ("someone/" + "x" * 100, None, "There is no folder .* and it cannot be a hub id"),
    ],
)
def test_what_the_hub_does_not_have(
    reference: str, revision: str | None, reason: str, root: Path, ask: Ask
) -> None:
    """An unknown name, an unknown revision, a gated model and an impossible name are one sentence each."""
    with fake_hub.serve(root) as (endpoint, _), pytest.raises(ModelError, match=reason) as refused:
        ask(endpoint, reference, revision)
    assert "\n" not in str(refused.value)


def test_offline_and_not_cached(ask: Ask) -> None:
    """Offline, a model that is not cached is one sentence; so is a hub that cannot be reached."""
    with pytest.raises(
        ModelError, match="is not in the local cache while HF_HUB_OFFLINE is set: give a folder"
    ):
        ask("http://127.0.0.1:9", "someone/classifier", offline=True)
    with pytest.raises(ModelError, match="is not in the local cache while the hub cannot be reached"):
        ask("http://127.0.0.1:9", "someone/classifier")


def test_a_hub_that_breaks_off(root: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that the hub refuses half-way is one sentence, and the next try succeeds."""
    with fake_hub.serve(root) as (endpoint, _):
        real = fake_hub._Handler._file
        monkeypatch.setattr(fake_hub._Handler, "_file", lambda self, *_: self._send(403, b"no"))
        with pytest.raises(
            ModelError, match="is not in the local cache while the hub answers with status 403"
        ):
            ask(endpoint, "someone/classifier")
        monkeypatch.setattr(fake_hub._Handler, "_file", real)
        assert (ask(endpoint, "someone/classifier").folder / "config.json").is_file()


def test_a_folder_is_itself(tmp_path: Path) -> None:
    """A folder resolves to itself, under its own name and without a revision."""
    (tmp_path / "mine").mkdir()
    snapshot = hub.resolve(str(tmp_path / "mine"))
    assert (snapshot.folder, snapshot.label, snapshot.revision) == (tmp_path / "mine", "mine", None)
    with pytest.raises(ModelError, match="a revision belongs to a hub id"):
        hub.resolve(str(tmp_path / "mine"), "main")


@pytest.mark.parametrize("reference", ["./gone", "/no/such/folder", "a/b/c", "~/gone", "mine/../x"])
def test_a_path_that_does_not_exist(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can only be a path is not asked of the hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="There is no folder"):
        hub.resolve(reference)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    """A file in place of a folder is named as one."""
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="is a file: give the folder"):
        hub.resolve(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags: [a]\n---\n# Model\n"}, "apache-2.0"),
        ({"README.md": "---\nlicense: [mit, cc-by-4.0]\n---\n"}, "mit, cc-by-4.0"),
        ({"README.md": "# no header\n", "LICENSE": "\n  MIT License\n\nCopyright"}, "MIT License"),
        ({"README.md": "---\n: [\n---\n", "LICENSE.txt": "BSD"}, "BSD"),
        ({"README.md": "---\n- a list\n---\n"}, None),
        ({}, None),
    ],
)
def test_license(files: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    """The license comes from the model card's header, else from the license file's first line."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert hub.license_of(tmp_path) == expected


def test_files_and_pickles(tmp_path: Path) -> None:
    """What loading may read, and what it never opens."""
    (tmp_path / "checkpoint-5").mkdir()
    read = ("config.json", "model.safetensors", "vocab.txt")
    for name in (*read, "pytorch_model.bin", "scheduler.pt", "code.py", "checkpoint-5/config.json"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in hub.files(tmp_path)] == ["config.json", "model.safetensors", "vocab.txt"]
    assert hub.pickles(tmp_path) == ["pytorch_model.bin", "scheduler.pt"]
