"""A report's figures as tables of texts, which the terminal, Markdown and the page show alike."""

from __future__ import annotations

from bench.display.parts import Cell, Table
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from bench.report import summary
from compress import quantities

_GRID = frozenset({"batch_size", "length"})


def _cell(report: Report, measurement: Measurement | None, column: Column, figure: Figure) -> Cell:
    if measurement is None:
        return Cell(summary.NONE)
    base = measurement.candidate == report.baseline
    if column.shows == "times":
        faster = summary.speedup(measurement)
        return Cell("1x") if base and faster else Cell(summary.times(faster), summary.times_interval(faster))
    if column.shows == "change":
        # What holds a candidate against itself (its vectors as stored) has a change of the baseline's, too.
        return (
            Cell("baseline")
            if base and not measurement.difference
            else Cell(summary.change(measurement), summary.change_interval(measurement))
        )
    return Cell(summary.value(measurement, figure))


def _columns(report: Report, table: str, *, wide: bool) -> list[tuple[str, Figure, Column]]:
    """Metric, figure and column of a table, from left to right."""
    columns = [
        (metric, figure, column)
        for metric, figure in summary.figures(report).items()
        for column in figure.columns
        if column.table == table and (wide or not column.wide)
    ]
    return sorted(columns, key=lambda entry: entry[2].rank)


def candidates(report: Report, *, wide: bool = False) -> Table:
    """The figures that decide, a row a candidate in the report's order, which a face names before them."""
    columns = _columns(report, "", wide=wide)
    return Table(
        "Before, each step, after",
        [column.title or figure.title for _, figure, column in columns],
        [
            [
                _cell(report, summary.at(report, candidate.name, metric, figure), column, figure)
                for metric, figure, column in columns
            ]
            for candidate in report.candidates
        ],
        left=0,
    )


def named(table: Table, report: Report, *, runtime: bool = False) -> Table:
    """A table with a row a candidate, each with its name before it, and what runs it where that is asked."""
    words = [
        [Cell(candidate.name), *([Cell(summary.runs_in(candidate))] if runtime else [])]
        for candidate in report.candidates
    ]
    rows = [[*left, *row] for left, row in zip(words, table.rows, strict=True)]
    header = ["candidate", *(["runtime"] if runtime else []), *table.header]
    return Table(table.title, header, rows, left=1 + runtime)


def joined(report: Report, *, page: bool = True) -> list[Table]:
    """The tables that figures of several probes share, by title: a row for each point and candidate.

    Args:
        report: that holds them.
        page: whether to repeat what the table of candidates shows of its one point, which the terminal names.
    """
    titles = {column.table for figure in summary.figures(report).values() for column in figure.columns}
    return [_joined(report, title, page=page) for title in sorted(titles - {""})]


def _repeated(report: Report) -> set[tuple[str, str]]:
    """Metric, and what is shown of it, of all that the table of candidates shows whole: at the only point."""
    points: dict[str, list[dict[str, int | str]]] = {}
    for measurement in report.measurements:
        points.setdefault(measurement.metric, []).append(measurement.conditions)
    only = summary.grid(report)[:1]
    return {
        (metric, column.shows)
        for metric, figure, column in _columns(report, "", wide=False)
        if figure.grid and all([point] == only for point in points[metric])
    }


def _joined(report: Report, title: str, *, page: bool) -> Table:
    columns = _columns(report, title, wide=True)
    metrics = {metric for metric, _, _ in columns}
    if not page:
        repeated = _repeated(report)
        columns = [entry for entry in columns if (entry[0], entry[2].shows) not in repeated]
    measurements = [measurement for measurement in report.measurements if measurement.metric in metrics]
    places = [
        dict(conditions)
        for conditions in dict.fromkeys(tuple(measurement.conditions.items()) for measurement in measurements)
    ]
    places = [place for place in places if not any(place.items() < larger.items() for larger in places)]
    apart = list(dict.fromkeys(key for place in places for key in place if key not in _GRID))
    gridded = any("length" in place for place in places)
    rows, flags = [], []
    for place in places:
        for candidate in report.candidates:
            by_metric = {
                measurement.metric: measurement
                for measurement in reversed(measurements)
                if measurement.candidate == candidate.name and measurement.conditions.items() <= place.items()
            }
            if not by_metric:
                continue
            point = {key: place[key] for key in place if key in _GRID}
            words = [summary.where(point)] if gridded else []
            words += [candidate.name, *(str(place.get(key, summary.NONE)) for key in apart)]
            cells = [
                _cell(report, by_metric.get(metric), column, figure) for metric, figure, column in columns
            ]
            rows.append([*map(Cell, words), *cells])
            flags.append(
                ", ".join(
                    dict.fromkeys(
                        flag for measurement in by_metric.values() for flag in measurement.flags.raised
                    )
                )
            )
    header = [*(["where"] if gridded else []), "candidate", *apart]
    header += [column.title or figure.title for _, figure, column in columns]
    if any(flags):
        header.append("flags")
        rows = [[*row, Cell(flag or summary.NONE)] for row, flag in zip(rows, flags, strict=True)]
    elif not columns:
        rows = []
    return Table(title, header, rows, left=1 + gridded + len(apart), remarks=any(flags))


def further(report: Report, *, page: bool = True, wide: bool = False) -> Table:
    """Figures that no other table holds, a row each, in words; those that are 0 for all are left out.

    Args:
        report: that holds them.
        page: whether to list what the terminal leaves out.
        wide: whether the table of candidates has its wide columns.
    """
    figures = summary.figures(report)
    listed = {
        metric
        for metric, figure in figures.items()
        if figure.rows == "everywhere" or (page and figure.rows == "page")
    }
    listed -= {
        metric
        for metric, figure in figures.items()
        if any(column.table or wide or not column.wide for column in figure.columns)
    }
    nonzero = {measurement.metric for measurement in report.measurements if measurement.value}
    rows = [
        list(map(Cell, _row(report, measurement, figures[measurement.metric])))
        for measurement in report.measurements
        if measurement.metric in listed & nonzero
    ]
    header = ["what", "where", "candidate", "figure", "95 %", "against the baseline"]
    return Table("Further figures", header, rows, left=3)


def _row(report: Report, measurement: Measurement, figure: Figure) -> tuple[str, ...]:
    interval = ""
    if measurement.interval is not None:
        interval = quantities.interval(measurement.interval.low, measurement.interval.high, measurement.unit)
    against = summary.NONE if measurement.ratio is None else f"{quantities.digits(measurement.ratio)}x"
    if measurement.difference is not None:
        against = str(_cell(report, measurement, Column(shows="change"), figure))
    return (
        figure.title,
        summary.where(measurement.conditions),
        measurement.candidate,
        summary.value(measurement, figure),
        interval,
        against,
    )
