"""The table of README and docs is the recorded report's, and the record is a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.record import document
from bench.report import markdown
from studies import encoders, false_alarms, held_out
from tools import readme_tables

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "studies" / "results"


def test_the_table_in_the_readme_is_generated_from_the_recorded_report() -> None:
    """Writing the tables of a page again changes nothing, and the report's is on both first pages."""
    for name in readme_tables.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert readme_tables.whole(name, ROOT) == page
    for name in ("README.md", "docs/index.md"):
        assert markdown.table(document.read(RESULTS / "sst2.json")) in (ROOT / name).read_text(
            encoding="utf-8"
        )


def test_every_recorded_result_is_a_report_of_this_version() -> None:
    """Each JSON under studies/results can be read back, and compares real rows: settings, those held out."""
    judged, settings = sorted(RESULTS.glob("*.json")), sorted((RESULTS / "held-out").glob("*.json"))
    assert judged
    assert settings
    for path in judged + settings:
        recorded = document.read(path, must_be_sealed=True)
        assert recorded.data.rows == (872 if path in judged else held_out.SENTENCES), path
        assert recorded.environment["cpu"]
        text = path.read_text(encoding="utf-8")
        assert '"cells"' not in text, f"{path} quotes rows of the data"
        assert not re.search(r'"/(home|root|tmp|work|mnt|usr)/', text), f"{path} holds a place of a machine"


def test_the_records_of_encoders_are_sealed_and_quote_nothing() -> None:
    """What was judged of each kind of encoder can be read back; no row and no place of a machine is in it."""
    paths = sorted((RESULTS / "encoders").glob("*.json"))
    assert paths
    for path in paths:
        assert path.with_suffix(".yaml").is_file(), f"{path} has no goals beside it"
        recorded = document.read(path, must_be_sealed=True)
        assert recorded.environment["cpu"], path
        text = path.read_text(encoding="utf-8")
        assert '"cells"' not in text, f"{path} quotes rows of the data"
        assert not re.search(r'"/(home|root|tmp|work|mnt|usr)/', text), f"{path} holds a place of a machine"


def test_a_goal_that_was_missed_stands_in_the_table() -> None:
    """A row a judged candidate, with what the gates said of it, in the words of the report."""
    recorded = document.read(RESULTS / "text-int8.json", must_be_sealed=True)
    missed = [verdict.model_copy(update={"status": "fail"}) for verdict in recorded.verdicts[:1]]
    table = encoders.markdown(
        {"a": recorded, "b": recorded.model_copy(update={"verdicts": (*missed, *recorded.verdicts[1:])})}
    ).splitlines()
    assert len(table) == 4
    assert [cell.strip() for cell in table[2].split("|")][1:9] == [
        "`a` quantize-onnx", "text-classification", "872", "accuracy", "90.25 %", "90.02 %",
        "-0.23 pt (-1.03 to +0.50)", "5.14x (4.22x to 5.98x)",
    ]  # fmt: skip
    assert "accuracy-drop 0.5pt: passed; latency 0.25x: passed" in table[2]
    assert "accuracy-drop 0.5pt: FAILED; latency 0.25x: passed" in table[3]
    assert encoders.markdown({}) == encoders.NONE


def test_settings_are_stated_as_they_were_measured() -> None:
    """Each line of the tables of settings gives what the report beside it holds, and INT8 its agreement."""

    def measured(pattern: str, metric: str) -> dict[str, str]:
        return {
            one.candidate: f"{100 * one.value:.2f} %"
            for path in (RESULTS / "held-out").glob(pattern)
            for one in document.read(path, must_be_sealed=True).measurements
            if one.metric == metric
        }

    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `([^`]+)` \|.*\| ([0-9.]+ %) \|$", page, re.MULTILINE))
    assert stated == measured("*.json", "accuracy")
    agreeing = re.findall(r"^\| `([^`]+)` \| ([0-9.]+ %) \| [0-9.]+ % \|$", page, re.MULTILINE)
    assert len(agreeing) == 4
    assert dict(agreeing) == measured("int8-rounding.json", "agreement")


def test_the_seeds_of_finetune_are_stated_as_they_were_measured() -> None:
    """Three settings of three seeds; the mean of the last one reaches the goal, those before missed it."""
    page = " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())
    for name, stated in (
        ("finetune-frozen", "gave {}, {} and {} % (`finetune-frozen.json`)"),
        ("finetune-plain", "gave {}, {} and {} % (`finetune-plain.json`)"),
        ("finetune", "run once: {}, {} and {} %, in the mean {mean:.2f} %."),
    ):
        recorded = document.read(RESULTS / f"{name}.json", must_be_sealed=True)
        measurements = [recorded.find(f"seed{seed}", "accuracy") for seed in range(3)]
        shares = [100 * measurement.value for measurement in measurements if measurement is not None]
        assert len(shares) == len(recorded.candidates) == 3
        mean = sum(shares) / 3
        assert (mean >= 89.5) is (name == "finetune")
        assert stated.format(*(f"{share:.2f}" for share in shares), mean=mean) in page


def test_the_goals_of_the_recorded_study_follow_from_its_counts() -> None:
    """Verdicts add up to 200 in every cell, each pair of processes serves ten, and every goal is judged."""
    study = json.loads((ROOT / readme_tables.ALARMS).read_text(encoding="utf-8"))
    cells = {(cell["condition"], cell["planted_percent"]): cell for cell in study["results"]}
    assert cells.keys() == {
        (condition, percent)
        for condition in false_alarms.CONDITIONS.values()
        for percent in false_alarms.SLOWDOWNS
    }
    for cell in cells.values():
        counts = [cell[status]["count"] for status in false_alarms.STATUSES]
        assert cell["comparisons"] == sum(counts) == 200
        assert cell["pairs_of_processes"] == 200 / false_alarms.PAIR
    assert false_alarms.goals(study["results"]) == study["goals"]
    assert all(goal["met"] is not None for goal in study["goals"].values())
    assert "<svg" in (ROOT / readme_tables.ALARMS).with_suffix(".svg").read_text(encoding="utf-8")


def test_the_first_study_is_stated_as_it_was_recorded() -> None:
    """What made the rule of widening is still there to be read: counts of its last condition."""
    first = json.loads((ROOT / readme_tables.ALARMS).with_name("first.json").read_text(encoding="utf-8"))
    busiest = list(false_alarms.CONDITIONS.values())[-1]
    equal, slower = (
        next(
            row
            for row in first["results"]
            if (row["condition"], row["planted_percent"]) == (busiest, percent)
        )
        for percent in (0, 10)
    )
    page = " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())
    assert f"{equal['fail']['count']} of {equal['comparisons']} comparisons of equal models failed" in page
    assert f"{slower['pass']['count']} of {slower['comparisons']} at +10 % passed" in page


def test_the_crowded_study_is_stated_as_it_was_recorded() -> None:
    """A machine that other work filled: its goals and counts are those in the record."""
    study = json.loads((ROOT / readme_tables.ALARMS).with_name("crowded.json").read_text(encoding="utf-8"))
    assert false_alarms.goals(study["results"]) == study["goals"]
    assert all(goal["met"] is True for goal in study["goals"].values())
    rows = study["results"]
    failed = sum(row["fail"]["count"] for row in rows if row["planted_percent"] == 0)
    passed = {p: [row["pass"]["count"] for row in rows if row["planted_percent"] == p] for p in (10, 20)}
    page = " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())
    assert f"of equal models {failed} of 600 failed" in page
    assert f"beside two busy processes {passed[20][-1]} of 200 did" in page
    assert sum(passed[10]) == 1
    assert "at +10 % 1 of 600 passed" in page


def test_a_changed_figure_is_noticed() -> None:
    """The comparison can fail: another table gives another page."""
    first, last = readme_tables.markers("results")
    page = f"a\n{first}\n\nold\n\n{last}\nb"
    assert readme_tables.render(page, "new") != page
    assert readme_tables.render(page, "old") == page


def test_a_page_without_markers_is_refused() -> None:
    """Nothing is written where there is no place for it."""
    with pytest.raises(ValueError, match="results:begin"):
        readme_tables.render("a page", "table")
