"""A baseline at chance is called out in every face of a report, and no gate passes beside it unnoticed."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import tiny_bench
from rich.console import Console

from bench.record.model import Report
from bench.report import forms, junit, markdown, summary, terminal
from bench.report.damage import markdown as damage_markdown
from bench.verdicts import chance, judge
from compress import catalog
from compress.errors import ExitCode
from compress.recipe import BenchConfig, Named, validate
from compress.tasks import Head, Prediction

GATES = (Named(name="size", options={"at_most": "25MB"}),)


def report(share: float | None, baseline: float = 0.92, **config: object) -> Report:
    """The made report, whose evaluation rows have a commonest class of this share."""
    template = tiny_bench.report(config={"rounds": 20, "runs": 8, **config})
    scored = [
        measurement.model_copy(
            update={
                "blind": share,
                "value": baseline if measurement.candidate == "before" else measurement.value,
            }
        )
        if measurement.metric == "accuracy"
        else measurement
        for measurement in template.measurements
    ]
    return template.model_copy(update={"measurements": tuple(scored)})


@pytest.mark.parametrize("value", [0.25, 0.5])
def test_a_baseline_at_or_below_its_commonest_class_is_anomalous(value: float) -> None:
    """MNLI's ids in another order than the head's gave 25 % or 0 % without a word, and all gates passed."""
    judged = judge.judge(report(0.5, value), GATES)
    (size, at_chance) = judged.verdicts
    assert size.status == "pass"
    assert (at_chance.gate, at_chance.candidate, at_chance.status) == ("chance", "before", "anomalous")
    assert at_chance.value == value
    assert at_chance.limit == "above 50.00 %"
    assert "50.00 %" in at_chance.reason
    assert "allow_chance" in at_chance.reason
    assert judge.exit_code(judged.verdicts) == ExitCode.ANOMALOUS


def test_every_face_of_the_report_says_it() -> None:
    """Terminal, Markdown, page and JUnit."""
    judged = judge.judge(report(0.5, 0.4), GATES)
    console = Console(record=True, width=200)
    terminal.show(judged, console)
    for text in (console.export_text(), markdown.page(judged), forms.html.page(judged)):
        assert "no better than chance" in text
        assert "is at chance" in text
    assert "no better than chance" in junit.xml(judged)
    assert 'errors="1"' in junit.xml(judged)
    damaged = tiny_bench.damaged(judged)
    assert damage_markdown.page(damaged).count("no better than chance") == 2  # on top, and as a gate


def test_the_page_says_it_before_its_figures_even_where_it_is_allowed() -> None:
    """It stood below all tables, where nobody looks."""
    judged = judge.judge(report(0.5, 0.4, allow_chance=True), GATES)
    page = forms.html.page(judged)
    (output,) = ElementTree.fromstring(junit.xml(judged)).findall("testsuite/system-out")
    assert "no better than chance" in str(output.text)
    assert page.count("no better than chance") == 1
    assert page.index("no better than chance") < page.index("<h2>Figures</h2>")


def test_the_first_screen_names_every_gate_that_is_open() -> None:
    """The gate on chance is judged last and was one of "2 more" that nobody saw."""
    gates = [Named(name="size", options={"at_most": limit}) for limit in ("3MB", "2MB", "1MB")]
    page = forms.html.page(judge.judge(report(0.5, 0.4), gates))
    assert '<p class="soft">and size (fail), chance (anomalous), under "Gates"</p>' in page


def test_without_gates_it_is_said_and_nothing_is_judged() -> None:
    """A measurement alone has no verdict."""
    measured = judge.judge(report(0.5, 0.4), ())
    assert measured.verdicts == ()
    assert summary.headline(measured).endswith("the baseline 'before' is at chance")


def test_a_recipe_may_allow_it_and_the_report_says_so() -> None:
    """Then the gates judge as ever."""
    judged = judge.judge(report(0.5, 0.4, allow_chance=True), GATES)
    assert [verdict.status for verdict in judged.verdicts] == ["pass"]
    assert "taken all the same: bench.allow_chance" in chance.sentences(judged)[0]
    config: BenchConfig = validate(BenchConfig, {"allow_chance": True}, "bench")
    assert config.model_dump(mode="json")["allow_chance"] is True


@pytest.mark.parametrize(("share", "value"), [(0.5, 0.51), (1.0, 1.0), (None, 0.1)])
def test_a_better_baseline_and_rows_that_tell_nothing_are_no_anomaly(
    share: float | None, value: float
) -> None:
    """Above the commonest class; rows all of one class; a report that does not know the share."""
    judged = judge.judge(report(share, value), GATES)
    assert [verdict.status for verdict in judged.verdicts] == ["pass"]
    assert chance.sentences(judged) == []


def test_what_a_constant_answer_gets_is_counted_by_hand() -> None:
    """The commonest class; the best constant set; nothing for numbers and for entities; the commonest tag."""
    task = catalog.load("task", "text-classification")
    classes = Head("single_label", ("a", "b", "c"))
    answers = [Prediction(value=0, label="a")] * 4
    totals = task.statistics(answers, [2, 2, 1, 2], classes).sum(axis=0)
    assert task.blind(totals, classes) == 0.75

    # Labels of a in 3 of 4 rows, of b in 2, of c in 1: always {a} gives 6/(4+6), always {a, b} 10/(8+6).
    sets = Head("multi_label", ("a", "b", "c"))
    none = [Prediction(value=(), label=())] * 4
    totals = task.statistics(none, [(0, 1), (0,), (0, 1), (2,)], sets).sum(axis=0)
    assert task.blind(totals, sets) == pytest.approx(10 / 14)

    number = Head("regression", ())
    totals = task.statistics([Prediction(value=1.0, label=1.0)] * 2, [1.0, 3.0], number).sum(axis=0)
    assert task.blind(totals, number) == 0.0

    words = catalog.load("task", "token-classification")
    tagged = [Prediction(value=(0, 0, 0), label=("O", "O", "O"))]
    chunks = Head("single_label", ("O", "B-PER"))
    assert words.blind(words.statistics(tagged, [(0, 1, 0)], chunks).sum(axis=0), chunks) == 0.0
    plain = Head("single_label", ("NOUN", "VERB"))
    totals = words.statistics(tagged, [(1, 1, 0)], plain).sum(axis=0)
    assert np.isclose(words.blind(totals, plain), 2 / 3)
    ignored = words.statistics(tagged, [(-100, 1, 1)], plain).sum(axis=0)
    assert np.isclose(words.blind(ignored, plain), 2 / 3)
