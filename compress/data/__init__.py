"""From a data configuration to rows on their sides: training, selection, calibration, evaluation.

``load`` gives a pipeline's stages their ``TrainingData``, from which the evaluation rows cannot be
reached; ``evaluation`` gives bench its rows. Which split plays which side (``layout``), how columns
are found (``columns``) and what is held out (``splits``, ``grouping``) is decided by rules, and every
decision is among the ``facts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, overload

from compress import log
from compress.artifacts import artifact
from compress.data.columns import like
from compress.data.label_form import settle
from compress.data.layout import lay_out, pin_of
from compress.data.reading import Reader
from compress.errors import DataError
from compress.recipe import DataConfig
from compress.tasks import _audio as audio
from compress.tasks import has_label
from compress.tasks._heads import SetForm, by_position, listed, set_form

if TYPE_CHECKING:
    from compress.tasks import Head, Task

BESIDE = "columns"
"""Key of a row under which ``evaluation`` keeps the cells of columns that play no role, where asked to."""

VERSION = 2
"""Raised whenever the same files and configuration would give other rows."""

_GIVE = {
    "train": "give data with a split 'train' (or name one in a recipe: data.train)",
    "eval": "give data with a split validation, dev or test (or name one in a recipe: data.eval)",
}
Rows = Sequence[dict[str, Any]]


class Missing(Sequence[dict[str, Any]]):
    """Rows that are not there: none to count, and a sentence for whoever wants one."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __len__(self) -> int:
        return 0

    def _refuse(self) -> NoReturn:
        raise DataError(self.reason)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Rows:
        self._refuse()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._refuse()


class LabeledFile(NamedTuple):
    """The labeled rows of one file in their order, with what its label ids mean."""

    name: str
    label_names: tuple[str, ...] | None
    rows: Rows


@dataclass(frozen=True)
class TrainingData:
    """What stages may read.

    Rows are dicts by role, such as ``{"text": …, "label": …}``; a label cell is as the data has it
    until ``for_head`` aligned it, and rows without a label have no such key. Where a side has no
    rows it is a ``Missing``: its length is 0, and reading it raises a ``DataError`` that says what
    to give.

    Attributes:
        train: labeled rows to learn from.
        selection: labeled rows that pick checkpoints and settings; never trained on.
        calibration: rows of the training side, spread evenly over their lengths.
        unlabeled: rows without labels, for distillation and agreement.
        label_names: the data's own, by id, where it has them; of the head once aligned.
        facts: what was decided on the way, as JSON values.
    """

    train: Rows
    selection: Rows
    calibration: Rows
    unlabeled: Rows
    label_names: tuple[str, ...] | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    # Whole files in their order, so that a wrong label is named by its row in the file.
    labeled: tuple[LabeledFile, ...] = ()

    def _form(self, task: Task) -> SetForm | None:
        """The form of the labels of the file that is trained on; None without one."""
        return set_form(_cells(task, self.labeled[0].rows)) if self.labeled else None

    def infer_head(self, task: Task) -> Head:
        """The head that the training rows' labels ask for.

        Raises:
            DataError: there are no labeled training rows, or of one class only.
        """
        head: Head = task.infer_head(_cells(task, self.train), self.label_names)
        return head

    def label_order(self, task: Task, head: Head) -> tuple[str, ...]:
        """Which label of the data is which of the head's, where their order alone tells; else empty."""
        for _, names, rows in self.labeled:
            cells = settle(_cells(task, rows), names, head, lambda: self._form(task))
            pairs = _order(cells, names, head)
            if pairs:
                return pairs
        return ()

    def for_head(self, task: Task, head: Head) -> TrainingData:
        """The same rows with labels as ids in the head's order (or numbers).

        Raises:
            DataError: a label that the head does not have, or training rows of one class only.
        """
        if not task.LABEL:
            return self
        aligned: dict[int, dict[str, Any]] = {}
        files = []
        for name, names, rows in self.labeled:
            cells = settle(_cells(task, rows), names, head, lambda: self._form(task))
            values = _aligned(task, cells, names, head, name)
            fresh = [{**row, task.LABEL: value} for row, value in zip(rows, values, strict=True)]
            aligned.update({id(row): new for row, new in zip(rows, fresh, strict=True)})
            files.append(LabeledFile(name, head.labels or None, fresh))

        def mapped(rows: Rows) -> Rows:
            return rows if isinstance(rows, Missing) else [aligned.get(id(row), row) for row in rows]

        train = mapped(self.train)
        if head.answer == "label" and len(train):
            first = train[0][task.LABEL]
            if isinstance(first, int) and all(row[task.LABEL] == first for row in train):
                raise DataError(
                    f"the training rows have one class only ('{head.labels[first]}', {len(train)} rows): "
                    "classification needs at least two"
                )
        return replace(
            self,
            train=train,
            selection=mapped(self.selection),
            calibration=mapped(self.calibration),
            label_names=head.labels or None,
            labeled=tuple(files),
        )


@dataclass(frozen=True)
class Splits:
    """Everything that a data configuration holds.

    Attributes:
        training: what stages may read.
        eval: rows that only measure, with label cells as the data has them.
        label_names: the data's own, where it has them.
        facts: what was decided, as JSON values.
    """

    training: TrainingData
    eval: Rows
    label_names: tuple[str, ...] | None
    facts: dict[str, Any]


def _cells(task: Task, rows: Rows) -> list[Any]:
    """The label cells of labeled rows; none where rows are their own target."""
    return [row[task.LABEL] for row in rows] if task.LABEL else []


def choose_max_length(lengths: Any, model_max: int | None) -> tuple[int, float]:
    """The length limit for rows of these lengths and the share that it cuts; see ``splits``."""
    from compress.data import splits

    return splits.choose_max_length(lengths, model_max)


def _order(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> tuple[str, ...]:
    """Which id is which label, where only their order tells; empty where names do."""
    if not by_position(cells, names, head):
        return ()
    data_names = names or [str(i) for i in range(len(head.labels))]
    return tuple(f"{mine} = {label}" for mine, label in zip(data_names, head.labels, strict=False))


def _say_order(cells: Sequence[Any], names: Sequence[str] | None, head: Head, place: str) -> None:
    """Say which id is which label where only their order tells: nothing else can show a swapped pair."""
    pairs = _order(cells, names, head)
    if pairs:
        log.once("%s: labels are taken by their order: %s", place, listed(pairs))


def _aligned(
    task: Task, cells: Sequence[Any], names: Sequence[str] | None, head: Head, place: str
) -> list[Any]:
    _say_order(cells, names, head, place)
    try:
        values: list[Any] = task.align(cells, names, head)
    except DataError as cause:
        raise DataError(f"{place}: {cause}") from cause
    return values


def fingerprint(config: DataConfig, seed: int, side: Literal["training", "evaluation"]) -> str:
    """SHA-256 of everything that decides a side's rows: file bytes, names, options, seed.

    Raises:
        DataError: the data cannot be found.
    """
    sides = ("train", "selection", "unlabeled") if side == "training" else ("eval",)
    pin = pin_of(config, sides)
    if pin is not None:
        rows: Any = [pin, {name: getattr(config, name) for name in sides}]
    else:
        layout = lay_out(config, sides)
        rows = {name: layout.source.identity(split) for name, split in layout.splits.items()}
    content: dict[str, Any] = {
        "version": VERSION,
        "side": side,
        "rows": rows,
        "columns": config.columns,
        "labels": config.labels,
    }
    if side == "training":
        content |= {
            "seed": seed,
            "calibration": config.calibration,
            "selection_share": config.selection_share,
            "limit": config.limit,
            "max_length": config.max_length,
        }
    return artifact.digest_text(artifact.canonical_json(content))


def load(config: DataConfig, task: Task, seed: int) -> Splits:
    """Read, check and divide the rows of a configuration.

    Raises:
        DataError: a file, column or cell that cannot be used; the message names it.
    """
    from compress.data import splits

    layout = lay_out(config)
    reader = Reader(config, task, layout)
    sides = {side: reader.read(side) for side in layout.splits}
    label = task.LABEL
    train_rows = sides.get("train", [])
    labeled = [row for row in train_rows if has_label(task, row)]
    loose = [row for row in train_rows if not has_label(task, row)]
    for row in sides.get("unlabeled", []):
        row.pop(label, None)
        loose.append(row)
    words = {
        id(row): texts for rows in sides.values() for row, texts in zip(rows, reader.words(rows), strict=True)
    }

    has_selection = "selection" in sides
    carving = splits.carve(
        reader.binding(labeled + loose),
        len(labeled),
        0.0 if has_selection else config.selection_share,
        config.limit,
        seed,
        task.groups(labeled + loose),
    )
    train = [labeled[i] for i in carving.train]
    selection = sides["selection"] if has_selection else [labeled[i] for i in carving.selection]
    unlabeled = [loose[i - len(labeled)] for i in carving.unlabeled]
    pool = train or unlabeled
    lengths = [sum(map(len, words[id(row)])) for row in pool]
    has_lengths = any(task.COLUMNS[role].holds in {"text", "tokens"} for role in task.COLUMNS)
    calibration = [
        pool[i]
        for i in splits.stratified(lengths if has_lengths else None, len(pool), config.calibration, seed)
    ]
    facts = _facts(
        reader,
        {
            "train": train,
            "selection": selection,
            "calibration": calibration,
            "unlabeled": unlabeled,
            "eval": sides.get("eval", []),
        },
    )
    facts["selection"] = (
        {"from": layout.splits["selection"]}
        if has_selection
        else {
            "from": "train",
            "groups": carving.groups,
            "largest_group": carving.largest,
            "dropped_unlabeled": carving.dropped,
        }
    )
    facts["over_limit"] = carving.over_limit
    _compare_sides(facts, words, train_rows + sides.get("unlabeled", []), sides, has_selection)
    names = reader.names.get("train") or reader.names.get("selection")
    training = TrainingData(
        train=train or Missing(_no_train(reader, train_rows, labeled, carving.over_limit)),
        selection=selection or Missing(_no_selection(bool(labeled))),
        calibration=calibration or Missing(f"there are no rows to calibrate with: {_GIVE['train']}"),
        unlabeled=unlabeled or Missing("there are no unlabeled rows: give data.unlabeled"),
        label_names=names,
        facts=facts,
        labeled=tuple(
            LabeledFile(reader.tables[side].name, reader.names[side], rows)
            for side, rows in (("train", labeled), ("selection", selection if has_selection else []))
            if rows
        ),
    )
    evaluate: Rows = sides.get("eval") or Missing(f"there are no evaluation rows: {_GIVE['eval']}")
    return Splits(training, evaluate, names or reader.names.get("eval"), facts)


def _no_train(reader: Reader, rows: Rows, labeled: Rows, over_limit: int) -> str:
    if over_limit:
        return (
            f"a limit of {reader.config.limit} rows is less than any group of rows that are scored together "
            "has (a query with its documents), and none is taken in part: give a larger limit"
        )
    if rows and not labeled:
        table = reader.tables["train"]
        names = (reader.task.LABEL, *reader.task.COLUMNS[reader.task.LABEL].aliases)
        named = f"--column {reader.task.LABEL}=NAME (in a recipe: data.columns.{reader.task.LABEL})"
        return (
            f"{table.name} has no labels (no filled column for {reader.task.LABEL} among "
            f"{', '.join(table.columns)}).{like(names, table.columns)} Name it with {named}, or use a stage "
            "that needs none"
        )
    return f"there are no training rows: {_GIVE['train']}"


def _no_selection(trained: bool) -> str:
    if trained:
        return (
            "no rows could be held out for selection, since nearly all training rows are versions of each "
            "other: give data.selection"
        )
    return f"there are no rows to select by: {_GIVE['train']}, or data.selection"


def _facts(reader: Reader, rows: Mapping[str, Rows]) -> dict[str, Any]:
    layout, config = reader.layout, reader.config
    facts: dict[str, Any] = {
        "source": config.source,
        "license": layout.source.license(),
        "max_length": config.max_length,
        "splits": dict(layout.splits),
        "rows": {side: len(side_rows) for side, side_rows in rows.items()},
        "columns": dict(next(iter(reader.columns.values()))),
        "label_names_from": reader.names_from,
    }
    quotes = {
        side: "marks" if table.quoting.marks else "text"
        for side, table in reader.tables.items()
        if table.quoting is not None
    }
    if quotes:
        facts["tsv_quotes"] = quotes
    sounds = _sounds(reader, rows)
    if sounds:
        facts["sounds"] = sounds
    commit = getattr(layout.source, "commit", None)
    if commit is not None:
        facts["revision"] = commit
    if layout.eval_also:
        facts["eval_also_there"] = list(layout.eval_also)
        log.detail(
            "Evaluating on '%s'; %s would be a choice too (data.eval).",
            layout.splits["eval"],
            ", ".join(layout.eval_also),
        )
    return facts


def _sounds(reader: Reader, rows: Mapping[str, Rows]) -> dict[str, Any]:
    """How many sounds there are of each sampling rate and number of channels, and how long they are."""
    roles = [role for role, column in reader.roles.items() if column.holds == "audio"]
    shapes = [
        audio.shape(row[role])
        for role in roles
        for side, side_rows in rows.items()
        if side != "calibration" and not isinstance(side_rows, Missing)  # those are training rows too
        for row in side_rows
        if role in row
    ]
    if not shapes:
        return {}
    seconds = [shape.seconds for shape in shapes]
    counts = {
        name: {str(value): count for value, count in sorted(Counter(values).items())}
        for name, values in (
            ("rates", [shape.rate for shape in shapes]),
            ("channels", [shape.channels for shape in shapes]),
        )
    }
    mixed = sum(shape.channels > 1 for shape in shapes)
    if mixed:
        log.warning(
            "%d of %d sounds have several channels: they are mixed to one, their mean", mixed, len(shapes)
        )
    return {**counts, "shortest_s": min(seconds), "longest_s": max(seconds)}


def _compare_sides(
    facts: dict[str, Any],
    words: Mapping[int, list[tuple[str, ...]]],
    training: Rows,
    sides: Mapping[str, Rows],
    given_selection: bool,
) -> None:
    """Count rows that measure or select and that training holds as well; warn where there are any."""
    training_texts = {tuple(words[id(row)]) for row in training}
    compared = ["eval"] + (["selection"] if given_selection else [])
    for side in compared:
        shared = sum(tuple(words[id(row)]) in training_texts for row in sides.get(side, []))
        facts[f"{side}_rows_in_training"] = shared
        if shared:
            log.warning(
                "%d of %d %s rows are also among the training rows (case and punctuation aside).",
                shared,
                len(sides[side]),
                side,
            )


def _evaluation_reader(config: DataConfig, task: Task) -> Reader:
    layout = lay_out(config, ("eval",))
    if "eval" not in layout.splits:
        raise DataError(f"there are no evaluation rows: {_GIVE['eval']}")
    return Reader(config, task, layout)


def _training_form(config: DataConfig, task: Task) -> SetForm | None:
    """The form of the training rows' labels; None where there are none."""
    layout = lay_out(config, ("train",))
    if "train" not in layout.splits:
        return None
    rows = Reader(config, task, layout).read("train")
    return set_form([row[task.LABEL] for row in rows if task.LABEL in row])


def check_evaluation(config: DataConfig, task: Task) -> None:
    """Refuse evaluation rows that are missing or cannot be read, before any work is put into a model.

    Raises:
        DataError: there are none, or a column or cell of them cannot be used.
    """
    _evaluation_reader(config, task).read("eval")


def evaluation(
    config: DataConfig,
    task: Task,
    seed: int,
    head: Head,
    *,
    beside: bool = False,
    facts: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The evaluation rows, labels aligned to a head; without a label key where none has a label.

    Args:
        config: where the rows are.
        task: that reads them.
        seed: unused by every present source; the evaluation rows are the same for every run.
        head: of the model that is measured.
        beside: whether rows keep the cells of their other columns, by column, under ``BESIDE``.
        facts: takes what was decided on the way: which id is which label, where only their order tells.

    Raises:
        DataError: there are no evaluation rows, some lack a label, or have one the head does not know.
    """
    reader = _evaluation_reader(config, task)
    rows = reader.read("eval")
    table = reader.tables["eval"]
    if beside:
        played = set(reader.columns["eval"].values())
        for row, cells in zip(rows, table.rows, strict=True):
            row[BESIDE] = {name: cells.get(name) for name in table.columns if name not in played}
    lacking = [i for i, row in enumerate(rows) if not has_label(task, row)]
    if not task.LABEL or len(lacking) == len(rows):
        return rows
    if lacking:
        raise DataError(
            f"{table.place(lacking[0])} has no label, while other evaluation rows have one "
            f"({len(lacking)} of {len(rows)} lack it): label all rows or none"
        )
    names = reader.names["eval"]
    raw = [row[task.LABEL] for row in rows]
    settled = settle(raw, names, head, lambda: _training_form(config, task))
    order = _order(settled, names, head)
    if facts is not None and order:
        facts["label_order"] = order
    values = _aligned(task, settled, names, head, table.name)
    return [{**row, task.LABEL: value} for row, value in zip(rows, values, strict=True)]
