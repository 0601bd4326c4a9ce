"""Every probe on two tiny models: finite figures with their units, ratios to the baseline, nothing judged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import fake_nvml
import numpy as np
import pytest
import tiny
import tiny_bench

from bench import probes
from bench.lanes.lane import Lane, LaneSpec, open_lanes
from bench.machine import devices, energy
from bench.machine.devices import Watched
from bench.machine.nvml import Gpu
from bench.probes import Subject
from bench.record.figure import Figure, closest
from bench.record.model import Better, Measurement
from compress import catalog
from compress.data import BESIDE
from compress.errors import DataError, NothingToMeasure, UserError
from compress.recipe import BenchConfig, validate
from compress.tasks import Column, Head, Prediction

# What each probe must yield for each candidate (the baseline included, but for AGAINST).
METRICS = {
    "accuracy": {"accuracy", "macro_f1", "mcc"},
    "agreement": {"agreement"},
    "batch-agreement": {"batch_agreement", "batch_difference"},
    "device-energy": {"device_energy_per_row_mj"},
    "device-memory": {
        f"device_memory_{part}_bytes" for part in ("file", "weights", "activations", "process", "context")
    },
    "device-time": {
        f"{part}_{figure}" for part in ("gpu", "enqueue", "e2e") for figure in ("p50_ms", "mean_ms", "min_ms")
    },
    "closed-loop": {"closed_loop_rows_per_s", "closed_loop_p50_ms"},
    "energy": {"energy_mj_per_row"},
    "execution": {
        *(f"{name}_{of}_share" for name in ("int8", "fp16", "bf16", "fp32") for of in ("product", "time")),
        "placed_share",
    },
    "latency": {"latency_p50_ms"},
    "load-time": {"load_time_s", "import_time_s", "cold_start_s"},
    "macs": {"macs", "parameters"},
    "memory": {"device_memory_peak_bytes", "memory_peak_bytes", "memory_empty_bytes", "memory_model_bytes"},
    "open-loop": {"open_loop_busy", "open_loop_p50_ms"},
    "size": {"size_bytes", "weights_bytes"},
    "throughput": {"throughput_rows_per_s"},
    "order-flips": {"order_flips", "harmful_order_flips"},
    "real-time-factor": {"real_time_factor"},
    "flips": {"flips", "harmful_flips", "beneficial_flips"},
    "slices": {"worst_slice"},
    "calibration-error": {"ece", "brier", "nll", "ece_scaled", "brier_scaled", "nll_scaled"},
    "divergence": {"divergence_mean", "divergence_p99"},
    "robustness": {"robustness", "agreement_changed"},
    "challenge": {"challenge"},
    "fairness": {"fairness_gap"},
}
# What these find is about a candidate against the baseline: there is no figure of the baseline alone.
AGAINST = {
    "agreement",
    "order-flips",
    "flips",
    "slices",
    "calibration-error",
    "divergence",
    "robustness",
    "challenge",
    "fairness",
}
# Where the sample happens to carry them.
OPTIONAL = {"closed_loop_p95_ms", "closed_loop_p99_ms"}
OPTIONS: dict[str, dict[str, Any]] = {
    "device-energy": {"windows": 2, "seconds": 0.01},
    "device-time": {"warmup_ms": 0.1, "warmup_runs": 2, "rounds": 3, "runs": 2, "min_seconds": 0},
    "closed-loop": {"windows": 2, "seconds": 0.005},
    "energy": {"windows": 2, "seconds": 0.005},
    "open-loop": {"rate": "2000/s", "windows": 2, "requests": 5},
    "latency": {"warmup_seconds": 0.05, "warmup_runs": 8},
    "throughput": {"windows": 2, "seconds": 0.01},
    "slices": {"min_rows": 5},
    "challenge": {"sets": [str(Path(__file__).with_name("challenge.jsonl"))]},
    "fairness": {"groups": "shade", "min_rows": 5},
}
UNITS = {"x", "ms", "mJ", "s", "bytes", "share", "count", "per_s", "correlation", "nats", "squared"}
HEAD = Head("single_label", ("negative", "positive"))
# Some of their labels are wrong, so that there is a temperature to fit.
SELECTION = tiny.sentences(40, 12)


@pytest.mark.parametrize(
    ("name", "metric"), [(name, one) for name, every in METRICS.items() for one in sorted(every)]
)
def test_every_figure_says_how_it_is_shown(name: str, metric: str) -> None:
    """A probe declares each of its figures, and of all probes it names them most closely."""
    assert probes.of_metric(metric)[0] == name
    entry = probes.entry(name)
    assert entry is not None
    assert closest(entry.FIGURES, metric) is not None


def test_a_name_is_fitted_by_what_names_it_most_closely() -> None:
    """The name itself, then the longest pattern; what none fits is a row of its own, as exact as its unit."""
    figures = (Figure("latency_*"), Figure("latency_p*_ms"), Figure("latency_p50_ms"))
    for metric, wanted in (("latency_p50_ms", 2), ("latency_p99_ms", 1), ("latency_mean_ms", 0)):
        assert closest(figures, metric) is figures[wanted]
    assert closest(figures, "size_bytes") is None
    assert probes.figure("not-here", "seconds") == Figure("seconds")
    assert [Figure("x").exactness(unit) for unit in ("s", "share")] == ["timed", "sampled"]


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lane]]:
    """A model of two layers and one of one layer, real on disk; the fake runtime answers for both."""
    folder = tmp_path_factory.mktemp("probes")
    deep = tiny_bench.torch_artifact(folder / "two")
    shallow = tiny_bench.torch_artifact(folder / "one", layers=1)
    specs = [
        LaneSpec("two", deep, tiny_bench.FAKE, options={"work": 2, "graphs": [False]}),
        LaneSpec("one", shallow, tiny_bench.FAKE, options={"wrong": 0.2, "graphs": [False]}),
    ]
    with open_lanes(specs) as opened:
        yield opened


@pytest.fixture(scope="module")
def subject() -> Subject:
    """Twenty-four labeled rows at two points of the grid."""
    return Subject(
        task=catalog.load("task", "text-classification"),
        rows=[
            {**row, BESIDE: {"shade": "light" if i % 2 else "dark"}}
            for i, row in enumerate(tiny.sentences(24, 11))
        ],
        head=HEAD,
        bench=BenchConfig(rounds=3, runs=2, batch_sizes=(1, 4), lengths=("data", 9)),
        baseline="two",
        seed=0,
        selection=lambda: [{**row, "label": row["label"] if i % 4 else 0} for i, row in enumerate(SELECTION)],
    )


def probe(name: str) -> tuple[ModuleType, Any]:
    """A probe's module and its options for these tests."""
    module = catalog.load("probe", name)
    return module, validate(module.Config, OPTIONS.get(name, {}), name)


def ranked() -> tuple[list[Any], Subject]:
    """Answers of two lanes on two queries of three documents, and what they are measured on."""
    grades = (1, 0, 0, 2, 1, 0)
    rows = [{"query": str(i // 3), "document": "d", "label": grade} for i, grade in enumerate(grades)]
    scores = {"two": (3.0, 2.0, 1.0, 3.0, 2.0, 1.0), "one": (2.0, 3.0, 1.0, 3.0, 2.0, 2.0)}
    lanes = [
        SimpleNamespace(name=name, memo={("predictions", 1): [Prediction(value, value) for value in values]})
        for name, values in scores.items()
    ]
    task = catalog.task("text-ranking")
    return lanes, Subject(task, rows, Head("ranking", ()), BenchConfig(batch_sizes=(1,)), "two", 0)


def heard(subject: Subject) -> Subject:
    """The same rows with a role that holds sounds; how long they are is told by the fixture."""
    columns = {**subject.task.COLUMNS, "audio": Column(required=False, aliases=(), holds="audio")}
    return replace(subject, task=SimpleNamespace(**{**vars(subject.task), "COLUMNS": columns}))


@pytest.fixture(scope="module")
def measured(lanes: list[Lane], subject: Subject) -> dict[str, list[Measurement]]:
    """What every probe yields; those that want fresh processes first, as in a run."""
    entries = {name: probe(name) for name in catalog.names("probe")}
    order = sorted(entries, key=lambda name: not entries[name][0].FRESH)
    with pytest.MonkeyPatch.context() as patch:
        gpu = Gpu("GPU-1", fake_nvml.Library(processes=False, grows=1000))
        patch.setattr(devices, "at", lambda device: Watched(gpu, 100))
        # A counter that runs faster and faster, so that work takes more than the rest before it.
        reads = itertools.count()
        counter = SimpleNamespace(range=1, read=lambda: 100 ** next(reads))
        patch.setattr(energy, "counters", lambda _: [counter])
        patch.setattr(entries["real-time-factor"][0], "seconds_heard", lambda *_: 0.5)
        others = {"order-flips": ranked(), "real-time-factor": (lanes, heard(subject))}
        return {
            name: entries[name][0].measure(*others.get(name, (lanes, subject)), entries[name][1])
            for name in order
        }


def find(measured: dict[str, list[Measurement]], name: str, candidate: str, metric: str) -> Measurement:
    """The first figure of a candidate."""
    return next(
        measurement
        for measurement in measured[name]
        if (measurement.candidate, measurement.metric) == (candidate, metric)
    )


def test_every_probe_is_held_to_this_contract() -> None:
    """A new probe needs its metrics here."""
    assert sorted(METRICS) == catalog.names("probe")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_regression_of_a_figure_measures_it(name: str) -> None:
    """The gate knows the probe of every figure, or says which gate judges it."""
    module = catalog.load("gate", "regression")
    for metric in METRICS[name] | {
        figure for figure in OPTIONAL if figure.startswith(name.replace("-", "_"))
    }:
        options = {"baseline": "kept", "worse_by_at_most": "5%", "metric": metric}
        if name in {"robustness", "challenge", "fairness"}:
            with pytest.raises(UserError, match="has several figures in a report"):
                validate(module.Config, options, "gate")
        else:
            assert validate(module.Config, options, "gate").probe == name, metric


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_probe_says_what_it_is(name: str) -> None:
    """Unit, direction, whether it runs by default and whether it wants fresh processes."""
    module, _ = probe(name)
    assert module.UNIT in UNITS
    assert module.BETTER in get_args(Better)
    assert isinstance(module.DEFAULT, bool)
    assert isinstance(module.FRESH, bool)
    with pytest.raises(UserError, match="unknown key 'nonsense'"):
        validate(module.Config, {"nonsense": 1}, name)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_figures_are_finite_and_have_units(name: str, measured: dict[str, list[Measurement]]) -> None:
    """Every figure, interval, ratio and sample is a number; intervals hold their figure and are in order."""
    assert measured[name]
    for measurement in measured[name]:
        assert measurement.probe == name.replace("-", "_")
        assert measurement.unit in UNITS
        numbers = [
            measurement.value,
            *measurement.samples,
            measurement.ratio or 0.0,
            measurement.difference or 0.0,
        ]
        for interval in (measurement.interval, measurement.ratio_interval, measurement.difference_interval):
            if interval is not None:
                assert interval.low <= interval.high
                # The worst of many slices has an interval that holds for all of them.
                assert interval.level > 0.95 if name == "slices" else interval.level == 0.95
                numbers += [interval.low, interval.high]
        assert all(math.isfinite(number) for number in numbers), measurement
        assert measurement.value >= 0 or measurement.metric == "mcc"


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_candidate_gets_every_figure(name: str, measured: dict[str, list[Measurement]]) -> None:
    """No candidate is left out, and nothing unexpected appears; the baseline does not agree with itself."""
    expected = {"two": METRICS[name], "one": METRICS[name]}
    if name in AGAINST:
        del expected["two"]
    figures: dict[str, set[str]] = {}
    for measurement in measured[name]:
        figures.setdefault(measurement.candidate, set()).add(measurement.metric)
    assert {candidate: metrics - OPTIONAL for candidate, metrics in figures.items()} == expected


@pytest.mark.parametrize("name", sorted(set(METRICS) - AGAINST - {"batch-agreement", "execution"}))
def test_the_baseline_is_its_own_measure(name: str, measured: dict[str, list[Measurement]]) -> None:
    """Against itself the ratio is 1 and the difference 0."""
    for measurement in measured[name]:
        if measurement.candidate == "two":
            assert measurement.ratio in {None, 1.0}
            assert measurement.difference in {None, 0.0}
            # What is in use on a whole device is no figure of one candidate.
            whole_device = measurement.flags.whole_device
            assert any(note.startswith("the whole device") for note in measurement.notes) is whole_device
            assert (measurement.ratio is not None or measurement.difference is not None) is not whole_device


def test_the_three_times_of_a_device_are_its_own(measured: dict[str, list[Measurement]]) -> None:
    """At every point: the GPU's, the host's and the whole, as the runner gave them, and the flag."""
    for rows in (1, 4):
        figures = {
            measurement.metric: measurement
            for measurement in measured["device-time"]
            if measurement.candidate == "one"
            and measurement.conditions == {"batch_size": rows, "length": 9, "graph": "no"}
        }
        gpu, enqueue, total = (figures[f"{part}_p50_ms"] for part in ("gpu", "enqueue", "e2e"))
        assert (gpu.value, enqueue.value, total.value) == (rows * 1.0, rows * 0.9, rows * 2.0)
        assert len(gpu.samples) == 6
        assert any(note.startswith("host_bound: enqueuing takes 0.90") for note in gpu.notes)
        assert gpu.flags.raised == ("host_bound",)
        assert "gpu: 6 runs, coefficient of variation 0.0 %" in gpu.notes


@pytest.mark.parametrize("name", ["latency", "throughput"])
def test_the_whole_grid_is_measured(name: str, measured: dict[str, list[Measurement]]) -> None:
    """Every batch size with every length, for each candidate, with raw samples kept."""
    for candidate in ("two", "one"):
        mine = [measurement for measurement in measured[name] if measurement.candidate == candidate]
        points = [
            (measurement.conditions["batch_size"], measurement.conditions["length"]) for measurement in mine
        ]
        assert points == [(1, "data"), (1, 9), (4, "data"), (4, 9)]
        assert {len(measurement.samples) for measurement in mine} == {6 if name == "latency" else 2}


def test_macs_are_those_of_the_architecture(measured: dict[str, list[Measurement]]) -> None:
    """Counted by hand at 16 tokens, hidden 32, FFN 64: 167,936 a layer; pooler 1,024 and classifier 64."""
    length, hidden, ffn = 16, 32, 64
    layer = 4 * length * hidden**2 + 2 * length**2 * hidden + 2 * length * hidden * ffn
    for candidate, layers in (("two", 2), ("one", 1)):
        measurement = find(measured, "macs", candidate, "macs")
        assert measurement.conditions == {"batch_size": 1, "length": 16}
        assert measurement.value == layers * layer + hidden * hidden + 2 * hidden


def test_parameters_are_those_of_the_architecture(measured: dict[str, list[Measurement]]) -> None:
    """Embeddings, layers, pooler and classifier of the tiny BERT, by hand."""
    hidden, ffn, words = 32, 64, len(tiny.vocabulary())
    embeddings = (words + 64 + 2) * hidden + 2 * hidden
    layer = 4 * (hidden**2 + hidden) + 2 * hidden * ffn + ffn + hidden + 4 * hidden
    head = hidden**2 + hidden + 2 * hidden + 2
    for candidate, layers in (("two", 2), ("one", 1)):
        assert find(measured, "macs", candidate, "parameters").value == embeddings + layers * layer + head


def test_size_is_what_lies_on_disk(lanes: list[Lane], measured: dict[str, list[Measurement]]) -> None:
    """All files but the manifest, and the weights alone."""
    for lane in lanes:
        folder = lane.spec.artifact.path
        on_disk = {path.name: path.stat().st_size for path in folder.iterdir()}
        weights = on_disk["model.safetensors"]
        assert find(measured, "size", lane.name, "weights_bytes").value == weights
        assert (
            find(measured, "size", lane.name, "size_bytes").value
            == sum(on_disk.values()) - on_disk["manifest.json"]
        )


def test_memory_parts_add_up(measured: dict[str, list[Measurement]]) -> None:
    """The peak is the empty process plus the model's part."""
    for candidate in ("two", "one"):
        peak, empty, model = (
            find(measured, "memory", candidate, f"memory_{part}_bytes").value
            for part in ("peak", "empty", "model")
        )
        assert peak == empty + model
        assert empty > 2**20


def test_memory_starts_a_fresh_process_where_one_was_used(lanes: list[Lane], subject: Subject) -> None:
    """A lane that has run something is not measured itself."""
    module, options = probe("memory")
    assert all(lane.used for lane in lanes)
    pids = {lane.opened.pid for lane in lanes}
    measured_pids: set[int] = set()
    original = Lane.keep

    def keep(self: Lane, key: str, feeds: Any) -> None:
        measured_pids.add(self.opened.pid)
        original(self, key, feeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lane, "keep", keep)
        module.measure(lanes, subject, options)
    assert len(measured_pids) == 2
    assert not measured_pids & pids


def test_agreement_counts_the_same_predictions(measured: dict[str, list[Measurement]]) -> None:
    """Against a baseline that is always right, agreement is accuracy, and Wilson's interval holds it."""
    measurement = find(measured, "agreement", "one", "agreement")
    assert measurement.value == pytest.approx(find(measured, "accuracy", "one", "accuracy").value)
    assert measurement.interval is not None
    assert measurement.interval.low < measurement.value < 1 or measurement.value == 1
    assert measurement.conditions["rows"] == 24


def test_batches_are_held_against_single_rows(
    lanes: list[Lane], subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels that change with the batch are counted, with the largest difference of a probability.

    onnxruntime issue 10111: dynamic INT8 answered 3 of 48 rows differently at batch 1 and 16.
    """
    from bench.probes import batch_agreement

    lane = SimpleNamespace(name="one", memo={}, spec=lanes[0].spec)
    rows = len(subject.rows)
    alone = [Prediction(0, "negative", (0.6, 0.4))] * rows
    lane.memo["predictions", 1] = alone
    lane.memo["predictions", 4] = [Prediction(1, "positive", (0.35, 0.65)), *alone[1:]]
    measurements = batch_agreement.measure([lane], subject, batch_agreement.Config())  # type: ignore[list-item]
    agreeing, apart = measurements
    assert agreeing.value == (rows - 1) / rows
    assert agreeing.conditions == {"rows": rows, "batch_size": 4}
    assert agreeing.notes == ("against batch 1: 1 predictions differ",)
    assert apart.value == pytest.approx(0.25)
    assert batch_agreement.largest([Prediction(2.0, 2.0)], [Prediction(2.5, 2.5)]) == 0.5
    assert batch_agreement.largest([Prediction((0, 1), ("a", "b"))], [Prediction((0, 1), ("a", "b"))]) is None


def test_order_flips_are_pairs_of_a_query(measured: dict[str, list[Measurement]]) -> None:
    """By hand: one of two pairs turned, and of three pairs one became a tie, which is one half: 1.5 of 5."""
    for metric in ("order_flips", "harmful_order_flips"):
        measurement = find(measured, "order-flips", "one", metric)
        assert measurement.value == pytest.approx(0.3)
        assert measurement.conditions == {"rows": 6, "groups": 2, "batch_size": 1}
        assert measurement.notes == ("1.5 of 5 pairs of documents",)


def test_order_flips_of_equal_answers_have_an_interval() -> None:
    """None of two queries is turned: the bound is Wilson's for two, and the mended pairs are no harm."""
    from bench.probes import order_flips

    lanes, subject = ranked()
    key = ("predictions", 1)
    lanes[1].memo[key] = [Prediction(2 * one.value, 2 * one.value) for one in lanes[0].memo[key]]
    flips, _ = order_flips.measure(lanes, subject, order_flips.Config())
    assert flips.value == 0.0
    assert flips.interval is not None
    assert flips.interval.high == pytest.approx(0.658, abs=0.001)
    mended = order_flips.flips(np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([1, 0]))
    assert mended.tolist() == [1, 0, 1]


def test_order_flips_need_a_ranking(subject: Subject) -> None:
    """Of classes there is no order, which is said in place of figures; rows without labels are refused."""
    from bench.probes import order_flips

    with pytest.raises(NothingToMeasure, match="this task ranks none"):
        order_flips.measure([], subject, order_flips.Config())
    lanes, ranking = ranked()
    bare = [{key: cell for key, cell in row.items() if key != "label"} for row in ranking.rows]
    with pytest.raises(DataError, match="no labels, which order flips need"):
        order_flips.measure(lanes, replace(ranking, rows=bare), order_flips.Config())
    alike = [{**row, "label": 1} for row in ranking.rows]
    with pytest.raises(NothingToMeasure, match="no query has documents of different relevance"):
        order_flips.measure(lanes, replace(ranking, rows=alike), order_flips.Config())


def test_agreement_counts_words_where_rows_have_many() -> None:
    """Three of four tags equal is 75 %, with an interval from resampled rows."""
    from bench.probes import agreement

    first = [Prediction(value=(1, 2), label=("a", "b")), Prediction(value=(0, 0), label=("o", "o"))]
    second = [Prediction(value=(1, 0), label=("a", "o")), Prediction(value=(0, 0), label=("o", "o"))]
    counts = agreement.equal_counts(first, second, Head("tags", ("o", "a", "b")), 0.02)
    assert counts.tolist() == [[1, 2], [2, 2]]
    value, interval = agreement.share(counts, np.random.default_rng(0))
    assert value == 0.75
    assert interval is not None
    assert (interval.low, interval.high) == (0.5, 1.0)


def test_agreement_of_sets_and_numbers() -> None:
    """A set of labels agrees as a whole; a number within 2 % of the baseline's range."""
    from bench.probes import agreement

    sets = [[Prediction(value=v, label=()) for v in values] for values in (((0, 1), ()), ((0,), ()))]
    assert agreement.equal_counts(*sets, Head("multi_label", ("a", "b")), 0.02).tolist() == [[0, 1], [1, 1]]
    numbers = [
        [Prediction(value=v, label=v) for v in values] for values in ((0.019, 1.0, 0.6), (0.0, 1.0, 0.5))
    ]
    counts = agreement.equal_counts(*numbers, Head("regression", ()), 0.02)
    assert counts[:, 0].tolist() == [1, 1, 0]


def test_load_time_starts_as_many_processes_as_asked(lanes: list[Lane], subject: Subject) -> None:
    """Two fresh processes give two samples of each; one gives one, and the lane's own opening beside it."""
    module = catalog.load("probe", "load-time")
    measurements = module.measure(lanes[:1], subject, module.Config(processes=2))
    assert [len(measurement.samples) for measurement in measurements] == [2, 2, 2]
    opening, importing, cold = (min(measurement.samples) for measurement in measurements)
    assert cold > opening + importing
    single = module.measure(lanes[:1], subject, module.Config(processes=1))
    assert [len(measurement.samples) for measurement in single] == [2, 2, 1]
    assert single[0].samples[0] == lanes[0].opened.open_seconds
