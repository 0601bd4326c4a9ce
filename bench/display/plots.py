"""What the plots of findings share: colors of the two models, names on an axis, and pairs of points."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from bench.display import svg

# The original and the candidate everywhere, and what became worse.
BEFORE, AFTER, WORSE = svg.color(0), svg.color(1), svg.color(4)
MOST = 14
"""Rows of a plot."""


def label(text: str, rows: int | None = None) -> str:
    """A name on at most two lines, with its number of rows behind it whatever was cut."""
    lines = textwrap.wrap(text, 24, max_lines=2, placeholder=" …") or [text]
    return "\n".join(lines) + (f" ({rows})" if rows is not None else "")


def pairs(rows: Sequence[tuple[str, float, float]], axis: str, title: str) -> str:
    """Two points a row, joined: the original's and the candidate's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (_, before, after) in enumerate(rows):
            axes.plot([before, after], [place, place], color=svg.INK, alpha=0.4, linewidth=1.5)
        for side, (name, shade, marker) in enumerate((("original", BEFORE, "o"), ("candidate", AFTER, "D"))):
            axes.plot(
                [row[1 + side] for row in rows],
                range(len(rows)),
                linestyle="none",
                marker=marker,
                markersize=6 - side,
                color=shade,
                label=name,
            )
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(axis)
        axes.grid(axis="x")
        axes.tick_params(axis="y", labelsize=10.5)
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    return svg.render(draw, 1.3 + 0.38 * len(rows), title, title)
