"""The GPU under a run: what the driver says, who else uses it, what fits, and what changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_nvml
import pytest
import tiny
import tiny_bench

from bench import session
from bench.lanes.lane import LaneSpec
from bench.machine import context, devices, nvml
from bench.machine.devices import Watched
from bench.record.gpu import Facts, Process, State, UnknownGpu
from bench.record.gpu import Gpu as Record
from bench.session import CandidateSpec, measure
from bench.verdicts import baselines
from compress import environment
from compress.errors import MissingPiece, UserError
from compress.recipe import BenchConfig, Named
from deploy.tensorrt.gpu import Gpu

GIB = 2**30
QUIET = State(
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
    temperature_c=35,
    power_w=123.4,
    slowdowns=(),
    utilization=0.0,
    used_bytes=GIB,
    free_bytes=15 * GIB,
    processes=(),
)


def moment(state: State, **changes: Any) -> State:
    """The state at another moment, which differs in something."""
    return state.model_copy(update=changes)


def test_what_the_driver_says_is_read_with_its_units() -> None:
    """Megahertz, degrees, watts, bytes, shares; the CUDA version from its number."""
    gpu = nvml.Gpu("GPU-1", fake_nvml.Library())
    assert gpu.facts() == Facts(
        name="Fake H200", uuid="GPU-1", driver="590.44", cuda="13.2", memory_bytes=16 * GIB
    )
    assert gpu.state() == moment(
        QUIET, used_bytes=5 * GIB, free_bytes=11 * GIB, processes=(Process(pid=4321, bytes=3 * GIB),)
    )
    assert gpu.process_bytes(4321) == 3 * GIB
    assert gpu.process_bytes(1) is None
    assert State.model_validate_json(gpu.state().model_dump_json()) == gpu.state()


def test_what_a_gpu_does_not_tell_is_none() -> None:
    """No power, no energy, no processes, no clocks: the rest is still there."""
    lacks = (
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetUtilizationRates",
    )
    gpu = nvml.Gpu("GPU-1", fake_nvml.Library(lacks=lacks))
    state = gpu.state()
    assert (state.power_w, state.sm_clock_mhz, state.utilization, state.processes) == (None, None, None, ())
    assert gpu.energy_mj() is None
    assert state.temperature_c == 35


def test_reasons_for_lower_clocks_are_named() -> None:
    """Being idle and chosen clocks are no slowdown; power and heat are. Older drivers have another name."""
    library = fake_nvml.Library()
    library.reasons = 0x1 | 0x2 | 0x4 | 0x40
    assert nvml.Gpu("GPU-1", library).state().slowdowns == ("power cap", "hardware thermal slowdown")
    old = fake_nvml.Library(lacks=("nvmlDeviceGetCurrentClocksEventReasons",))
    old.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x8  # type: ignore[attr-defined]
    assert nvml.Gpu("GPU-1", old).state().slowdowns == ("hardware slowdown",)


def test_without_its_library_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-ml-py belongs to the extra of GPUs."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(MissingPiece, match=r"'pynvml' is needed here .* pip install 'paredown\[gpu\]'"):
        nvml.Gpu("GPU-1")


def test_a_driver_that_does_not_answer_is_a_missing_piece() -> None:
    """The run goes on without it, and the reason is recorded."""
    with pytest.raises(MissingPiece, match=r"does not answer NVML here \(nvmlInit\)"):
        nvml.Gpu("GPU-1", fake_nvml.Library(lacks=("nvmlInit",)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"utilization": 0.05}, None),
        ({"utilization": None}, None),
        ({"utilization": 0.4}, "kernels ran in 40 %"),
        (
            {"processes": (Process(pid=7, bytes=3 * GIB), Process(pid=8, bytes=None))},
            "pid 7 with 3.00 GiB, pid 8",
        ),
    ],
)
def test_who_else_uses_a_gpu(change: dict[str, Any], words: str | None) -> None:
    """Processes by number; where they are not shown, kernels that ran before we started."""
    users = devices.others(moment(QUIET, **change))
    assert users is None if words is None else words in str(users)


def test_what_fits_side_by_side() -> None:
    """At the limit everything fits; above it the sentence says asked, free, and the first that would fit."""
    needs = {"a": 2 * GIB, "b": 3 * GIB, "c": GIB}
    assert devices.refuse_memory(needs, 6 * GIB, 16 * GIB) is None
    refusal = str(devices.refuse_memory(needs, 5 * GIB, 16 * GIB))
    assert "at least 6.00 GiB (weights and context: a 2.00 GiB, b 3.00 GiB, c 1.00 GiB)" in refusal
    assert "free are 5.00 GiB of 16.00 GiB; a, b would fit" in refusal
    assert "not even the first would fit" in str(devices.refuse_memory(needs, GIB, 16 * GIB))
    assert devices.weights_needed(100, {"precision": "fp16"}) == 50
    assert devices.weights_needed(100, {"precision": "tf32"}) == 100


def test_what_disturbed_a_run() -> None:
    """Lowered clocks, before or after, and a clock that moved by more than 3 %; 3 % exactly is none."""
    assert devices.disturbances(QUIET, QUIET) is None
    at = moment(QUIET, sm_clock_mhz=1000)
    assert devices.disturbances(at, moment(at, sm_clock_mhz=970)) is None
    found = devices.disturbances(at, moment(at, sm_clock_mhz=969))
    assert found == "the SM clock moved from 1000 to 969 MHz"
    hot = moment(QUIET, slowdowns=("power cap",))
    assert devices.disturbances(QUIET, hot) == "the GPU lowered its clocks (power cap)"
    assert devices.disturbances(moment(QUIET, sm_clock_mhz=None), at) is None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_nvml.Library]:
    """A machine with one GPU, its own context process included."""
    library = fake_nvml.Library(processes=False)

    @contextmanager
    def held(index: int) -> Iterator[context.Context]:
        library.used += 400 * 2**20
        yield context.Context(99, "GPU-1")
        library.used -= 400 * 2**20

    monkeypatch.setattr(context, "held", held)
    monkeypatch.setattr(environment, "require", lambda *arguments, **named: library)
    devices.at.cache_clear()
    yield library
    devices.at.cache_clear()


def test_what_a_context_alone_costs(machine: fake_nvml.Library) -> None:
    """From the process where the driver shows it; else from what the device got back."""
    assert devices.at("cuda:0") is not None
    assert devices.at("cuda:0").context_bytes == 400 * 2**20  # type: ignore[union-attr]
    machine.running = [(99, 380 * 2**20)]
    assert devices.at("cuda:1").context_bytes == 380 * 2**20  # type: ignore[union-attr]
    assert devices.at("cpu") is None


def test_bytes_of_a_process(machine: fake_nvml.Library) -> None:
    """The driver's own figure; where it shows none, the growth of the device, or all of it."""
    machine.running = [(7, 2 * GIB)]
    assert devices.held_bytes("cuda", 7) == (2 * GIB, True)
    assert devices.held_bytes("cuda", 8, before=4 * GIB) == (GIB, False)
    assert devices.held_bytes("cuda", 8) == (5 * GIB, False)
    assert devices.held_bytes("cpu", 8) is None


def test_a_gpu_in_use_is_measured_only_when_shared(machine: fake_nvml.Library, tmp_path: Path) -> None:
    """Refused with the way out; with it, the report says who was there."""
    specs = [LaneSpec("a", tiny_bench.fake_artifact(tmp_path / "a"), tiny_bench.FAKE)]
    machine.running = [(4321, 3 * GIB)]
    with pytest.raises(UserError, match=r"cuda \(Fake H200\) is in use by others \(pid 4321 .*--shared"):
        devices.watch(specs, {"a": 10}, "cuda", shared=False)
    record = devices.watch(specs, {"a": 10}, "cuda", shared=True).record()
    assert isinstance(record, Record)
    assert record.shared_with == "pid 4321 with 3.00 GiB"
    lines = dict(devices.lines(record))
    assert lines["gpu shared"] == "measured while in use by others: pid 4321 with 3.00 GiB"
    assert lines["gpu"] == "Fake H200, 16.00 GiB"
    assert lines["gpu before"] == (
        "SM 1980 MHz, memory 2619 MHz, 35 °C, 123 W, 5.00 GiB in use, clocks not lowered"
    )
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_the_option_reaches_the_configuration() -> None:
    """``--shared`` is the configuration's ``shared``; without it a GPU in use is refused."""
    from paredown.verbs.bench import _config

    assert _config(None, [], None, None, shared=True).shared is True
    assert _config(None, [], None, None).shared is False


def test_too_little_memory_is_found_before_anything_is_opened(
    machine: fake_nvml.Library, tmp_path: Path
) -> None:
    """Weights and a context for each candidate, against what is free."""
    specs = [LaneSpec("a", tiny_bench.fake_artifact(tmp_path / "a"), tiny_bench.FAKE)]
    with pytest.raises(UserError, match=r"at least 20.39 GiB .* free are 11.00 GiB of 16.00 GiB; not even"):
        devices.watch(specs, {"a": 20 * GIB}, "cuda", shared=False)


def test_a_run_on_a_cpu_records_no_gpu(tmp_path: Path) -> None:
    """There is nothing to watch and nothing to show."""
    assert devices.watch([], {}, "cpu", shared=False).record() is None
    assert devices.lines(None) == []


def test_without_nvml_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; what is not known is said."""

    def at(device: str) -> Watched | None:
        raise MissingPiece("'pynvml' is needed here")

    monkeypatch.setattr(devices, "at", at)
    record = devices.watch([], {}, "cuda", shared=False).record()
    assert record == UnknownGpu(device="cuda", unknown="'pynvml' is needed here")
    assert devices.lines(record) == [("gpu", "not recorded: 'pynvml' is needed here")]
    assert devices.find("cuda") is None


def test_a_gpu_is_known_by_its_driver_where_nvml_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of two GPUs share no baseline then either; the one that is measured is asked for."""

    def at(device: str) -> Watched | None:
        raise MissingPiece("'pynvml' is needed here")

    def describe(index: int) -> Gpu | None:
        return Gpu(
            name=f"Card {index}", compute_capability="9.0", memory_bytes=GIB, driver="590.44", cuda="13.2"
        )

    monkeypatch.setattr(devices, "at", at)
    monkeypatch.setattr(devices.gpu, "describe", describe)
    first, second = (devices.watch([], {}, name, shared=False).identity() for name in ("cuda", "cuda:1"))
    assert first == {"gpu": "Card 0", "gpu driver": "590.44", "cuda": "13.2"}
    assert baselines.fingerprint(first) != baselines.fingerprint(second)
    monkeypatch.setattr(devices.gpu, "describe", lambda index: None)
    assert devices.watch([], {}, "cuda", shared=False).identity() == {}


def test_nvml_and_the_driver_tell_the_same_of_a_gpu(machine: fake_nvml.Library) -> None:
    """Name, driver and CUDA; nothing on a CPU."""
    identity = devices.watch([], {}, "cuda", shared=True).identity()
    assert identity == {"gpu": "Fake H200", "gpu driver": "590.44", "cuda": "13.2"}
    assert devices.watch([], {}, "cpu", shared=False).identity() == {}


def test_a_whole_run_carries_the_gpu(
    machine: fake_nvml.Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GPU times with and without a graph, energy, memory, the GPU's state: all in one report."""
    from bench.record import document
    from bench.report import markdown

    monkeypatch.setattr(environment, "resolve_device", lambda device: device)
    monkeypatch.setattr(environment, "free_device_memory", lambda device: (0, GIB))
    artifact = tiny_bench.fake_artifact(tmp_path / "engine")
    options = {"graphs": [False, True]}
    report = measure(
        [
            CandidateSpec("plain", artifact.path, tiny_bench.FAKE, {"graphs": [False]}),
            CandidateSpec("engine", artifact.path, tiny_bench.FAKE, options),
        ],
        tiny.sentences(16, 3),
        BenchConfig(
            device="cuda",
            rounds=4,
            runs=2,
            probes=(  # type: ignore[arg-type]
                {
                    "device-time": {
                        "warmup_ms": 0.1,
                        "warmup_runs": 2,
                        "rounds": 50,
                        "runs": 10,
                        "min_seconds": 1.65,
                        "max_rounds": 52,
                    }
                },
                {"device-energy": {"windows": 2, "seconds": 0.01}},
                "device-memory",
            ),
        ),
    )
    assert isinstance(report.device, Record)
    assert report.device.energy_counter is True
    point: dict[str, int | str] = {"batch_size": 1, "length": "data"}
    with_graph = report.find("engine", "gpu_p50_ms", graph="yes", **point)
    without = report.find("engine", "gpu_p50_ms", graph="no", **point)
    assert with_graph is not None
    assert without is not None
    assert (with_graph.value, with_graph.ratio) == (0.5, None), "the baseline has no graph to compare with"
    assert (without.value, without.ratio) == (1.0, 1.0)
    # A run of the fake takes 1 ms and 2 ms end to end (0.5 and 2 with a graph): 55 and 66 rounds for 1.65 s.
    assert (with_graph.rounds, without.rounds, len(without.samples)) == (52, 52, 520)
    assert "52 rounds (max_rounds) took 1.56 s, less than min_seconds 1.65" in without.notes
    assert report.find("engine", "gpu_p99_ms", graph="no", **point) is not None
    assert report.find("plain", "gpu_p50_ms", graph="yes") is None
    assert report.find("engine", "device_memory_weights_bytes").value == 600  # type: ignore[union-attr]
    assert report.find("engine", "device_memory_context_bytes").value == 400 * 2**20  # type: ignore[union-attr]
    energy = report.find("engine", "device_energy_per_row_mj")
    assert energy is not None
    assert energy.value > 0
    again = document.from_json(document.to_json(report), "x")
    assert again == report
    text = markdown.page(report)
    assert "## Time on the GPU" in text
    assert "| batch 1, real rows | engine | yes | 0.500 ms |" in text
    assert "host_bound" in text
    assert "## Memory on the GPU" in text
    assert "Fake H200" in text
    from bench.report import html

    page = html.page(report)
    assert "Memory on the GPU" in page
    assert "end to end p50" in page


def test_a_baseline_of_this_gpu_is_found_before_anything_is_measured(
    machine: fake_nvml.Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The regression gate looks for it under the GPU too, as the report is filed."""
    monkeypatch.setattr(environment, "resolve_device", lambda device: device)
    machine_there = {**environment.describe(), **devices.watch([], {}, "cuda", shared=True).identity()}
    baselines.save(tiny_bench.report(environment=machine_there), str(tmp_path / "kept"))
    artifact = tiny_bench.fake_artifact(tmp_path / "engine")
    spec = CandidateSpec("engine", artifact.path, tiny_bench.FAKE, {"graphs": [False]})
    gate = Named(name="regression", options={"baseline": str(tmp_path / "kept"), "worse_by_at_most": "5%"})

    def opens(specs: Any) -> None:
        raise ZeroDivisionError("it came as far as opening candidates")

    monkeypatch.setattr(session, "open_lanes", opens)
    # Found: what it is refused for is that its rows are not these.
    with pytest.raises(UserError, match="the baseline was measured on other evaluation rows"):
        measure([spec], tiny.sentences(16, 3), BenchConfig(device="cuda"), gates=[gate])


def test_a_full_gpu_is_a_sentence(tmp_path: Path) -> None:
    """What was tried, what had fitted, what was asked: the candidate is named and nothing is a bug."""
    from bench.lanes.lane import Lane

    artifact = tiny_bench.fake_artifact(tmp_path / "full")
    feed = {"input_ids": __import__("numpy").ones((2, 3), dtype="int64")}
    feed["attention_mask"] = feed["input_ids"]
    large = {name: array.repeat(4, axis=0) for name, array in feed.items()}
    with Lane(LaneSpec("full", artifact, tiny_bench.FAKE, options={"full": True})) as lane:
        lane.keep("small", [feed])
        with pytest.raises(
            UserError,
            match=r"'full': the GPU's memory is full at inputs of 8 x 3 \(20.00 MiB more were asked\); "
            r"inputs of 2 x 3 did fit: lower --batch-sizes",
        ):
            lane.keep("large", [large])
        lane.keep("small", [feed])


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0", "2.00 GiB more were asked"),
        ("Failed to allocate memory for requested buffer of size 1073741824", "1024 MiB more were asked"),
        ("CUDA failure 2: out of memory ; GPU=0", ""),
    ],
)
def test_full_memory_is_known_in_every_library(error: str, phrase: str) -> None:
    """PyTorch's, ONNX Runtime's and CUDA's own words; anything else is not mistaken for it."""
    failure = RuntimeError(error)
    assert environment.out_of_device_memory(failure)
    message = environment.explain_device_memory(failure, memory=(GIB, 16 * GIB))
    assert phrase in message
    assert "1.00 of 16.00 GiB are free" in message
    assert not environment.out_of_device_memory(RuntimeError("a mismatch of shapes"))


def test_a_context_process_without_a_driver_says_so() -> None:
    """The child that makes the context is real; here it finds no driver."""
    if environment.has_nvidia_device():
        pytest.skip("there is a GPU")
    with (
        pytest.raises(UserError, match=r"no CUDA context can be made on device 0: .*libcuda"),
        context.held(0),
    ):
        pass
