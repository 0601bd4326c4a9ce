"""The figures of a report's first screen, each with what its interval allows to say."""

from __future__ import annotations

from functools import reduce
from operator import or_

from bench.display.parts import Card
from bench.lanes.noise import DISTURBED
from bench.record.figure import Figure
from bench.record.model import Interval, Measurement, Report
from bench.report import summary
from compress import quantities


def cards(report: Report) -> list[Card]:
    """The first screen: what ships against the baseline, in the figures that have a card there."""
    figures = [(metric, figure) for metric, figure in summary.figures(report).items() if figure.card]
    drafts = [
        _card(report, metric, figure) for metric, figure in sorted(figures, key=lambda pair: pair[1].rank)
    ]
    return [card for card in drafts if card is not None]


def _card(report: Report, metric: str, figure: Figure) -> Card | None:
    """A figure's card; None where one of the two sides has none, or the comparison none."""
    candidate, baseline = (
        summary.at(report, name, metric, figure) for name in (summary.shipped(report), report.baseline)
    )
    if candidate is None or baseline is None:
        return None
    title = figure.card.format(metric=figure.title)
    before, after = summary.value(baseline, figure), summary.value(candidate, figure)
    shows = {column.shows for column in figure.columns}
    if "times" in shows:
        faster = summary.speedup(candidate)
        if faster is None:
            return None
        place = summary.where(candidate.conditions)
        return Card(
            title=title,
            value=summary.times(faster),
            interval=summary.times_interval(faster),
            sure=_sure(faster[1], 1, figure.words, candidate, baseline),
            detail=f"{figure.columns[0].title} {before} to {after}" + (f", {place}" if place else ""),
        )
    if "change" in shows:
        return Card(
            title=title,
            value=summary.change(candidate),
            interval=summary.change_interval(candidate),
            sure=_sure(candidate.difference_interval, 0, figure.words, candidate, baseline),
            detail=f"{before} to {after}",
        )
    share = f" ({quantities.digits(candidate.value / baseline.value)}x)" if baseline.value else ""
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
        phrase = f"clearly {words[0]}"
    else:
        phrase = f"clearly {words[1]}" if interval.low > same else words[2]
    flags = reduce(or_, (measurement.flags for measurement in both))
    if flags.spoiled:
        return f"{phrase}, but a spoiled run"
    if flags.unstable:
        return f"{phrase}, but an unstable run"
    # As the gate on latency sees it: what others took of the timed seconds.
    return (
        f"{phrase}, but a disturbed run"
        if any((measurement.disturbed or 0) > DISTURBED for measurement in both)
        else phrase
    )
