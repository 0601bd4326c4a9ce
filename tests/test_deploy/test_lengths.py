"""Up to which length conversions hold: BigBird's two attentions, lowered limits, lengths that no row had."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import torch

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import ParityError
from compress.model import checkpoint, limit
from compress.tasks import text_classification
from deploy.checking import lengths, parity
from deploy.encoder import Encoder
from deploy.opening import runner

ROWS = tiny_deploy.text_rows()
LONG = [{"text": " ".join(["a", "good", "film", "was", "so", "cold"] * 30)}]


def big_bird(folder: Path, **more: Any) -> Artifact:
    """A tiny BigBird: full attention up to (5 + 2) x 4 = 28 tokens, blocks of 4 beyond, 64 positions."""
    from transformers import BigBirdConfig, BigBirdForSequenceClassification

    config = BigBirdConfig(
        vocab_size=len(tiny.vocabulary()), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, attention_type="block_sparse", block_size=4,
        num_random_blocks=1, id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
        problem_type="single_label_classification", **more,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BigBirdForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return tiny_deploy.seal(folder)


def answers(artifact: Artifact, rows: list[dict[str, Any]], tokens: int | None = None) -> np.ndarray:
    """Logits of each row, run alone, in the artifact's own runtime."""
    encoder = Encoder.open(artifact.path, catalog.load("task", artifact.task), tokens)
    with runner(artifact, threads=1) as opened:
        return np.concatenate([opened.infer(encoder.feed([row]))["logits"] for row in rows])


def test_a_short_row_does_not_change_the_attention_of_a_long_one(tmp_path: Path) -> None:
    """BigBird answers a long row as before after a short one (transformers 18620)."""
    source = big_bird(tmp_path / "torch")
    alone = answers(source, LONG)
    np.testing.assert_array_equal(answers(source, [ROWS[0], *LONG])[1:], alone)
    plain = checkpoint.load(source.path, text_classification)
    inputs = Encoder.open(source.path, text_classification).batch(LONG).inputs
    expected = plain(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
    np.testing.assert_allclose(alone, expected.detach().numpy(), atol=1e-5)


def test_a_graph_is_limited_to_the_length_to_which_it_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """BigBird traced on short rows has full attention: its limit becomes 28 tokens, said and recorded."""
    source = big_bird(tmp_path / "torch")
    rows = [row for row in ROWS if len(str(row["text"]).split()) <= 14]
    run = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", rows)
    assert limit.read(run.artifact.path) == limit.Limit(28, "check")
    assert run.facts["lengths"]["limit"] == 28
    assert run.facts["lengths"]["of"] == 64
    assert "output 'logits' is off by" in run.facts["lengths"]["failure"]
    assert json.loads(run.artifact.file("graph.json").read_text())["limits"]["input_ids"] == {"1": 28}
    assert "holds up to 28 tokens, and texts are cut there" in caplog.text
    assert json.loads(run.artifact.file("tokenizer.json").read_text())["truncation"]["max_length"] == 28
    np.testing.assert_allclose(answers(run.artifact, LONG), answers(source, LONG, 28), atol=1e-4)
    assert np.abs(answers(run.artifact, LONG) - answers(source, LONG)).max() > 1e-3


def test_a_graph_that_holds_keeps_the_models_limit(tmp_path: Path) -> None:
    """BERT is checked at its 64 positions and at a length that no row has, and its limit stays."""
    source = tiny_deploy.seal(tiny.text_model(tmp_path / "torch"))
    run = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", ROWS)
    tokens = {len(str(row["text"]).split()) + 2 for row in ROWS}
    between, top = run.facts["lengths"]["checked"]
    assert (top, run.facts["lengths"]["failure"]) == (64, None)
    assert between not in tokens
    assert limit.read(run.artifact.path).tokens == 64
    np.testing.assert_allclose(answers(run.artifact, LONG), answers(source, LONG), atol=1e-4)
    fused = tiny_deploy.run("optimize_onnx", run.artifact, tmp_path / "fused", ROWS)
    cases = [case["case"] for case in fused.facts["parity"]["cases"]]
    assert "a row of 64 tokens beside a short one" in cases
    halves = tiny_deploy.run("half_precision", run.artifact, tmp_path / "half", ROWS)
    cases = [case["case"] for case in halves.facts["parity"]["cases"]]
    assert "a row of 64 tokens beside a short one" in cases
    eight = tiny_deploy.run("quantize_onnx", run.artifact, tmp_path / "int8", ROWS)
    assert eight.facts["lengths"]["cases"][-1]["case"] == "a row of 64 tokens beside a short one"


def test_long_rows_run_one_after_another(tmp_path: Path) -> None:
    """Above 1,024 tokens the long row and the short one beside it are two feeds of one row."""
    source = tiny_deploy.text_artifact(tmp_path / "torch")
    encoder = Encoder.open(source.path, text_classification)
    (together,) = lengths.cases(encoder, ROWS, 32)
    assert together.feed["input_ids"].shape == (2, 32)
    assert together.feed["attention_mask"].sum(axis=1).tolist()[0] == 32
    assert together.feed["attention_mask"].sum(axis=1).tolist()[1] < 32
    apart = lengths.cases(encoder, ROWS, 1100)
    assert [case.feed["input_ids"].shape for case in apart] == [(1, 1100), (1, 1100)]
    assert [int(case.feed["attention_mask"].sum()) < 1100 for case in apart] == [False, True]


@pytest.mark.parametrize(
    ("lengths_", "top", "expected"),
    [([5, 6, 7], 64, 35), ([5, 64], 64, 63), ([5, 99], 64, 63), (list(range(3, 9)), 8, None)],
)
def test_a_length_that_no_row_has(lengths_: list[int], top: int, expected: int | None) -> None:
    """Halfway from the longest row to the limit, or the nearest that is free; None where none is."""
    assert lengths.unseen(np.asarray(lengths_), top) == expected


def _until(end: int) -> lengths.Checker:
    """A graph that is right up to a length."""
    return lambda tokens: None if tokens <= end else lengths.Failure(tokens, f"wrong at {tokens}")


@pytest.mark.parametrize("end", [20, 21, 99, 127, 128])
def test_the_longest_right_length_is_found(end: int) -> None:
    """By halving, between the longest real row and the first length that is wrong."""
    reach = lengths.reach(_until(end), [74, 128], base=20)
    assert reach.tokens == end
    assert (reach.failure is None) == (end == 128)
    if reach.failure is not None:
        assert reach.failure.tokens == end + 1


def test_a_graph_that_is_wrong_between_real_lengths_is_refused() -> None:
    """No limit makes right what is wrong at a length below one that is right."""
    with pytest.raises(ParityError, match="wrong at 19, and it holds at 20 tokens"):
        lengths.reach(_until(18), [19, 20], base=20)


def test_what_does_not_run_does_not_hold(tmp_path: Path) -> None:
    """An exception of the runtime at a length is a reason, not a traceback; others go through."""
    encoder = Encoder.open(tiny_deploy.text_artifact(tmp_path / "torch").path, text_classification)

    def broken(feed: parity.Feed) -> dict[str, np.ndarray]:
        raise RuntimeError("shapes do not fit\nhundreds of lines")

    def right(feed: parity.Feed) -> dict[str, np.ndarray]:
        return {"logits": np.zeros((len(feed["input_ids"]), 2))}

    check = lengths.checker(right, broken, encoder, ROWS, parity.FP32, (RuntimeError,), [])
    failure = check(16)
    assert failure is not None
    assert failure.words.endswith("shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        lengths.checker(right, broken, encoder, ROWS, parity.FP32, (ValueError,), [])(16)


def test_a_quantized_graph_without_numbers_on_long_rows_is_refused() -> None:
    """What overflows at the artifact's limit only is found there."""
    case = parity.Case("a row of 64 tokens", {"input_ids": np.zeros((1, 64), dtype=np.int64)})
    good, bad = ({"logits": np.full((1, 2), value)} for value in (1.0, np.nan))
    assert lengths.moved(lambda _: good, lambda _: good, [case], "x") is not None
    with pytest.raises(ParityError, match=r"the INT8 graph gives numbers that are not finite on a row of 64"):
        lengths.moved(lambda _: good, lambda _: bad, [case], "the INT8 graph")


def test_more_than_the_usual_check_is_checked_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without max_length a graph takes what it was checked at; with it, that is checked and taken."""
    monkeypatch.setattr(lengths, "LONGEST", 40)
    source = tiny_deploy.seal(tiny.text_model(tmp_path / "torch"))
    run = tiny_deploy.run("export_onnx", source, tmp_path / "usual", ROWS)
    assert limit.read(run.artifact.path) == limit.Limit(40, "check")
    assert "was checked up to 40 tokens and takes no more (its model takes 64)" in caplog.text
    extended = tiny_deploy.run("export_onnx", source, tmp_path / "asked", ROWS, max_length=50)
    assert limit.read(extended.artifact.path) == limit.Limit(50, "export")
    assert extended.facts["lengths"]["checked"][-1] == 50
    facts = SimpleNamespace(**extended.facts["lengths"])
    assert (facts.limit, facts.of) == (50, 50)
