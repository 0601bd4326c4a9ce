"""From gates to verdicts to exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import tiny_bench

from bench.record.model import Status, Verdict
from bench.verdicts import judge
from compress.errors import ExitCode, UserError
from compress.recipe import BenchConfig, Named, Recipe, validate


def verdict(status: Status) -> Verdict:
    """A verdict of some status."""
    return Verdict(
        gate="size",
        candidate="after",
        status=status,
        metric="m",
        value=1,
        interval=None,
        limit="1x",
        reason="r",
    )


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((), 0),
        (("pass", "pass"), 0),
        (("pass", "fail"), 3),
        (("pass", "inconclusive"), 4),
        (("anomalous", "inconclusive"), 5),
        (("anomalous", "fail", "inconclusive"), 3),
    ],
)
def test_the_worst_verdict_decides_the_exit_code(statuses: tuple[Status, ...], code: int) -> None:
    """A failed gate goes before an anomaly, and that before what stayed open."""
    assert judge.exit_code([verdict(status) for status in statuses]) == ExitCode(code)


@pytest.mark.parametrize(
    ("counts", "statuses", "code"),
    [
        ("pass", ("pass", "inconclusive"), 0),
        ("fail", ("pass", "inconclusive"), 3),
        ("pass", ("anomalous", "inconclusive"), 5),
        ("fail", ("anomalous", "inconclusive"), 3),
        ("fail", ("pass",), 0),
    ],
)
def test_an_open_verdict_counts_as_it_is_told(
    counts: Literal["pass", "fail"], statuses: tuple[Status, ...], code: int
) -> None:
    """``--inconclusive`` turns open verdicts into passes or failures and touches no other."""
    assert judge.exit_code([verdict(status) for status in statuses], counts) == ExitCode(code)


def budget(folder: Path, text: str) -> tuple[Named, ...]:
    """The gates of a budget file with that text."""
    file = folder / "budget.yaml"
    file.write_text(text)
    return judge.load_budget(file)


def test_a_budget_and_a_recipe_share_one_schema(tmp_path: Path) -> None:
    """The same list reads the same from a budget file and from a recipe's ``gates``."""
    entries = [{"size": {"at_most": "25MB"}}, {"accuracy_drop": {"at_most": "1pt", "metric": "macro_f1"}}]
    gates = budget(tmp_path, "- size: {at_most: 25MB}\n- accuracy_drop: {at_most: 1pt, metric: macro_f1}\n")
    recipe = validate(Recipe, {"gates": entries}, "recipe")
    assert gates == recipe.gates
    report = judge.judge(tiny_bench.report(), gates)
    assert [(verdict.gate, verdict.status) for verdict in report.verdicts] == [
        ("size", "pass"),
        ("accuracy-drop", "pass"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("size: {at_most: 25MB}\n", "a budget is a list of entries"),
        ("[]\n", "a budget is a list of entries"),
        ("- size: {at_most: 25MB}\n  latency: {}\n", "one name each"),
        ("- weight: {at_most: 25MB}\n", "Unknown gate 'weight'"),
        (
            "- size: {at_mots: 25MB}\n",
            "gate 'size': unknown key 'at_mots'|gate 'size': at_most: Field required",
        ),
        ("- size: {at_most: 25}\n", "gate 'size': at_most: '25' has no unit"),
        (
            "- latency: {at: {batch_size: 1}}\n",
            "give p50_at_most, p95_at_most, p99_at_most, p99_9_at_most or speedup_at_least",
        ),
        (
            "- latency: {at: {length: long}, p50_at_most: 1ms}\n",
            "a length is a number of tokens or the word 'data'",
        ),
        ("- parity: {}\n", "give max_abs_at_most or kl_at_most"),
        ("- size: {at_most: 25MB\n", "is not valid YAML"),
    ],
)
def test_a_budget_that_does_not_hold_together_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """Each mistake gets one sentence with what is allowed."""
    with pytest.raises(UserError, match=reason):
        budget(tmp_path, text)


def test_a_missing_budget_is_named(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        judge.load_budget(tmp_path / "nowhere.yaml")


def test_a_gate_judges_what_ships_unless_it_names_another() -> None:
    """The last candidate is the default; ``candidate`` overrides it, and an unknown one is refused."""
    options = {"at_most": "50MB"}
    named = {**options, "candidate": "before"}
    report = judge.judge(
        tiny_bench.report(), [Named(name="size", options=options), Named(name="size", options=named)]
    )
    assert [(verdict.candidate, verdict.status) for verdict in report.verdicts] == [
        ("after", "pass"),
        ("before", "fail"),
    ]
    with pytest.raises(UserError, match="gate 'size' names the candidate 'later'; there are: before, after"):
        judge.judge(report, [Named(name="size", options={**options, "candidate": "later"})])


def test_judging_again_replaces_the_verdicts() -> None:
    """Verdicts of an earlier budget do not pile up."""
    first = judge.judge(tiny_bench.report(), [Named(name="size", options={"at_most": "1MB"})])
    second = judge.judge(first, [Named(name="size", options={"at_most": "100MB"})])
    assert [verdict.status for verdict in second.verdicts] == ["pass"]
    assert second.model_copy(update={"verdicts": ()}) == tiny_bench.report()


def test_gates_widen_the_bench_by_what_they_look_at() -> None:
    """A gate's probe and point of the grid are added once; default probes stay the default."""
    gates = judge.prepare(
        [
            Named(name="latency", options={"at": {"batch_size": 8, "length": 32}, "p50_at_most": "2ms"}),
            Named(name="size", options={"at_most": "1MB"}),
            Named(name="parity", options={"max_abs_at_most": 0.1}),
        ]
    )
    wide = judge.widen(BenchConfig(probes=("size",)), gates)
    assert [probe.name for probe in wide.probes] == ["size", "latency"]
    assert wide.batch_sizes == (1, 8)
    assert wide.lengths == ("data", 32)
    assert judge.widen(BenchConfig(), gates).probes == ()
