"""The verb damage on real models of every kind of task, each against a copy with noise in its head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import tiny
import tiny_bench
import tiny_deploy
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from bench import session
from bench.lanes.lane import Lane, LaneSpec, Opened
from bench.record import document
from bench.report import html, markdown
from bench.report.damage import view
from compress import recipe
from compress.artifacts.artifact import Artifact
from compress.recipe import DataConfig
from deploy.opening import runner
from paredown.app import app


class NearLane(Lane):
    """A lane whose runner is open right here: a process of its own takes seconds to import PyTorch."""

    def __enter__(self) -> Self:
        self._runner = runner(self.spec.artifact, "pytorch", "cpu", 1).__enter__()
        self._opened = Opened(0, tuple(tensor.name for tensor in self._runner.inputs), {}, 0.0, 0.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.__exit__(None, None, None)

    def infer(self, feeds: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        """Outputs of each feed."""
        return [{name: array.copy() for name, array in self._runner.infer(feed).items()} for feed in feeds]


@contextmanager
def near(specs: Sequence[LaneSpec]) -> Iterator[list[Lane]]:
    """Lanes without processes."""
    with ExitStack() as stack:
        yield [stack.enter_context(NearLane(spec)) for spec in specs]


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "open_lanes", near)


def noisy(source: Artifact, out: Path, strength: float) -> Path:
    """The same model with noise in its last layer."""
    out.mkdir()
    for path in source.path.iterdir():
        if path.name != "manifest.json":
            (out / path.name).write_bytes(path.read_bytes())
    weights = load_file(out / "model.safetensors")
    name = "classifier.weight"
    noise = np.random.default_rng(0).normal(0, strength, size=weights[name].shape)
    weights[name] = (weights[name] + noise).astype(np.float32)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return tiny_deploy.seal(out, task=source.task).path


def damage(
    source: Artifact, root: Path, rows: list[dict[str, Any]], labels: list[str], *more: str
) -> dict[str, Any]:
    """What the verb finds, read back from its JSON; its page must render."""
    tiny.write_jsonl(root / "data" / "validation.jsonl", rows)
    if labels:
        (root / "data" / "labels.json").write_text(json.dumps(labels))
    result = CliRunner().invoke(
        app,
        [
            *("damage", f"before={source.path}", f"after={noisy(source, root / 'noisy', 0.5)}"),
            *("--data", str(root / "data"), "--threads", "1", "--json", str(root / "d.json"), *more),
            "--no-speed",  # these lanes have no processes that could be timed
        ],
    )
    assert result.exit_code == 0, result.exception
    report = document.read(root / "d.json")
    assert "<h2" in html.page(report)
    outcome = view.collect(report)
    assert outcome is not None
    return outcome.findings


def head(folder: Path, problem: str, labels: list[str]) -> Artifact:
    """A tiny text model with another head."""
    import torch
    from transformers import BertConfig

    from compress.model import checkpoint
    from compress.tasks import Head, text_classification

    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    text_classification.configure(config, Head(problem, tuple(labels)))  # type: ignore[arg-type]
    model = checkpoint.initialize(config, text_classification, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05
    folder.mkdir()
    checkpoint.save(model, folder, source=None)
    tiny.save_tokenizer(folder)
    (folder / "encoding.json").write_text('{"max_length": 32}')
    return tiny_deploy.seal(folder)


def test_tagged_words(tmp_path: Path) -> None:
    """Entities flip one by one; slices compare F1; confidence is that of words; no word is weighed."""
    source = tiny_deploy.token_artifact(tmp_path / "model")
    rows = [
        {"tokens": str(row["text"]).split(), "tags": [i % 3 for i, _ in enumerate(str(row["text"]).split())]}
        for row in tiny.sentences(60, 4)
    ]
    outcome = damage(source, tmp_path, rows, ["O", "B-X", "I-X"])
    assert outcome["flips"].parts is not None
    assert outcome["flips"].parts.name == "entities"
    assert outcome["flips"].attribution is None
    assert outcome["slices"].metric == "f1"
    assert outcome["calibration"].decisions == sum(len(row["tokens"]) for row in rows)
    assert {change.name for change in outcome["robustness"].changes} <= {"typos", "casing"}


def test_images(tmp_path: Path) -> None:
    """Flips with a small picture, slices and calibration; no texts to change."""
    source = tiny_deploy.image_artifact(tmp_path / "model")
    rng = np.random.default_rng(3)
    rows = [{"image": rng.integers(0, 256, size=(8, 8)).tolist(), "label": i % 3} for i in range(60)]
    outcome = damage(source, tmp_path, rows, ["0", "1", "2"])
    flipped = outcome["flips"].harmful + outcome["flips"].beneficial + outcome["flips"].other
    assert flipped > 0
    assert (outcome["flips"].worst[0].image or "").startswith("data:image/png;base64,")
    assert "robustness" not in outcome
    assert outcome["calibration"].decisions == 60
    assert outcome["flips"].matrix is not None
    assert sum(map(sum, outcome["flips"].matrix.counts)) == 60


def test_sets_of_labels(tmp_path: Path) -> None:
    """Labels flip one by one; every label is a decision of calibration."""
    source = head(tmp_path / "model", "multi_label", ["a", "b", "c"])
    rows = [{**row, "label": ["a", "b"] if row["label"] else ["c"]} for row in tiny.sentences(60, 4)]
    outcome = damage(source, tmp_path, rows, [])
    assert outcome["flips"].parts is not None
    assert outcome["flips"].parts.name == "labels"
    assert outcome["slices"].metric == "micro_f1"
    assert {segment.name for segment in outcome["slices"].slices if segment.family == "label"} == {
        "a",
        "b",
        "c",
    }
    assert outcome["calibration"].decisions == 180


def test_numbers(tmp_path: Path) -> None:
    """Errors in place of flips; slices compare errors; no confidence; a gate in points finds nothing."""
    source = head(tmp_path / "model", "regression", [])
    rows = [{"text": row["text"], "label": len(str(row["text"])) / 20} for row in tiny.sentences(60, 4)]
    outcome = damage(source, tmp_path, rows, [])
    assert outcome["flips"].error_before is not None
    assert outcome["flips"].error_after is not None
    assert outcome["flips"].error_after != outcome["flips"].error_before
    assert (outcome["slices"].metric, outcome["slices"].better) == ("mean absolute error", "lower")
    assert "calibration" not in outcome
    assert outcome["robustness"].unit == "error"


@pytest.mark.parametrize(("problem", "labels"), [("regression", []), ("multi_label", ["a", "b"])])
def test_the_probes_of_the_shipped_recipes_suit_every_head(
    tmp_path: Path, problem: str, labels: list[str]
) -> None:
    """Numbers have no confidence: the report says so, and the rest of a long run's figures stand."""
    source = head(tmp_path / "model", problem, labels)
    specs = [
        session.CandidateSpec("before", source.path),
        session.CandidateSpec("after", noisy(source, tmp_path / "noisy", 0.5)),
    ]
    rows = [
        {**row, "label": [labels[int(row["label"])]] if labels else len(str(row["text"])) / 20}
        for row in tiny.sentences(60, 4)
    ]
    shipped = recipe.read("text-small").bench
    # These lanes have no processes that could be timed.
    names = {"flips", "slices", "calibration-error", "robustness", "accuracy", "agreement", "size"}
    bench = shipped.model_copy(
        update={"probes": tuple(probe for probe in shipped.probes if probe.name in names)}
    )
    data = DataConfig(eval=str(tiny.write_jsonl(tmp_path / "eval.jsonl", rows)))
    report = session.measure(specs, data, bench)
    damage_of_it = view.collect(report)
    assert damage_of_it is not None
    outcome = damage_of_it.findings
    assert "robustness" in outcome
    assert ("calibration" not in outcome) == (problem == "regression")
    missing = report.conditions.not_measured
    assert missing.keys() == ({"calibration-error"} if problem == "regression" else set())
    assert "What got worse" in markdown.page(report)
    assert "<h2" in html.page(report)


@pytest.mark.parametrize("unit", ["error", "share"])
def test_errors_of_numbers_are_no_points(unit: str) -> None:
    """A limit in points does not judge an error in the data's own unit: it fails as missing."""
    from bench.gates import worst_slice
    from bench.record.limits import parse

    measurement = tiny_bench.measurement(
        "after", "worst_slice", 1.0, probe="slices", unit=unit, better="lower", difference=0.01
    )
    config = worst_slice.Config(drop_at_most=parse("5pt", ("pt",), "5pt"))
    verdict = worst_slice.check(tiny_bench.report(measurements=(measurement,)), "after", config)
    assert verdict.status == ("fail" if unit == "error" else "pass")
    assert (verdict.value is None) == (unit == "error")
