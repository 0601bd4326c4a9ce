"""The gate that compares a report with a stored baseline: what is worse, what is noise, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bench
from tiny_baselines import DATA, MACHINE, judged, kept, measured, narrow, scaled

from bench.record.model import Flags, Interval, Report
from bench.statistics import paired
from bench.verdicts import baselines, judge, regression
from compress.errors import UserError
from compress.recipe import Named


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that holds a baseline of the machine."""
    return kept(tmp_path / "kept")


def test_memory_of_a_whole_device_is_no_regression(tmp_path: Path) -> None:
    """Another process may have taken it: inconclusive, with the reason, however much it grew."""

    def held(mib: int) -> Report:
        measurement = tiny_bench.measurement(
            "after", "device_memory_peak_bytes", mib * 2.0**20, probe="memory", flags=Flags(whole_device=True)
        )
        return measured(measurements=(measurement,))

    baselines.save(held(1000), str(tmp_path))
    for now in (1000, 9000):
        verdict = judged(held(now), tmp_path, metric="device_memory_peak_bytes")
        assert verdict.status == "inconclusive"
        assert "other processes included" in verdict.reason
    (absolute,) = judge.judge(
        held(9000), [Named(name="memory", options={"of": "device", "at_most": "4GiB"})]
    ).verdicts
    assert (absolute.status, "other processes included" in absolute.reason) == ("inconclusive", True)


def test_joined_intervals_by_hand() -> None:
    """MOVER: 5 (4 to 7) less 3 (2 to 3.5): 2, from 2 - sqrt(1 + 0.25) to 2 + sqrt(4 + 1)."""
    interval = regression.mover(5, Interval(low=4, high=7), 3, Interval(low=2, high=3.5))
    assert interval is not None
    assert interval.low == pytest.approx(2 - math.sqrt(1.25))
    assert interval.high == pytest.approx(2 + math.sqrt(5))
    assert regression.mover(5, None, 3, None) is None


@pytest.mark.parametrize(
    ("factor", "status"),
    [(1.0, "pass"), (1.03, "pass"), (1.05, "inconclusive"), (1.2, "fail"), (0.9, "pass"), (0.4, "anomalous")],
)
def test_a_slower_candidate_is_found(place: Path, factor: float, status: str) -> None:
    """Against the stored ratio to the same reference, with 1 % intervals and 5 % allowed."""
    verdict = judged(scaled(narrow(measured()), "latency_p50_ms", factor), place)
    assert verdict.status == status, verdict.reason
    assert verdict.value == pytest.approx(factor)
    assert "the ratios to the shared reference" in verdict.reason


@pytest.mark.parametrize("disturbed", ["then", "now"])
def test_a_run_that_others_took_half_of_shows_no_small_regression(tmp_path: Path, disturbed: str) -> None:
    """20 % slower fails at rest; where half of the timed seconds of either run were lost, it stays open."""

    def lost(report: Report, share: float) -> Report:
        changed = tuple(
            measurement.model_copy(update={"disturbed": share})
            if measurement.probe == "latency"
            else measurement
            for measurement in report.measurements
        )
        return report.model_copy(update={"measurements": changed})

    then, now = narrow(measured()), scaled(narrow(measured()), "latency_p50_ms", 1.2)
    baselines.save(lost(then, 0.5 if disturbed == "then" else 0.0), str(tmp_path))
    assert judged(now, tmp_path).status == ("inconclusive" if disturbed == "then" else "fail")
    verdict = judged(lost(now, 0.5 if disturbed == "now" else 0.0), tmp_path)
    assert verdict.status == "inconclusive"
    assert "widened since others had the CPU for 50 % of the timed seconds" in verdict.reason


def test_a_machine_that_got_slower_as_a_whole_is_no_regression_but_is_said(place: Path) -> None:
    """Everything 20 % slower cancels; the reference at twice its time is anomalous."""
    slower = scaled(scaled(narrow(measured()), "latency_p50_ms", 1.2, "before"), "latency_p50_ms", 1.2)
    back = scaled(slower, "latency_p50_ms", 1.0)
    ratios = tuple(
        measurement.model_copy(update={"ratio": now.ratio, "ratio_interval": now.ratio_interval})
        for measurement, now in zip(back.measurements, narrow(measured()).measurements, strict=True)
    )
    assert judged(back.model_copy(update={"measurements": ratios}), place).status == "pass"
    moved = scaled(narrow(measured()), "latency_p50_ms", 2.0, "before")
    verdict = judged(moved, place)
    assert verdict.status == "anomalous"
    assert "the reference 'before' itself went from 8 to 16 ms" in verdict.reason


def test_gpu_times_are_compared_unless_the_clocks_spoiled_them(tmp_path: Path) -> None:
    """A GPU time is looked for at its point of the grid; a run to be dropped settles nothing."""
    point: dict[str, int | str] = {"batch_size": 1, "length": "data", "graph": "yes"}

    def timed(value: float, spoiled: str | None = None) -> Report:
        close = Interval(low=value * 0.999, high=value * 1.001)
        measurement = tiny_bench.measurement(
            "after", "gpu_p50_ms", value, probe="device_time", unit="ms", interval=close, conditions=point,
            flags=Flags(spoiled=spoiled),
        )  # fmt: skip
        old = measured()
        return old.model_copy(update={"measurements": (*old.measurements, measurement)})

    moved = "the SM clock moved from 1980 to 1500 MHz"
    for then, now, status in (
        (timed(1.0), timed(1.2), "fail"),
        (timed(1.0), timed(1.2, moved), "inconclusive"),
        (timed(1.0, moved), timed(1.0), "inconclusive"),
    ):
        baselines.save(then, str(tmp_path))
        verdict = judged(now, tmp_path, metric="gpu_p50_ms")
        assert verdict.status == status, verdict.reason
        assert ("the run was spoiled" in verdict.reason) == (status == "inconclusive")


def test_accuracy_is_compared_in_points(place: Path) -> None:
    """The change against the shared reference then and now; percent is the wrong unit for it."""
    verdict = judged(measured(), place, metric="accuracy", worse_by_at_most="5pt")
    assert verdict.status == "pass"
    assert verdict.value == pytest.approx(0)
    assert verdict.interval is not None
    assert verdict.interval.high == pytest.approx(100 * math.hypot(0.01, 0.01))
    with pytest.raises(UserError, match=r"accuracy is judged in points, such as 0.5pt; got '5%'"):
        judged(measured(), place, metric="accuracy")
    with pytest.raises(UserError, match=r"latency_p50_ms is judged in percent, such as 5%; got '1pt'"):
        judged(measured(), place, worse_by_at_most="1pt")


def test_rows_that_both_reports_know_are_compared_row_by_row(tmp_path: Path) -> None:
    """Of 100 rows, the new model loses two that the old one had: -2 points, with that pair's interval."""
    right = np.ones(100, dtype=bool)
    right[:9] = False

    def knowing(report: Report, right: np.ndarray) -> Report:
        changed = tuple(
            measurement.model_copy(update={"right": paired.pack(right), "value": right.mean()})
            if (measurement.candidate, measurement.metric) == ("after", "accuracy")
            else measurement
            for measurement in report.measurements
        )
        return report.model_copy(update={"measurements": changed})

    baselines.save(knowing(measured(), right), str(tmp_path))
    same = judged(knowing(measured(), right), tmp_path, metric="accuracy", worse_by_at_most="4pt")
    assert same.status == "pass"
    right[50:52] = False
    verdict = judged(knowing(measured(), right), tmp_path, metric="accuracy", worse_by_at_most="4pt")
    interval = paired.tango(2, 0, 100)
    assert verdict.value == pytest.approx(2)
    assert verdict.interval is not None
    assert verdict.interval.high == pytest.approx(-100 * interval.low)
    assert "row by row" in verdict.reason


def test_exact_figures_are_compared_exactly(place: Path) -> None:
    """A size has no interval: 5 % more passes, more than that fails, half is another model."""
    for factor, status in ((1.05, "pass"), (1.06, "fail"), (0.45, "anomalous")):
        assert judged(scaled(measured(), "size_bytes", factor), place, metric="size_bytes").status == status


@pytest.mark.parametrize(
    ("factor", "limit", "status"),
    [
        (1.0, "5%", "pass"),
        (1.01, "1%", "inconclusive"),
        (1.015, "1%", "inconclusive"),
        (1.04, "5%", "inconclusive"),
        (1.04, "1%", "fail"),
        (1.08, "5%", "fail"),
    ],
)
def test_memory_may_differ_a_little_without_a_reason(
    place: Path, factor: float, limit: str, status: str
) -> None:
    """What two runs of one artifact differ by fails nothing, and carries no pass either; 8 % is more."""
    new = scaled(measured(), "memory_peak_bytes", factor)
    verdict = judged(new, place, metric="memory_peak_bytes", worse_by_at_most=limit)
    assert verdict.status == status, verdict.reason
    assert "may differ by 2 % without a reason" in verdict.reason
    exact = judged(new, place, metric="memory_peak_bytes", worse_by_at_most=limit, judge="point")
    assert exact.status == ("fail" if factor - 1 > float(limit[:-1]) / 100 + 1e-9 else "pass")


def started(*samples: float, reference: tuple[float, ...] = (4.0, 4.1, 3.9, 4.0)) -> Report:
    """A report with seconds to start of both candidates."""
    old = measured()
    base = float(np.median(reference))
    starts = tuple(
        tiny_bench.measurement(
            name, "cold_start_s", float(np.median(times)), probe="load_time", unit="s",
            ratio=float(np.median(times)) / base, samples=times,
        )
        for name, times in (("before", reference), ("after", samples))
    )  # fmt: skip
    return old.model_copy(update={"measurements": (*old.measurements, *starts)})


@pytest.mark.parametrize(
    ("then", "now", "status"),
    [
        ((1.0, 1.02, 0.98, 1.0), (1.0, 1.01, 0.99, 1.0), "pass"),
        ((1.0, 1.02, 0.98, 1.0), (1.5, 1.52, 1.48, 1.5), "fail"),
        ((1.0, 1.5, 0.7, 1.0), (1.3, 1.0, 1.6, 1.3), "inconclusive"),
        ((1.0, 1.4), (1.3, 1.0), "inconclusive"),
    ],
)
def test_seconds_to_start_are_judged_by_what_the_starts_differ_by(
    tmp_path: Path, then: tuple[float, ...], now: tuple[float, ...], status: str
) -> None:
    """Starts that differ among themselves fail nothing; starts that are alike show a change."""
    baselines.save(started(*then), str(tmp_path))
    verdict = judged(started(*now), tmp_path, metric="cold_start_s", worse_by_at_most="20%")
    assert verdict.status == status, verdict.reason
    assert verdict.interval is not None


def test_a_single_figure_cannot_be_told_from_noise(tmp_path: Path) -> None:
    """One start a run is inconclusive, with what to do, unless it is asked to be taken as exact."""
    baselines.save(started(1.0, reference=(4.0,)), str(tmp_path))
    new = started(1.5, reference=(4.0,))
    verdict = judged(new, tmp_path, metric="cold_start_s", worse_by_at_most="20%")
    assert (verdict.status, verdict.value) == ("inconclusive", 1.5)
    assert "measure both with the probe 'load-time: {processes: 5}'" in verdict.reason
    exact = judged(new, tmp_path, metric="cold_start_s", worse_by_at_most="20%", judge="point")
    assert exact.status == "fail"
    share = tiny_bench.measurement(
        "after", "placed_share", 0.9, probe="execution", unit="share", better="higher"
    )
    old = measured(measurements=(*measured().measurements, share))
    baselines.save(old, str(tmp_path))
    verdict = judged(old, tmp_path, metric="placed_share", worse_by_at_most="1pt")
    assert verdict.status == "inconclusive"
    assert "take a metric that has an interval" in verdict.reason


def test_an_interval_of_starts_by_hand() -> None:
    """Student's on logarithms: of 1 and e, 12.706 standard errors of a half; one sample has none."""
    interval = regression.around(2.0, (1.0, math.e))
    assert interval is not None
    assert math.log(interval.high / 2) == pytest.approx(12.7062 * 0.5, rel=1e-4)
    assert math.log(interval.low / 2) == pytest.approx(-12.7062 * 0.5, rel=1e-4)
    assert regression.around(2.0, (1.0, math.e), (1.0,)) is None


def test_the_worst_slice_may_be_another_one(tmp_path: Path) -> None:
    """Which slice is the worst is a finding: the worst then is compared with the worst now."""

    def cut(name: str, value: float) -> Report:
        close = Interval(low=value - 0.9 - 0.001, high=value - 0.9 + 0.001)
        measurement = tiny_bench.measurement(
            "after", "worst_slice", value, probe="slices", unit="share", better="higher",
            difference=value - 0.9, difference_interval=close,
            conditions={"slice": name, "rows": 40, "batch_size": 1},
        )  # fmt: skip
        return measured(measurements=(*measured().measurements, measurement))

    baselines.save(cut("label: a", 0.85), str(tmp_path))
    verdict = judged(cut("label: b", 0.75), tmp_path, metric="worst_slice", worse_by_at_most="5pt")
    assert (verdict.status, verdict.value) == ("fail", pytest.approx(10))


def test_a_metric_of_several_figures_is_refused_for_its_own_gate() -> None:
    """A regression of the first of them would say nothing of the others."""
    with pytest.raises(UserError, match=r"'fairness_gap' has several figures .* use the gate 'fairness-gap'"):
        judge.prepare(
            [
                Named(
                    name="regression",
                    options={"baseline": "kept", "worse_by_at_most": "1pt", "metric": "fairness_gap"},
                )
            ]
        )


def test_a_metric_that_the_baseline_lacks_is_refused_before_measuring(place: Path) -> None:
    """A name that was mistyped is said at once, with what there is."""
    gates = judge.prepare(
        [
            Named(
                name="regression",
                options={"baseline": str(place), "worse_by_at_most": "5%", "metric": "latency_p55_ms"},
            )
        ]
    )
    with pytest.raises(
        UserError, match=r"has no figure 'latency_p55_ms'; it has: accuracy, .*latency_p50_ms"
    ):
        judge.ready(gates, MACHINE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"data": {**DATA, "fingerprint": "e" * 64}},
            "other evaluation rows .fingerprint ffffffffffff there, eeee",
        ),
        ({"data": {"source": "given rows", "rows": 100}}, "other evaluation rows .*none here"),
        (
            {"task": "token-classification"},
            "is of text-classification and this report of token-classification",
        ),
        (
            {"candidates": (tiny_bench.candidate("before"), tiny_bench.candidate("later"))},
            "the baseline has no candidate 'later'; it has: before, after",
        ),
        (
            {
                "candidates": (
                    tiny_bench.candidate("before"),
                    tiny_bench.candidate("after").model_copy(update={"threads": 4}),
                )
            },
            "'after' ran in another setting .*1 threads; now pytorch on cpu, 4 threads",
        ),
    ],
)
def test_what_is_not_the_same_is_not_compared(place: Path, changes: dict[str, Any], reason: str) -> None:
    """Other rows, another task, another candidate or another setting are refused, before measuring too."""
    with pytest.raises(UserError, match=reason):
        judged(measured(**changes), place)
    options = {"baseline": str(place), "worse_by_at_most": "5%"}
    gates = judge.prepare([Named(name="regression", options=options)])
    with pytest.raises(UserError, match=reason):
        judge.comparable(gates, measured(**{"measurements": (), **changes}))
    judge.comparable(gates, measured(measurements=()))


def test_units_that_do_not_match_are_refused(tmp_path: Path) -> None:
    """The same metric in seconds then and milliseconds now is not compared."""
    old = measured()
    turned = tuple(
        measurement.model_copy(update={"unit": "s"})
        if measurement.metric == "latency_p50_ms"
        else measurement
        for measurement in old.measurements
    )
    baselines.save(old.model_copy(update={"measurements": turned}), str(tmp_path))
    with pytest.raises(UserError, match="latency_p50_ms is in s in the baseline and in ms here"):
        judged(measured(), tmp_path)


def test_a_metric_that_one_side_lacks_fails_with_a_list(place: Path) -> None:
    """Missing here, or missing there: both fail closed and say which."""
    verdict = judged(measured(), place, metric="latency_p99_ms")
    assert (verdict.status, verdict.value) == ("fail", None)
    assert "latency_p50_ms (batch_size 1, length data)" in verdict.reason
    more = (*measured().measurements, tiny_bench.measurement("after", "macs", 5.0))
    verdict = judged(measured(measurements=more), place, metric="macs")
    assert "it is here, and the baseline lacks it" in verdict.reason
