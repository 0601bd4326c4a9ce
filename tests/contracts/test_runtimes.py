"""What every runtime keeps to: feed checks in the right words, agreement with PyTorch, lifetime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_deploy
import torch

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from compress.model import checkpoint
from deploy.runtimes import Runner

ROWS = tiny_deploy.text_rows(16)
IDS = np.array([[2, 5, 9, 17, 3], [2, 8, 3, 0, 0]], dtype=np.int64)
FEED = {
    "input_ids": IDS,
    "attention_mask": (IDS > 0).astype(np.int64),
    "token_type_ids": np.zeros_like(IDS),
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One small model in every kind that can be made here."""
    folder = tmp_path_factory.mktemp("kinds")
    source = tiny_deploy.text_artifact(folder / "torch")
    exported = tiny_deploy.run("export_onnx", source, folder / "onnx", ROWS).artifact
    return {"torch": source, "onnx": exported}


@pytest.fixture(scope="module")
def expected(artifacts: dict[str, Artifact]) -> np.ndarray:
    """What the plain model says, without any runtime of ours."""
    model = checkpoint.load(artifacts["torch"].path, catalog.load("task", "text-classification"))
    with torch.inference_mode():
        outputs = model(**{name: torch.from_numpy(array) for name, array in FEED.items()})
    return np.asarray(outputs.logits.numpy())


@pytest.fixture(params=catalog.names("runtime"))
def make(request: pytest.FixtureRequest, artifacts: dict[str, Artifact]) -> Any:
    """A function that makes a runner of one runtime on the artifact that it opens."""
    kind: type[Runner] = catalog.load("runtime", request.param).Runner
    reason = kind.unavailable("cpu")
    if reason:
        pytest.skip(reason)
    (accepted,) = kind.ACCEPTS
    if accepted not in artifacts:
        pytest.skip(f"no {accepted} artifact can be made here")

    def _make(**options: Any) -> Runner:
        return kind(artifacts[accepted], "cpu", 1, **options)

    _make.kind = kind  # type: ignore[attr-defined]
    return _make


def test_it_agrees_with_pytorch(make: Any, expected: np.ndarray) -> None:
    """Equal outputs within FP32's rounding, float32, in the shape of the task."""
    with make() as opened:
        outputs = opened.infer(FEED)
        opened.sync()
        assert set(outputs) == {"logits"}
        assert outputs["logits"].dtype == np.float32
        np.testing.assert_allclose(outputs["logits"], expected, atol=2e-5)
        assert [tensor.name for tensor in opened.inputs] == list(FEED)
        assert [tensor.name for tensor in opened.outputs] == ["logits"]
        assert opened.outputs[0].dtype == "float32"


def test_batch_and_length_are_free(make: Any, expected: np.ndarray) -> None:
    """One row without its padding gives the same as in the batch."""
    with make() as opened:
        alone = opened.infer({name: array[1:, :3] for name, array in FEED.items()})["logits"]
        np.testing.assert_allclose(alone[0], expected[1], atol=2e-5)


def test_wrong_names_are_refused(make: Any) -> None:
    """Missing and unknown inputs are both named."""
    with make() as opened, pytest.raises(UserError, match=r"missing: input_ids, not known: ids"):
        opened.infer({"ids": IDS, **{name: FEED[name] for name in FEED if name != "input_ids"}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.astype(np.int32), r"input 'input_ids' is int32; the model takes int64"),
        (lambda a: a.astype(np.float32), r"input 'input_ids' is float32; the model takes int64"),
        (lambda a: a[0], r"input 'input_ids' has 1 axes; the model takes 2"),
        (lambda a: a[:, :0], r"size 0 on axis 1; allowed: 1 to 64"),
        (lambda a: np.repeat(a, 13, axis=1), r"size 65 on axis 1; allowed: 1 to 64"),
    ],
)
def test_wrong_feeds_are_refused(make: Any, change: Any, words: str) -> None:
    """Type, rank, emptiness and a length beyond the position table, each in its own words."""
    with make() as opened, pytest.raises(UserError, match=words):
        opened.infer({name: change(array) for name, array in FEED.items()})


def test_it_lives_within_its_block(make: Any) -> None:
    """Nothing runs before opening or after closing, and it can be opened again."""
    runner = make()
    with pytest.raises(RuntimeError, match="is not open"):
        runner.infer(FEED)
    with runner:
        first = runner.infer(FEED)["logits"].copy()
    with pytest.raises(RuntimeError, match="is not open"):
        runner.infer(FEED)
    with runner:
        np.testing.assert_array_equal(runner.infer(FEED)["logits"], first)


def test_another_kind_is_refused(make: Any, artifacts: dict[str, Artifact]) -> None:
    """The message says what it opens and what was given."""
    wrong = next(artifact for kind, artifact in artifacts.items() if kind not in make.kind.ACCEPTS)
    with pytest.raises(UserError, match=rf"opens .* artifacts; .* is {wrong.kind}"):
        make.kind(wrong)


def test_unknown_options_are_refused(make: Any) -> None:
    """An option that it does not have is named."""
    with pytest.raises(UserError, match="has no option turbo"):
        make(turbo=True)


def test_what_ran_is_on_record(make: Any) -> None:
    """Provider, precision and threads are what was asked for."""
    with make() as opened:
        provenance = opened.provenance()
    assert provenance["threads"] == "1"
    assert provenance["precision"] == "fp32"
    assert provenance["provider"]


def test_a_device_that_is_not_there_is_refused(make: Any) -> None:
    """No fallback: opening says why, and what to do."""
    if make.kind.unavailable("cuda") is None:
        pytest.skip("there is a CUDA device")
    runner = make.kind(make().artifact, "cuda", 1)
    with pytest.raises(UserError, match=r"'cuda' was asked for and .* --device cpu"), runner:
        pass


def test_a_changed_artifact_is_not_opened(make: Any, tmp_path: Path) -> None:
    """One flipped byte, and nothing of it is loaded."""
    import shutil

    from compress.errors import ArtifactError

    folder = tmp_path / "copy"
    shutil.copytree(make().artifact.path, folder)
    name = max(make().artifact.manifest.files, key=lambda file: make().artifact.manifest.files[file].bytes)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"changed {name}"):
        Artifact.open(folder)


def test_a_session_on_the_cpu_does_not_load_pytorch() -> None:
    """What serves an ONNX graph in production pays for ONNX Runtime alone."""
    code = "import sys, deploy.runtimes.ort; print('torch' in sys.modules, 'transformers' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False", "False"]
