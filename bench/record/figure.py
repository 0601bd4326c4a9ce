"""How a probe's figures are shown and compared: what every face of a report iterates over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

TIMES = frozenset({"ms", "s", "per_s"})
"""Units of a figure that a busy machine moves."""


@dataclass(frozen=True)
class Column:
    """A column that a figure has in a table.

    Attributes:
        title: above it; the metric's own name when empty.
        rank: lower ones stand further left.
        shows: the figure, its change against the baseline, or how many times faster than it that is.
        table: title of the table; the one of all candidates when empty.
        wide: whether only the page has the room.
    """

    title: str = ""
    rank: int = 100
    shows: Literal["value", "change", "times"] = "value"
    table: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure of a probe, or several by a pattern of their names.

    Attributes:
        metric: its name in a report, such as ``size_bytes``, or a pattern, such as ``latency_p*_ms``.
        title: of its row, in words, where ``{}`` stands for what the ``*`` of a pattern does; the metric's
            name without its unit when empty.
        columns: that it has.
        rows: where it is listed with the further figures when no column there shows it; the terminal leaves
            out what is for the ``page``.
        exact: ``counted``: the same each time. ``memory``: differs a little without a reason. ``timed``: what
            others take of the machine moves it. ``sampled``: its interval says it. By its unit when None.
        main: whether the first of these that a report holds is what the task is about.
        card: title of its card on the first screen; none when empty. ``{metric}`` stands for its title.
        rank: of the card.
        words: for a figure that is surely below the baseline's, surely above, and neither.
        grid: whether there is one for each batch size and length.
        found: conditions that say what was found and not where it was looked for.
        gate: that looks at all of them, where a report holds several of one name.
        advice: what gives it an interval, where it has none.
    """

    metric: str
    title: str = ""
    columns: tuple[Column, ...] = ()
    rows: Literal["everywhere", "page", "nowhere"] = "everywhere"
    exact: Literal["counted", "memory", "timed", "sampled"] | None = None
    main: bool = False
    card: str = ""
    rank: int = 100
    words: tuple[str, str, str] = ("lower", "higher", "no clear change")
    grid: bool = False
    found: frozenset[str] = frozenset()
    gate: str = ""
    advice: str = ""

    def exactness(self, unit: str) -> str:
        """How exact it is, where it is in that unit."""
        return self.exact or ("timed" if unit in TIMES else "sampled")

    def of(self, metric: str) -> Figure:
        """It for one of the metrics that its pattern names."""
        before, _, after = self.metric.partition("*")
        return replace(self, title=self.title.replace("{}", metric.removeprefix(before).removesuffix(after)))

    def fits(self, metric: str) -> int:
        """How closely it names a metric: characters that it fixes, and 0 where it names another."""
        if not fnmatchcase(metric, self.metric):
            return 0
        return 1 + len(self.metric.replace("*", "")) + (metric == self.metric)


def closest(figures: tuple[Figure, ...], metric: str) -> Figure | None:
    """The one that names a metric most closely; None where none does."""
    best = max(figures, key=lambda figure: figure.fits(metric), default=None)
    return best if best is not None and best.fits(metric) else None
