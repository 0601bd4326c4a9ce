"""Plots of damage as inline SVG in the page's own colors; see ``bench.report.svg``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.record.findings import Calibration, Flips, Gap, Passed, Robustness, Slices
from bench.report import svg
from bench.report.damage import figures, words

# The original and the candidate everywhere, and what became worse.
BEFORE, AFTER, WORSE = svg.color(0), svg.color(1), svg.color(4)
_MOST = 14


def _label(text: str, rows: int | None = None) -> str:
    """A name on at most two lines, with its number of rows behind it whatever was cut."""
    lines = textwrap.wrap(text, 24, max_lines=2, placeholder=" …") or [text]
    return "\n".join(lines) + (f" ({rows})" if rows is not None else "")


def slices(found: Slices) -> str:
    """The change in each slice, the worst first, with its interval; the worst and the best where many."""
    shown = list(found.slices)
    if len(shown) > _MOST:
        shown = [*shown[: _MOST - 3], *shown[-3:]]
    factor = 100 if found.unit == "share" else 1
    sure = set(map(id, words.certain(found)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, one in enumerate(shown):
            shade = WORSE if id(one) in sure else BEFORE
            if one.interval is not None:
                axes.plot(
                    [factor * one.interval.low, factor * one.interval.high],
                    [place, place],
                    color=shade,
                    linewidth=1.5,
                )
            axes.plot(factor * one.difference, place, "o", color=shade, markersize=6)
        axes.axvline(0, color=svg.INK, linewidth=0.8, alpha=0.6)
        axes.set_yticks(range(len(shown)), [_label(figures.slice_name(one), one.rows) for one in shown])
        axes.invert_yaxis()
        unit = "points" if found.unit == "share" else found.unit
        axes.set_xlabel(f"change in {found.metric}, {unit}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", labelsize=10.5)

    return svg.render(draw, 1.0 + 0.38 * len(shown), f"Change in {found.metric} by slice", "slices")


def reliability(found: Calibration) -> str:
    """How often answers of a confidence are right, before and now; the diagonal is honest confidence."""
    curves = [("original", found.before, BEFORE, "-"), ("candidate", found.after, AFTER, "-")]
    if found.scaled_after is not None:
        curves.append(("candidate at its temperature", found.scaled_after, AFTER, ":"))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        low = min(100 * min(one.confidence, one.right) for _, side, _, _ in curves for one in side.bins)
        start = max(0.0, low - 3)
        axes.plot([start, 100], [start, 100], color=svg.INK, linewidth=0.8, alpha=0.5, linestyle="--")
        for name, side, shade, line in curves:
            axes.plot(
                [100 * one.confidence for one in side.bins],
                [100 * one.right for one in side.bins],
                marker="o",
                markersize=4,
                linestyle=line,
                color=shade,
                label=name,
            )
        axes.set_xlim(start, 101)
        axes.set_ylim(start, 102)
        axes.set_xlabel("confidence, % (below the dashed line: too sure)")
        axes.set_ylabel("right, %")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    return svg.render(draw, 3.8, "Share of right answers by confidence, before and now", "reliability")


def matrix(found: Flips) -> str | None:
    """Answers of the original against answers of the candidate; None where there is no table of them."""
    if found.matrix is None:
        return None
    table, labels = np.array(found.matrix.counts), found.matrix.labels

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        moved = table.astype(float)
        np.fill_diagonal(moved, 0)
        axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 4 else 0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        top = max(1.0, moved.max())
        for row in range(len(labels)):
            for column in range(len(labels)):
                alpha = 0.12 if row == column else 0.55 * moved[row, column] / top
                axes.add_patch(_square(column, row, BEFORE if row == column else WORSE, alpha))
                axes.text(column, row, str(table[row, column]), ha="center", va="center")
        axes.set_xlabel("candidate says")
        axes.set_ylabel("original says")
        axes.set_aspect("equal")

    return svg.render(draw, 1.4 + min(3.6, 0.75 * len(labels)), "Answers before and now", "matrix")


def _square(x: float, y: float, shade: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, color=shade, alpha=alpha, linewidth=0)


def _dumbbells(
    rows: Sequence[tuple[str, float, float]], label: str, names: tuple[str, str], title: str
) -> str:
    """Two points a row, joined: a share before and a share now."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (_, before, after) in enumerate(rows):
            axes.plot([before, after], [place, place], color=svg.INK, alpha=0.4, linewidth=1.5)
        for side, (shade, marker) in enumerate(((BEFORE, "o"), (AFTER, "D"))):
            axes.plot(
                [one[1 + side] for one in rows],
                range(len(rows)),
                linestyle="none",
                marker=marker,
                markersize=6 - side,
                color=shade,
                label=names[side],
            )
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.tick_params(axis="y", labelsize=10.5)
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    return svg.render(draw, 1.3 + 0.38 * len(rows), title, title)


def changed(found: Robustness) -> str | None:
    """The loss that each change of the text brings to both models; None without labels."""
    factor = 100 if found.unit == "share" else 1
    rows = [
        (_label(one.name), factor * (one.before - one.clean_before), factor * (one.after - one.clean_after))
        for one in found.changes
        if None not in (one.before, one.clean_before, one.after, one.clean_after)
        and one.before is not None
        and one.clean_before is not None
        and one.after is not None
        and one.clean_after is not None
    ]
    if not rows:
        return None
    unit = "points" if found.unit == "share" else found.unit
    label = f"change in {found.metric} on changed texts, {unit}"
    return _dumbbells(rows, label, ("original", "candidate"), "Loss on changed texts")


def tests(found: Sequence[Passed]) -> str:
    """What both models pass, test by test, the worst change first."""
    rows = [(_label(one.name, one.cases), 100 * one.before, 100 * one.after) for one in found[:_MOST]]
    return _dumbbells(rows, "passed, %", ("original", "candidate"), "Challenge tests passed")


def groups(one: Gap) -> str:
    """Each group's figure before and now; the outermost groups where there are many."""
    shown = list(one.groups)
    if len(shown) > _MOST:
        shown = [*shown[: _MOST // 2], *shown[-_MOST // 2 :]]
    factor, unit = (100, "%") if one.unit == "share" else (1, one.unit)
    rows = [(_label(each.name), factor * each.before, factor * each.after) for each in shown]
    label = (
        f"'{one.answer}' against the mean of the same sentence, points"
        if one.of == "score"
        else f"{one.answer}, {unit}"
    )
    return _dumbbells(rows, label, ("original", "candidate"), f"Groups of {one.source}")
