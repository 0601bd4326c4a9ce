"""The texts that a vocabulary is cut to, of rows and files; which of them measure; what they are read as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compress.data import lines
from compress.errors import DataError
from compress.reading import files
from compress.tasks import Row, Task
from compress.tasks import _tokenizers as tokenizers

Text = str | list[str]
_CHUNK = 1000
_HELD_OUT = 10  # one of so many


def roles(task: Task) -> list[str]:
    """The columns of a task that hold text."""
    return [role for role, column in task.COLUMNS.items() if column.holds in {"text", "texts", "tokens"}]


def of_rows(rows: Sequence[Row], task: Task) -> list[Text]:
    """The texts of rows, each once, in order of appearance; a list of words is a text, too."""
    cells: list[Text] = []
    for row in rows:
        for role in roles(task):
            if row.get(role):
                cells += row[role] if task.COLUMNS[role].holds == "texts" else [row[role]]
    return _distinct(cells)


def of_place(place: str) -> list[Text]:
    """The lines of a text file, or of the ``.txt`` files of a folder, each once.

    Raises:
        DataError: there is no such file, it is no UTF-8 text, or holds none.
    """
    path = files.located(place, error=DataError)
    sources = [path]
    if files.is_folder(path, error=DataError):
        sources = sorted(file for pattern in ("*.txt", "*.txt.gz") for file in path.glob(pattern))
        if not sources:
            raise DataError(
                f"{files.shown(path)} holds no text (no .txt file): give a file with a text a line"
            )
    stripped = [line.strip() for source in sources for _, line in lines.numbered(source)]
    texts = _distinct([line for line in stripped if line])
    if not texts:
        raise DataError(f"{files.shown(path)} holds no text: give a file with a text a line")
    return texts


def _distinct(texts: Sequence[Text]) -> list[Text]:
    return list({text if isinstance(text, str) else tuple(text): text for text in texts}.values())


def divide(texts: Sequence[Text]) -> tuple[list[Text], list[Text]]:
    """Texts to choose by, and every tenth, which only measures."""
    held_out = list(texts[_HELD_OUT - 1 :: _HELD_OUT])
    return [text for place, text in enumerate(texts, start=1) if place % _HELD_OUT], held_out


def read(texts: Sequence[Text], processor: Any) -> Iterator[list[int]]:
    """The ids of each text, whole, with the marks around it."""
    for words in (False, True):
        alike = [text for text in texts if isinstance(text, list) is words]
        for at in range(0, len(alike), _CHUNK):
            encoded = tokenizers.encoded(
                processor, alike[at : at + _CHUNK], is_split_into_words=words, truncation=False, verbose=False
            )
            yield from encoded["input_ids"]


def count(texts: Sequence[Text], processor: Any, size: int) -> np.ndarray:
    """How often each piece occurs in texts, int64 [size]."""
    counts = np.zeros(size, dtype=np.int64)
    for ids in read(texts, processor):
        np.add.at(counts, np.asarray(ids, dtype=np.int64), 1)
    return counts
