"""The figures of a report's first screen, each with what its interval allows to say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

from bench.lanes.noise import DISTURBED
from bench.record.model import Interval, Measurement, Report
from bench.report import summary


@dataclass(frozen=True)
class Card:
    """One figure of the first screen.

    Attributes:
        title: what it is.
        value: the figure.
        interval: where it lies with 95 % confidence; empty where it has none.
        sure: what the interval allows to say, in a few words; empty without one.
        detail: before and after.
    """

    title: str
    value: str
    interval: str
    sure: str
    detail: str

    @property
    def words(self) -> str:
        """Everything but title and figure, in one line."""
        interval = f"95 % interval {self.interval}" if self.interval else ""
        return "; ".join(part for part in (interval, self.sure, self.detail) if part)


def cards(report: Report) -> list[Card]:
    """The first screen: speed, accuracy, size and memory of what ships against the baseline."""
    by_name = {line.name: line for line in summary.lines(report)}
    before, after = by_name[report.baseline], by_name[summary.shipped(report)]
    found = []
    faster = summary.speedup(after.p50)
    if faster is not None and after.p50 is not None and before.p50 is not None:
        where = summary.where(summary.grid(report)[0])
        found.append(
            Card(
                title="Speed-up",
                value=summary.times(faster),
                interval=summary.times_interval(faster),
                sure=_sure(faster[1], 1, ("slower", "faster", "no clear difference"), after.p50, before.p50),
                detail=f"p50 {summary.time(before.p50)} to {summary.time(after.p50)}, {where}",
            )
        )
    if after.score is not None and before.score is not None:
        words = ("lower", "higher", "no clear change")
        found.append(
            Card(
                title=f"Change in {after.score.metric}",
                value=summary.change(after.score),
                interval=summary.change_interval(after.score),
                sure=_sure(after.score.difference_interval, 0, words, after.score, before.score),
                detail=f"{summary.score(before.score)} to {summary.score(after.score)}",
            )
        )
    for title, own, other, show in (
        ("Peak memory", after.memory, before.memory, summary.memory),
        ("Size on disk", after.size, before.size, summary.size),
    ):
        if own is not None and other is not None:
            share = f" ({summary.digits(own.value / other.value)}x)" if other.value else ""
            found.append(Card(title, show(own.value), "", "", f"{show(other.value)} before{share}"))
    return found


def _sure(interval: Interval | None, same: float, words: tuple[str, str, str], *both: Measurement) -> str:
    """What an interval allows to say: below, above, or neither; and whether both runs were steady ones.

    Args:
        interval: of the comparison.
        same: its figure of "no difference".
        words: for below, above and neither.
        both: what was compared, of the candidate and of the baseline: either can spoil it.
    """
    if interval is None:
        return ""
    if interval.high < same:
        said = f"clearly {words[0]}"
    else:
        said = f"clearly {words[1]}" if interval.low > same else words[2]
    flags = reduce(or_, (one.flags for one in both))
    if flags.spoiled:
        return f"{said}, but a spoiled run"
    if flags.unstable:
        return f"{said}, but an unstable run"
    # As the gate on latency sees it: what others took of the timed seconds.
    return f"{said}, but a disturbed run" if any((one.disturbed or 0) > DISTURBED for one in both) else said
