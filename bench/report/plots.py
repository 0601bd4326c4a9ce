"""Plots of a report, each as one inline SVG; a plot whose figures were not measured is None."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from bench.record.model import Interval, Report
from bench.report import summary, svg
from bench.statistics import stats


def _short(name: str, limit: int = 22) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _scale(axes: Any, values: Sequence[float]) -> None:
    """A time axis: from zero, or logarithmic with ticks at 1, 2 and 5 where the figures lie far apart."""
    if max(values) <= 4 * min(values):
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def _lines(name: str) -> str:
    """A long name on at most two lines."""
    return "\n".join(textwrap.wrap(name, 22, max_lines=2, placeholder="…"))


Dot = tuple[int, str, float, Interval | None]


def _intervals(
    dots: Sequence[Dot], label: str, reference: float, show: Callable[[float], str], title: str, name: str
) -> str | None:
    """A dot with its interval a row, against a line that says "as before"; None without rows."""
    if not dots:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(reference, color=svg.INK, linewidth=1, linestyle="--", alpha=0.6)
        for place, (index, _, value, interval) in enumerate(dots):
            ink = svg.color(index)
            if interval is not None:
                axes.plot([interval.low, interval.high], [place, place], color=ink, linewidth=2.5)
            axes.plot(value, place, linestyle="none", marker="o", markersize=7, color=ink)
            axes.annotate(
                show(value), (value, place), (0, 7), textcoords="offset points", ha="center", fontsize=11
            )
        axes.set_yticks(range(len(dots)), [_lines(name) for _, name, _, _ in dots])
        axes.set_ylim(len(dots) - 0.5, -0.8)
        axes.margins(x=0.12)
        axes.set_xlabel(label)
        axes.grid(axis="x")

    return svg.render(draw, 0.95 + 0.44 * len(dots), title, name)


def speedups(report: Report) -> str | None:
    """How many times faster than the baseline each candidate is, with intervals."""
    found = [(index, line.name, summary.speedup(line.p50)) for index, line in _others(report)]
    dots = [(index, name, one[0], one[1]) for index, name, one in found if one is not None]
    return _intervals(
        dots,
        "times faster (1 = as before)",
        1,
        lambda value: f"{summary.digits(value)}x",
        "Speed-up of each candidate, with 95 % intervals",
        "speedups",
    )


def changes(report: Report) -> str | None:
    """How the main metric changed against the baseline, with paired intervals."""
    metric = summary.main_metric(report) or ""
    scores = [(index, line.name, line.score) for index, line in _others(report)]
    found = [(index, name, one) for index, name, one in scores if one and one.difference is not None]
    share = all(one.unit == "share" for _, _, one in found)
    return _intervals(
        [
            (index, name, factor * (one.difference or 0.0), _scaled(one.difference_interval, factor))
            for factor in [100 if share else 1]
            for index, name, one in found
        ],
        f"{metric}, {'points' if share else 'difference'} (0 = as before)",
        0,
        lambda value: f"{value:+.2f}" if share else f"{value:+.4f}",
        f"Change in {metric} of each candidate, with 95 % intervals",
        "changes",
    )


def _others(report: Report) -> list[tuple[int, summary.Line]]:
    lines = enumerate(summary.lines(report))
    return [(index, line) for index, line in lines if line.name != report.baseline]


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=factor * interval.low, high=factor * interval.high, level=interval.level)


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
                color=svg.INK,
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
                color=svg.color(index),
            )
            axes.plot(
                p50.value,
                percent * score.value,
                linestyle="none",
                marker="o",
                markersize=8,
                color=svg.color(index),
                label=_short(name),
            )
        values = [p50.value for _, p50, _ in shown]
        _scale(axes, values)
        axes.set_xlabel("p50 latency, ms (left is faster)")
        axes.set_ylabel(f"{metric}, %" if percent == 100 else metric)
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    height = 3.3 + 0.2 * ((len(shown) + 2) // 2)
    return svg.render(draw, height, f"{metric} against p50 latency of each candidate", "tradeoff")


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
            flierprops={
                "marker": ".",
                "markersize": 3,
                "markeredgecolor": svg.INK,
                "markerfacecolor": svg.INK,
                "alpha": 0.4,
            },
            medianprops={"color": svg.INK, "linewidth": 1.5},
            whiskerprops={"color": svg.INK},
            capprops={"color": svg.INK},
        )
        for box, (index, _, _) in zip(boxes["boxes"], shown, strict=True):
            box.set(facecolor=svg.color(index), edgecolor=svg.INK, alpha=0.85)
        axes.invert_yaxis()
        _scale(axes, [float(np.median(samples)) for _, _, samples in shown])
        axes.set_xlabel("latency, ms")
        axes.grid(axis="x")

    return svg.render(
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
            color=[svg.color(index) for index, _, _ in present],
            height=0.6,
        )
        axes.bar_label(drawn, labels=[show(value) for _, _, value in present], padding=4)
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(axis="x")

    return svg.render(draw, 0.95 + 0.36 * len(present), f"{label} of each candidate", metric)


def size_bars(report: Report) -> str | None:
    """Size on disk of each candidate."""
    return bars(report, "size_bytes", "size on disk, MB", 1e6, summary.size)


def memory_bars(report: Report) -> str | None:
    """Peak memory of each candidate's process."""
    return bars(report, "memory_peak_bytes", "peak memory of the process, MiB", 2**20, summary.memory)
