"""Lists of labels that could be 0/1 vectors: the training rows decide for every file of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compress.tasks import Head
from compress.tasks import _heads as heads
from compress.tasks._heads import SetForm


def settle(
    cells: Sequence[Any], names: Sequence[str] | None, head: Head, training: Callable[[], SetForm | None]
) -> list[Any]:
    """Label cells of one file, written as lists of names where they could be read in two ways.

    Args:
        cells: raw label cells of the file; None where a row has none.
        names: the data's own label names by id, where it has them.
        head: of the model.
        training: gives the form of the training rows' cells, None where there are none; asked only where
            these cells do not tell.
    """
    labels = names or head.labels
    if head.answer != "labels" or heads.set_form(cells, labels) != "either":
        return list(cells)
    form = training()
    if form not in {"vectors", "lists"} or len(labels) < 2:
        return list(cells)
    settled: list[Any] = []
    for cell in cells:
        if cell is None:
            settled.append(None)
            continue
        ids = [int(value) for value in cell]
        chosen = [i for i, value in enumerate(ids) if value] if form == "vectors" else ids
        settled.append([labels[i] for i in chosen])
    return settled
