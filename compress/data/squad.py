"""The nested file of SQuAD: articles, their paragraphs, and the questions about each, as rows.

``data`` holds articles, whose ``paragraphs`` have a ``context`` and ``qas``: ``question`` and ``answers``,
each with ``text`` and ``answer_start``. In version 2, ``is_impossible`` says that a question has no answer.
Such a file ends in ``.json``, as no other data file does; in a folder it is taken only where it is named
(``data.train``), since other files end so too (``labels.json``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.data.table import Table
from compress.errors import DataError
from compress.reading import json_values

COLUMNS = ("id", "title", "question", "context", "answers")


def is_one(path: Path) -> bool:
    """Whether a file is named like one."""
    return path.name.endswith(".json")


def read(path: Path) -> Table:
    """One row a question, in order.

    Raises:
        DataError: it is no such file; the part that is not is named.
    """
    content = json_values.read(path, error=DataError)
    rows = [
        {
            "id": question.get("id"),
            "title": article.get("title"),
            "question": question.get("question"),
            "context": paragraph.get("context"),
            "answers": _answers(question),
        }
        for article, _ in _objects(content, "data", str(path))
        for paragraph, place in _objects(article, "paragraphs", f"{path}, '{article.get('title')}'")
        for question, _ in _objects(paragraph, "qas", place)
    ]
    return Table(str(path), COLUMNS, rows)


def _answers(question: dict[str, Any]) -> Any:
    """The answers of a question; none where it has none, and null where the file does not say."""
    if question.get("is_impossible") is True:
        return []
    return question.get("answers")


def _objects(holder: Any, key: str, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a list under a key, each with its place in words."""
    objects = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(objects, list) or not all(isinstance(part, dict) for part in objects):
        raise DataError(
            f"{place}: a .json file of rows is nested as SQuAD's (data, paragraphs, qas), and '{key}' is "
            "no list of objects here: give .jsonl with one row a line"
        )
    for number, part in enumerate(objects, start=1):
        yield part, f"{place}, {key} {number}"
