"""Rows of questions: every form in which data sets write answers, and answers that do not stand there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from compress import catalog, data
from compress.errors import DataError
from compress.recipe import DataConfig
from compress.tasks import Head

CONTEXT = "a bad film, and a good story"
PLACED = {"text": ["good story", "story"], "answer_start": [18, 23]}
SPANS = (("good story", 18), ("story", 23))
FIRST = (("good story", 18),)


def rows(file: Path) -> list[Any]:
    """The aligned answers of an evaluation file."""
    task = catalog.task("question-answering")
    config = DataConfig(eval=str(file))
    return [
        row.get("answers") for row in data.evaluation(config, task, 0, Head("span", (), thresholds=(0.0,)))
    ]


def row(**cells: Any) -> dict[str, Any]:
    """A row with its question and context."""
    return {"question": "what is good", "context": CONTEXT, **cells}


def test_answers_as_objects(tmp_path: Path) -> None:
    """SQuAD v1 and v2 as their public jsonl has them; -1 for a reference that only scores."""
    unplaced = {"text": ["a tale"], "answer_start": [-1]}
    empty = {"text": [], "answer_start": []}
    file = tiny.write_jsonl(tmp_path / "x.jsonl", [row(answers=cell) for cell in (PLACED, empty, unplaced)])
    assert rows(file) == [SPANS, (), (("a tale", -1),)]


def test_answers_as_json_in_a_table(tmp_path: Path) -> None:
    """A csv cell with the object as JSON."""
    cell = json.dumps(PLACED).replace('"', '""')
    file = tmp_path / "x.csv"
    file.write_text(f'question,context,answers\nwhat is good,"{CONTEXT}","{cell}"\n')
    assert rows(file) == [SPANS]


@pytest.mark.parametrize("names", [("answer", "answer_start"), ("answers.text", "answers.answer_start")])
def test_answers_in_columns_of_their_own(tmp_path: Path, names: tuple[str, str]) -> None:
    """A text beside its first character, in a table and as lists in jsonl."""
    file = tmp_path / "x.csv"
    file.write_text(f'question,context,{names[0]},{names[1]}\nwhat is good,"{CONTEXT}",good story,18\n')
    assert rows(file) == [FIRST]
    cells = {names[0]: PLACED["text"], names[1]: PLACED["answer_start"]}
    listed = [row(**cells), row(**{names[0]: [], names[1]: []})]
    assert rows(tiny.write_jsonl(tmp_path / "x.jsonl", listed)) == [SPANS, ()]


def test_the_nested_file(tmp_path: Path) -> None:
    """SQuAD's own .json, version 2: an impossible question has no answer, whatever is plausible."""
    questions = [
        {"id": "1", "question": "what", "answers": [{"text": "good story", "answer_start": 18}]},
        {"id": "2", "question": "who", "is_impossible": True, "answers": [], "plausible_answers": []},
    ]
    content = {"data": [{"title": "T", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    file = tmp_path / "dev-v2.0.json"
    file.write_text(json.dumps(content))
    assert rows(file) == [FIRST, ()]
    file.write_text('[{"question": "what"}]')
    with pytest.raises(DataError, match="is nested as SQuAD's"):
        rows(file)


def test_questions_of_one_text_stay_on_one_side(tmp_path: Path) -> None:
    """Rows are held out by their contexts, though all ask the same; one context is on one side alone."""
    moods = ("good", "bad", "cold", "warm", "dull", "fine", "ugly", "dark")
    contexts = [f"{mood} {' '.join([mood] * n)}" for n, mood in enumerate(moods, start=9)]
    cell = {"text": [], "answer_start": []}
    same = [{"question": "which", "context": text, "answers": cell} for text in contexts for _ in range(3)]
    tiny.write_jsonl(tmp_path / "train.jsonl", same)
    config = DataConfig(source=str(tmp_path), selection_share=0.25)
    sides = data.load(config, catalog.task("question-answering"), 0).training
    contexts = {row["context"] for row in sides.selection}
    assert len(sides.selection) == 6
    assert len(contexts) == 2
    assert not contexts & {row["context"] for row in sides.train}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            {"answers": {"text": ["good"], "answer_start": [3]}},
            r"line 2: the answer 'good' should stand at character 3 of its context, and there stands 'ad f'; "
            r"it stands at 18: write that, or -1",
        ),
        (
            {"answers": {"text": ["tale"], "answer_start": [3]}},
            "stands nowhere in the context: write -1 for an answer that only scores",
        ),
        ({"answers": "good"}, "line 2: the column 'answers' must hold answers with their first characters"),
        (
            {"answers": {"text": ["good"], "answer_start": []}},
            "line 2: the column 'answers' must hold answers",
        ),
        ({"answers": PLACED, "context": " "}, "line 2: the column 'context' is empty here"),
        ({"answers": PLACED, "question": ""}, "line 2: the column 'question' is empty here"),
    ],
)
def test_a_row_that_does_not_hold_together_is_named(
    tmp_path: Path, cells: dict[str, Any], words: str
) -> None:
    """An offset where the text does not stand, cells that are no answers, nothing to ask or to read."""
    file = tiny.write_jsonl(tmp_path / "x.jsonl", [row(answers=PLACED), {**row(), **cells}])
    with pytest.raises(DataError, match=words):
        rows(file)
