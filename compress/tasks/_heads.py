"""Label names and ids: what the tasks that end in a classification layer share.

A head's labels stand in output order. A cell of the data may be a name, an id in the data's own
order (then the data's names say what it means), or, without names, an id in the head's order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compress.errors import DataError, ModelError
from compress.tasks import Head, Problem
from compress.tasks import _thresholds as thresholds

PROBLEM_TYPES: dict[Problem, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
SetForm = Literal["vectors", "lists", "either"]
_GENERIC = re.compile(r"LABEL_\d+")
_INTEGER = re.compile(r"[+-]?\d{1,40}")  # more digits are no id, and Python refuses to read some thousand


def listed(values: Sequence[Any], most: int = 20) -> str:
    """Names for a message, cut after ``most``."""
    text = ", ".join(str(value) for value in values[:most])
    return f"{text}, and {len(values) - most} more" if len(values) > most else text


def head_of(config: Mapping[str, Any]) -> Head:
    """The head that a ``config.json`` describes, by the rules of transformers.

    Without a ``problem_type``, one output is a regression and several are one label a row.

    Raises:
        ModelError: the configuration contradicts itself.
    """
    labels = names_of(config)
    written = config.get("problem_type")
    if written is None:
        return Head("regression", ()) if len(labels) == 1 else Head("single_label", labels)
    problems = {text: problem for problem, text in PROBLEM_TYPES.items()}
    if written not in problems:
        raise ModelError(f"problem_type '{written}' in config.json is not one of {', '.join(problems)}")
    problem = problems[written]
    if problem == "regression":
        if len(labels) != 1:
            raise ModelError(
                f"config.json says regression with {len(labels)} outputs; one output is supported"
            )
        return Head("regression", ())
    if problem == "single_label" and len(labels) < 2:
        raise ModelError("config.json says one label a row and has one label only: it needs at least two")
    fitted = thresholds.read(config, len(labels)) if problem == "multi_label" else None
    return Head(problem, labels, thresholds=fitted)


def names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the outputs of a ``config.json``, in their order.

    Raises:
        ModelError: the configuration contradicts itself.
    """
    table = config.get("id2label")
    if not table:
        return tuple(f"LABEL_{i}" for i in range(int(config.get("num_labels", 2))))
    labels = _numbered(table)
    _check_inverse(labels, config.get("label2id"))
    return labels


def _numbered(table: Mapping[Any, Any]) -> tuple[str, ...]:
    """The names of an ``id2label`` in the order of their ids.

    Raises:
        ModelError: ids that do not count from 0, or a name that stands for two of them.
    """
    try:
        by_id = {int(key): str(name) for key, name in table.items()}
    except (TypeError, ValueError, AttributeError) as cause:
        raise ModelError(
            f"id2label in config.json must map numbers to names; it is {str(table)[:200]}"
        ) from cause
    if sorted(by_id) != list(range(len(by_id))) or len(by_id) < len(table):
        raise ModelError(
            f"id2label in config.json must number its labels from 0; it has {listed(list(table))}"
        )
    labels = tuple(by_id[i] for i in range(len(by_id)))
    for name in labels:
        ids = [i for i, label in enumerate(labels) if label == name]
        if len(ids) > 1:
            raise ModelError(
                f"id2label in config.json has the name '{name}' for the ids {listed(ids)}, so that their "
                "answers could not be told apart: give every id a name of its own in config.json"
            )
    return labels


def _check_inverse(labels: Sequence[str], inverse: Any) -> None:
    """Refuse a ``label2id`` that gives a name another id than ``id2label`` does.

    Names that only one of the two has are left alone: many models keep the default ``LABEL_0`` there.
    """
    if not isinstance(inverse, Mapping):
        return
    for i, label in enumerate(labels):
        reverse = whole(inverse.get(label))
        if reverse is not None and reverse != i:
            raise ModelError(
                f"config.json contradicts itself: '{label}' is {i} in id2label and {reverse} in label2id, so "
                "that nobody can say which output it is: make both say the same"
            )


def by_position(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> bool:
    """Whether cells mean the head's labels only by their order: ids on one side, no common names.

    Args:
        cells: raw label cells, each one label or a list of them (tags, sets, 0/1 vectors); None where a row
            has none.
        names: the data's own label names by id, where it has them.
        head: of the model.
    """
    if not head.labels or all(_INTEGER.fullmatch(label) for label in head.labels):
        return False
    generic = all(_GENERIC.fullmatch(label) for label in head.labels)
    if names is not None and not (generic and len(names) == len(head.labels)):
        return False
    present = [
        label
        for cell in cells
        if cell is not None
        for label in (cell if isinstance(cell, list | tuple) else [cell])
    ]
    return bool(present) and all(
        whole(cell) is not None or (names is not None and str(cell) in names) for cell in present
    )


def unnamed(head: Head) -> bool:
    """Whether a head's labels are numbers alone: ``LABEL_0``, ``LABEL_1``, ..."""
    return bool(head.labels) and all(_GENERIC.fullmatch(label) for label in head.labels)


def configure(config: Any, head: Head) -> None:
    """Write the head into a transformers config."""
    labels = head.labels or ("LABEL_0",)
    config.num_labels = len(labels)  # a field of its own in some (PVT), what names the labels in all others
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = PROBLEM_TYPES[head.problem]
    thresholds.write(config, head)


def whole(cell: Any) -> int | None:
    """A cell that is a whole number as int (``3``, ``3.0``, ``"3"``); None for anything else."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int):
        return cell
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, str) and _INTEGER.fullmatch(cell.strip()):
        return int(cell)
    return None


def number(cell: Any) -> float | None:
    """A cell as a finite number; None for anything else."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def class_names(cells: Sequence[Any], names: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of a head that fits these scalar cells: the data's own names, else what occurs, sorted.

    Raises:
        DataError: fewer than two classes occur, or one has no name.
    """
    present = [cell for cell in cells if cell is not None]
    distinct = set(map(_key, present))
    if "" in distinct:
        raise DataError(
            "a label among the training rows is blank, and a class has a name: give the row its label, or "
            "leave the cell out (null) where it has none"
        )
    if len(distinct) < 2:
        classes = f"'{next(iter(distinct))}'" if distinct else "none"
        raise DataError(
            f"the training rows have one class only ({classes}) among {len(present)} labels: "
            "classification needs at least two"
        )
    if names:
        return tuple(names)
    ids = [whole(cell) for cell in present]
    if all(i is not None for i in ids):
        return tuple(str(i) for i in sorted({i for i in ids if i is not None}))
    return tuple(sorted(distinct))


def _key(cell: Any) -> str:
    """The name that a cell stands for, without the blanks around it, which a hand or a table left there."""
    value = whole(cell)
    return str(cell).strip() if value is None else str(value)


class Lookup:
    """Cells of one file -> ids in the head's order.

    Args:
        names: the data's own label names by id, where it has them.
        head: a head with labels.
    """

    def __init__(self, names: Sequence[str] | None, head: Head) -> None:
        """Index the head's labels exactly and, where that is unique, without regard to case."""
        self.labels = head.labels
        self._exact = {label: i for i, label in enumerate(head.labels)}
        folded: dict[str, list[int]] = {}
        for i, label in enumerate(head.labels):
            folded.setdefault(label.strip().casefold(), []).append(i)
        self._folded = {label: ids[0] for label, ids in folded.items() if len(ids) == 1}
        self._numbered = all(_INTEGER.fullmatch(label) for label in head.labels)
        generic = all(_GENERIC.fullmatch(label) for label in head.labels)
        # A head of LABEL_0, LABEL_1, … has no names to match: the data's order is then the head's.
        self._names = None if names is None or (generic and len(names) == len(head.labels)) else names
        self._positions = (
            {name: i for i, name in enumerate(names)} if names is not None and self._names is None else {}
        )
        self._cache: dict[Any, int | None] = {}

    def __call__(self, cell: Any) -> int | None:
        """The id of a cell; None where the head does not know it."""
        if isinstance(cell, list | tuple | dict):
            return None
        key = (type(cell), cell)
        if key not in self._cache:
            self._cache[key] = self._find(cell)
        return self._cache[key]

    def _find(self, cell: Any) -> int | None:
        if isinstance(cell, str) and (index := self._named(cell)) is not None:
            return index
        value = whole(cell)
        if value is None:
            return self._named(str(cell)) if isinstance(cell, bool) else None
        if self._names is not None:
            return self._named(self._names[value]) if 0 <= value < len(self._names) else None
        if self._numbered:
            return self._exact.get(str(value))
        return value if 0 <= value < len(self.labels) else None

    def _named(self, name: str) -> int | None:
        for table, key in (
            (self._exact, name),
            (self._positions, name),
            (self._exact, name.strip()),
            (self._positions, name.strip()),
            (self._folded, name.strip().casefold()),
        ):
            if key in table:
                return table[key]
        return None

    def refuse(self, cell: Any, row: int, names: Sequence[str] | None) -> DataError:
        """The sentence about a cell that the head does not know; ``row`` counts from 0."""
        value = whole(cell)
        meaning = ""
        if names is not None and value is not None and 0 <= value < len(names):
            meaning = f" ('{names[value]}')"
        return DataError(
            f"row {row + 1} has the label {cell!r}{meaning}, which the model's head does not have: "
            f"its labels are {listed(self.labels)}. Name the data's labels in that way "
            "(data.labels or a labels.json beside the data), or use a model made for these labels."
        )


def align_classes(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[int | None]:
    """Scalar cells as class ids in the head's order; None stays None.

    Raises:
        DataError: a cell that the head does not know.
    """
    lookup = Lookup(names, head)
    aligned: list[int | None] = []
    for row, cell in enumerate(cells):
        index = None if cell is None else lookup(cell)
        if cell is not None and index is None:
            raise lookup.refuse(cell, row, names)
        aligned.append(index)
    return aligned


def set_form(cells: Sequence[Any], labels: Sequence[str] | None = None) -> SetForm:
    """Whether list cells are 0/1 vectors, lists of labels, or could be either.

    Vectors have one length and hold 0 and 1 only, and some cell repeats a value, which a list of labels never
    does. Pairs of a 0 and a 1 in every row could be both: vectors with exactly one label on, or lists that
    name both labels. So could a single 0 or 1 in every row, unless it is known how many labels there are.

    Args:
        cells: label cells of one file.
        labels: all that there are, where they are known.
    """
    lists = [cell for cell in cells if isinstance(cell, list | tuple)]
    if not lists or len({len(cell) for cell in lists}) != 1 or not lists[0]:
        return "lists"
    if len(lists[0]) == 1 and labels is not None and len(labels) > 1:
        return "lists"
    ids = [[whole(int(value) if isinstance(value, bool) else value) for value in cell] for cell in lists]
    if any(value not in {0, 1} for cell in ids for value in cell):
        return "lists"
    if any(len(set(cell)) < len(cell) for cell in ids) or (labels is not None and len(labels) == 1):
        return "vectors"
    return "either"


def ambiguous_sets(cells: Sequence[Any]) -> DataError:
    """The sentence about cells that could be vectors or lists."""
    if any(isinstance(cell, list | tuple) and len(cell) == 1 for cell in cells):
        return DataError(
            "every label is [0] or [1], which can be a 0/1 vector of one label or a list with the id of one: "
            "write the names of the labels in the lists, or give all names there are (data.labels, or a "
            "labels.json beside the data)"
        )
    return DataError(
        "every label is [0, 1] or [1, 0], which can be a 0/1 vector with one label on or the list of both "
        "labels: write the names of the labels in the lists, or add a row whose vector is [0, 0] or [1, 1]"
    )


def align_sets(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[tuple[int, ...] | None]:
    """List cells (labels, ids, or 0/1 vectors in the order of the names) as sorted id tuples.

    Raises:
        DataError: a cell that is no list, a label that the head does not know, or cells that could be both
            vectors and lists.
    """
    lookup = Lookup(names, head)
    for row, cell in enumerate(cells):
        if cell is not None and not isinstance(cell, list | tuple):
            raise DataError(
                f"row {row + 1} has the label {cell!r}; the model gives several labels a row, "
                "so a cell must be a list of labels"
            )
    form = set_form(cells, names or head.labels)
    if form == "either":
        raise ambiguous_sets(cells)
    hot = form == "vectors"
    aligned: list[tuple[int, ...] | None] = []
    for row, cell in enumerate(cells):
        if cell is None:
            aligned.append(None)
            continue
        if hot and len(cell) != len(names or head.labels):
            raise DataError(
                f"row {row + 1} has a 0/1 vector of length {len(cell)}; there are "
                f"{len(names or head.labels)} labels: {listed(names or head.labels)}"
            )
        items = [i for i, value in enumerate(cell) if int(value)] if hot else cell
        ids = set()
        for item in items:
            index = lookup(item)
            if index is None:
                raise lookup.refuse(item, row, names)
            ids.add(index)
        aligned.append(tuple(sorted(ids)))
    return aligned


def align_numbers(cells: Sequence[Any]) -> list[float | None]:
    """Cells as finite numbers; None stays None.

    Raises:
        DataError: a cell that is none.
    """
    aligned: list[float | None] = []
    for row, cell in enumerate(cells):
        value = None if cell is None else number(cell)
        if cell is not None and value is None:
            raise DataError(
                f"row {row + 1} has the label {cell!r}; the model's head gives a number, so it must be one"
            )
        aligned.append(value)
    return aligned
