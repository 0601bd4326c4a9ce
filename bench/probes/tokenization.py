"""How a candidate's tokenizer reads the evaluation rows, beside the baseline's: unknown pieces, and length.

A smaller vocabulary answers text whose pieces all stayed as before. Other text falls into more pieces,
which cost time and room under the length limit, or becomes unknown, which costs answers. Both are counted on
rows that had no say in which pieces stay, as the model reads them (prompts and marks included) and before any
limit cuts them; rows that a limit newly cuts are what the gate ``truncation`` looks at.

Intervals come from resampled rows, the same ones for both tokenizers; that of the longest growth is of ranks
(a binomial's), and where no row has an unknown piece the bound is Wilson's for rows, as if a row with one had
nothing else. A candidate that has the baseline's tokenizer file by file is not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.lanes import feeds
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Interval, Measurement, Report
from bench.statistics import stats
from compress import log
from compress.errors import NothingToMeasure
from compress.model.tokenizer_files import CONFIG, TOKENIZER
from compress.strict import Strict
from compress.vocabulary import texts

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (
    Figure("unknown_pieces", columns=(Column("unknown pieces", rank=52, wide=True),)),
    Figure(
        "length_growth", title="growth in pieces", columns=(Column("growth in pieces", rank=53, wide=True),)
    ),
    Figure("length_growth_p95", title="growth in pieces, p95"),
)

_PERCENTILE = 95
_AT_ONCE = 64
_SHARED = (TOKENIZER, CONFIG, "special_tokens_map.json", "added_tokens.json")


class Config(Strict):
    """There is nothing to choose."""


def counts(ids: Sequence[np.ndarray], unknown: int | None) -> np.ndarray:
    """Pieces of each row, and unknown ones among them: float64 [rows, 2].

    Args:
        ids: of each row, without padding.
        unknown: the id of the unknown piece; None where there is none.
    """
    numbers = [0 if unknown is None else int((row == unknown).sum()) for row in ids]
    return np.array([[len(row), number] for row, number in zip(ids, numbers, strict=True)], dtype=np.float64)


def unknown_id(processor: Any) -> int | None:
    """The id of a tokenizer's unknown piece; None where a mark has it, so that it says nothing of a text."""
    number: int | None = getattr(processor, "unk_token_id", None)
    names = ("bos", "eos", "cls", "sep", "pad", "mask")
    marks = {getattr(processor, f"{name}_token_id", None) for name in names}
    return None if number in marks else number


def read(lane: Lane, subject: Subject) -> np.ndarray:
    """``counts`` of the evaluation rows by a candidate's own tokenizer, uncut.

    Rows that a model sees in pieces (two texts, windows) count all of these together.
    """
    encoder, task = feeds.own(lane, subject), subject.task
    pieces = task.pieces(subject.rows, encoder.processor, None)
    unknown = unknown_id(encoder.processor)
    totals = np.zeros((len(subject.rows), 2))
    with log.progress(f"tokenization ({lane.name})", len(pieces.rows)) as bar:
        for at in range(0, len(pieces.rows), _AT_ONCE):
            chunk = pieces.rows[at : at + _AT_ONCE]
            inputs = task.encode(chunk, encoder.processor, encoder.head, None, labelled=False).inputs
            marked = inputs["attention_mask"] != 0
            ids = [row[real] for row, real in zip(inputs["input_ids"], marked, strict=True)]
            np.add.at(totals, pieces.owner[at : at + _AT_ONCE], counts(ids, unknown))
            bar.advance(len(chunk))
    return totals


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Unknown pieces and growth of length of every candidate; the baseline grows by nothing.

    Raises:
        NothingToMeasure: rows hold no text, or the model takes no pieces of it.
    """
    original = next(lane for lane in lanes if lane.name == subject.baseline)
    if not texts.roles(subject.task) or "input_ids" not in feeds.own(original, subject).spec.inputs:
        raise NothingToMeasure("tokenization is of texts, and the model of this task reads none")
    before = read(original, subject)
    identity = _files(original, subject)
    weights = stats.resample_weights(len(before), np.random.default_rng([subject.seed, 13]))
    measurements = []
    for lane in lanes:
        same = lane is original or (identity and _files(lane, subject) == identity)
        after = before if same else read(lane, subject)
        notes = (_sentence(before, after, subject.baseline, same=bool(same)),)
        measurements += figures(lane.name, before, after, weights.astype(np.float64), notes)
    return measurements


def figures(
    name: str, before: np.ndarray, after: np.ndarray, weights: np.ndarray, notes: tuple[str, ...]
) -> list[Measurement]:
    """The figures of one candidate; the percentile only where there are rows enough to carry it.

    Args:
        name: of the candidate.
        before: ``counts`` of the baseline's tokenizer.
        after: of the candidate's.
        weights: resamples, float64 [resamples, rows].
        notes: said with the figures.
    """
    sums, base = after.sum(axis=0), before.sum(axis=0)
    drawn, base_drawn = weights @ after, weights @ before
    shares, base_shares = (side[:, 1] / side[:, 0] for side in (drawn, base_drawn))
    unknown = float(sums[1] / sums[0])
    rise = unknown - float(base[1] / base[0])
    interval, rise_interval = stats.interval(shares), stats.interval(shares - base_shares)
    none_seen = stats.wilson(0.0, len(after))
    if not after[:, 1].any():
        interval = none_seen
    if after is not before and np.array_equal(after[:, 1], before[:, 1]):
        rise_interval = Interval(low=min(rise, 0.0), high=max(rise, none_seen.high))
    growths = after[:, 0] / before[:, 0] - 1
    growth = float(sums[0] / base[0] - 1)
    conditions: dict[str, int | str] = {"rows": len(after)}

    def figure(metric: str, value: float, spread: Interval | None, change: float, of: Any) -> Measurement:
        return Measurement(
            probe="tokenization",
            candidate=name,
            metric=metric,
            value=value,
            unit=UNIT,
            better=BETTER,
            interval=spread,
            difference=change,
            difference_interval=of,
            conditions=conditions,
            notes=notes,
        )

    spread = stats.interval(drawn[:, 0] / base_drawn[:, 0] - 1)
    measured = [
        figure("unknown_pieces", unknown, interval, rise, rise_interval),
        figure("length_growth", growth, spread, growth, spread),
    ]
    if stats.supported(len(growths), _PERCENTILE):
        tail, ranks = stats.percentile(growths, _PERCENTILE), stats.rank_interval(growths, _PERCENTILE)
        measured.append(figure("length_growth_p95", tail, ranks, tail, ranks))
    return measured


def _files(lane: Lane, subject: Subject) -> dict[str, str]:
    """Checksums of the files that a candidate's tokenizer is read from, and what it puts before texts."""
    processor = feeds.processor(lane, subject)
    names = {*_SHARED, *getattr(processor, "vocab_files_names", {}).values()}
    files = lane.spec.artifact.manifest.files
    sums = {name: files[name].sha256 for name in sorted(names & files.keys())}
    return {**sums, "description": repr(getattr(processor, "description", None))} if sums else {}


def _sentence(before: np.ndarray, after: np.ndarray, baseline: str, *, same: bool) -> str:
    """How many pieces there are, and how many rows are read otherwise."""
    if same:
        return f"the tokenizer of '{baseline}': {after[:, 0].mean():.1f} pieces a row"
    longer, unknown = (int((after[:, column] > before[:, column]).sum()) for column in (0, 1))
    return (
        f"{after[:, 0].mean():.1f} pieces a row and {before[:, 0].mean():.1f} by '{baseline}'; {longer} rows "
        f"get longer, {unknown} have more unknown pieces"
    )


def explanation(report: Report) -> str:
    """What was counted, and what the intervals are."""
    return (
        "Tokenization: unknown pieces are a share of all pieces of the evaluation rows; growth of length is "
        f"against the tokenizer of '{report.baseline}': of all rows together, and what {_PERCENTILE} % of "
        "the rows stay below. No limit cuts what is counted here."
    )
