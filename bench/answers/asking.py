"""What the damage probes share: the original's lane beside each candidate's, and asking both at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from bench.answers import answers
from bench.lanes import feeds
from compress import log
from compress.errors import DataError, NothingToMeasure
from compress.strict import Strict
from deploy import truncation

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from bench.lanes.lane import Lane
    from bench.probes import Subject


class DamageConfig(Strict):
    """The base of every damage probe's options.

    Attributes:
        batch_size: rows at once; the first of the bench's batch sizes when absent.
    """

    batch_size: int | None = Field(default=None, ge=1, le=65_536)


class Asker:
    """The original and one candidate, open, that answer the same rows.

    Attributes:
        name: of the candidate.
        subject: what is measured on.
        size: rows at once.
    """

    def __init__(self, before: Lane, after: Lane, subject: Subject, size: int, title: str) -> None:
        self.name = after.name
        self.subject = subject
        self.size = size
        self._lanes = before, after
        self._title = title

    def rows(self, rows: Sequence[dict[str, Any]], key: str | None = None) -> Pair:
        """Both models' answers; kept for the next probe under a key."""
        with log.progress(f"{self._title} ({self.name})", 2 * len(rows)) as bar:
            return answers.pair(*self._lanes, self.subject, rows, self.size, bar.advance, key)

    def evaluation(self) -> Pair:
        """Both models' answers on the evaluation rows."""
        return self.rows(self.subject.rows, answers.EVALUATION)

    def cut(self, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        """A note for each limit, the original's and the candidate's, that cuts some of the rows."""
        counted = [truncation.count(feeds.own(lane, self.subject), rows) for lane in self._lanes]
        sentences = dict.fromkeys(
            count.sentence("texts") for count in counted if count is not None and count.cut
        )
        return tuple(sentences)

    def lengths(self) -> np.ndarray | None:
        """Tokens of each evaluation row, as the original counts them; None where rows have no length."""
        counts: np.ndarray | None = self.subject.task.lengths(
            self.subject.rows, feeds.processor(self._lanes[0], self.subject)
        )
        return counts


def candidates(lanes: Sequence[Lane], subject: Subject, config: DamageConfig, title: str) -> Iterator[Asker]:
    """An asker for each candidate whose answers can be held against those of the baseline, the original.

    Raises:
        NothingToMeasure: there is none.
    """
    original = next(lane for lane in lanes if lane.name == subject.baseline)
    size = config.batch_size or subject.bench.batch_sizes[0]
    for lane in against(lanes, subject, title):
        yield Asker(original, lane, subject, size, title)


def against(lanes: Sequence[Lane], subject: Subject, title: str) -> list[Lane]:
    """The candidates whose answers can be held against the baseline's: vectors of as many numbers.

    Raises:
        NothingToMeasure: there is none, of some candidates.
    """
    rivals = [lane for lane in lanes if lane.name != subject.baseline]
    if subject.head.answer != "vector":
        return rivals
    sizes = {lane.name: feeds.own(lane, subject).head.size for lane in rivals}
    shorter = [lane.name for lane in rivals if sizes[lane.name] != subject.head.size]
    if shorter:
        reason = (
            f"the vectors of '{shorter[0]}' have {sizes[shorter[0]]} numbers and those of "
            f"'{subject.baseline}' {subject.head.size}: what they find is compared by accuracy"
        )
        if len(shorter) == len(rivals):
            raise NothingToMeasure(reason)
        log.warning("%s: %s.", title, reason)
    return [lane for lane in rivals if lane.name not in shorter]


def tuning(subject: Subject) -> tuple[Sequence[dict[str, Any]], str | None]:
    """The selection rows, which are none of those that measure, or why there are none."""
    if subject.selection is None:
        return (), "only evaluation rows were given"
    try:
        rows = subject.selection()
        if not len(rows):
            return (), str(getattr(rows, "reason", "there are no selection rows"))
    except DataError as refusal:
        return (), str(refusal)
    return rows, None


def generator(subject: Subject, number: int) -> np.random.Generator:
    """The probe's own source of chance, by the run's seed."""
    return np.random.default_rng([subject.seed, number])
