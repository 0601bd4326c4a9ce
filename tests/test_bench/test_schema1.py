"""Reports of schema 1, which main wrote until now: read, shown, judged and compared as they were.

``schema1_flags.json`` was made by hand and holds every flag that schema 1 said in words; ``schema1_run.json``
is what ``paredown bench`` wrote of two tiny models. Both were sealed by the code of schema 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hostile
import pytest
from tiny_baselines import judged

from bench.machine import devices
from bench.record import document
from bench.record.gpu import Gpu, UnknownGpu
from bench.record.model import Flags, Report
from bench.report import cards, html, markdown, tables
from bench.verdicts import baselines, judge, worth
from compress.errors import UserError
from compress.recipe import Named

ROOT = Path(__file__).resolve().parent.parent.parent
FLAGS, RUN = (ROOT / "tests" / f"schema1_{name}.json" for name in ("flags", "run"))
RECORDED = sorted((ROOT / "studies" / "results").glob("*.json"))
CLOCKS = "the GPU lowered its clocks (power cap); the SM clock moved from 1980 to 1500 MHz"


@pytest.fixture(scope="module")
def flagged() -> Report:
    """The report of every flag."""
    return document.read(FLAGS, must_be_sealed=True)


def reworded(report: Report) -> Report:
    """The report with other words in every note."""
    return report.model_copy(
        update={
            "measurements": tuple(
                one.model_copy(update={"notes": tuple(f"put otherwise: {note}" for note in one.notes)})
                for one in report.measurements
            )
        }
    )


def test_the_first_words_of_its_notes_become_fields(flagged: Report) -> None:
    """Each flag is the one that its note began with; the same words inside a sentence are words."""
    assert {json.loads(file.read_text())["schema_version"] for file in (FLAGS, RUN)} == {1}
    gpu = Flags(host_bound=True, unstable=True, spoiled=CLOCKS)
    expected = {
        "gpu_p50_ms": gpu,
        "device_memory_peak_bytes": Flags(whole_device=True),
        "latency_p50_ms": Flags(unstable=True),
        "open_loop_p50_ms": Flags(saturated=True),
        "accuracy": Flags(),
    }
    assert {one.metric: one.flags for one in flagged.measurements if one.candidate == "after"} == expected
    assert {one.metric: one.flags for one in flagged.measurements if one.candidate == "before"} == {
        metric: Flags(whole_device=metric == "device_memory_peak_bytes") for metric in expected
    }
    assert gpu.raised == ("host_bound", "unstable", "spoiled")


def test_its_parts_are_typed(flagged: Report) -> None:
    """GPU, data, setting and the machine's conditions, of which one had another name."""
    assert isinstance(flagged.device, Gpu)
    assert flagged.device.after.slowdowns == ("power cap",)
    assert dict(devices.lines(flagged.device))["gpu shared"].endswith("pid 7")
    assert flagged.conditions.before == {"load": "0.1"}
    assert flagged.conditions.not_measured == {"energy": "no counter here"}
    assert (flagged.data.rows, flagged.data.fingerprint) == (100, "f" * 64)
    assert (flagged.config.rounds, flagged.config.runs) == (20, 8)
    tree = json.loads(FLAGS.read_text()) | {"device": {"device": "cuda", "unknown": "no NVML"}}
    del tree["checksum"]
    unknown = document.from_json(json.dumps(tree), "it").device
    assert unknown == UnknownGpu(device="cuda", unknown="no NVML")


def test_it_is_written_as_schema_2_and_read_back(flagged: Report) -> None:
    """What was lifted once is a report like any other, with a seal of its own."""
    text = document.to_json(flagged)
    assert json.loads(text)["schema_version"] == 2
    assert document.from_json(text, "it", must_be_sealed=True) == flagged


def test_verdicts_and_tables_hang_on_no_word(flagged: Report) -> None:
    """Every note may be put otherwise, and no verdict, answer, flag or table changes."""
    other = reworded(flagged)
    gates = [
        Named(name="latency", options={"p50_at_most": "1x"}),
        Named(name="memory", options={"of": "device", "at_most": "64GiB"}),
    ]
    for report in (flagged, other):
        flags = {table.title: [row[-1].text for row in table.rows] for table in tables.joined(report)}
        assert flags == {
            "Latency and throughput": ["-", "unstable"],
            "Time on the GPU": ["-", "host_bound, unstable, spoiled"],
        }
        assert cards.cards(report)[0].sure == "clearly faster, but an unstable run"
    assert judge.judge(other, gates).verdicts == judge.judge(flagged, gates).verdicts
    assert worth.answers(other) == worth.answers(flagged)
    said = flagged.measurements[-1].model_copy(
        update={
            "probe": "device_time",
            "metric": "gpu_p50_ms",
            "notes": ("spoiled: in words", "unstable: in words"),
        }
    )
    assert said.flags == Flags()
    alone = said.model_copy(update={"conditions": {"graph": "no"}})
    (table,) = tables.joined(flagged.model_copy(update={"measurements": (alone,)}))
    assert "flags" not in table.header


@pytest.mark.parametrize(
    ("metric", "status", "reason"),
    [
        ("gpu_p50_ms", "inconclusive", "the run was spoiled"),
        ("device_memory_peak_bytes", "inconclusive", "other processes included"),
        ("latency_p50_ms", "pass", "the ratios to the shared reference"),
    ],
)
def test_it_is_a_baseline_for_regression(
    flagged: Report, tmp_path: Path, metric: str, status: str, reason: str
) -> None:
    """A file that main wrote, kept or given as it is; its flags count in the comparison."""
    clean = flagged.model_copy(
        update={
            "measurements": tuple(
                one if one.metric != "gpu_p50_ms" else one.model_copy(update={"flags": Flags()})
                for one in flagged.measurements
            )
        }
    )
    baselines.save(flagged, str(tmp_path / "kept"))
    for place in (tmp_path / "kept", FLAGS):
        verdict = judged(clean, place, metric=metric, worse_by_at_most="100%")
        assert verdict.status == status, verdict.reason
        assert reason in verdict.reason


@pytest.mark.parametrize("file", [FLAGS, RUN], ids=["flags", "run"])
def test_every_verb_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], file: Path) -> None:
    """Shown in every form, gated, kept and compared with itself."""
    budget = tmp_path / "budget.yaml"
    budget.write_text("- accuracy-drop: {at_most: 50pt}\n")
    forms = [tmp_path / name for name in ("o.html", "o.md", "o.xml")]
    for words in (
        ("report", file, "--html", forms[0], "--markdown", forms[1], "--junit", forms[2]),
        ("gate", file, "--budget", budget, "--inconclusive", "pass"),
        ("baseline", "save", file, "--to", tmp_path / "kept"),
        ("baseline", "list", "--from", tmp_path / "kept"),
    ):
        code, _, err = hostile.run(capsys, *words)
        assert code == 0, err
    for source in (file, tmp_path / "kept"):
        code, out, err = hostile.run(capsys, "baseline", "compare", file, "--from", source)
        assert code in (0, 1, 4), err
        assert "accuracy" in out


def test_its_seal_is_checked_as_it_was_written(tmp_path: Path) -> None:
    """An edited note is found, since it said what judged; a missing seal is, where one is needed."""
    text = FLAGS.read_text()
    file = tmp_path / "report.json"
    file.write_text(text.replace("spoiled: the SM clock", "the SM clock"))
    with pytest.raises(UserError, match="was changed after it was written"):
        document.read(file)
    tree = json.loads(text)
    del tree["checksum"]
    with pytest.raises(UserError, match="has no checksum"):
        document.from_json(json.dumps(tree), "it", must_be_sealed=True)


BROKEN: dict[str, tuple[str, Any]] = {
    "measurements an object": ("measurements", {"a": 1}),
    "measurement a text": ("measurements.0", "fast"),
    "notes a text": ("measurements.0.notes", "unstable: always"),
    "a note a number": ("measurements.0.notes", [1]),
    "a note a list": ("measurements.0.notes", [["unstable:"]]),
    "fields of schema 2": ("measurements.0.flags", "none"),
    "conditions a list": ("conditions", ["not measured"]),
    "not measured a text": ("conditions", {"not measured": "energy"}),
    "conditions of another moment": ("conditions", {"during": {}}),
    "device half": ("device", {"device": "cuda:0", "facts": {}}),
    "clock a text": ("device.before.sm_clock_mhz", "fast"),
    "clock true": ("device.before.sm_clock_mhz", True),
    "value true": ("measurements.0.value", True),
    "value a digit in a text": ("measurements.0.value", "4.0"),
}


@pytest.mark.parametrize(("place", "value"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_is_refused_in_a_sentence(tmp_path: Path, place: str, value: Any) -> None:
    """Lifting takes nothing for granted: what is no report of schema 1 is none of schema 2."""
    tree = json.loads(FLAGS.read_text())
    file = hostile.sealed_anew(tmp_path / "report.json", hostile.changed(tree, place, value))
    with pytest.raises(UserError, match=r"report\.json is not a paredown report, or it is damaged"):
        document.read(file)


@pytest.mark.parametrize("file", RECORDED, ids=[file.stem for file in RECORDED])
def test_every_recorded_report_is_read_and_shown(file: Path) -> None:
    """The reports that the pages of this project quote, whatever version wrote them."""
    report = document.read(file, must_be_sealed=True)
    assert report.schema_version == 2
    words = json.loads(file.read_text())["measurements"]
    unstable = [any(note.startswith("unstable") for note in one["notes"]) for one in words]
    assert [one.flags.unstable for one in report.measurements] == unstable
    assert report.title in markdown.page(report)
    assert "</html>" in html.page(report)
