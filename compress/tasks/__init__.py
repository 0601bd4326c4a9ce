"""What a task is: everything that depends on the task and on no backend.

A task is a module in this folder. It says which columns rows have, how they become arrays, which
loss trains the model, how outputs become predictions and how predictions are scored. Arrays at the
runtime border (``encode`` gives numpy, ``decode`` takes numpy), tensors only in ``loss``.

Scores are built from *additive statistics*: ``statistics`` gives one vector a row (or a group of rows that
are scored together, such as the documents of a query), ``metrics`` turns their sum into figures. A bootstrap
resample is then one weighted sum, for every metric alike.

A model may see a row as several *pieces*, each encoded by itself: the windows of a long text, the two texts
of a pair. ``pieces`` takes rows apart, ``joined`` makes predictions of rows out of those of their pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from compress.contract import optional
from compress.errors import EntryError, RecipeError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

Problem = Literal[
    "single_label", "multi_label", "regression", "tags", "span", "ranking", "vector", "filling", "choice"
]
Answer = Literal["label", "labels", "number", "tags", "text", "vector"]
Link = Literal["softmax", "sigmoid", "identity", "positions"]
Activation = Literal["identity", "sigmoid", "tanh"]
Row = Mapping[str, Any]

_ANSWERS: dict[Problem, Answer] = {
    "single_label": "label",
    "multi_label": "labels",
    "regression": "number",
    "tags": "tags",
    "span": "text",
    "ranking": "number",
    "vector": "vector",
    "filling": "text",
    "choice": "text",
}


@dataclass(frozen=True)
class Head:
    """What the model's last layer means.

    Attributes:
        problem: one label a row, several, a number, a label for each word (``tags``), a part of the row's
            text (``span``), a number that orders rows (``ranking``), a point in space (``vector``), pieces of
            a vocabulary at masks (``filling``), or one of the row's own texts (``choice``).
        labels: label names in output order; empty where answers are no labels.
        size: numbers that an output ends with, such as those of a vector; None for one a label.
        thresholds: where the task's decisions turn, fitted on selection rows; None for where they turn by
            themselves. Models of different thresholds mean the same, so that they compare as equal.
        activation: what a number that orders rows is put through to be shown. It moves no order, so that
            models of different ones mean the same and compare as equal.
    """

    problem: Problem
    labels: tuple[str, ...]
    size: int | None = None
    thresholds: tuple[float, ...] | None = field(default=None, compare=False)
    activation: Activation = field(default="identity", compare=False)

    @property
    def answer(self) -> Answer:
        """The form of an answer, which is all that whoever compares answers needs to know."""
        return _ANSWERS[self.problem]

    @property
    def checkable(self) -> bool:
        """Whether each answer by itself is right or wrong, or off by so much."""
        return self.problem not in ("ranking", "vector")

    @property
    def width(self) -> int:
        """How many numbers an output has at its end, where that end is no length."""
        return self.size or max(1, len(self.labels))


@dataclass(frozen=True)
class Column:
    """A role that a column of the data plays.

    Attributes:
        required: whether rows without it are refused; label roles are never required here, since
            unlabelled rows serve too.
        aliases: other names under which public data sets carry it, in order of preference.
        holds: what a cell is; ``texts`` are several, ``answers`` parts of another cell's text with their
            places, a ``choice`` one of another cell's texts. A ``key`` is seen by no model and is the same in
            rows that are scored together.
        of: the role whose text the answers are parts of, or whose texts there are to choose from.
        blank: whether a text may have nothing in it.
        binds: whether rows with like cells belong together, so that no split of the data parts them; not so
            for the documents of a corpus, which all queries share, and for what is asked of many texts.
    """

    required: bool
    aliases: tuple[str, ...]
    holds: Literal["text", "texts", "tokens", "image", "audio", "label", "tags", "answers", "choice", "key"]
    of: str | None = None
    blank: bool = True
    binds: bool = True


@dataclass(frozen=True)
class Batch:
    """Encoded rows, as arrays.

    Attributes:
        inputs: name -> array with the batch as first axis; names are the model's.
        labels: what ``loss`` takes, or None for unlabelled rows. Class ids are int64, padding and
            ignored positions -100; multi-label and regression targets float32.
        truncated: which rows were cut to the length limit, bool [rows]; None where rows have no length.
        extras: name -> array with the batch as first axis, which the model does not take and decoding
            needs (such as where words begin).
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    truncated: np.ndarray | None = None
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many rows there are."""
        return int(next(iter(self.inputs.values())).shape[0])

    def row(self, index: int) -> Batch:
        """One of its rows alone, padded as it is here."""

        def only(array: np.ndarray) -> np.ndarray:
            return array[index : index + 1]

        return Batch(
            inputs={name: only(array) for name, array in self.inputs.items()},
            labels=None if self.labels is None else only(self.labels),
            truncated=None if self.truncated is None else only(self.truncated),
            extras={name: only(array) for name, array in self.extras.items()},
        )


@dataclass(frozen=True)
class Prediction:
    """What the model says of one row.

    Attributes:
        value: class id; tuple of class ids (multi-label: those that are on; tokens: one a word, -1 for
            words that were cut off); a number; a text; or vectors, float32 [texts of the row, size].
        label: the same in label names; None for a word that was cut off.
        probabilities: per class, where the task has one distribution a row; else None.
        truncated: whether the row was cut, so that the answer is about its beginning alone.
        scores: per label the probability that it holds, each by itself (multi-label); else None.
        candidates: of each thing that a row asks (a mask of a text; which choice is right) the texts that may
            answer it, each with its probability, the likeliest first; else None.
        truth: per mask the place of what stood there, from 1, and its probability; None where nobody knows.
        score: the probability of an answer that is a part of a text; else None.
        span: where that part stands in its text, from its first character to before the one after it.
        empty: the probability that the text has no answer, where a model says that; else None.
    """

    value: int | float | str | tuple[int, ...] | np.ndarray
    label: str | float | tuple[str | None, ...] | np.ndarray
    probabilities: tuple[float, ...] | None = None
    truncated: bool = False
    scores: tuple[float, ...] | None = None
    candidates: tuple[tuple[tuple[str, float], ...], ...] | None = None
    truth: tuple[tuple[int, float], ...] | None = None
    score: float | None = None
    span: tuple[int, int] | None = None
    empty: float | None = None


@dataclass(frozen=True)
class Pieces:
    """What a model sees of some rows.

    Attributes:
        rows: as ``encode`` takes them, in the order of the rows that they are of.
        owner: which row each is of, int64 [pieces], ascending; every row has one at least.
    """

    rows: Sequence[Row]
    owner: np.ndarray


@dataclass(frozen=True)
class ExportSpec:
    """Names and free axes of the exported graph.

    Attributes:
        inputs: name -> {axis: symbolic name}, in the order of the model's arguments.
        outputs: name -> {axis: symbolic name}. Where the last named axis is not the batch and the link is
            ``positions``, it is the output's last; else ``Head.width`` numbers follow.
        length_axis: the symbolic name of the axis that a length limit applies to, or None.
    """

    inputs: dict[str, dict[int, str]]
    outputs: dict[str, dict[int, str]]
    length_axis: str | None


@dataclass(frozen=True)
class Metric:
    """A figure that a task scores predictions with.

    Attributes:
        name: under which ``metrics`` gives it.
        unit: ``share``, ``correlation``, ...
        better: which direction is good.
        of_rows: whether it is the share of rows that are right, where each is right or wrong as a whole.
        blind: what a model gets that answers every row alike, in words.
        title: of it in tables; its name in words when empty.
    """

    name: str
    unit: str = "share"
    better: Literal["lower", "higher"] = "higher"
    of_rows: bool = False
    blind: str = "what a constant answer gets"
    title: str = ""


class Task(Protocol):
    """The names that a task module defines.

    Attributes:
        MODEL: the transformers auto class that builds it, by name.
        COLUMNS: role -> Column, in the order in which ``predict`` takes them.
        LABEL: the role that holds the target; empty where rows are their own target.
        OUTPUTS: the model outputs that matter, by their name in the transformers output class.
        METRICS: every figure that ``metrics`` may give; any other is a share that should be high.
        NEW_HEADS: whether a model can be given a new head for the labels of the data.
        WHOLE_ROWS: whether ``loss`` needs rows as they are, where their pieces are run one by one elsewhere.
        BY_CLASS: whether a model of its class is for this task where ``is_made_for`` names no field.
        UNIT: what a row's length counts.
        NAME: in the catalog, which gives it.
        BROUGHT_BY: the distribution that brings it -> its version, from the catalog; empty for one of ours.
    """

    MODEL: str
    COLUMNS: dict[str, Column]
    LABEL: str
    OUTPUTS: tuple[str, ...]
    METRICS: tuple[Metric, ...] = ()
    NEW_HEADS: bool = True
    WHOLE_ROWS: bool = False
    BY_CLASS: bool = False
    UNIT: str = "tokens"
    NAME: str = ""
    BROUGHT_BY: Mapping[str, str] = MappingProxyType({})

    @staticmethod
    def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
        """The head that the data asks for (``labels``: the raw label cells of the training split)."""
        ...

    @staticmethod
    def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
        """Raw label cells as what ``encode`` and ``reference`` take: ids in the head's order, or numbers.

        Args:
            cells: raw cells of one file, in row order; None where a row has no label.
            names: the data's own label names by id (``labels.json``), where it has them.
            head: the model's head.

        Raises:
            DataError: a cell that the head does not know; the message names the row and the labels.
        """
        ...

    @staticmethod
    def head_of(config: Mapping[str, Any]) -> Head:
        """The head that a ``config.json`` describes."""
        ...

    @staticmethod
    @optional
    def is_made_for(config: Mapping[str, Any]) -> str | None:
        """The field by which a ``config.json`` says that its model is for this task and no other.

        None where it does not: the task is then the one of the model's class.
        """
        return None

    @staticmethod
    def configure(config: Any, head: Head) -> None:
        """Write the head into a transformers config (labels, ``problem_type``)."""
        ...

    @staticmethod
    def load_processor(folder: Path) -> Any:
        """The tokenizer or image processor of a model folder; ``ModelError`` where there is none."""
        ...

    @staticmethod
    def default_processor(config: Any) -> Any:
        """A processor for a model built from a transformers config, with ``save_pretrained``.

        Raises:
            ModelError: the task's processor cannot be made from a config alone.
        """
        ...

    @staticmethod
    @optional
    def model_class(config: Any) -> type[PreTrainedModel] | None:
        """The class that builds a model of a transformers config, where that is none of the library's own.

        It is a ``PreTrainedModel`` whose forward pass gives ``OUTPUTS``: whatever belongs to the answer
        (pooling, normalization, a dense layer) is part of it, so that training, pruning and export see it.
        """
        return None

    @staticmethod
    @optional
    def fields(
        folder: Path,
        content: Mapping[str, Any],
        options: Mapping[str, Any],
        head_of_data: Callable[[], Head | None],
    ) -> dict[str, Any]:
        """Fields of ``config.json`` that a folder leaves open and options of ``load`` decide.

        Args:
            folder: of the model.
            content: of its ``config.json``.
            options: ``pooling``, ``normalize``, ``prompts``, ``labels`` and ``template``; None for what
                nobody asked for.
            head_of_data: gives the head that the training rows ask for; None without data.

        Raises:
            RecipeError: something was asked for that the task has not, or the folder decides itself.
        """
        refuse_foreign(options, ())
        return {}

    @staticmethod
    @optional
    def pieces(rows: Sequence[Row], processor: Any, max_length: int | None) -> Pieces:
        """What a model sees of rows; each as it is, unless a task says otherwise."""
        import numpy

        return Pieces(rows, numpy.arange(len(rows)))

    @staticmethod
    @optional
    def joined(predictions: Sequence[Prediction], pieces: Pieces, head: Head) -> list[Prediction]:
        """Predictions of rows out of those of their pieces, in order."""
        return list(predictions)

    @staticmethod
    @optional
    def groups(rows: Sequence[Row]) -> np.ndarray | None:
        """Rows that are scored together, as group numbers from 0 in order of appearance, int64 [rows].

        None where each row is scored by itself. ``statistics`` then gives one vector a group, data is
        divided by whole groups, and intervals come from resampled groups.
        """
        return None

    @staticmethod
    def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray | None:
        """Tokens (or another ``UNIT``) of each row before truncation, int64 [rows]; None: no lengths."""
        ...

    @staticmethod
    @optional
    def extent(processor: Any) -> int | None:
        """The length to which the processor fills and cuts every row by itself; None where it does not.

        What is cut there is counted and said like what a limit cuts, though the model's inputs have no free
        axis.
        """
        return None

    @staticmethod
    def encode(
        rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
    ) -> Batch:
        """Arrays of the rows, padded to the longest of them; labels where ``labelled``."""
        ...

    @staticmethod
    def link(head: Head) -> dict[str, Link]:
        """Output name -> how its last axis becomes probabilities (what KL and agreement use).

        ``softmax`` and ``sigmoid`` over classes; ``identity`` for numbers; ``positions``: a softmax over the
        positions of the row that count, of an output [batch, length].
        """
        ...

    @staticmethod
    def positions(batch: Batch) -> np.ndarray | None:
        """Boolean [batch, length] mask of output positions that count; None: one output a row."""
        ...

    @staticmethod
    def loss(
        outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch
    ) -> torch.Tensor:
        """The mean training loss, a scalar.

        Args:
            outputs: of the model, by name.
            labels: those of the batch, on the outputs' device.
            head: what the outputs mean.
            batch: as ``encode`` gave it.
        """
        ...

    @staticmethod
    def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
        """Predictions, one a row."""
        ...

    @staticmethod
    def reference(row: Row, head: Head) -> Any:
        """What ``statistics`` holds a prediction of a labelled row against.

        It is comparable with ``Prediction.value`` where answers are labels, tags or numbers.
        """
        ...

    @staticmethod
    @optional
    def decided(predictions: Sequence[Prediction], head: Head) -> list[Prediction]:
        """The same predictions under a head's thresholds, of a task whose decisions turn at some."""
        return list(predictions)

    @staticmethod
    @optional
    def usual(head: Head) -> Head:
        """A head whose decisions turn where they do before anything is fitted."""
        return replace(head, thresholds=None)

    @staticmethod
    @optional
    def fitted(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> tuple[float, ...]:
        """The thresholds under which predictions score best in the main metric; empty: there are none.

        Args:
            predictions: of rows that nothing was trained on, made without thresholds.
            references: of the rows.
            head: of the model.

        Raises:
            DataError: the head has no thresholds, or the rows do not say which fit.
        """
        return ()

    @staticmethod
    @optional
    def right(prediction: Prediction, reference: Any) -> bool:
        """Whether an answer is the truth as a whole, of a task whose answers are right or wrong."""
        return bool(prediction.value == reference)

    @staticmethod
    @optional
    def caveats(references: Sequence[Any]) -> list[str]:
        """What a reader of figures on rows with these references must know, in sentences."""
        return []

    @staticmethod
    def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
        """Additive statistics, float64 [rows, k] or [groups, k]; their sum feeds ``metrics``."""
        ...

    @staticmethod
    def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
        """Figures from summed statistics [k]; the first one is the task's main metric, higher is better."""
        ...

    @staticmethod
    def blind(totals: np.ndarray, head: Head) -> float:
        """The main metric of the best answer that is the same for every row, from the same sums.

        A model that is not above it has learned nothing that these rows show.
        """
        ...

    @staticmethod
    def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
        """Names and free axes of the exported graph."""
        ...

    @staticmethod
    @optional
    def to_pixels(image: Any, channels: int) -> np.ndarray:
        """A row's image as bytes [height, width, channels], of a task whose rows hold images."""
        raise EntryError("the task's rows hold images, and it has no 'to_pixels(image, channels)'")


_OPTIONS_OF = {
    "pooling": "models that make vectors",
    "normalize": "models that make vectors",
    "prompts": "models that make vectors",
    "labels": "models for zero-shot-classification",
    "template": "models for zero-shot-classification",
}


def refuse_foreign(options: Mapping[str, Any], own: Sequence[str]) -> None:
    """Refuse options of ``load`` that are of models for another task.

    Args:
        options: name -> value; None for what nobody asked for.
        own: names of those that the task has.

    Raises:
        RecipeError: one is.
    """
    foreign = [name for name, value in options.items() if value is not None and name not in own]
    if foreign:
        kinds = " and ".join(dict.fromkeys(_OPTIONS_OF[name] for name in foreign))
        raise RecipeError(
            f"load: {' and '.join(foreign)} is of {kinds}, which this is none of: leave it out, or give "
            "the task that has it"
        )


def metric(task: Task, name: str) -> Metric:
    """A metric of a task by its name."""
    return next((one for one in task.METRICS if one.name == name), Metric(name))


def inputs(columns: Mapping[str, Column], label: str) -> tuple[str, ...]:
    """The roles whose cells a model sees, in order."""
    return tuple(role for role, column in columns.items() if role != label and column.holds != "key")


def has_label(task: Task, row: Row) -> bool:
    """Whether a row has its target, which it is itself where the task has no label column."""
    return not task.LABEL or row.get(task.LABEL) is not None


def all_labelled(task: Task, rows: Sequence[Row]) -> bool:
    """Whether there are rows, and each has its target."""
    return len(rows) > 0 and all(has_label(task, row) for row in rows)


def at_chance(score: float, blind: float) -> bool:
    """Whether a main metric is no better than that of the best answer that is the same for every row.

    Rows that are all of one class tell nothing: there, ``blind`` is 1 and no model can be above.
    """
    return score <= blind < 1
