"""Every gate: at its limit, above, below, and with nothing to judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import tiny_bench
import tiny_damage

from bench.record.model import Flags, Interval, Report, Verdict
from bench.verdicts import judge
from compress import catalog
from compress.errors import UserError
from compress.recipe import Named, validate


@dataclass(frozen=True)
class Case:
    """Options of a gate at three places around the figure of ``tiny_bench.report``.

    Attributes:
        at: the figure is exactly the limit.
        inside: the limit leaves room.
        outside: the limit is too tight.
        wrong_unit: a limit in a unit that the gate does not take.
        metric: that the verdict names.
    """

    at: dict[str, Any]
    inside: dict[str, Any]
    outside: dict[str, Any]
    wrong_unit: dict[str, Any]
    metric: str


# In the report 'after' has, against 'before': accuracy -1 pt, p50 2 ms (0.25x), p95 3 ms (0.3x), 50 MiB
# (0.25x), 20 MB (0.25x), 98 % agreement and a recorded parity of 1e-4.
CASES: dict[str, list[Case]] = {
    "accuracy-drop": [
        Case(
            {"at_most": "1pt", "judge": "point"},
            {"at_most": "2pt"},
            {"at_most": "0.9pt", "judge": "point"},
            {"at_most": "1%"},
            "accuracy",
        ),
        Case(
            {"metric": "macro_f1", "at_most": "1pt"},
            {"metric": "macro_f1", "at_most": "2pt"},
            {"metric": "macro_f1", "at_most": "0.5pt"},
            {"metric": "macro_f1", "at_most": 1},
            "macro_f1",
        ),
    ],
    "latency": [
        Case(
            {"p50_at_most": "2ms", "judge": "point"},
            {"p50_at_most": "2200us"},
            {"p50_at_most": "1.7ms"},
            {"p50_at_most": "2MB"},
            "latency_p50_ms",
        ),
        Case(
            {"p95_at_most": "0.3x", "judge": "point"},
            {"p95_at_most": "0.376x", "p50_at_most": "1x"},
            {"p95_at_most": "0.23x", "p50_at_most": "1x"},
            {"p95_at_most": "0.3"},
            "latency_p95_ms",
        ),
        Case(
            {"at": {"batch_size": 1, "length": "data"}, "speedup_at_least": "4x", "judge": "point"},
            {"speedup_at_least": "3.2x"},
            {"speedup_at_least": "5.1x"},
            {"speedup_at_least": "4ms"},
            "latency_p50_ms",
        ),
    ],
    "memory": [
        Case(
            {"at_most": "50MiB"},
            {"at_most": "1GiB"},
            {"at_most": "49MiB"},
            {"at_most": "50"},
            "memory_peak_bytes",
        ),
        Case(
            {"of": "model", "at_most": "0.25x"},
            {"of": "model", "at_most": "0.3x"},
            {"of": "model", "at_most": "0.2x"},
            {"of": "model", "at_most": "1pt"},
            "memory_model_bytes",
        ),
    ],
    "size": [
        Case(
            {"at_most": "20MB"},
            {"at_most": "20001kB"},
            {"at_most": "19MiB"},
            {"at_most": "20mb"},
            "size_bytes",
        ),
        Case(
            {"of": "weights", "at_most": "0.25x"},
            {"of": "weights", "at_most": "0.26x"},
            {"of": "weights", "at_most": "0.24x"},
            {"of": "weights", "at_most": "25%"},
            "weights_bytes",
        ),
    ],
    "agreement": [
        Case(
            {"at_least": "98%", "judge": "point"},
            {"at_least": 0.93},
            {"at_least": "99.5%"},
            {"at_least": "98pt"},
            "agreement",
        )
    ],
    "batch-agreement": [
        Case(
            {"at_least": "97%", "judge": "point"},
            {"at_least": 0.91},
            {"at_least": "99.5%"},
            {"at_least": "97pt"},
            "batch_agreement",
        )
    ],
    "execution": [
        Case(
            {"precision": "int8", "at_least": "80%"},
            {"precision": "int8"},
            {"precision": "int8", "at_least": "81%"},
            {"precision": "int8", "at_least": "80pt"},
            "int8_product_share",
        )
    ],
    # In ``tiny_bench.report`` 4 of 100 rows of 'after' were cut to 16 tokens, 3 of them beyond 'before'.
    "truncation": [
        Case({"at_most": "4%"}, {"at_most": 0.05}, {"at_most": "0%"}, {"at_most": "4pt"}, "truncated_share"),
        Case(
            {"at_most": "3%", "beyond_baseline": True},
            {"at_most": "4%", "beyond_baseline": True},
            {"at_most": "2.9%", "beyond_baseline": True},
            {"at_most": "3x", "beyond_baseline": True},
            "truncated_beyond_baseline",
        ),
    ],
    "parity": [
        Case(
            {"max_abs_at_most": "1e-4"},
            {"max_abs_at_most": 0.001},
            {"max_abs_at_most": 9.9e-5},
            {"max_abs_at_most": "1ms"},
            "max_abs",
        )
    ],
    # 3 % of a ranking's pairs are turned round (1 to 5): a figure that ``reported`` adds.
    "order-flips": [
        Case(
            {"at_most": "3%", "judge": "point"},
            {"at_most": 0.06},
            {"at_most": "0.9%"},
            {"at_most": "1pt"},
            "order_flips",
        )
    ],
    # In ``tiny_damage.report`` the same candidate has, against 'before': 1 % harmful flips, the worst slice
    # -5 pt, calibration error +1 pt (Brier +2), divergence 0.01 (p99 0.1), typos -2 pt, a challenge set
    # -2 pt, a gap between groups +1 pt.
    "harmful-flips": [
        Case(
            {"at_most": "1%", "judge": "point"},
            {"at_most": 0.06},
            {"at_most": "0.9%", "judge": "point"},
            {"at_most": "1pt"},
            "harmful_flips",
        )
    ],
    "worst-slice": [
        Case(
            {"drop_at_most": "5pt", "judge": "point"},
            {"drop_at_most": "9.5pt"},
            {"drop_at_most": "4.9pt"},
            {"drop_at_most": "5%"},
            "worst_slice",
        )
    ],
    "calibration-error": [
        Case(
            {"rise_at_most": "1pt"},
            {"rise_at_most": "0.1pt", "scaled": True},
            {"rise_at_most": "0.9pt"},
            {"rise_at_most": 1},
            "ece",
        ),
        Case(
            {"of": "brier", "rise_at_most": "2pt"},
            {"of": "brier", "rise_at_most": "3pt"},
            {"of": "brier", "rise_at_most": "1pt"},
            {"of": "brier", "rise_at_most": "1ms"},
            "brier",
        ),
    ],
    "divergence": [
        Case(
            {"mean_at_most": 0.01},
            {"mean_at_most": "0.02"},
            {"mean_at_most": "9e-3"},
            {"mean_at_most": "1%"},
            "divergence_mean",
        ),
        Case(
            {"p99_at_most": 0.1},
            {"p99_at_most": 1},
            {"p99_at_most": 0.09},
            {"p99_at_most": "1pt"},
            "divergence_p99",
        ),
    ],
    "robustness": [
        Case(
            {"extra_drop_at_most": "2pt"},
            {"change": "casing", "extra_drop_at_most": "0pt"},
            {"change": "typos", "extra_drop_at_most": "1pt"},
            {"extra_drop_at_most": "2%"},
            "robustness",
        )
    ],
    "challenge": [
        Case(
            {"drop_at_most": "2pt"},
            {"set": "pairs", "drop_at_most": "0pt"},
            {"set": "suite", "drop_at_most": "1pt"},
            {"drop_at_most": 2},
            "challenge",
        )
    ],
    "fairness-gap": [
        Case(
            {"rise_at_most": "1pt"},
            {"of": "equalized odds", "source": "group", "rise_at_most": "0.6pt"},
            {"of": "metric", "rise_at_most": "0.9pt"},
            {"rise_at_most": "1x"},
            "fairness_gap",
        )
    ],
}
# Compares with a stored report, so that it has its tests where those are: test_bench/test_baselines.py.
ELSEWHERE = ["regression"]
EVERY = [(name, case) for name, cases in CASES.items() for case in cases]


def reported() -> Report:
    """``tiny_damage.report`` and, as if it were also of a ranking, the order flips."""
    report = tiny_damage.report()
    flips = tiny_bench.measurement(
        "after",
        "order_flips",
        0.03,
        probe="order_flips",
        unit="share",
        better="lower",
        interval=Interval(low=0.01, high=0.05),
    )
    return report.model_copy(update={"measurements": (*report.measurements, flips)})


def check(name: str, options: dict[str, Any], report: Report, candidate: str = "after") -> Verdict:
    """A gate's verdict."""
    module = catalog.load("gate", name)
    verdict: Verdict = module.check(report, candidate, validate(module.Config, options, f"gate '{name}'"))
    return verdict


def test_every_gate_is_held_to_this_contract() -> None:
    """A new gate needs its cases here."""
    assert sorted([*CASES, *ELSEWHERE]) == catalog.names("gate")


@pytest.mark.parametrize(("name", "case"), EVERY)
@pytest.mark.parametrize(("side", "status"), [("at", "pass"), ("inside", "pass"), ("outside", "fail")])
def test_a_gate_passes_up_to_its_limit(name: str, case: Case, side: str, status: str) -> None:
    """At the limit and inside it passes, outside it fails; the verdict carries figure, limit and reason."""
    verdict = check(name, getattr(case, side), reported())
    assert verdict.status == status, verdict.reason
    assert verdict.gate == name
    assert verdict.candidate == "after"
    assert verdict.value is not None
    assert "allowed: at" in verdict.reason
    assert "before" in verdict.reason or "x" not in verdict.limit
    if side != "inside":
        assert verdict.metric == case.metric


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("accuracy-drop", {"at_most": "1.9pt"}),
        ("accuracy-drop", {"at_most": "0.5pt"}),
        ("latency", {"p50_at_most": "2.1ms"}),
        ("latency", {"p50_at_most": "1.9ms"}),
        ("latency", {"p50_at_most": "0.26x"}),
        ("latency", {"p50_at_most": "0.24x"}),
        ("latency", {"speedup_at_least": "4x"}),
        ("agreement", {"at_least": "98%"}),
        ("batch-agreement", {"at_least": "97%"}),
        ("harmful-flips", {"at_most": "2%"}),
        ("order-flips", {"at_most": "4%"}),
        ("worst-slice", {"drop_at_most": "6pt"}),
    ],
)
def test_a_limit_inside_the_interval_is_inconclusive(name: str, options: dict[str, Any]) -> None:
    """Where the interval straddles the limit, neither side is claimed, and what would help is said."""
    verdict = check(name, options, reported())
    assert verdict.status == "inconclusive"
    assert "the interval does not tell; " in verdict.reason
    assert check(name, {**options, "judge": "point"}, reported()).status in {"pass", "fail"}


def test_no_sure_loss_hides_behind_a_larger_one_that_is_not() -> None:
    """Of two slices, one 8 points down give or take 10 and one surely 6 down, the sure one decides at 5."""
    report = tiny_damage.report()
    worst = report.find("after", "worst_slice")
    assert worst is not None
    changes = {"wide": (-0.08, -0.18, 0.02), "sure": (-0.06, -0.07, -0.05)}
    slices = tuple(
        worst.model_copy(
            update={
                "difference": value,
                "difference_interval": Interval(low=low, high=high),
                "conditions": {"slice": name, "rows": 50},
            }
        )
        for name, (value, low, high) in changes.items()
    )
    unsliced = tuple(
        measurement for measurement in report.measurements if measurement.metric != "worst_slice"
    )
    verdict = check(
        "worst-slice",
        {"drop_at_most": "5pt"},
        report.model_copy(update={"measurements": (*unsliced, *slices)}),
    )
    assert verdict.status == "fail"
    assert "(sure)" in verdict.reason


@pytest.mark.parametrize(("name", "case"), EVERY)
def test_what_was_not_measured_fails_with_a_list_of_what_there_is(name: str, case: Case) -> None:
    """Without its measurement a gate fails closed and says what the report holds instead."""
    unrelated = (tiny_bench.measurement("after", "load_time_s", 1.0, probe="load_time"),)
    bare = tuple(
        tiny_bench.candidate(name_).model_copy(update={"truncation": None}) for name_ in ("before", "after")
    )
    empty = tiny_bench.report(candidates=bare, measurements=unrelated, facts={})
    verdict = check(name, case.inside, empty)
    assert verdict.status == "fail"
    assert verdict.value is None
    assert "missing fails" in verdict.reason
    assert ("load_time_s" in verdict.reason) or name == "parity"


@pytest.mark.parametrize(("name", "case"), EVERY)
def test_a_wrong_unit_is_refused_with_the_allowed_ones(name: str, case: Case) -> None:
    """A limit in another unit, or in none, is one sentence before anything is judged."""
    with pytest.raises(UserError, match="Allowed units"):
        check(name, case.wrong_unit, tiny_damage.report())


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_unknown_option_is_refused(name: str) -> None:
    """A misspelled key is named, with those that exist."""
    with pytest.raises(UserError, match=r"unknown key 'limit'.*Known keys: candidate"):
        check(name, {**CASES[name][0].at, "limit": "1pt"}, tiny_bench.report())


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_gate_changes_nothing(name: str) -> None:
    """Judging leaves the report as it was and gives the same verdict again."""
    report = tiny_damage.report()
    first = check(name, CASES[name][0].at, report)
    assert check(name, CASES[name][0].at, report) == first
    assert report == tiny_damage.report()


def test_a_ratio_without_its_baseline_is_missing() -> None:
    """A limit in x on a figure that has no ratio fails closed; the same figure in bytes is judged."""
    lone = (tiny_bench.measurement("after", "size_bytes", 20e6),)
    report = tiny_bench.report(measurements=lone)
    assert check("size", {"at_most": "1x"}, report).value is None
    assert check("size", {"at_most": "20MB"}, report).status == "pass"


def test_a_gain_is_no_drop() -> None:
    """A candidate that is better than the baseline has a drop below zero, and the interval turns with it."""
    report = tiny_bench.report(baseline="after")
    turned = tuple(
        measurement.model_copy(
            update={
                "difference": 0.01,
                "difference_interval": measurement.difference_interval
                and measurement.difference_interval.model_copy(update={"low": 0.0, "high": 0.02}),
            }
        )
        if measurement.probe == "accuracy"
        else measurement
        for measurement in report.measurements
    )
    verdict = check("accuracy-drop", {"at_most": "0.1pt"}, report.model_copy(update={"measurements": turned}))
    assert verdict.status == "pass"
    assert verdict.value == pytest.approx(-1)
    assert verdict.interval is not None
    assert (verdict.interval.low, verdict.interval.high) == (pytest.approx(-2), pytest.approx(0))


def test_a_point_that_was_not_measured_is_missing_however_near() -> None:
    """Batch 8 is not judged by batch 1; the reason lists the points that there are."""
    verdict = check("latency", {"at": {"batch_size": 8}, "p50_at_most": "1s"}, tiny_bench.report())
    assert verdict.status == "fail"
    assert "latency_p50_ms at batch 8, length data was not measured" in verdict.reason
    assert "latency_p50_ms (batch_size 1, length data)" in verdict.reason


def test_parity_takes_the_worst_case_and_names_who_has_figures() -> None:
    """The largest difference of all cases counts; a candidate without any fails and others are named."""
    assert check("parity", {"max_abs_at_most": "1e-4"}, tiny_bench.report()).value == 1e-4
    verdict = check("parity", {"max_abs_at_most": "1e-4"}, tiny_bench.report(), "before")
    assert verdict.status == "fail"
    assert "candidates with parity figures: after" in verdict.reason
    quantized = {"against_float": {"divergence_mean": 1e-3, "divergence_p99": 1e-2}}
    report = tiny_bench.report(facts={"after": quantized})
    assert check("parity", {"kl_at_most": "1e-3"}, report).status == "pass"
    assert check("parity", {"kl_at_most": "9e-4"}, report).status == "fail"
    assert check("parity", {"kl_at_most": 1, "max_abs_at_most": 1}, report).value is None
    verdict = check("parity", {"kl_at_most": 1}, tiny_bench.report())
    assert verdict.value is None
    assert "'after' records max_abs" in verdict.reason


def altered(metric: str, candidate: str = "after", **changes: Any) -> Report:
    """The hand-made report with changes to one measurement."""
    report = tiny_bench.report()
    changed = tuple(
        measurement.model_copy(update=changes)
        if (measurement.candidate, measurement.metric) == (candidate, metric)
        else measurement
        for measurement in report.measurements
    )
    return report.model_copy(update={"measurements": changed})


def test_a_gain_that_compression_does_not_give_is_anomalous() -> None:
    """Six points better for sure is a leak or a mix-up until someone looks; an option allows it."""
    better = Interval(low=0.04, high=0.08)
    report = altered("accuracy", difference=0.06, difference_interval=better)
    verdict = check("accuracy-drop", {"at_most": "1pt"}, report)
    assert verdict.status == "anomalous"
    assert "a gain above 5pt (implausible_gain)" in verdict.reason
    assert check("accuracy-drop", {"at_most": "1pt", "implausible_gain": "10pt"}, report).status == "pass"
    lucky = altered("accuracy", difference=0.06, difference_interval=Interval(low=-0.01, high=0.13))
    assert check("accuracy-drop", {"at_most": "1pt"}, lucky).status == "pass"


def test_a_speed_that_compression_does_not_give_is_anomalous() -> None:
    """A median a hundred times faster than the baseline computes something else."""
    report = altered("latency_p50_ms", ratio=0.005, ratio_interval=Interval(low=0.004, high=0.006))
    verdict = check("latency", {"p50_at_most": "1x"}, report)
    assert verdict.status == "anomalous"
    assert "200x as fast, above 100x (implausible_speedup)" in verdict.reason


def _of_rounds(*before: float) -> Report:
    """The baseline took so many ms in each round, the candidate always 4."""
    rounds = len(before)
    samples = {"before": tuple(ms for ms in before for _ in range(8)), "after": (4.0,) * (8 * rounds)}
    report = altered("latency_p50_ms")
    changed = tuple(
        measurement.model_copy(update={"samples": samples[measurement.candidate], "rounds": rounds})
        if measurement.metric == "latency_p50_ms"
        else measurement
        for measurement in report.measurements
    )
    return report.model_copy(update={"measurements": changed})


@pytest.mark.parametrize("early", [(8.0,), (8.0, 8.4, 7.8)], ids=["still", "varied"])
@pytest.mark.parametrize("rounds", [4, 6, 8, 10, 20])
def test_a_baseline_that_changed_half_way_is_anomalous(rounds: int, early: tuple[float, ...]) -> None:
    """Its later half at half speed while the candidate kept its own: no ratio of that run is believed."""
    half = [early[at % len(early)] for at in range(rounds // 2)]
    report = _of_rounds(*half, *(2 * ms for ms in half))
    verdict = check("latency", {"p50_at_most": "1x"}, report)
    assert verdict.status == "anomalous"
    assert "the baseline itself changed by +100 % half way through" in verdict.reason
    assert check("latency", {"p50_at_most": "5ms"}, report).status == "pass"


@pytest.mark.parametrize(
    "before",
    [(8.0, 12.0, 13.0, 17.0), (8.0, 16.0, 15.0, 30.0), (5.0, 9.0, 8.0, 9.0, 14.0, 8.0, 15.0, 9.5)],
    ids=str,
)
def test_few_rounds_that_only_vary_are_no_change_half_way(before: tuple[float, ...]) -> None:
    """The halves' medians lie 25 % and more apart, as far as single rounds of one half do: that is chance."""
    assert check("latency", {"p50_at_most": "1x"}, _of_rounds(*before)).status == "pass"


def test_a_run_that_the_clocks_spoiled_is_dropped() -> None:
    """It neither passes nor fails, and the reason says why; what only varied is judged."""
    moved = Flags(spoiled="the SM clock moved from 1980 to 1500 MHz")
    report = altered("latency_p50_ms", flags=moved)
    for limit in ("1x", "0.1x", "5ms", "1ms"):
        verdict = check("latency", {"p50_at_most": limit}, report)
        assert verdict.status == "inconclusive", limit
        assert "the run was spoiled and does not count: the SM clock moved from 1980" in verdict.reason
    varied = altered("latency_p50_ms", flags=Flags(unstable=True))
    assert check("latency", {"p50_at_most": "1x"}, varied).status == "pass"


def test_a_narrow_pass_on_a_disturbed_machine_is_not_believed() -> None:
    """Others took 20 % of the time: 0.32x stays open, 1x, which twice the interval holds too, passes."""
    report = altered("latency_p50_ms", disturbed=0.2)
    verdict = check("latency", {"p50_at_most": "0.32x"}, report)
    assert verdict.status == "inconclusive"
    assert "other processes took 20 % of the timed seconds" in verdict.reason
    assert check("latency", {"p50_at_most": "1x"}, report).status == "pass"
    assert check("latency", {"p50_at_most": "0.1x"}, report).status == "fail"
    assert (
        check("latency", {"p50_at_most": "0.32x"}, altered("latency_p50_ms", disturbed=0.01)).status == "pass"
    )


@pytest.mark.parametrize(
    ("share", "limit", "status"),
    [
        (0.2, "0.5x", "pass"),
        (0.3, "0.4x", "inconclusive"),
        (0.3, "1x", "pass"),
        (0.2, "0.15x", "fail"),
        (0.5, "0.15x", "inconclusive"),
        (0.5, "0.05x", "fail"),
        (1.0, "100x", "pass"),
    ],
)
def test_what_others_took_may_have_been_one_sides(share: float, limit: str, status: str) -> None:
    """0.25x (0.2 to 0.3125): with half of the time lost it counts as 0.1 to 0.625."""
    verdict = check("latency", {"p50_at_most": limit}, altered("latency_p50_ms", disturbed=share))
    assert verdict.status == status, verdict.reason
    assert ("may have been one side's" in verdict.reason) == (share > 0.25)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"p50_at_most": "1x"}, "pass"),
        ({"speedup_at_least": "1x"}, "pass"),
        ({"p50_at_most": "0.75x"}, "pass"),
        ({"p50_at_most": "0.74x"}, "inconclusive"),  # it touches the limit
        ({"speedup_at_least": f"{1 / 0.74!r}x"}, "inconclusive"),
        ({"p50_at_most": "0.5x"}, "inconclusive"),
        ({"p50_at_most": "0.03x"}, "fail"),
    ],
)
def test_what_is_wholly_within_the_limit_after_widening_passes(options: dict[str, str], status: str) -> None:
    """A 5.8-fold speed-up on a machine where others took 70 % of the time counts as 0.04 to 0.74.

    'paredown demo' called it too narrow a pass for a limit of 1x, since it doubled the interval once more.
    """
    figures = {
        "ratio": 1 / 5.8,
        "ratio_interval": Interval(low=0.04 / 0.3, high=0.74 * 0.3),
        "disturbed": 0.7,
    }
    verdict = check("latency", options, altered("latency_p50_ms", **figures))
    assert verdict.status == status, verdict.reason
    counted = "1.35 to 25" if "speedup_at_least" in options else "0.04 to 0.74"
    assert f"it counts as {counted}" in verdict.reason


@pytest.mark.parametrize("share", [0.03, 0.1, 0.25, 0.26, 0.5, 0.8])
def test_no_slower_model_passes_by_what_others_took_from_the_baseline(share: float) -> None:
    """A candidate 10 % slower, all that was lost the baseline's: whatever the width, 1.05x is not passed."""
    for half in (0.001, 0.01, 0.05, 0.2):
        ratio = 1.1 * (1 - share) if share > 0.25 else 1.1
        interval = Interval(low=ratio * (1 - half), high=ratio * (1 + half))
        report = altered("latency_p50_ms", ratio=ratio, ratio_interval=interval, disturbed=share)
        verdict = check("latency", {"p50_at_most": "1.05x"}, report)
        assert verdict.status != "pass", verdict.reason


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.5, 1.0])
def test_a_limit_in_time_and_its_speed_up_are_judged_alike(share: float) -> None:
    """However much others took: 4x as fast is 0.25x of the time, also where a pass is not believed."""
    report = altered("latency_p50_ms", disturbed=share)
    for speed in (0.001, 0.01, 0.1, 0.25, 0.5, 1, 2, 2.5, 3, 3.125, 3.5, 4, 5, 8, 20):
        by_time = check("latency", {"p50_at_most": f"{1 / speed}x"}, report)
        by_speed = check("latency", {"speedup_at_least": f"{speed}x"}, report)
        assert by_speed.status == by_time.status, (speed, by_speed.reason, by_time.reason)


def test_a_drop_of_nothing_has_no_minus_sign_and_cut_rows_are_mended_by_a_max_length() -> None:
    """Tables said +0.00 pt where the gate said -0.00pt; data.max_length was named where the export's cut."""
    report = tiny_bench.report()
    still = tuple(
        figure.model_copy(update={"difference": 0.0}) if figure.difference is not None else figure
        for figure in report.measurements
    )
    before, after = report.candidates
    assert after.truncation is not None
    by_export = after.model_copy(
        update={"truncation": after.truncation.model_copy(update={"whose": "export"})}
    )
    same = report.model_copy(update={"measurements": still, "candidates": (before, by_export)})
    gates = (
        Named(name="accuracy-drop", options={"at_most": "1pt"}),
        Named(name="truncation", options={"at_most": "0%"}),
    )
    drop, cut = judge.judge(same, gates).verdicts
    assert "+0.00pt against" in drop.reason
    assert "a higher max_length cuts fewer" in cut.reason
    assert "data.max_length" not in cut.reason
