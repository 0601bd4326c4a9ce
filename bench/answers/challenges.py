"""Challenge sets as cases: rows of a file, and the rule that a model passes or fails them by.

Three layouts are told apart by their columns and files:

- ``labeled``: rows with labels; a column such as ``test`` or ``functionality`` names parts of the set.
- ``pairs``: rows that belong together and have other labels, by a column ``pair_id``, or as two files
  ``X_original`` and ``X_contrast`` in the same order (Gardner et al. 2020); passed when all are right.
- ``checklist``: ``case`` (a text, or a text and its variants), ``type`` and ``expected`` (Ribeiro et al.
  2020): MFT wants the label, INV the same answer for all, DIR a confidence that does not move the wrong way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress import data
from compress.data.files import first_row, read_file
from compress.data.layout import open_source
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files as reading
from compress.reading import json_values
from compress.recipe import DataConfig

if TYPE_CHECKING:
    from compress.data.sources import Files
    from compress.tasks import Head, Prediction, Task

Rule = Literal["labels", "not", "same", "not down", "not up"]
Layout = Literal["labeled", "pairs", "checklist"]
_PARTS = ("test", "functionality", "capability", "category", "phenomenon", "template")
_CHECKLIST = {"case", "type", "expected"}
_SENTIMENT = ("negative", "neutral", "positive")
# Which way confidence should go: CheckList's tests carry it in code, a ``direction`` column may say it here.
_DIRECTIONS = {"intensifiers": "up", "reducers": "down", '"used to" should reduce': "down"}
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Case:
    """What is passed or failed as one.

    Attributes:
        test: the part of the set that it is in.
        rows: numbers of its rows, from 0.
        rule: ``labels`` (each row its own), ``not`` (a label that must not come), ``same`` (as the
            first), ``not down`` and ``not up`` (confidence in the first row's answer).
        wanted: labels of the rows, or the forbidden one.
    """

    test: str
    rows: tuple[int, ...]
    rule: Rule
    wanted: tuple[Any, ...] = ()

    def passes(self, answers: Sequence[Prediction]) -> bool:
        """Whether a model passes, by its answers on all rows of the set."""
        predictions = [answers[i] for i in self.rows]
        if self.rule == "labels":
            return all(
                prediction.value == true for prediction, true in zip(predictions, self.wanted, strict=True)
            )
        if self.rule == "not":
            return predictions[0].value not in self.wanted
        if self.rule == "same":
            return all(prediction.value == predictions[0].value for prediction in predictions)
        first = predictions[0]
        if first.probabilities is None or not isinstance(first.value, int):
            raise DataError("DIR tests of a challenge set need a model with one label a row")
        at = first.value
        moved = [
            prediction.probabilities[at] - first.probabilities[at]
            for prediction in predictions[1:]
            if prediction.probabilities
        ]
        sign = 1 if self.rule == "not down" else -1
        return all(sign * move >= -_TOLERANCE for move in moved)


@dataclass(frozen=True)
class Read:
    """A challenge set.

    Attributes:
        name: of the folder or file.
        layout: that it has.
        rows: as the task takes them; without labels where cases carry what is wanted.
        cases: over these rows.
        notes: what was left out.
    """

    name: str
    layout: Layout
    rows: list[dict[str, Any]]
    cases: list[Case]
    notes: tuple[str, ...] = ()

    def sample(self, most: int, seed: int) -> Read:
        """At most so many cases, by a seeded choice, with the rows that they need."""
        if len(self.cases) <= most:
            return self
        picks = np.sort(np.random.default_rng([seed, 13]).permutation(len(self.cases))[:most])
        chosen = [self.cases[i] for i in picks]
        indices = sorted({i for case in chosen for i in case.rows})
        place = {old: new for new, old in enumerate(indices)}
        note = f"{most} of {len(self.cases)} cases, chosen by the seed"
        return replace(
            self,
            rows=[self.rows[i] for i in indices],
            cases=[replace(case, rows=tuple(place[i] for i in case.rows)) for case in chosen],
            notes=(*self.notes, note),
        )


def read(place: str, task: Task, head: Head) -> Read:
    """A challenge set, its labels in the head's order.

    Args:
        place: folder or file.
        task: that reads the rows.
        head: of the models.

    Raises:
        DataError: there is none, or it does not fit the models; the message names the set.
    """
    try:
        path = reading.located(place, error=DataError)
        if not reading.exists(path, error=DataError):
            raise DataError("there is no such folder or file")
        if not head.checkable:
            raise DataError(
                "it asks whether single answers are right, and this task scores rows together: leave it out"
            )
        return _read(path, task, head)
    except DataError as cause:
        raise DataError(f"challenge set {place}: {cause}") from cause


def files(path: Path) -> dict[str, Path]:
    """Split -> file of a folder; the file itself, under its name, where it is one.

    Raises:
        DataError: there is no data file.
    """
    if not reading.is_folder(path, error=DataError):
        return {path.name: path}
    source: Files = open_source(DataConfig(source=str(path)))  # type: ignore[assignment]
    paths = {split: source.paths(split)[0] for split in source.splits()}
    if not paths:
        raise DataError("the folder has no data file (.jsonl, .csv, .tsv, .parquet)")
    return paths


def only(paths: dict[str, Path]) -> Path:
    """The file that measures: the only one, or the one named ``test``, else ``validation`` or ``dev``.

    Raises:
        DataError: it is not clear which.
    """
    if len(paths) == 1:
        return next(iter(paths.values()))
    for name in ("test", "validation", "dev"):
        if name in paths:
            return paths[name]
    raise DataError(f"there are several files ({', '.join(paths)}): name one of them")


def _read(path: Path, task: Task, head: Head) -> Read:
    splits = files(path)
    name = path.name
    twins = [
        (split, split.removesuffix("_original") + "_contrast")
        for split in splits
        if split.endswith("_original") and split.removesuffix("_original") + "_contrast" in splits
    ]
    if len(twins) == 1:
        return _twins(name, [splits[split] for split in twins[0]], task, head)
    file = only(splits)
    columns = first_row(file).keys()
    if columns >= _CHECKLIST:
        return _checklist(name, read_file(file), _names(file), task, head)
    rows = labeled(file, task, head)
    beside = [row.get(data.BESIDE, {}) for row in rows]
    if "pair_id" in beside[0]:
        return _grouped(name, rows, [extra.get("pair_id") for extra in beside], task)
    part = next((column for column in _PARTS if column in beside[0]), None)
    cases = [
        Case(str(extra.get(part)) if part else "", (i,), "labels", (task.reference(row, head),))
        for i, (row, extra) in enumerate(zip(rows, beside, strict=True))
    ]
    return Read(name, "labeled", rows, cases)


def labeled(file: Path, task: Task, head: Head) -> list[dict[str, Any]]:
    """The rows of a file with labels in the head's order, other columns beside them.

    Raises:
        DataError: a column or label that does not fit, or no labels.
    """
    rows = data.evaluation(DataConfig(eval=str(file)), task, 0, head, beside=True)
    if not task.LABEL or any(task.LABEL not in row for row in rows):
        raise DataError(f"{file.name} has no labels: a challenge set says what is right")
    return rows


def _twins(name: str, two: Sequence[Path], task: Task, head: Head) -> Read:
    original, contrast = (labeled(file, task, head) for file in two)
    if len(original) != len(contrast):
        raise DataError(
            f"{two[0].name} has {len(original)} rows and {two[1].name} {len(contrast)}: rows at the same "
            "place belong together, so both need as many"
        )
    count = len(original)
    rows = original + contrast
    true = [task.reference(row, head) for row in rows]
    cases = [Case("", (i, i + count), "labels", (true[i], true[i + count])) for i in range(count)]
    return Read(name, "pairs", rows, cases)


def _grouped(name: str, rows: list[dict[str, Any]], ids: Sequence[Any], task: Task) -> Read:
    members: dict[str, list[int]] = {}
    for i, key in enumerate(ids):
        members.setdefault(str(key), []).append(i)
    cases = [
        Case("", tuple(group), "labels", tuple(rows[i][task.LABEL] for i in group))
        for group in members.values()
        if len(group) > 1
    ]
    alone = sum(len(group) == 1 for group in members.values())
    if not cases:
        raise DataError("every pair_id occurs once: nothing is paired")
    notes = (f"{alone} rows without a partner were left out",) if alone else ()
    return Read(name, "pairs", rows, cases, notes)


def _names(file: Path) -> tuple[str, ...]:
    """Names of the labels that ``expected`` counts: of a ``labels.json`` beside it, else CheckList's own."""
    written = file.parent / "labels.json"
    if not reading.exists(written, error=DataError):
        return _SENTIMENT
    names = json_values.read(written, error=DataError)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{written} must be a list of the names that 'expected' counts")
    return tuple(names)


def _checklist(name: str, table: Table, names: Sequence[str], task: Task, head: Head) -> Read:
    role = next((role for role, column in task.COLUMNS.items() if column.holds == "text"), None)
    if role is None or head.answer != "label":
        raise DataError("a CheckList suite needs a model that gives texts one label each")
    label_ids = {label.casefold(): i for i, label in enumerate(head.labels)}
    ids = [label_ids.get(str(label).casefold()) for label in names]
    if all(i is None for i in ids):
        raise DataError(
            f"it expects the labels {', '.join(names)}, and the model's are {', '.join(head.labels)}: write "
            "a labels.json beside it that names its labels as the model does"
        )
    rows: list[dict[str, Any]] = []
    cases: list[Case] = []
    dropped = 0
    for number, row in enumerate(table.rows):
        texts = [row["case"]] if isinstance(row["case"], str) else row["case"]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{table.place(number)}: 'case' must be a text or a list of texts")
        rule, expected = _rule(row, ids, table, number)
        if rule is None:
            dropped += 1
            continue
        start = len(rows)
        rows += [{role: text} for text in texts]
        cases.append(Case(str(row.get("test", "")), tuple(range(start, len(rows))), rule, expected))
    if not cases:
        raise DataError("it has no case that these labels can judge")
    note = f"{dropped} cases expect a label that the model does not have, and were left out"
    return Read(name, "checklist", rows, cases, (note,) if dropped else ())


def _rule(
    row: dict[str, Any], ids: Sequence[int | None], table: Table, number: int
) -> tuple[Rule | None, tuple[Any, ...]]:
    kind, expected = row["type"], row["expected"]
    if kind == "INV":
        return "same", ()
    if kind == "DIR":
        way = row.get("direction") or _DIRECTIONS.get(str(row.get("test")))
        if way not in ("up", "down"):
            raise DataError(
                f"{table.place(number)}: the DIR test '{row.get('test')}' does not say which way confidence "
                "should go: give a column 'direction' with up or down"
            )
        return ("not down" if way == "up" else "not up"), ()
    if kind != "MFT":
        raise DataError(f"{table.place(number)}: the type is {kind!r}; allowed: MFT, INV, DIR")
    if expected is None:  # CheckList's "not negative": anything but the first label
        return ("not", (ids[0],)) if ids[0] is not None else (None, ())
    if not isinstance(expected, int) or not 0 <= expected < len(ids):
        raise DataError(
            f"{table.place(number)}: 'expected' is {expected!r}; it counts {len(ids)} labels from 0"
        )
    label = ids[expected]
    return ("labels", (label,)) if label is not None else (None, ())
