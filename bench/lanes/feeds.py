"""From evaluation rows to the arrays that lanes run on: the data's own mix, and fixed lengths.

Every candidate gets the same rows in the same order, encoded by its own tokenizer and length limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import UserError
from deploy import rehearsal
from deploy.encoder import Encoder

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from bench.probes import Subject
    from compress.tasks import Batch, Head, Pieces, Prediction, Row

DATA = "data"
_FEED_BYTES = 64 * 2**20
_FIXED_FEEDS = 8
_INFER_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Point:
    """One point of the grid: rows at once, and tokens (or another unit) a row, or the rows' own.

    Attributes:
        batch_size: rows at once.
        length: of each, or ``data`` for their own.
        unit: what the length counts.
    """

    batch_size: int
    length: int | str
    unit: str = "tokens"

    @property
    def conditions(self) -> dict[str, int | str]:
        """As a measurement states them."""
        point: dict[str, int | str] = {"batch_size": self.batch_size, "length": self.length}
        return point if self.unit == "tokens" or self.length == DATA else {**point, "unit": self.unit}

    def __str__(self) -> str:
        """In words, for progress and messages."""
        return f"batch {self.batch_size}, " + (
            "real lengths" if self.length == DATA else f"{self.length} {self.unit}"
        )


@dataclass(frozen=True)
class Feeds:
    """Encoded feeds of one lane at one point.

    Attributes:
        arrays: one feed a batch.
        positions: mean length of a feed, padding included; None where rows have no length.
        padding: share of positions that are padding; None where there is no mask.
        unit: what the lengths count.
    """

    arrays: list[dict[str, np.ndarray]]
    positions: float | None
    padding: float | None
    unit: str = "tokens"

    def note(self) -> str | None:
        """What a reader should know of the lengths."""
        if self.positions is None:
            return None
        share = "" if self.padding is None else f", of them {100 * self.padding:.0f} % padding"
        return f"{self.positions:.1f} {self.unit} a row{share}"


def points(subject: Subject) -> list[Point]:
    """The grid: every batch size with every length."""
    unit = subject.task.UNIT
    return [
        Point(size, length, unit) for size in subject.bench.batch_sizes for length in subject.bench.lengths
    ]


def own(lane: Lane, subject: Subject) -> Encoder:
    """How the candidate's own folder turns rows into arrays, opened once."""
    if "encoder" not in lane.memo:
        lane.memo["encoder"] = Encoder.open(lane.spec.artifact.path, subject.task)
    opened: Encoder = lane.memo["encoder"]
    return opened


def processor(lane: Lane, subject: Subject) -> Any:
    """The candidate's own tokenizer or image processor."""
    return own(lane, subject).processor


def pieces(lane: Lane, subject: Subject) -> Pieces:
    """What the candidate sees of the evaluation rows, by its own processor and length limit."""
    if "pieces" not in lane.memo:
        lane.memo["pieces"] = own(lane, subject).pieces(subject.rows)
    parts: Pieces = lane.memo["pieces"]
    return parts


def encoder(lane: Lane, subject: Subject, *, labelled: bool = False) -> Callable[[Sequence[Row]], Batch]:
    """From rows to arrays, as the candidate's folder says."""
    opened = own(lane, subject)

    def encode(rows: Sequence[Row]) -> Batch:
        return opened.batch(rows, labelled=labelled)

    return encode


def batches(count: int, rows: int, size: int, generator: np.random.Generator) -> list[list[int]]:
    """``count`` batches of row indices: random orders of all rows, one after the other."""
    needed = count * size
    orders = [generator.permutation(rows) for _ in range(-(-needed // rows))]
    flat = np.concatenate(orders)[:needed]
    return [list(map(int, flat[i * size : (i + 1) * size])) for i in range(count)]


def _length_axes(lane: Lane, subject: Subject) -> dict[str, int]:
    """Input name -> the axis that runs over tokens; empty for a task whose rows have no length."""
    spec = own(lane, subject).spec
    if spec.length_axis is None:
        return {}
    return {
        name: axis
        for name, axes in spec.inputs.items()
        for axis, symbol in axes.items()
        if symbol == spec.length_axis
    }


def stretch(
    parts: Sequence[dict[str, np.ndarray]], axes: dict[str, int], length: int
) -> dict[str, np.ndarray]:
    """One row of exactly ``length`` tokens: real rows one after the other, cut at the end.

    Args:
        parts: encoded single rows without padding, [1, ...] each.
        axes: input name -> its token axis.
        length: wanted.
    """
    row = {}
    for name, axis in axes.items():
        tokens = np.concatenate([part[name] for part in parts], axis=axis)
        while tokens.shape[axis] < length:
            tokens = np.concatenate([tokens, tokens], axis=axis)
        row[name] = np.take(tokens, np.arange(length), axis=axis)
    return row


def fixed(lane: Lane, subject: Subject, point: Point, count: int) -> Feeds:
    """Feeds of exactly ``point.length`` tokens, made of real rows' token ids, without padding.

    Raises:
        UserError: the task's rows have no length.
    """
    axes = _length_axes(lane, subject)
    if not axes or not isinstance(point.length, int):
        raise UserError(
            f"lengths: {point.length} was asked for, and rows of this model have no free length in "
            f"{subject.task.UNIT}: use 'data'"
        )
    encode, model_rows = encoder(lane, subject), pieces(lane, subject).rows
    generator = np.random.default_rng([subject.seed, 2])
    arrays = []
    for _ in range(count):
        rows = []
        for _ in range(point.batch_size):
            parts: list[dict[str, np.ndarray]] = []
            tokens = 0
            while tokens < point.length and len(parts) < point.length:
                row = model_rows[int(generator.integers(len(model_rows)))]
                parts.append(encode([row]).inputs)
                name, axis = next(iter(axes.items()))
                tokens += parts[-1][name].shape[axis]
            rows.append(stretch(parts, axes, point.length))
        arrays.append(lane.feed({name: np.concatenate([row[name] for row in rows]) for name in axes}))
    return Feeds(arrays=arrays, positions=float(point.length), padding=0.0, unit=subject.task.UNIT)


def _of_one_length(picks: Sequence[int], alike: Sequence[Sequence[int]]) -> list[int]:
    """As many rows as were picked, all as long as the first of them.

    Args:
        picks: indices of rows.
        alike: indices of all rows, those of one length together.
    """
    members = next(group for group in alike if picks[0] in group)
    begin = members.index(picks[0])
    return [members[(begin + i) % len(members)] for i in range(len(picks))]


def real(lane: Lane, subject: Subject, point: Point, count: int) -> Feeds:
    """Feeds of real rows at their own lengths, padded to the longest row of each batch.

    A candidate that may not pad gets batches of rows that are as long as the first one picked.
    """
    encode, model_rows = encoder(lane, subject), pieces(lane, subject).rows
    axes = _length_axes(lane, subject)
    generator = np.random.default_rng([subject.seed, 1])
    arrays: list[dict[str, np.ndarray]] = []
    widths: list[int] = []
    masked = total = size = 0
    alike = None if own(lane, subject).pads else own(lane, subject).together(model_rows, len(model_rows))
    for picks in batches(count, len(model_rows), point.batch_size, generator):
        if alike is not None:
            picks = _of_one_length(picks, alike)
        inputs = encode([model_rows[i] for i in picks]).inputs
        arrays.append(lane.feed(inputs))
        size += sum(array.nbytes for array in arrays[-1].values())
        if axes:
            name, axis = next(iter(axes.items()))
            widths.append(inputs[name].shape[axis])
        mask = inputs.get("attention_mask")
        if mask is not None:
            masked += int((mask == 0).sum())
            total += mask.size
        if size > _FEED_BYTES and len(arrays) >= _FIXED_FEEDS:
            break
    return Feeds(
        arrays=arrays,
        positions=float(np.mean(widths)) if widths else None,
        padding=masked / total if total else None,
        unit=subject.task.UNIT,
    )


def at(lane: Lane, subject: Subject, point: Point, count: int) -> Feeds:
    """The feeds of a point: up to ``count`` different ones."""
    if point.length == DATA:
        return real(lane, subject, point, count)
    return fixed(lane, subject, point, min(count, _FIXED_FEEDS))


def stream(
    lane: Lane, subject: Subject, rows: Sequence[Row], batch_size: int, *, labelled: bool = False
) -> Iterator[tuple[list[int], Batch, dict[str, np.ndarray]]]:
    """Row numbers, encoded batch and outputs, batch after batch.

    Args:
        lane: the candidate.
        subject: the task and its head.
        rows: pieces to run, encoded by the candidate's own processor.
        batch_size: rows at once; rows of similar length share a batch, to keep padding small.
        labelled: whether the batches carry the rows' labels.
    """
    encode = encoder(lane, subject, labelled=labelled)
    single = [[i] for i in range(len(rows))]
    grouped = own(lane, subject).together(rows, batch_size) if batch_size > 1 else single
    waiting: list[tuple[list[int], Batch]] = []
    size = 0
    for number, picks in enumerate(grouped, start=1):
        batch = encode([rows[i] for i in picks])
        waiting.append((picks, batch))
        size += sum(array.nbytes for array in batch.inputs.values()) + _output_bytes(lane, subject, batch)
        if size > _INFER_BYTES or len(waiting) >= 64 or number == len(grouped):
            outputs = lane.infer([lane.feed(batch.inputs) for _, batch in waiting])
            opened = own(lane, subject)
            for (members, _), output in zip(waiting, outputs, strict=True):
                rehearsal.check_outputs(
                    output, opened.links, opened.head, len(members), lane.spec.artifact.path
                )
            yield from ((*pair, output) for pair, output in zip(waiting, outputs, strict=True))
            waiting, size = [], 0


def _output_bytes(lane: Lane, subject: Subject, batch: Batch) -> int:
    """Bytes of a batch's FP32 outputs, which a vocabulary at every token makes many more than its inputs'."""
    opened = own(lane, subject)
    shape = next(iter(batch.inputs.values())).shape
    return sum(
        4 * opened.head.width * int(np.prod([shape[axis] for axis in axes if axis < len(shape)]))
        for axes in opened.spec.outputs.values()
    )


def predict(
    lane: Lane, subject: Subject, batch_size: int, progress: Callable[[int], None]
) -> list[Prediction]:
    """The candidate's predictions on every row, in order; computed once a batch size.

    Args:
        lane: the candidate.
        subject: rows and task.
        batch_size: rows at once; rows of similar length share a batch, to keep padding small.
        progress: called with a number of rows after each batch.
    """
    key = ("predictions", batch_size)
    if key in lane.memo:
        progress(len(subject.rows))
        predictions: list[Prediction] = lane.memo[key]
        return predictions
    parts = pieces(lane, subject)
    head = plain(lane, subject)
    by_piece: dict[int, Prediction] = {}
    answered = 0
    for picks, batch, output in stream(lane, subject, parts.rows, batch_size):
        by_piece.update(zip(picks, subject.task.decode(output, batch, head), strict=True))
        share = len(by_piece) * len(subject.rows) // len(parts.rows)
        progress(share - answered)
        answered = share
    in_order = [by_piece[i] for i in range(len(parts.rows))]
    return decided(lane, subject, subject.task.joined(in_order, parts, head), batch_size)


def plain(lane: Lane, subject: Subject) -> Head:
    """The candidate's own head without its thresholds, which ``decided`` takes."""
    return replace(own(lane, subject).head, thresholds=None)


def decided(
    lane: Lane, subject: Subject, undecided: Sequence[Prediction], batch_size: int | None
) -> list[Prediction]:
    """Predictions at the candidate's own thresholds, out of those made without.

    Args:
        lane: the candidate.
        subject: the task.
        undecided: of all rows, where they are to be kept.
        batch_size: under which the predictions of the evaluation rows are kept; None for other rows.
    """
    head, usual = own(lane, subject).head, subject.task.usual(own(lane, subject).head)
    predictions = subject.task.decided(undecided, head)
    if batch_size is not None:
        key = ("predictions", batch_size)
        lane.memo[key] = predictions
        if head.thresholds != usual.thresholds:
            lane.memo[(*key, "usual")] = subject.task.decided(undecided, usual)
    return predictions


def usual_predictions(lane: Lane, batch_size: int) -> list[Prediction] | None:
    """What the candidate would predict at usual thresholds; None where it has no others.

    Args:
        lane: whose predictions were made.
        batch_size: of theirs.
    """
    predictions: list[Prediction] | None = lane.memo.get(("predictions", batch_size, "usual"))
    return predictions
