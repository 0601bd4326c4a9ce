"""Siblings of labels in another order: tags and sets, contradicting configurations, floats that are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from compress import catalog, data, log
from compress.artifacts.store import Store
from compress.errors import DataError, ModelError
from compress.label_names import LabelNames
from compress.pipeline import building
from compress.recipe import DataConfig, Recipe, StageEntry
from compress.tasks import Head, text_classification
from compress.tasks import _heads as heads

TASK = catalog.load("task", "text-classification")


@pytest.mark.parametrize(
    ("cells", "head", "by_order"),
    [
        ([[0, 1], [2]], Head("single_label", ("O", "B-per", "I-per")), True),
        ([["O", "B-per"]], Head("single_label", ("O", "B-per", "I-per")), False),
        ([[0, 2], [1]], Head("multi_label", ("a", "b", "c")), True),
        ([[0, 1, 1], [0, 0, 0]], Head("multi_label", ("a", "b", "c")), True),
        ([["a"], None], Head("multi_label", ("a", "b", "c")), False),
        ([0.5, 1.0], Head("regression", ()), False),
    ],
)
def test_tags_and_sets_by_their_order_are_known_as_such(cells: list[Any], head: Head, by_order: bool) -> None:
    """Ids of tags and vectors of sets mean names by their order just as a single id does."""
    assert heads.by_position(cells, None, head) is by_order


def test_the_order_of_evaluation_labels_is_recorded(tmp_path: Path) -> None:
    """The report says which id was which name; names need no such word."""
    head = Head("single_label", ("negative", "positive"))
    for name, labels, expected in (
        ("ids", (0, 1), {"label_order": ("0 = negative", "1 = positive")}),
        ("names", ("positive", "negative"), {}),
    ):
        rows = [{"text": f"word {i}", "label": labels[i % 2]} for i in range(4)]
        tiny.write_jsonl(tmp_path / name / "validation.jsonl", rows)
        decided: dict[str, Any] = {}
        data.evaluation(DataConfig(source=str(tmp_path / name)), TASK, 0, head, facts=decided)
        assert decided == expected


def test_a_config_whose_two_tables_contradict_each_other_is_refused() -> None:
    """A name that is one output in ``id2label`` and another in ``label2id``; left-over defaults are none."""
    table = {"0": "positive", "1": "negative"}
    with pytest.raises(ModelError, match="'positive' is 0 in id2label and 1 in label2id"):
        heads.head_of({"id2label": table, "label2id": {"negative": 0, "positive": 1}})
    default = {"LABEL_0": 0, "LABEL_1": 1}
    assert heads.head_of({"id2label": table, "label2id": default}).labels == ("positive", "negative")


def test_whole_numbers_written_with_a_point_are_said_to_be_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of classes that once held a gap became a regression without a word."""
    messages: list[str] = []
    monkeypatch.setattr(log, "warning", lambda message, *values: messages.append(message % values))
    assert text_classification.infer_head([0.0, 2.0, 1.0], None).problem == "regression"
    assert "whole numbers written with a point (0.0, 1.0, 2.0)" in messages.pop()
    assert text_classification.infer_head([0.5, 2.0], None).problem == "regression"
    assert messages == []


def test_a_guessed_order_goes_along_with_every_artifact(tmp_path: Path) -> None:
    """Ids of the data and names of the head: on record where they met, and in what is made of it since."""
    model = tiny.text_model(tmp_path / "model")
    rows = [{**row, "label": i % 2} for i, row in enumerate(tiny.sentences(40, 3))]
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    stages = (StageEntry(name="prune", options={"recover": {"epochs": 0}, "round_to": 8, "rows": 16}),)
    recipe = Recipe(model=str(model), data=DataConfig(source=str(tmp_path / "data")), stages=stages)
    first, second = (entry.artifact for entry in building.run(recipe, Store(tmp_path / "store")))
    order = ("0 = negative", "1 = positive")
    assert first.manifest.origin.labels == second.manifest.origin.labels == LabelNames(by_order=order)
    alone = building.open_artifact(model, store=Store(tmp_path / "store"))
    assert alone.manifest.origin.labels == LabelNames()


def test_vectors_of_one_element_are_vectors_of_one_label() -> None:
    """[1] beside [0] was read as the ids of two labels, where the head, or the data, has one label alone."""
    single, double = Head("multi_label", ("toxic",)), Head("multi_label", ("toxic", "rude"))
    assert text_classification.align([[1], [0], [1]], None, single) == [(0,), (), (0,)]
    assert text_classification.align([[1], [0], [1]], None, double) == [(1,), (0,), (1,)]
    assert text_classification.align([["toxic"], []], None, single) == [(0,), ()]
    assert text_classification.infer_head([[1], [0]], ("toxic",)) == single
    with pytest.raises(DataError, match=r"every label is \[0\] or \[1\], which can be a 0/1 vector of one"):
        text_classification.infer_head([[1], [0], [1]], None)
    assert text_classification.infer_head([[1], [0], [1, 0]], None).labels == ("0", "1")
