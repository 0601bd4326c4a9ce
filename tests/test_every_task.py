"""Every task goes the whole way through the same stages, probes and gates; nothing is special-cased."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_embedders
import tiny_questions

from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from paredown import workflow

STAGES = (
    Named(name="load"),
    Named(
        name="finetune",
        options={
            "epochs": 6,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "precision": "fp32",
            "rdrop": 0.5,
        },
    ),
    Named(
        name="distill",
        options={"layers": 1, "epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
    ),
    Named(name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}),
    Named(name="export-onnx"),
    Named(name="quantize-onnx", options={"mode": "static"}),
)
PROBES = tuple(Named(name=name) for name in ("accuracy", "agreement", "latency", "size"))


def write(folder: Path, rows: Callable[[int, int], list[dict[str, Any]]], labels: list[str] | None) -> Path:
    """A data folder from a row maker (count, seed)."""
    tiny.write_jsonl(folder / "train.jsonl", rows(320, 1))
    tiny.write_jsonl(folder / "validation.jsonl", rows(48, 2))
    if labels:
        (folder / "labels.json").write_text(json.dumps(labels))
    return folder


def pairs(count: int, seed: int) -> list[dict[str, Any]]:
    """Which mood does the second text have, whatever the first says?"""
    first, second = tiny.sentences(count, seed), tiny.sentences(count, seed + 100)
    return [
        {"text": a["text"], "text_pair": b["text"], "label": b["label"]}
        for a, b in zip(first, second, strict=True)
    ]


def regression(count: int, seed: int) -> list[dict[str, Any]]:
    """How good is a text, from 0 to 5?"""
    source = random.Random(seed)
    rows = tiny.sentences(count, seed)
    return [{"text": row["text"], "label": 4.0 * float(str(row["label"])) + source.random()} for row in rows]


def multi_label(count: int, seed: int) -> list[dict[str, Any]]:
    """Which moods does a text have?"""
    rows = []
    for row in tiny.sentences(count, seed):
        words = set(str(row["text"]).split())
        rows.append(
            {
                "text": row["text"],
                "labels": [
                    int(bool(words & set(tiny.WORDS_GOOD))),
                    int(bool(words & set(tiny.WORDS_PLAIN[:3]))),
                ],
            }
        )
    return rows


def tags(count: int, seed: int) -> list[dict[str, Any]]:
    """Which words are loaded?"""
    loaded = set(tiny.WORDS_GOOD)
    return [
        {"tokens": words, "tags": ["B-mood" if word in loaded else "O" for word in words]}
        for words in (str(row["text"]).split() for row in tiny.sentences(count, seed))
    ]


def answers(count: int, seed: int) -> list[dict[str, Any]]:
    """Which word of a text is of the asked mood, if any? Longer texts than the model sees at once."""
    return tiny_questions.questions(count, seed, long=70, unanswerable=0.2, other=False)


def whole_way(
    tmp_path: Path, data: Path, task: str, limit: int | None = None, *, allow_chance: bool = False
) -> dict[str, float]:
    """Run all stages on a tiny model; gives the main metric by candidate."""
    recipe = Recipe(
        model=str(tiny.base_model(tmp_path / "model")),
        task=task,
        data=DataConfig(source=str(data), calibration=16, limit=limit),
        threads=1,
        stages=STAGES,
        bench=BenchConfig(
            probes=PROBES,
            candidates=("finetune", "quantize-onnx"),
            rounds=2,
            runs=2,
            threads=1,
            allow_chance=allow_chance,
        ),
        gates=(Named(name="size", options={"at_most": "0.9x"}),),
    )
    outcome = workflow.run(recipe, tmp_path / "out")
    report = outcome.report
    assert report is not None
    assert [verdict.status for verdict in report.verdicts] == ["pass"]
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    main = next(measurement.metric for measurement in report.measurements if measurement.probe == "accuracy")
    return {
        measurement.candidate: measurement.value
        for measurement in report.measurements
        if measurement.probe == "accuracy" and measurement.metric == main
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "rows", "labels"),
    [
        ("text-classification", pairs, ["other", "same"]),
        ("text-classification", regression, None),
        ("text-classification", multi_label, ["good", "plain"]),
        ("token-classification", tags, ["O", "B-mood"]),
        ("question-answering", answers, None),
        ("text-embedding", tiny_embedders.scored, None),
    ],
    ids=["pairs", "regression", "multi-label", "tokens", "questions", "vectors"],
)
def test_a_task_goes_the_whole_way(
    tmp_path: Path, task: str, rows: Callable[[int, int], list[dict[str, Any]]], labels: list[str] | None
) -> None:
    """Fine-tuned, distilled, pruned, exported, quantized, benched and gated: what was learned is kept."""
    scores = whole_way(tmp_path, write(tmp_path / "data", rows, labels), task)
    assert set(scores) == {"finetune", "quantize-onnx"}
    assert scores["finetune"] > 0.8
    assert scores["quantize-onnx"] > scores["finetune"] - 0.15


@pytest.mark.slow
def test_real_entities_go_the_whole_way(tmp_path: Path, shared: Path) -> None:
    """WNUT 2017, the real tagger's data, through every stage; so tiny a model may find no entity."""
    data = shared / "data" / "wnut17"
    scores = whole_way(tmp_path, data, "token-classification", limit=200, allow_chance=True)
    assert all(0.0 <= value <= 1.0 for value in scores.values())
