"""Measuring more while a verdict is open."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_bench

from bench.lanes.feeds import Point
from bench.lanes.lane import Lane
from bench.probes import latency
from bench.record.model import Report
from bench.session import CandidateSpec, measure
from bench.verdicts import extension, judge
from compress.artifacts.artifact import Artifact
from compress.recipe import BenchConfig, Named

ROWS = tiny.sentences(24, 3)
GATE = Named(name="latency", options={"p50_at_most": "1.05x"})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed folder that the fake runtime opens."""
    return tiny_bench.fake_artifact(tmp_path_factory.mktemp("extension") / "artifact")


def bench(artifact: Artifact, *beside: dict[str, Any], **more: Any) -> Report:
    """A short bench of two equal candidates under a gate that one test keeps open."""
    specs = [CandidateSpec(name, artifact.path, tiny_bench.FAKE) for name in ("one", "other")]
    config = BenchConfig(probes=({"latency": {"warmup_runs": 8}}, *beside), threads=1, rounds=3, runs=2)
    return measure(specs, ROWS, config, gates=[GATE], **more)


@pytest.fixture
def _always_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict is inconclusive."""
    real = judge.judge

    def opened(report: Report, gates: Any) -> Report:
        judged = real(report, gates)
        verdicts = tuple(verdict.model_copy(update={"status": "inconclusive"}) for verdict in judged.verdicts)
        return judged.model_copy(update={"verdicts": verdicts})

    monkeypatch.setattr(judge, "judge", opened)


@pytest.mark.usefixtures("_always_open")
def test_an_open_verdict_gets_three_times_the_rounds_and_then_stays_open(artifact: Artifact) -> None:
    """Rounds are added twice, all samples are kept, and the report says why there are more."""
    report = bench(artifact)
    for name in ("one", "other"):
        measurement = report.find(name, "latency_p50_ms")
        assert measurement is not None
        assert (measurement.rounds, len(measurement.samples)) == (9, 18)
        assert "9 rounds: 3 did not tell whether the budget holds" in measurement.notes
    assert report.verdicts[0].status == "inconclusive"


@pytest.mark.usefixtures("_always_open")
def test_measuring_latency_again_leaves_other_figures_of_the_same_point(artifact: Artifact) -> None:
    """Throughput and execution at the same batch size and length are still in the report."""
    report = bench(artifact, {"throughput": {"windows": 2, "seconds": 0.01}}, {"execution": {}})
    for name in ("one", "other"):
        assert report.find(name, "throughput_rows_per_s") is not None
        assert report.find(name, "int8_product_share") is not None
        latency_figures = [
            measurement
            for measurement in report.measurements
            if (measurement.probe, measurement.candidate) == ("latency", name)
        ]
        assert {measurement.rounds for measurement in latency_figures} == {9}


@pytest.mark.usefixtures("_always_open")
def test_the_time_limit_ends_it(artifact: Artifact) -> None:
    """With no minutes nothing is added."""
    measurement = bench(artifact, more_minutes=0).find("one", "latency_p50_ms")
    assert measurement is not None
    assert measurement.rounds == 3


@pytest.mark.usefixtures("_always_open")
@pytest.mark.parametrize(("minutes", "sets"), [(1.0, 0), (1.9, 0), (2.1, 2)])
def test_the_first_set_is_not_begun_where_it_would_not_fit(minutes: float, sets: int) -> None:
    """Two minutes of measuring are expected to take two minutes again, before there is anything to go by."""
    begun: list[Any] = []

    def extend(lanes: Any, subject: Any, options: Any, found: Any, points: Any) -> Any:
        begun.append(points)
        return found

    module: Any = SimpleNamespace(extend=extend)
    subject: Any = None
    measurements = extension.settle(
        [],
        subject,
        [("latency", module, None)],
        judge.prepare([GATE]),
        lambda _: tiny_bench.report(),
        [],
        minutes,
        {"latency": 120.0, "accuracy": 6000.0},
    )
    assert (len(begun), measurements) == (sets, [])


@pytest.mark.usefixtures("_always_open")
def test_the_first_set_is_expected_to_take_the_share_of_its_points() -> None:
    """One open point of the four that 16 minutes went into fits into ten."""
    begun: list[Any] = []

    def extend(lanes: Any, subject: Any, options: Any, found: Any, points: Any) -> Any:
        begun.append(points)
        return found

    grid = [
        tiny_bench.measurement(
            "after", "latency_p50_ms", 1.0, probe="latency", conditions={"batch_size": size, "length": "data"}
        )
        for size in (1, 2, 4, 8)
    ]
    assert extension.measured_points(grid, "latency") == 4
    assert extension.measured_points(grid, "throughput") == 1
    subject: Any = None
    module: Any = SimpleNamespace(extend=extend)
    seconds = {"latency": 16 * 60.0}
    probes = [("latency", module, None)]
    gates = judge.prepare([GATE])
    extension.settle([], subject, probes, gates, lambda _: tiny_bench.report(), grid, 10, seconds)
    assert len(begun) == 2
    extension.settle([], subject, probes, gates, lambda _: tiny_bench.report(), grid, 3, seconds)
    assert len(begun) == 2


def test_what_a_run_took_reaches_the_limit(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of every probe are handed on."""
    seconds: dict[str, float] = {}
    real = extension.settle

    def settle(*arguments: Any) -> Any:
        seconds.update(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(extension, "settle", settle)
    bench(artifact)
    assert seconds.keys() == {"latency"}
    assert seconds["latency"] > 0


def test_looking_three_times_errs_as_often_as_is_said() -> None:
    """A quantity on the line of an error, judged after one, two and three times as many samples."""
    steps = np.random.default_rng(0).standard_normal((100_000, 3))
    looks = np.cumsum(steps, axis=1) / np.sqrt([1, 2, 3])
    assert (looks > 1.96).any(axis=1).mean() == pytest.approx(0.054, abs=0.001)
    assert (np.abs(looks) > 1.96).any(axis=1).mean() == pytest.approx(0.107, abs=0.001)
    assert extension.TIMES == 3
    text = " ".join(str(extension.__doc__).split())
    assert "5.4 % on the side that counts in place of 2.5 % (10.7 % in place of 5 % for both sides" in text


def test_earlier_rounds_stay_and_later_ones_follow(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples of the first measurement are the first samples of the extended one."""
    samples: list[tuple[float, ...]] = []
    real = latency.extend

    def extend(lanes: Any, subject: Any, config: Any, found: Any, at: Any) -> Any:
        samples.append(found[0].samples)
        extended = real(lanes, subject, config, found, at)
        samples.append(extended[0].samples)
        return extended

    monkeypatch.setattr(latency, "extend", extend)
    opened = iter([True, False])
    monkeypatch.setattr(
        extension, "open_points", lambda *_: [Point(1, "data")] if next(opened, False) else []
    )
    bench(artifact)
    first, extended = samples
    assert extended[: len(first)] == first
    assert len(extended) == 2 * len(first)


def test_only_the_points_of_open_latency_gates_are_measured_again() -> None:
    """A closed gate, and an open one on another probe, ask for nothing."""
    gates = judge.prepare(
        [
            GATE,
            Named(name="latency", options={"at": {"batch_size": 8}, "p50_at_most": "1x"}),
            Named(name="accuracy-drop", options={"at_most": "1.5pt"}),
            Named(name="regression", options={"baseline": "kept", "worse_by_at_most": "5%"}),
        ]
    )
    verdicts = tuple(
        judge.judge(tiny_bench.report(), [GATE]).verdicts[0].model_copy(update={"status": status})
        for status in ("pass", "inconclusive", "inconclusive", "inconclusive")
    )
    report = tiny_bench.report(verdicts=verdicts)
    assert extension.open_points(gates, report, "latency") == [Point(8, "data"), Point(1, "data")]
    assert extension.open_points(gates, report, "accuracy") == []


def test_the_cost_of_measuring_is_stated(artifact: Artifact) -> None:
    """What the timer and the runner's checks take is measured in the lane, and does not stay in its way."""
    with Lane(tiny_lane(artifact)) as lane:
        feed = tiny_feed()
        lane.keep("k", [feed])
        overhead = lane.overhead("k")
        assert 0 < overhead.timer < overhead.dispatch
        assert "us of paredown's own checks" in overhead.note()
        assert lane.infer([feed])[0]["logits"].shape == (1, 2)
    report = bench(artifact)
    timed = report.find("one", "latency_p50_ms")
    assert timed is not None
    assert any("us of the timer" in note for note in timed.notes)
    assert report.conditions.before.keys() == report.conditions.after.keys()


def tiny_lane(artifact: Artifact) -> Any:
    """A lane of the fake runtime."""
    from bench.lanes.lane import LaneSpec

    return LaneSpec("one", artifact, tiny_bench.FAKE, threads=1)


def tiny_feed() -> dict[str, Any]:
    """One short row."""
    return {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}


def test_a_fixture_leaves_no_file(tmp_path: Path) -> None:
    """Measuring writes nowhere but where it is told."""
    assert list(tmp_path.iterdir()) == []
