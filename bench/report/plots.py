"""Plots of a report, each as one inline SVG; a plot whose figures were not measured is None."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure

from bench.display import svg
from bench.record.figure import Figure
from bench.record.model import Interval, Measurement, Report
from bench.report import summary
from bench.statistics import stats
from compress import quantities


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

    def draw(figure: MatplotlibFigure) -> None:
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


def drawn(report: Report) -> list[tuple[str, str]]:
    """Every plot with its title: of the figures that have a card, in the way that each is compared."""
    figures = sorted(
        ((metric, figure) for metric, figure in summary.figures(report).items() if figure.card),
        key=lambda pair: pair[1].rank,
    )
    drawings: list[tuple[str, str | None]] = []
    for metric, figure in figures:
        title = figure.card.format(metric=figure.title)
        shows = {column.shows for column in figure.columns}
        if "times" in shows:
            drawings.append((f"{title} (bar: 95 % interval)", speedups(report, metric, figure)))
        elif "change" in shows:
            drawings.append((f"{title} (bar: 95 % interval)", changes(report, metric, figure)))
    drawings += [
        ("Quality against latency", tradeoff(report)),
        ("Latency (box: middle half; whiskers: p5 to p95)", distribution(report)),
    ]
    drawings += [
        (figure.card, bars(report, metric, figure))
        for metric, figure in figures
        if {column.shows for column in figure.columns} <= {"value"}
    ]
    return [(title, drawing) for title, drawing in drawings if drawing]


def _compared(report: Report, metric: str, figure: Figure) -> list[tuple[int, Measurement]]:
    """The figure of every candidate but the baseline, with the candidate's place."""
    pairs = [
        (index, summary.at(report, name, metric, figure))
        for index, name in _rows(report)
        if name != report.baseline
    ]
    return [(index, measurement) for index, measurement in pairs if measurement is not None]


def speedups(report: Report, metric: str, figure: Figure) -> str | None:
    """How many times faster than the baseline each candidate is, with intervals."""
    entries = [
        (index, measurement, summary.speedup(measurement))
        for index, measurement in _compared(report, metric, figure)
    ]
    dots = [
        (index, measurement.candidate, times[0], times[1])
        for index, measurement, times in entries
        if times is not None
    ]
    return _intervals(
        dots,
        "times faster (1 = as before)",
        1,
        lambda value: f"{quantities.digits(value)}x",
        f"{figure.card} of each candidate, with 95 % intervals",
        metric,
    )


def changes(report: Report, metric: str, figure: Figure) -> str | None:
    """How a metric changed against the baseline, with paired intervals."""
    entries = [
        (index, measurement)
        for index, measurement in _compared(report, metric, figure)
        if measurement.difference is not None
    ]
    share = all(measurement.unit == "share" for _, measurement in entries)
    factor = 100 if share else 1
    return _intervals(
        [
            (
                index,
                measurement.candidate,
                factor * (measurement.difference or 0.0),
                _scaled(measurement.difference_interval, factor),
            )
            for index, measurement in entries
        ],
        f"{metric}, {'points' if share else 'difference'} (0 = as before)",
        0,
        lambda value: f"{value:+.2f}" if share else f"{value:+.4f}",
        f"Change in {metric} of each candidate, with 95 % intervals",
        f"change-{metric}",
    )


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=factor * interval.low, high=factor * interval.high, level=interval.level)


def tradeoff(report: Report) -> str | None:
    """The task's main metric against p50 latency, with intervals and the Pareto front; None without both."""
    metric, timed, figures = summary.main_metric(report), summary.timed(report), summary.figures(report)
    if metric is None or timed is None:
        return None
    both = [
        (name, summary.at(report, name, timed, figures[timed]), report.find(name, metric))
        for _, name in _rows(report)
    ]
    points = [(name, time, score) for name, time, score in both if time is not None and score is not None]
    if not points:
        return None
    percent = 100 if points[0][2].unit == "share" else 1
    higher = 1 if points[0][2].better == "higher" else -1

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        front = stats.pareto([(p50.value, higher * score.value) for _, p50, score in points])
        if len(front) > 1:
            axes.plot(
                [points[i][1].value for i in front],
                [percent * points[i][2].value for i in front],
                linestyle="--",
                linewidth=1,
                color=svg.INK,
                alpha=0.6,
                label="Pareto front",
            )
        for index, (name, p50, score) in enumerate(points):
            bars = []
            for measurement, factor in ((p50, 1), (score, percent)):
                low, high = (
                    (measurement.interval.low, measurement.interval.high)
                    if measurement.interval
                    else (measurement.value, measurement.value)
                )
                bars.append(
                    np.clip([[measurement.value - low], [high - measurement.value]], 0, None) * factor
                )
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
        values = [p50.value for _, p50, _ in points]
        _scale(axes, values)
        axes.set_xlabel("p50 latency, ms (left is faster)")
        axes.set_ylabel(f"{metric}, %" if percent == 100 else metric)
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    height = 3.3 + 0.2 * ((len(points) + 2) // 2)
    return svg.render(draw, height, f"{metric} against p50 latency of each candidate", "tradeoff")


def _rows(report: Report) -> list[tuple[int, str]]:
    return [(index, candidate.name) for index, candidate in enumerate(report.candidates)]


def distribution(report: Report) -> str | None:
    """Latency samples of each candidate at the first point of the grid, as boxes; None without samples."""
    points, timed = summary.grid(report), summary.timed(report)
    if not points or timed is None:
        return None
    series = []
    for index, name in _rows(report):
        measurement = report.find(name, timed, **points[0])
        if measurement is not None and measurement.samples:
            series.append((index, name, np.array(measurement.samples)))
    if not series:
        return None

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.subplots()
        boxes = axes.boxplot(
            [samples for _, _, samples in series],
            orientation="horizontal",
            whis=(5, 95),
            widths=0.55,
            patch_artist=True,
            tick_labels=[_short(name) for _, name, _ in series],
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
        for box, (index, _, _) in zip(boxes["boxes"], series, strict=True):
            box.set(facecolor=svg.color(index), edgecolor=svg.INK, alpha=0.85)
        axes.invert_yaxis()
        _scale(axes, [float(np.median(samples)) for _, _, samples in series])
        axes.set_xlabel("latency, ms")
        axes.grid(axis="x")

    return svg.render(
        draw, 1.1 + 0.42 * len(series), f"Latency distribution, {summary.where(points[0])}", "distribution"
    )


def bars(report: Report, metric: str, figure: Figure) -> str | None:
    """A bar a candidate of one metric; None where it was not measured."""
    entries = [(index, name, summary.at(report, name, metric, figure)) for index, name in _rows(report)]
    present = [(index, name, measurement) for index, name, measurement in entries if measurement is not None]
    if not present:
        return None
    unit = {"bytes": "MiB" if figure.exact == "memory" else "MB", "share": "%"}.get(
        present[0][2].unit, present[0][2].unit
    )
    factor = {"MiB": 2**20, "MB": 1e6, "%": 0.01}.get(unit, 1)
    label = f"{figure.card}, {unit}"

    def draw(drawing: MatplotlibFigure) -> None:
        axes = drawing.subplots()
        shapes = axes.barh(
            [_short(name) for _, name, _ in present],
            [measurement.value / factor for _, _, measurement in present],
            color=[svg.color(index) for index, _, _ in present],
            height=0.6,
        )
        axes.bar_label(
            shapes, labels=[summary.value(measurement, figure) for _, _, measurement in present], padding=4
        )
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.grid(axis="x")

    return svg.render(draw, 0.95 + 0.36 * len(present), f"{label} of each candidate", metric)
