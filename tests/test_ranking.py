"""Rerankers end to end on a tiny model: the shipped recipe, what is printed, and every stage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_ranking
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bench.answers import challenges
from bench.findings import fairness
from bench.record.model import Measurement, Report
from compress import catalog, log
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.data import load
from compress.errors import DataError
from compress.recipe import BenchConfig, DataConfig, Named, Recipe, StageEntry, read
from compress.tasks import Head
from deploy.predictor import Predictor
from paredown import workflow
from paredown.app import main


def logits(folder: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    """What plain transformers gives for each row alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return np.array(
            [
                float(model(**tokenizer(row["query"], row["document"], return_tensors="pt")).logits)
                for row in rows
            ]
        )


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, results and messages of a command."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as left:
        code = int(left.code or 0)
    streams = capsys.readouterr()
    return code, streams.out, " ".join(streams.err.split())


@dataclass(frozen=True)
class Run:
    """A run of the shipped recipe.

    Attributes:
        model: the folder that was given.
        data: the rows.
        outcome: what the run gave.
        said: lines for the user.
    """

    model: Path
    data: Path
    outcome: workflow.Outcome
    said: tuple[str, ...]

    @property
    def report(self) -> Report:
        """What was measured."""
        assert self.outcome.report is not None
        return self.outcome.report

    def artifact(self, stage: str) -> Artifact:
        """What a stage made."""
        return next(entry.artifact for entry in self.outcome.built if entry.label == stage)

    def figure(self, metric: str) -> Measurement:
        """A figure of what ships."""
        measurement = self.report.find(self.report.candidates[-1].name, metric)
        assert measurement is not None
        return measurement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The recipe ``ranking-int8`` on rows that the model itself orders; one query has nothing relevant."""
    root = tmp_path_factory.mktemp("ranking")
    model, rows = tiny_ranking.cross_encoder(root / "model"), tiny_ranking.data(root / "data", 40, 16)
    validation = tiny_ranking.queries(16, 2)
    best = logits(model, validation).reshape(16, 4).argmax(axis=1)
    best[3] = -1
    for number, row in enumerate(validation):
        row["label"] = int(best[number // 4] == number % 4)
    tiny.write_jsonl(rows / "validation.jsonl", validation)
    fast = ["bench.rounds=2", "bench.runs=2", "bench.threads=1", "threads=1", "data.calibration=16"]
    recipe = read("ranking-int8", [f"model={model}", f"data.source={rows}", *fast])
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "warning", lambda message, *values: said.append(message % values))
        outcome = workflow.run(recipe, root / "out", Store(root / "store"))
    return Run(model, rows, outcome, tuple(said))


def test_the_shipped_recipe_judges_by_query(run: Run) -> None:
    """MRR, nDCG and recall by query with paired intervals, chance beside them, and both gates."""
    score = run.figure("mrr_10")
    assert score.conditions == {"rows": 64, "batch_size": 1, "groups": 16}
    assert score.blind == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert score.difference is not None
    assert score.difference_interval is not None
    assert score.difference_interval.low <= score.difference <= score.difference_interval.high
    assert run.figure("ndcg_10").value >= run.figure("recall_1").value
    assert run.figure("order_flips").notes[0].endswith("of 45 pairs of documents")
    verdicts = {verdict.gate: verdict for verdict in run.report.verdicts}
    assert {"accuracy-drop", "order-flips"} <= verdicts.keys()
    assert verdicts["accuracy-drop"].metric == "mrr_10"
    assert "rder flips" in (run.outcome.out / "report.html").read_text()


def test_queries_without_a_relevant_document_are_said(run: Run) -> None:
    """On stderr and beside the figures; they are in no denominator, since the baseline is perfect."""
    caveat = "1 of 16 queries have no relevant document and are left out of the figures"
    assert f"Evaluation rows: {caveat}." in run.said
    assert caveat in run.figure("mrr_10").notes
    baseline = run.report.find(run.report.baseline, "mrr_10")
    assert baseline is not None
    assert baseline.value == 1.0


def test_scores_are_those_of_transformers(run: Run) -> None:
    """The loaded folder and its graph give plain transformers' logits on real rows to float noise."""
    rows = tiny_ranking.queries(16, 2)
    plain = logits(run.model, rows)
    pairs = [{key: row[key] for key in ("query", "document")} for row in rows]
    for stage in ("load", "export-onnx"):
        with Predictor(run.artifact(stage)) as predictor:
            assert predictor.unit == "logit"
            assert predictor.may_have == ("query", "document")
            scores = np.array([answer.label for answer in predictor.predict(pairs, 8)])
        assert np.abs(scores - plain).max() < 1e-6


def test_a_pair_is_predicted_and_a_single_text_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Two texts are query and document; the number says what it is."""
    model = run.outcome.out / "model"
    code, results, _ = call(capsys, "predict", model, "the film", "a good story", "--json")
    assert code == 0
    assert json.loads(results)["unit"] == "logit"
    code, _, message = call(capsys, "predict", model, "the film")
    assert code == 2
    assert "row 1 has no 'document'" in message


def test_the_bundle_says_how_to_ask(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its card shows a query and a document, and what the number is."""
    code, _, message = call(capsys, "bundle", run.outcome.out / "model", "--out", tmp_path / "bundle")
    assert code == 0, message
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert 'paredown predict artifact "a query" "a document"' in card
    assert "a number that orders documents (shown through identity)" in card


def test_a_temperature_is_refused_since_it_moves_no_order(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and nothing is left behind; the folder says by itself that it ranks."""
    out = tmp_path / "calibrated"
    words = ("--data", run.data, "--out", out, "--store", tmp_path / "store")
    code, _, message = call(capsys, "temperature", run.model, *words)
    assert code == 2
    assert "changes no order" in message
    assert not out.exists()


def test_damage_reports_what_a_ranking_has(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Order flips and agreement under changed texts; what judges single rows is left out with the reason."""
    file = tmp_path / "report.json"
    words = ("--data", run.data, "--store", tmp_path / "store", "--no-speed", "--json", file)
    code, _, message = call(
        capsys, "damage", run.artifact("export-onnx").path, run.artifact("quantize-onnx").path, *words
    )
    assert code == 0, message
    report = json.loads(file.read_text())
    probes = {measurement["probe"] for measurement in report["measurements"]}
    assert {"accuracy", "order_flips", "divergence", "robustness"} <= probes
    assert not probes & {"flips", "slices"}
    assert "scores rows together" in json.dumps(report["conditions"]["not_measured"])


def test_sets_of_single_answers_are_refused_for_a_ranking(tmp_path: Path) -> None:
    """Challenge sets and templates, each in a sentence, before anything is measured."""
    task = catalog.task("text-ranking")
    rows: list[dict[str, object]] = [{"query": "a film", "document": "good", "label": 1, "identity": "film"}]
    file = tiny.write_jsonl(tmp_path / "set.jsonl", rows)
    with pytest.raises(DataError, match="single answers are right, and this task scores rows together"):
        challenges.read(str(file), task, Head("ranking", ()))
    with pytest.raises(DataError, match="rows of this task are of query and document"):
        fairness.read_swaps(str(file), task, None, 2, 0)


def test_data_is_divided_by_queries(tmp_path: Path) -> None:
    """Selection and a limit take whole queries; ids part what the same text would join."""
    folder = tiny_ranking.data(tmp_path / "data", 60, 4)
    task = catalog.task("text-ranking")
    training = load(DataConfig(source=str(folder), limit=43, selection_share=0.2), task, 0).training
    for rows in (training.train, training.selection):
        ids = [row["query_id"] for row in rows]
        assert rows
        assert all(ids.count(key) == 4 for key in ids)
    assert len(training.train) == 40
    sides = [{row["query"] for row in rows} for rows in (training.train, training.selection)]
    assert not sides[0] & sides[1]


def test_documents_of_a_corpus_do_not_join_queries(tmp_path: Path) -> None:
    """All queries share their documents, and rows can be held out all the same."""
    words = ("film", "story", "actor", "scene", "ending", "dark", "cold", "warm")
    rows = [
        {"query": f"{first} {second}", "document": document, "label": int(first == document)}
        for first in words
        for second in words
        for document in words[:4]
    ]
    tiny.write_jsonl(tmp_path / "train.jsonl", rows)
    training = load(DataConfig(source=str(tmp_path)), catalog.task("text-ranking"), 0).training
    queries = {row["query"] for row in training.selection}
    assert queries
    assert not queries & {row["query"] for row in training.train}


def test_a_limit_below_one_query_is_a_sentence(tmp_path: Path) -> None:
    """No part of a query is taken."""
    tiny.write_jsonl(tmp_path / "train.jsonl", tiny_ranking.queries(3, 1, documents=20))
    training = load(DataConfig(source=str(tmp_path), limit=16), catalog.task("text-ranking"), 0).training
    with pytest.raises(DataError, match="a limit of 16 rows is less than any group"):
        training.train[0]


@pytest.mark.slow
def test_a_base_model_learns_to_rank(tmp_path: Path) -> None:
    """Fine-tuned, distilled, pruned, exported, in 16 bits and 8: what was learned is kept."""
    short: dict[str, Any] = {"batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}
    recipe = Recipe(
        model=str(tiny.base_model(tmp_path / "model")),
        task="text-ranking",
        data=DataConfig(source=str(tiny_ranking.data(tmp_path / "data", 80, 16)), calibration=16),
        threads=1,
        stages=(
            StageEntry(name="load"),
            StageEntry(name="finetune", options={"epochs": 6, **short}),
            StageEntry(name="distill", options={"layers": 1, "epochs": 4, **short}),
            StageEntry(
                name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}
            ),
            StageEntry(name="export-onnx"),
            StageEntry(name="quantize-onnx", options={"mode": "static"}),
        ),
        bench=BenchConfig(
            probes=(Named(name="accuracy"), Named(name="order-flips"), Named(name="flips")),
            candidates=("finetune", "quantize-onnx"),
            rounds=2,
            runs=2,
            threads=1,
        ),
    )
    report = workflow.run(recipe, tmp_path / "out", Store(tmp_path / "store")).report
    assert report is not None
    scores = [report.find(name, "mrr_10") for name in ("finetune", "quantize-onnx")]
    assert all(score is not None and score.value > 0.85 for score in scores)
    assert "scores rows together" in report.conditions.not_measured["flips"]
