"""Is INT8 worth it: per-round ratios of candidates of one run, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_bench

from bench.record.model import Flags, Interval, Report
from bench.report import summary, tables
from bench.verdicts import worth

POINT: dict[str, int | str] = {"batch_size": 8, "length": 128}


def candidate(name: str, precision: str, runtime: str = "trt") -> Any:
    """A candidate in one precision."""
    return tiny_bench.candidate(name).model_copy(
        update={"runtime": runtime, "provenance": {"precision": precision}}
    )


def report(
    ours: list[float],
    theirs: list[float],
    *,
    metric: str = "gpu_p50_ms",
    runtime: str = "trt",
    rounds: int | None = 2,
    flags: Flags = Flags(),  # noqa: B008 - frozen
    **conditions: Any,
) -> Report:
    """Two candidates with samples of two rounds of two runs; the bench's own runs a round are others."""
    grid_point = {**POINT, **conditions}
    measured = [
        tiny_bench.measurement(
            name,
            metric,
            samples[0],
            probe="device_time",
            unit="ms",
            conditions=grid_point,
            samples=tuple(samples),
            rounds=rounds,
            flags=flags,
        )
        for name, samples in (("half", theirs), ("int8", ours))
    ]
    measured += [
        tiny_bench.measurement(name, "accuracy", value, probe="accuracy", unit="share", better="higher")
        for name, value in (("half", 0.92), ("int8", 0.915))
    ]
    return tiny_bench.report(
        candidates=(candidate("half", "fp16"), candidate("int8", "int8", runtime)),
        baseline="half",
        measurements=tuple(measured),
        config={"runs": 8},
    )


def test_the_ratio_is_the_median_of_ratios_by_round() -> None:
    """Rounds of medians 2 and 3 against 4 and 4: ratios 0.5 and 0.75, median 0.625."""
    (answer,) = worth.answers(report([1.0, 3.0, 3.0, 3.0], [4.0, 4.0, 4.0, 4.0], graph="yes"))
    assert answer.ratio == pytest.approx(0.625)
    assert answer.interval == Interval(low=0.5, high=0.75)
    assert answer.answer == "yes"
    assert answer.accuracy == pytest.approx(-0.005)
    assert answer.sentence() == (
        "Is INT8 worth it? batch 8, 128 tokens: yes. 'int8' takes 0.625 of the GPU time of 'half' (FP16) "
        "(95 % interval 0.500 to 0.750); the score changes by -0.50 pt."
    )


@pytest.mark.parametrize(
    ("ours", "answer", "words"),
    [
        ([5.0] * 4, "no", "no, it is slower"),
        ([3.0, 3.0, 5.0, 5.0], "not shown", "no difference is shown"),
        ([4.0] * 4, "not shown", "no difference is shown"),
    ],
)
def test_an_interval_that_holds_one_shows_nothing(ours: list[float], answer: str, words: str) -> None:
    """Wholly above 1 it is slower; around 1 there is no difference to show."""
    (verdict,) = worth.answers(report(ours, [4.0] * 4))
    assert verdict.answer == answer
    assert words in verdict.sentence()


def test_latency_answers_where_there_is_no_gpu_time() -> None:
    """On a CPU the latency is compared."""
    (answer,) = worth.answers(report([2.0] * 4, [4.0] * 4, metric="latency_p50_ms"))
    assert answer.metric == "latency_p50_ms"
    assert "0.500 of the latency" in answer.sentence()


def test_a_graph_is_compared_with_a_graph() -> None:
    """Where both were timed with one, runs without are left out."""
    with_graph = report([2.0] * 4, [4.0] * 4, graph="yes")
    without = report([8.0] * 4, [4.0] * 4, graph="no")
    both = with_graph.model_copy(update={"measurements": (*without.measurements, *with_graph.measurements)})
    (answer,) = worth.answers(both)
    assert answer.ratio == 0.5


def test_there_is_no_answer_without_a_pair() -> None:
    """Other runtimes, other precisions, no samples, samples that are not whole rounds."""
    good = report([2.0] * 4, [4.0] * 4)
    assert worth.answers(report([2.0] * 4, [4.0] * 4, runtime="ort")) == []
    candidates = (candidate("half", "fp32"), candidate("int8", "int8"))
    assert worth.answers(good.model_copy(update={"candidates": candidates})) == []
    assert worth.answers(report([2.0] * 3, [4.0] * 3)) == []
    assert worth.answers(report([2.0] * 2, [4.0] * 2, rounds=1)) == []
    assert worth.answers(report([2.0] * 6, [4.0] * 4)) == []
    assert worth.answers(report([2.0] * 4, [4.0] * 4, rounds=None)) == []
    bare = tuple(measurement.model_copy(update={"samples": ()}) for measurement in good.measurements)
    assert worth.answers(good.model_copy(update={"measurements": bare})) == []
    assert worth.answers(tiny_bench.report()) == []


def test_reports_say_it() -> None:
    """Terminal, Markdown and HTML show the answer; a report without one shows nothing of it."""
    from io import StringIO

    from rich.console import Console

    from bench.report import html, terminal
    from bench.report import markdown as reports

    pair_report = report([2.0] * 4, [4.0] * 4, graph="yes")
    sentence = "Is INT8 worth it? batch 8, 128 tokens: yes."
    assert summary.answers(pair_report)[0].startswith(sentence)
    assert f"- {sentence}" in reports.page(pair_report)
    assert "Is INT8 worth it? batch 8, 128 tokens: yes." in html.page(pair_report)
    stream = StringIO()
    terminal.show(pair_report, Console(file=stream, width=200))
    assert sentence in stream.getvalue()
    assert "Time on the GPU" in stream.getvalue()
    assert "INT8 worth" not in reports.page(tiny_bench.report())
    assert [one.title for one in tables.joined(tiny_bench.report())] == ["Latency and throughput"]


def test_a_spoiled_run_shows_nothing() -> None:
    """Clocks that moved or were lowered: however clear the ratio, there is no answer from that run."""
    moved = Flags(spoiled="the SM clock moved from 1980 to 1500 MHz")
    for ours in (2.0, 8.0):
        (answer,) = worth.answers(report([ours] * 4, [4.0] * 4, graph="yes", flags=moved))
        assert answer.answer == "not shown"
        assert "not shown, the run was spoiled (the SM clock moved from 1980" in answer.sentence()


def test_flags_are_those_of_the_limits() -> None:
    """More than 0.8 of the GPU's time is host-bound, more than 2.5 % variation unstable; at them, neither."""
    import numpy as np

    from bench.probes import device_time

    steady = np.full((2, 2), 1.0)
    assert device_time.flags({"gpu": steady, "enqueue": steady * 0.8}, waits=False) == (Flags(), [])
    raised, (bound,) = device_time.flags({"gpu": steady, "enqueue": steady * 0.81}, waits=False)
    assert raised == Flags(host_bound=True)
    assert bound.startswith("host_bound: enqueuing takes 0.81")
    raised, (waits,) = device_time.flags({"gpu": steady, "enqueue": steady * 2}, waits=True)
    assert raised == Flags()
    assert "waits for the device inside" in waits
    wide = np.array([[0.974, 1.026], [0.974, 1.026]])
    raised, (loose,) = device_time.flags({"gpu": wide, "enqueue": wide * 0.1}, waits=False)
    assert raised == Flags(unstable=True)
    assert loose == "unstable: the GPU's time varies by 2.6 % (coefficient of variation)"
    assert device_time.variation(np.array([0.975, 1.025])) == pytest.approx(0.025)


def test_the_default_carries_a_p99_and_lasts_three_seconds() -> None:
    """500 runs at least; more rounds while a candidate has less than 3 seconds of them, up to the bound."""
    from bench.probes import device_time
    from bench.statistics import stats

    config = device_time.Config()
    assert config.rounds * config.runs >= 300
    assert stats.supported(config.rounds * config.runs, 99)
    assert device_time.wants_more(24, 10.0, config)
    assert not device_time.wants_more(25, 3.0, config)
    assert device_time.wants_more(25, 2.99, config)
    assert not device_time.wants_more(config.max_rounds, 0.1, config)


def test_parts_of_memory_are_not_added_up() -> None:
    """What is not known is left out; the context is taken off the process, and shown."""
    from bench.probes import device_memory

    stated: dict[str, int | None] = {"weights": 60, "activations": None, "reserved": 90}
    assert device_memory.parts(50, stated, 500, 400) == {
        "file": 50,
        "weights": 60,
        "reserved": 90,
        "process": 100,
        "context": 400,
    }
    assert device_memory.parts(50, {}, None, None) == {"file": 50}
    assert device_memory.parts(50, {}, 300, 400)["process"] == 0
