"""What the verb damage shares with bench: speed on the page, options, the step summary; its short form."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_bench
import tiny_damage
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from bench.answers import asking
from bench.findings import robustness
from bench.findings.robustness import Perturbation, Robustness
from bench.findings.slices import Slices
from bench.record import document
from bench.record.model import Report
from bench.report import html, step_summary
from bench.report import markdown as pages
from bench.report.damage import markdown, view
from bench.session import CandidateSpec, measure
from bench.verdicts.judge import judge, prepare
from compress import recipe
from compress.errors import UserError
from compress.recipe import BenchConfig, Named
from deploy.opening import RUNTIMES
from paredown.app import app


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A model, and a smaller one that is wrong at times; no job's summary to write to."""
    monkeypatch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
    monkeypatch.setitem(RUNTIMES, "onnx", "fake_runtime:Wrong")
    monkeypatch.delenv(step_summary.VARIABLE, raising=False)
    big = tiny_bench.fake_artifact(tmp_path / "big", bytes_=5000)
    small = tiny_bench.fake_graph(tmp_path / "small")
    return f"big={big.path}", f"small={small.path}"


def run(models: tuple[str, str], data: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and stdout of ``damage``; a ``UserError`` is raised as it is."""
    words = ("damage", *models, "--data", data, "--threads", 1, "--cases", 20, *arguments)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def test_one_command_says_what_was_won_and_what_was_lost(
    models: tuple[str, str], text_data: Path, tmp_path: Path
) -> None:
    """Speed-up, accuracy, memory and size, worst slices and flipped rows: on the page and beside it."""
    file, page, text = (tmp_path / name for name in ("d.json", "d.html", "d.md"))
    code, stdout = run(models, text_data, "--json", file, "--html", page, "--markdown", text)
    assert code == 0
    report = document.read(file)
    (point,) = {
        tuple(sorted(measurement.conditions.items()))
        for measurement in report.measurements
        if measurement.probe == "latency"
    }
    assert dict(point) == {"batch_size": 1, "length": "data"}
    flips = report.find("small", "harmful_flips")
    accuracy = report.find("small", "accuracy")
    assert flips is not None
    assert accuracy is not None
    assert flips.conditions["batch_size"] == accuracy.conditions["batch_size"] == 16
    for phrase in ("Speed-up", "95 % interval", "Change in accuracy", "Peak memory", "Size on disk"):
        assert phrase in page.read_text()
    for title in ("Speed-up", "Change in accuracy", "Peak memory", "Size on disk"):
        assert f"- {title}: **" in text.read_text()
        assert f"{title}. " in stdout
    assert page.read_text().count('<p class="said">') == 5


def test_a_quick_look_leaves_the_timing_out(models: tuple[str, str], text_data: Path, tmp_path: Path) -> None:
    """``--no-speed``: size stays, which costs nothing; a gate on latency is measured all the same."""
    file = tmp_path / "d.json"
    assert run(models, text_data, "--no-speed", "--json", file)[0] == 0
    probes = {measurement.probe for measurement in document.read(file).measurements}
    assert "size" in probes
    assert not probes & {"latency", "memory"}
    budget = tmp_path / "budget.yaml"
    budget.write_text("- latency: {p50_at_most: 1000x}\n")
    run(models, text_data, "--no-speed", "--json", file, "--budget", budget)
    assert "latency" in {measurement.probe for measurement in document.read(file).measurements}


def test_options_of_bench_are_options_of_damage(
    models: tuple[str, str], text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--junit``, ``--inconclusive``, ``--budget-minutes``, ``--shared``, ``--track`` and the summary."""
    budget, file, junit = (tmp_path / name for name in ("budget.yaml", "d.json", "junit.xml"))
    # 60 rows tell neither way: no number of flips bears so wide a limit out.
    budget.write_text("- calibration-error: {rise_at_most: 1000pt}\n- harmful-flips: {at_most: 0.01%}\n")
    summary = tmp_path / "summary.md"
    monkeypatch.setenv(step_summary.VARIABLE, str(summary))
    options = ("--no-speed", "--budget", budget, "--budget-minutes", 0, "--shared")
    same = (models[0], models[0].replace("big=", "again="))
    code, _ = run(same, text_data, *options, "--junit", junit, "--json", file)
    assert code == 4
    assert junit.read_text().count("<testcase") == 2
    assert document.read(file).config.model_dump()["shared"] is True
    assert "## What got worse" in summary.read_text()
    assert run(same, text_data, *options, "--inconclusive", "pass", "--no-summary")[0] == 0
    assert run(same, text_data, *options, "--inconclusive", "fail", "--no-summary")[0] == 3
    assert summary.read_text().count("## What got worse") == 1
    with pytest.raises(UserError, match=r"Unknown tracker 'wandbb'\. Did you mean 'wandb'"):
        run(same, text_data, "--track", "wandbb")


def test_a_dash_is_a_file_where_a_verb_has_no_stdout_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gate --report -`` writes a file of that name."""
    monkeypatch.chdir(tmp_path)
    Path("r.json").write_text(document.to_json(tiny_bench.report()))
    Path("b.yaml").write_text("- size: {at_most: 1GB}\n")
    completed = CliRunner().invoke(
        app, ["gate", "r.json", "--budget", "b.yaml", "--report", "-", "--no-summary"]
    )
    assert completed.exit_code == 0
    assert Path("-").is_file()


def two_steps() -> Report:
    """``tiny_damage.report`` with a step between, which lost other answers."""
    report = tiny_damage.report()
    flips, slices = tiny_damage.finding()
    worse = slices.model_copy(update={"slices": slices.slices[1:]})
    measurements = [
        tiny_bench.measurement(
            "between",
            "harmful_flips",
            0.02,
            probe="flips",
            finding=flips.model_copy(
                update={"harmful": 2, "worst": (tiny_damage.row(77, cells={"text": "of the step between"}),)}
            ),
        ),
        tiny_bench.measurement("between", "worst_slice", 0.9, probe="slices", finding=worse),
    ]
    before, after = report.candidates
    return report.model_copy(
        update={
            "candidates": (before, before.model_copy(update={"name": "between"}), after),
            "measurements": (*report.measurements, *measurements),
        }
    )


def test_markdown_and_summary_say_what_got_worse_without_rows() -> None:
    """Sentences, three slices, flips in numbers; no text of a row; nothing without damage."""
    text = pages.page(tiny_damage.report())
    assert "## What got worse" in text
    assert "7 of 100 answers changed. 6 were right and are wrong now" in text
    assert "| slice | rows | before | now | change | 95 % |" in text
    assert "| label: class 0 | 50 | 90.0 % | 85.0 % | -5.0 pt |  |" in text
    assert "class 2 |" in text
    assert "class 3 |" not in text
    assert "text of row" not in text
    assert "Step by step" not in text
    assert "What got worse" not in pages.page(tiny_bench.report())


def test_a_report_of_several_steps_leads_with_what_ships() -> None:
    """First screen and sections are about the last candidate; the steps are a table of a line each."""
    report = two_steps()
    damage = view.collect(report)
    assert damage is not None
    assert damage.candidate == "after"
    page = html.page(report)
    assert "of the step between" not in page
    assert "text of row 1" in page
    first = page[: page.index("<h2>Plots</h2>")]
    assert "after against before: 6 of 100 answers went from right to wrong" in first
    steps = page[page.index('id="steps"') : page.index('id="slices"')]
    assert steps.index("between") < steps.index(">after<")
    assert "| between | -3.0 pt (label: class 1) | 2 | 1 |" in pages.page(report)
    fine = report.measurements[-1].finding
    assert isinstance(fine, Slices)
    fine = fine.model_copy(update={"slices": fine.slices[-1:]})
    measurements = (*report.measurements[:-1], report.measurements[-1].model_copy(update={"finding": fine}))
    assert "| between | none lost | 2 | 1 |" in pages.page(
        report.model_copy(update={"measurements": measurements})
    )
    assert 'id="steps"' not in html.page(tiny_damage.report())
    assert "Speed-up" in markdown.page(report)


def test_what_has_nothing_to_say_stands_in_the_report(tmp_path: Path) -> None:
    """Too few rows for any slice: the other figures stand, the page says why, and a gate fails closed."""
    folder = tiny_bench.fake_artifact(tmp_path / "model").path
    specs = [CandidateSpec(name, folder, tiny_bench.FAKE) for name in ("one", "two")]
    both = BenchConfig(probes=(Named(name="flips"), Named(name="slices")), threads=1)
    report = measure(specs, tiny.sentences(10, 1), both)
    reason = "there are 10 rows and no slice of them has 20"
    assert reason in report.conditions.not_measured["slices"]
    assert report.find("two", "harmful_flips") is not None
    assert f"slices is not measured: {reason}" in html.page(report)
    (verdict,) = judge(report, [Named(name="worst-slice", options={"drop_at_most": "50pt"})]).verdicts
    assert verdict.status == "fail"
    alone = both.model_copy(update={"probes": both.probes[1:]})
    with pytest.raises(UserError, match=reason):
        measure(specs, tiny.sentences(10, 1), alone)


def test_the_original_answers_changed_texts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps are compared with it, and with the same figures as for one alone."""
    lanes: list[str] = []
    ask = asking.answers.answer

    def counted(lane: object, *arguments: object, **more: object) -> object:
        key = ("answers", arguments[-1], arguments[2])
        if key not in lane.memo:  # type: ignore[attr-defined]
            lanes.append(lane.name)  # type: ignore[attr-defined]
        return ask(lane, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asking.answers, "answer", counted)
    folder = tiny_bench.fake_artifact(tmp_path / "model").path
    specs = [CandidateSpec(name, folder, tiny_bench.FAKE) for name in ("one", "two")]
    specs.append(CandidateSpec("wrong", folder, "fake_runtime:Wrong"))
    probes = (Named(name="robustness", options={"rows": 12}),)
    rows = tiny.sentences(30, 1)
    report = measure(specs, rows, BenchConfig(probes=probes, threads=1))
    assert lanes.count("one") == lanes.count("two") == lanes.count("wrong")
    alone = measure([specs[0], specs[2]], rows, BenchConfig(probes=probes, threads=1))
    assert view.collect(alone, "wrong") == view.collect(report, "wrong")


@pytest.mark.parametrize("name", ["text-int8", "text-small"])
def test_shipped_text_recipes_look_for_damage_within_bounds(name: str) -> None:
    """Flips, slices, calibration and robustness are in the one page; rows that are listed are bounded."""
    probes = {entry.name: entry.options for entry in recipe.read(name).bench.probes}
    assert {"flips", "slices", "calibration-error", "robustness", "latency", "memory", "size"} <= set(probes)
    assert 5 <= probes["flips"]["rows"] <= 100
    assert probes["robustness"]["rows"] <= 300


def test_the_gates_that_the_docs_show_for_damage_exist() -> None:
    """Names and options of the block hold together."""
    text = (ROOT / "docs" / "damage.md").read_text(encoding="utf-8")
    section = text[text.index("## In a budget") :]
    block = section[section.index("```yaml\n") + 8 :]
    gates = yaml.safe_load(block[: block.index("```")])
    prepared = prepare(
        [Named(name=name, options=options) for entry in gates for name, options in entry.items()]
    )
    assert len(prepared) == 9


@pytest.mark.parametrize(
    ("extra", "phrase"),
    [(-0.02, "The worst is 'typos'"), (0.0, "None of the 1 that keep the label costs the candidate more")],
)
def test_changed_texts_that_cost_nothing_are_not_called_the_worst(extra: float, phrase: str) -> None:
    """A loss is named; where there is none, that is what is said."""
    typos = Perturbation(
        name="typos",
        what="one word in ten is misspelled",
        rows=100,
        keeps_label=True,
        clean_before=0.9,
        clean_after=0.9,
        before=0.8,
        after=0.8 + extra,
        extra=extra,
        agreement=0.97,
        reacted_before=0.1,
        reacted_after=0.1,
    )
    finding = Robustness(metric="accuracy", unit="share", better="higher", rows=100, changes=(typos,))
    assert phrase in robustness.sentences(finding)[0]
