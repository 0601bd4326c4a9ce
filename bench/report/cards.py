"""The figures of a report's first screen, each with what its interval allows to say."""

from __future__ import annotations

from functools import reduce
from operator import or_

from bench.display.parts import Card
from bench.lanes.noise import DISTURBED
from bench.record.figure import Figure
from bench.record.model import Interval, Measurement, Report
from bench.report import summary


def cards(report: Report) -> list[Card]:
    """The first screen: what ships against the baseline, in the figures that have a card there."""
    shown = [(metric, figure) for metric, figure in summary.figures(report).items() if figure.card]
    made = [_card(report, metric, figure) for metric, figure in sorted(shown, key=lambda one: one[1].rank)]
    return [card for card in made if card is not None]


def _card(report: Report, metric: str, figure: Figure) -> Card | None:
    """A figure's card; None where one of the two sides has none, or the comparison none."""
    own, other = (
        summary.at(report, name, metric, figure) for name in (summary.shipped(report), report.baseline)
    )
    if own is None or other is None:
        return None
    title = figure.card.format(metric=metric)
    before, after = summary.value(other, figure), summary.value(own, figure)
    shows = {column.shows for column in figure.columns}
    if "times" in shows:
        faster = summary.speedup(own)
        if faster is None:
            return None
        where = summary.where(own.conditions)
        return Card(
            title=title,
            value=summary.times(faster),
            interval=summary.times_interval(faster),
            sure=_sure(faster[1], 1, figure.words, own, other),
            detail=f"{figure.columns[0].title} {before} to {after}" + (f", {where}" if where else ""),
        )
    if "change" in shows:
        return Card(
            title=title,
            value=summary.change(own),
            interval=summary.change_interval(own),
            sure=_sure(own.difference_interval, 0, figure.words, own, other),
            detail=f"{before} to {after}",
        )
    share = f" ({summary.digits(own.value / other.value)}x)" if other.value else ""
    return Card(title, after, "", "", f"{before} before{share}")


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
