"""From a name to a folder: paths, hub ids from a hub on loopback, the cache, and each way to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_hub
import pytest

from compress import hub
from compress.errors import ModelError

# huggingface_hub reads its endpoint when it is imported: each question is asked in a fresh process.
_ASK = """
import json, sys
from compress import hub
from compress.errors import UserError
try:
    found = hub.resolve(sys.argv[1], sys.argv[2] or None)
    print(json.dumps({"folder": str(found.folder), "label": found.label, "revision": found.revision}))
except UserError as error:
    print(json.dumps({"kind": type(error).__name__, "error": str(error)}))
"""


def _ask(
    endpoint: str, cache: Path, reference: str, revision: str = "", *, offline: bool = False
) -> dict[str, str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path(hub.__file__).parent.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", _ASK, reference, revision],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
        cwd=cache,
    )
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A hub with one model repository."""
    repository = tmp_path / "hub" / "models" / "someone" / "classifier"
    (repository / "onnx").mkdir(parents=True)
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE")
    for name in (*wanted, "pytorch_model.bin", "modeling.py", "onnx/config.json"):
        (repository / name).write_text(f"content of {name}")
    (tmp_path / "cache").mkdir()
    return tmp_path / "hub"


def test_a_hub_id_becomes_its_snapshot(root: Path, tmp_path: Path) -> None:
    """The snapshot comes with its commit, without pickles, code and subfolders; then the cache serves it."""
    commit = fake_hub.commit_of(root / "models" / "someone" / "classifier")
    with fake_hub.serve(root) as (endpoint, requests):
        first = _ask(endpoint, tmp_path / "cache", "someone/classifier")
        assert first["label"] == f"someone/classifier@{commit}"
        names = {path.name for path in Path(first["folder"]).iterdir()}
        assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE"}
        assert (Path(first["folder"]) / "config.json").read_text() == "content of config.json"
        assert not [line for line in requests if ".bin" in line or ".py" in line or "onnx" in line]
        pinned = _ask(endpoint, tmp_path / "cache", "someone/classifier", commit)
        assert pinned["folder"] == first["folder"]
    offline = _ask("http://127.0.0.1:9", tmp_path / "cache", "someone/classifier", offline=True)
    assert offline["folder"] == first["folder"]


def test_what_the_hub_does_not_have(root: Path, tmp_path: Path) -> None:
    """An unknown name, an unknown revision and a gated model are each one sentence with what to do."""
    with fake_hub.serve(root) as (endpoint, _):
        unknown = _ask(endpoint, tmp_path / "cache", "someone/nothing")
        revision = _ask(endpoint, tmp_path / "cache", "someone/classifier", "v9")
        gated = _ask(endpoint, tmp_path / "cache", "someone/gated-model")
    assert unknown["kind"] == "ModelError"
    assert "There is no folder and no hub model 'someone/nothing': check the name" in unknown["error"]
    assert "The hub model someone/classifier has no revision 'v9'" in revision["error"]
    assert "asks for a login or for its terms to be accepted" in gated["error"]
    assert "\n" not in unknown["error"] + revision["error"] + gated["error"]


def test_offline_and_not_cached(tmp_path: Path) -> None:
    """Offline, a model that is not cached is one sentence; so is a hub that cannot be reached."""
    (tmp_path / "cache").mkdir()
    offline = _ask("http://127.0.0.1:9", tmp_path / "cache", "someone/classifier", offline=True)
    assert "is not in the local cache while HF_HUB_OFFLINE is set: give a folder" in offline["error"]
    unreachable = _ask("http://127.0.0.1:9", tmp_path / "cache", "someone/classifier")
    assert "is not in the local cache while the hub cannot be reached" in unreachable["error"]


def test_a_folder_is_itself(tmp_path: Path) -> None:
    """A folder resolves to itself, under its own name and without a revision."""
    (tmp_path / "mine").mkdir()
    found = hub.resolve(str(tmp_path / "mine"))
    assert (found.folder, found.label, found.revision) == (tmp_path / "mine", "mine", None)
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
