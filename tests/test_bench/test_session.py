"""A whole bench run on lanes without a model, and on the real runtime once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny
import tiny_bench

import bench
from bench import session
from bench.machine import energy
from bench.probes import memory
from bench.record.model import Report
from bench.session import CandidateSpec, check, measure
from bench.statistics import paired
from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from compress.recipe import BenchConfig, DataConfig, Named

ROWS = tiny.sentences(40, 7)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed folder that the fake runtime opens."""
    return tiny_bench.fake_artifact(tmp_path_factory.mktemp("session") / "artifact")


def candidate(name: str, artifact: Artifact, **options: Any) -> CandidateSpec:
    """The artifact in the fake runtime with some options."""
    return CandidateSpec(name, artifact.path, tiny_bench.FAKE, options)


def config(*probes: str, **more: Any) -> BenchConfig:
    """A short bench of some probes."""
    named = tuple({name: {}} for name in probes)
    return BenchConfig(**{"probes": named, "threads": 1, "rounds": 4, "runs": 3, **more})


@pytest.fixture(scope="module")
def report(artifact: Artifact) -> Report:
    """A run of two candidates, one of them wrong at times."""
    return measure(
        [candidate("right", artifact), candidate("wrong", artifact, wrong=0.3, work=3)],
        ROWS,
        config("accuracy", "agreement", "size"),
        seed=5,
        gates=[Named(name="latency", options={"at": {"length": 12}, "speedup_at_least": "0.0001x"})],
        title="a run",
        recipe={"seed": 5},
    )


def test_a_report_says_what_was_measured_on_what(report: Report) -> None:
    """Title, task, candidates, rows, configuration and machine are in the report."""
    assert (report.title, report.task, report.baseline, report.seed) == (
        "a run",
        "text-classification",
        "right",
        5,
    )
    assert [candidate.name for candidate in report.candidates] == ["right", "wrong"]
    assert report.candidates[1].runtime_options == {"wrong": 0.3, "work": 3}
    assert report.candidates[0].provenance["provider"] == "fake"
    assert report.data.rows == 40
    assert [candidate.truncation.limit for candidate in report.candidates if candidate.truncation] == [16, 16]
    assert report.recipe == {"seed": 5}
    assert "cpu" in report.environment


def test_accuracy_and_its_difference_are_those_of_the_rows(report: Report) -> None:
    """The right candidate scores 1; the wrong one's difference and agreement are its own error rate."""
    right, wrong = report.find("right", "accuracy"), report.find("wrong", "accuracy")
    assert right is not None
    assert wrong is not None
    assert right.value == 1
    assert right.difference == 0
    assert wrong.value < 1
    assert wrong.difference == pytest.approx(wrong.value - 1)
    assert wrong.difference_interval is not None
    assert wrong.difference_interval.low <= wrong.difference <= wrong.difference_interval.high < 0
    agreement = report.find("wrong", "agreement")
    assert agreement is not None
    assert agreement.value == pytest.approx(wrong.value)


def test_gates_widen_what_is_measured(report: Report) -> None:
    """A latency gate at 12 tokens adds the probe and the length, and its verdict is in the report."""
    measurement = report.find("wrong", "latency_p50_ms", batch_size=1, length=12)
    assert measurement is not None
    assert len(measurement.samples) == 12
    assert report.find("right", "latency_p50_ms", length="data") is not None
    assert [(verdict.gate, verdict.status, verdict.candidate) for verdict in report.verdicts] == [
        ("latency", "pass", "wrong")
    ]


def test_percentiles_that_the_sample_does_not_carry_are_left_out(report: Report) -> None:
    """Twelve runs carry p50 alone, and a note says what p95 and p99 need."""
    measurement = report.find("right", "latency_p50_ms", length="data")
    assert measurement is not None
    assert "12 runs do not carry p95 (needs 100), p99 (needs 500), p99.9 (needs 5000)" in measurement.notes
    assert report.find("right", "latency_p95_ms") is None


def test_the_report_survives_the_trip_through_json(report: Report) -> None:
    """Written and read again, the report is equal to itself."""
    from bench.record.document import from_json, to_json

    assert from_json(to_json(report), "here") == report


def test_the_python_api_is_lazy_and_complete() -> None:
    """``bench.measure`` is the function of this module, and an unknown name is refused."""
    assert bench.measure is measure
    assert bench.CandidateSpec is CandidateSpec
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bench.nothing


def test_rows_come_from_a_data_configuration(artifact: Artifact, tmp_path: Path) -> None:
    """With a folder of data, the evaluation split is measured and its fingerprint recorded."""
    folder = tiny.text_data(tmp_path / "data", evaluate=24)
    report = measure([candidate("right", artifact)], DataConfig(source=str(folder)), config("accuracy"))
    assert report.data.rows == 24
    assert len(report.data.fingerprint or "") == 64
    scored = report.find("right", "accuracy")
    assert scored is not None
    assert scored.value == 1


def test_the_real_runtime_is_chosen_by_kind(tmp_path: Path) -> None:
    """A torch artifact runs in PyTorch with the threads that were asked for, and all figures are there."""
    artifact = tiny_bench.torch_artifact(tmp_path / "model")
    report = measure(
        [CandidateSpec("model", artifact.path)], ROWS[:6], config("memory", "load-time", "latency")
    )
    (candidate,) = report.candidates
    assert candidate.runtime == "pytorch"
    assert candidate.provenance["threads"] == "1"
    assert report.find("model", "latency_p50_ms") is not None
    peak, empty = report.find("model", "memory_peak_bytes"), report.find("model", "memory_empty_bytes")
    assert peak is not None
    assert empty is not None
    assert peak.value > empty.value > 2**20


@pytest.mark.parametrize(("exclusive", "ratio"), [(True, 1.0), (False, None)])
def test_memory_of_a_whole_device_has_no_ratio(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, exclusive: bool, ratio: float | None
) -> None:
    """Where the driver shows no processes, the figure holds all candidates, and a note says so."""
    monkeypatch.setattr(memory.devices, "held_bytes", lambda device, pid: (5 * 2**30, exclusive))
    gate = Named(name="memory", options={"at_most": "1x", "of": "device"})
    report = measure(
        [candidate("one", artifact), candidate("other", artifact)], ROWS[:4], config("memory"), gates=[gate]
    )
    measurement = report.find("other", "device_memory_peak_bytes")
    assert measurement is not None
    assert (measurement.value, measurement.ratio) == (5 * 2**30, ratio)
    assert (
        any("the whole device, other processes included" in note for note in measurement.notes)
        is not exclusive
    )
    assert report.verdicts[0].status == ("pass" if exclusive else "fail")
    reason = "device_memory_peak_bytes as a multiple of the baseline's was not measured"
    assert (reason in report.verdicts[0].reason) is not exclusive


def refused(message: str, *candidates: CandidateSpec, **more: Any) -> None:
    """Measuring gives that sentence and leaves no process."""
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(UserError, match=message):
        measure(list(candidates), more.pop("rows", ROWS), **more)
    assert {child.pid for child in psutil.Process().children()} == before


def test_candidates_that_cannot_be_told_apart_are_refused(artifact: Artifact) -> None:
    """Two candidates of one name, an unknown baseline and no candidate at all each get a sentence."""
    two = [candidate("same", artifact), candidate("same", artifact)]
    refused("two candidates are called same: write NAME=PATH", *two)
    refused(
        "the baseline 'teacher' is not among the candidates: one",
        candidate("one", artifact),
        bench=BenchConfig(baseline="teacher"),
    )
    refused("there is nothing to measure")


def test_candidates_that_cannot_be_compared_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    """Other labels are named on both sides before anything is opened."""
    relabeled = tiny_bench.fake_artifact(tmp_path / "other", labels=("no", "yes"))
    refused(
        r"candidate 'b' has the labels no, yes .* the baseline 'a' negative, positive",
        candidate("a", artifact),
        candidate("b", relabeled),
    )


def test_no_rows_and_wrong_names_are_refused(artifact: Artifact) -> None:
    """Empty rows, unknown probes, gates, gate candidates and runtimes are named before a process starts."""
    spec = candidate("one", artifact)
    refused("there are no evaluation rows", spec, rows=[])
    refused("Unknown probe 'latencies'. Did you mean 'latency'?", spec, bench=config("latencies"))
    refused("Unknown gate 'sizes'. Did you mean 'size'?", spec, gates=[Named(name="sizes")])
    refused(
        "gate 'size' names the candidate 'two'; there are: one",
        spec,
        gates=[Named(name="size", options={"at_most": "1MB", "candidate": "two"})],
    )
    refused("Unknown runtime 'orrt'. Did you mean 'ort'?", CandidateSpec("one", artifact.path, "orrt"))


def test_an_artifact_that_was_changed_is_not_measured(tmp_path: Path) -> None:
    """Every byte is checked before a candidate is opened."""
    artifact = tiny_bench.fake_artifact(tmp_path / "a")
    artifact.file("model.safetensors").write_bytes(b"1" * 1000)
    refused("is not what was sealed: changed model.safetensors", candidate("one", artifact))


def test_a_model_that_gives_no_numbers_is_refused(artifact: Artifact) -> None:
    """Outputs that are not numbers stop the run with a sentence, and no lane stays."""
    refused("not a finite number", candidate("one", artifact, nan=True), bench=config("accuracy"))


def test_a_lane_that_dies_in_the_middle_ends_the_run(artifact: Artifact) -> None:
    """The dead candidate is named and all processes are gone."""
    refused(
        "candidate 'doomed'.*SIGKILL",
        candidate("steady", artifact),
        candidate("doomed", artifact, die_at=30),
        bench=config("latency"),
    )


def test_a_configuration_is_checked_without_running(artifact: Artifact) -> None:
    """Unknown probe options and kinds of artifact are refused by ``check`` alone."""
    check(config("latency"))
    with pytest.raises(
        UserError, match=r"probe 'latency': unknown key 'warmup'\. Known keys: warmup_seconds"
    ):
        check(BenchConfig(probes=({"latency": {"warmup": 1}},)))
    with pytest.raises(UserError, match=r"unknown kind 'tf'\. Known: torch, onnx, tensorrt"):
        check(BenchConfig(runtimes={"tf": "ort"}))


def test_turns_are_interleaved_in_an_order_shuffled_anew(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every round gives each candidate one turn on the same rows; the order changes between rounds."""
    from bench.lanes.lane import Lane
    from bench.probes import latency

    turns: list[tuple[str, tuple[int, ...]]] = []
    original = Lane.turn

    def turn(self: Lane, key: str, order: Any, settle: Any = ()) -> Any:
        if settle:
            turns.append((self.name, tuple(order)))
        return original(self, key, order, settle)

    monkeypatch.setattr(Lane, "turn", turn)
    monkeypatch.setattr(latency, "warm_up", lambda *_: None)
    names = ["a", "b", "c"]
    measure([candidate(name, artifact) for name in names], ROWS, config("latency", rounds=6, runs=2))
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    assert len(rounds) == 6
    for group in rounds:
        assert sorted(name for name, _ in group) == names
        assert len({order for _, order in group}) == 1
    assert len({tuple(name for name, _ in group) for group in rounds}) > 1
    assert rounds[0][0][1] == (0, 1)
    assert rounds[1][0][1] == (2, 3)


def test_two_rows_tell_nothing_and_say_how_many_would(artifact: Artifact) -> None:
    """Two rows without a flip are no pass: inconclusive, with the number of rows that would be enough."""
    gate = Named(name="accuracy-drop", options={"at_most": "1pt"})
    specs = [candidate("one", artifact), candidate("same", artifact)]
    (verdict,) = measure(specs, ROWS[:2], config("accuracy"), gates=[gate]).verdicts
    assert verdict.status == "inconclusive"
    assert "about 381 evaluation rows would be enough (2 were measured)" in verdict.reason
    assert verdict.interval is not None
    assert verdict.interval.high == pytest.approx(100 * 3.8415 / 5.8415, rel=1e-3)


def test_differing_rows_are_counted(report: Report) -> None:
    """The baseline is always right: every wrong row of the other is worse, none better, and all are kept."""
    accuracy = report.find("wrong", "accuracy")
    assert accuracy is not None
    assert accuracy.paired is not None
    assert (accuracy.paired.rows, accuracy.paired.better) == (40, 0)
    assert accuracy.paired.worse == round(40 * (1 - accuracy.value))
    assert accuracy.right is not None
    assert paired.unpack(accuracy.right, 40).mean() == pytest.approx(accuracy.value)
    macro = report.find("wrong", "macro_f1")
    assert macro is not None
    assert macro.paired is None


def test_what_the_machine_cannot_measure_is_said(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an energy counter there is no figure, and the report says why."""
    monkeypatch.setattr(energy, "unavailable", lambda _: "no counter here")
    report = measure([candidate("one", artifact)], ROWS, config("energy", "size"))
    assert report.conditions.not_measured == {"energy": "no counter here"}
    assert report.find("one", "energy_mj_per_row") is None


def test_a_damaged_baseline_is_refused_and_a_missing_one_said_before_anything_is_measured(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing starts against a file that is no report; without a baseline a run says so and goes on."""

    def opened(specs: Any) -> Any:
        raise UserError("the lanes are opened")

    monkeypatch.setattr(session, "open_lanes", opened)
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    for place, reason in ((damaged, "damaged.json"), (tmp_path / "none", "the lanes are opened")):
        gate = Named(name="regression", options={"baseline": str(place), "worse_by_at_most": "5%"})
        refused(reason, candidate("one", artifact), gates=[gate])
    assert "regression will be inconclusive, and all else is judged" in caplog.text
    assert "none has no baseline 'main' for this machine" in caplog.text


def test_every_probe_and_gate_has_a_sentence() -> None:
    """The first line of each entry's docstring is what ``list`` shows."""
    for shelf in ("probe", "gate"):
        for name in catalog.names(shelf):  # type: ignore[arg-type]
            assert len(catalog.summary(shelf, name)) > 20, name  # type: ignore[arg-type]


def test_the_tests_leave_no_process() -> None:
    """After all of the above, no lane is left."""
    left = [
        child for child in psutil.Process(os.getpid()).children() if "bench.lanes.worker" in child.cmdline()
    ]
    assert left == []
