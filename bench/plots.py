"""Plots of a report as inline SVG that follows the page's colors, light or dark.

The background is transparent, lines and text take the page's ``currentColor``; nothing is loaded from
anywhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench import stats, summary
from bench.record import Report

# Mid tones that carry on white and on near-black alike; order and labels tell them apart without color.
PALETTE = ("#4385c9", "#d9822b", "#2f9e6e", "#b35fb3", "#c94f4f", "#8a8f3c", "#6b7f91", "#b08968")
# Stands for the page's text color until the SVG is written.
_INK = "#010203"
_WIDTH = 5.2
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "legend.frameon": False,
}


def color(index: int) -> str:
    """The color of the candidate at an index."""
    return PALETTE[index % len(PALETTE)]


def _short(name: str, limit: int = 22) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _svg(draw: Callable[[Figure], None], height: float, label: str, salt: str) -> str:
    """Draw a figure and give it as an ``<svg>`` element that scales with the page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    escaped = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'{opening} role="img" aria-label="{escaped}">{rest.strip()}'


def _scale(axes: Any, values: Sequence[float]) -> None:
    """A time axis: from zero, or logarithmic with ticks at 1, 2 and 5 where the figures lie far apart."""
    if max(values) <= 4 * min(values):
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def tradeoff(report: Report) -> str | None:
    """The task's main metric against p50 latency, with intervals and the Pareto front; None without both."""
    lines = [line for line in summary.lines(report) if line.score is not None and line.p50 is not None]
    if not lines:
        return None
    metric = summary.main_metric(report) or ""
    shown = [(line.name, line.p50, line.score) for line in lines if line.p50 and line.score]
    percent = 100 if shown[0][2].unit == "share" else 1
    higher = 1 if shown[0][2].better == "higher" else -1

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        front = stats.pareto([(p50.value, higher * score.value) for _, p50, score in shown])
        if len(front) > 1:
            axes.plot(
                [shown[i][1].value for i in front],
                [percent * shown[i][2].value for i in front],
                linestyle="--",
                linewidth=1,
                color=_INK,
                alpha=0.6,
                label="Pareto front",
            )
        for index, (name, p50, score) in enumerate(shown):
            bars = []
            for one, factor in ((p50, 1), (score, percent)):
                low, high = (one.interval.low, one.interval.high) if one.interval else (one.value, one.value)
                bars.append(np.clip([[one.value - low], [high - one.value]], 0, None) * factor)
            axes.errorbar(
                p50.value,
                percent * score.value,
                xerr=bars[0],
                yerr=bars[1],
                fmt="none",
                capsize=2,
                elinewidth=1,
                ecolor=color(index),
            )
            axes.plot(
                p50.value,
                percent * score.value,
                linestyle="none",
                marker="o",
                markersize=8,
                color=color(index),
                label=_short(name),
            )
        values = [p50.value for _, p50, _ in shown]
        _scale(axes, values)
        axes.set_xlabel("p50 latency, ms (left is faster)")
        axes.set_ylabel(f"{metric}, %" if percent == 100 else metric)
        axes.grid(alpha=0.2)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9.5)

    height = 3.3 + 0.2 * ((len(shown) + 2) // 2)
    return _svg(draw, height, f"{metric} against p50 latency of each candidate", "tradeoff")


def _rows(report: Report) -> list[tuple[int, str]]:
    return [(index, candidate.name) for index, candidate in enumerate(report.candidates)]


def distribution(report: Report) -> str | None:
    """Latency samples of each candidate at the first point of the grid, as boxes; None without samples."""
    points = summary.grid(report)
    if not points:
        return None
    shown = []
    for index, name in _rows(report):
        found = report.find(name, "latency_p50_ms", **points[0])
        if found is not None and found.samples:
            shown.append((index, name, np.array(found.samples)))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        boxes = axes.boxplot(
            [samples for _, _, samples in shown],
            orientation="horizontal",
            whis=(5, 95),
            widths=0.55,
            patch_artist=True,
            tick_labels=[_short(name) for _, name, _ in shown],
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": _INK, "alpha": 0.4},
            medianprops={"color": _INK, "linewidth": 1.5},
            whiskerprops={"color": _INK},
            capprops={"color": _INK},
        )
        for box, (index, _, _) in zip(boxes["boxes"], shown, strict=True):
            box.set(facecolor=color(index), edgecolor=_INK, alpha=0.85)
        axes.invert_yaxis()
        _scale(axes, [float(np.median(samples)) for _, _, samples in shown])
        axes.set_xlabel("latency, ms")
        axes.grid(axis="x", alpha=0.2)

    return _svg(
        draw, 1.1 + 0.42 * len(shown), f"Latency distribution, {summary.where(points[0])}", "distribution"
    )


def bars(report: Report, metric: str, label: str, factor: float, show: Callable[[float], str]) -> str | None:
    """A bar a candidate of one metric; None where it was not measured.

    Args:
        report: to draw.
        metric: its name.
        label: of the axis, with the unit.
        factor: of the unit, such as 1e6.
        show: the figure in words, written at the bar's end.
    """
    shown = [(index, name, report.find(name, metric)) for index, name in _rows(report)]
    present = [(index, name, one.value) for index, name, one in shown if one is not None]
    if not present:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        drawn = axes.barh(
            [_short(name) for _, name, _ in present],
            [value / factor for _, _, value in present],
            color=[color(index) for index, _, _ in present],
            height=0.6,
        )
        axes.bar_label(drawn, labels=[show(value) for _, _, value in present], padding=4)
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.2)

    return _svg(draw, 0.95 + 0.36 * len(present), f"{label} of each candidate", metric)


def size_bars(report: Report) -> str | None:
    """Size on disk of each candidate."""
    return bars(report, "size_bytes", "size on disk, MB", 1e6, summary.size)


def memory_bars(report: Report) -> str | None:
    """Peak memory of each candidate's process."""
    return bars(report, "memory_peak_bytes", "peak memory of the process, MiB", 2**20, summary.memory)
