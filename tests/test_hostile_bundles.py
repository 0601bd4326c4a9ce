"""Bundles whose facts or checksums are broken, and rows for ``predict`` that no model can take."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import hostile
import pytest
import tiny_deploy
from hostile import DIGITS, HALF, refused

from compress.artifacts.artifact import Artifact, write_manifest
from compress.errors import ArtifactError
from deploy.handover import sums

FACTS: dict[str, str | bytes] = {
    "empty": "",
    "no object": "[]",
    "null": "null",
    "nothing in it": "{}",
    "a number": '{"built_on_target": 5}',
    "a list": '{"built_on_target": ["x"]}',
    "outside": '{"built_on_target": "../x"}',
    "absolute": '{"built_on_target": "/etc/passwd"}',
    "NaN": '{"built_on_target": NaN}',
    "digits": f'{{"built_on_target": null, "schema_version": {DIGITS}}}',
    "half a pair": f'{{"built_on_target": "{HALF}"}}',
    "a key twice": '{"built_on_target": null, "built_on_target": "x"}',
    "deep": '{"built_on_target": ' + "[" * 100_000,
    "UTF-16": '{"built_on_target": null}'.encode("utf-16"),
    "binary": bytes(range(256)),
}


def _bundle(folder: Path, facts: bytes) -> Path:
    folder.mkdir()
    (folder / sums.FACTS).write_bytes(facts)
    (folder / sums.SUMS).write_text(f"{hashlib.sha256(facts).hexdigest()}  {sums.FACTS}\n")
    return folder


@pytest.mark.parametrize("content", FACTS.values(), ids=FACTS)
def test_facts_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    """Checksums that fit say nothing of what is in the file."""
    folder = _bundle(tmp_path / "b", content.encode() if isinstance(content, str) else content)
    assert sums.FACTS in refused(capsys, "verify", folder)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"zz\n", b"0  ../x\n", b"0  /etc/hosts\n", b"\0" * 99]
)
def test_checksums_that_cannot_be(tmp_path: Path, content: bytes) -> None:
    """A file of checksums is text, and names files of the bundle."""
    folder = _bundle(tmp_path / "b", b'{"built_on_target": null}')
    (folder / sums.SUMS).write_bytes(content)
    with pytest.raises(ArtifactError):
        sums.verify(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier."""
    return tiny_deploy.text_artifact(tmp_path_factory.mktemp("model") / "m").path


ROWS: dict[str, str | bytes] = {
    "half a pair": f'{{"text": "{HALF}"}}\n',
    "half a pair as a column": f'{{"{HALF}": "x"}}\n',
    "digits": f'{{"text": {DIGITS}}}\n',
    "a number": '{"text": 5}\n',
    "null": '{"text": null}\n',
    "a list": '["a"]\n',
    "no text": '{"x": "a"}\n',
    "a key twice": '{"text": "a", "text": "b"}\n',
    "deep": '{"text": ' + "[" * 100_000 + "\n",
    "broken": '{"text": "a"\n',
    "UTF-16": '{"text": "a"}\n'.encode("utf-16"),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("content", ROWS.values(), ids=ROWS)
def test_rows_that_nothing_can_be_said_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path, content: str | bytes
) -> None:
    """``predict --file`` reads rows as every verb does."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    refused(capsys, "predict", model, "--file", path)


@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_rows_that_are_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path, make: object
) -> None:
    """A pipe would be waited for, a device read without end."""
    path = tmp_path / "rows.jsonl"
    make(path)  # type: ignore[operator]  # one of the makers
    refused(capsys, "predict", model, "--file", path)


@pytest.mark.parametrize(
    "words", [["\udcff"], ["--file", "x" * 5000], ["--file", "a\0b"], ["--file", "\udcff"]]
)
def test_words_that_cannot_be(capsys: pytest.CaptureFixture[str], model: Path, words: list[str]) -> None:
    """Words that are not UTF-8, and paths that the system does not take."""
    refused(capsys, "predict", model, *words)


@pytest.mark.parametrize("place", ["x" * 5000, "x/" * 3000, "a\0b", "/dev/zero", "~nobody-here/x", "\udcff"])
def test_places_that_hold_no_artifact(capsys: pytest.CaptureFixture[str], place: str) -> None:
    """Every verb that opens a model looks at the path in one way."""
    refused(capsys, "verify", place)
    refused(capsys, "show", place)
    refused(capsys, "predict", place, "a text")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe\x00", b"{}"],
)
def test_manifests_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    """A folder that claims to be an artifact and holds no manifest of one."""
    (tmp_path / "manifest.json").write_bytes(content)
    assert "manifest.json" in refused(capsys, "verify", tmp_path)


RECORDED = {
    "data null": {"data": None},
    "coverage empty": {"coverage": {}},
    "coverage text": {"coverage": "all"},
    "share text": {"coverage": {"products": 2, "eight_bit": 1, "macs_share": "half"}},
    "batch empty": {"batch": {}},
    "batch half": {"batch": {"ranges": "tensor"}},
    "rows text": {
        "batch": {"batch_size": 2, "rows": "two", "differ": None, "largest": 0.1, "ranges": "tensor"}
    },
}


@pytest.mark.parametrize("facts", RECORDED.values(), ids=RECORDED)
def test_recorded_facts_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path, facts: dict[str, object]
) -> None:
    """An artifact that somebody sealed anew with other facts: what is read again of them is looked at."""
    folder = tmp_path / "m"
    shutil.copytree(model, folder)
    manifest = Artifact.open(model).manifest
    write_manifest(folder, manifest.model_copy(update={"facts": facts}))
    if facts == {"data": None}:
        assert hostile.run(capsys, "predict", folder, "good film")[0] == 0
        return
    for words in (["bundle", folder, "--out", tmp_path / "never"], ["predict", folder, "good film"]):
        assert "manifest.json" in refused(capsys, *words)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("task", ["image-classification", "nothing"])
def test_an_artifact_of_another_task(capsys: pytest.CaptureFixture[str], model: Path, task: str) -> None:
    """The task of an artifact is sealed with it: another one that is asked for is not passed over."""
    assert f"the task '{task}' was asked for" in refused(capsys, "predict", model, "good", "--task", task)
    assert hostile.run(capsys, "predict", model, "good", "--task", "text-classification")[0] == 0
