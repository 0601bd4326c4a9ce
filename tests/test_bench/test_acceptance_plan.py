"""The plan of the GPU acceptance: its cells, their commands, and what each report must hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bare
import fake_nvml
import pytest
import spelling
import tiny
import tiny_bench

from bench.machine import devices
from bench.machine.devices import Watched
from bench.machine.nvml import Gpu
from bench.session import CandidateSpec, measure
from compress import catalog, environment
from compress.recipe import BenchConfig
from paredown.verbs import _candidates
from studies.gpu import __main__ as command
from studies.gpu import figures, models, prepare, run
from studies.gpu.plan import EAGER32, FULL, ORT8, ORT16, SDPA16, TINY, Cell, Expected, Sizes, depths

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = {"artifacts": "artifacts", "engines": "engines", "answer": "report.json"}


def options(cell: Cell, name: str) -> list[str]:
    """The values of an option in a cell's words."""
    words = cell.command(PLACES)
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def test_headline_comes_before_the_grid_and_every_shape_is_there() -> None:
    """Every model in every lane over every shape, the hypotheses' shapes first."""
    cells = {cell.id: cell for cell in FULL.cells("cuda")}
    ids = list(cells)
    assert ids[0] == "facts"
    assert {cell.kind for cell in cells.values()} == {
        "facts", "refusal", "headline", "build", "layers", "trained", "depth", "widths", "grid",
    }  # fmt: skip
    last_headline = max(i for i, name in enumerate(ids) if name.startswith("headline/"))
    assert last_headline < min(i for i, name in enumerate(ids) if name.startswith("grid/"))
    for model in ("bert-base", "minilm-l6"):
        for lane in ("eager-fp32", "eager-fp16", "sdpa-fp16", "compiled-fp16", "ort-fp32", "ort-fp16",
                     "trt-fp16", "trt-int8"):  # fmt: skip
            expected = cells[f"grid/{model}/{lane}"].expects
            shapes = {
                (one.conditions["batch_size"], one.conditions["length"])
                for one in expected
                if one.candidate == lane and one.metric == "gpu_p50_ms"
            }
            assert shapes == {(b, s) for b in (1, 8, 32) for s in (32, 128, 384)}, (model, lane)


def test_an_engine_is_built_before_it_is_opened() -> None:
    """Each engine once, from a graph that was prepared, with a profile for every shape."""
    built: list[str] = []
    for cell in FULL.cells("cuda"):
        if cell.kind == "build":
            built += options(cell, "--out")
            profiles = options(cell, "--profile")
            if "/trained/" in cell.id:
                assert profiles == [], "from the lengths of its rows, as the product does by itself"
                assert options(cell, "--data") == ["artifacts/trained/data"]
                continue
            assert "batch=32:32:32,length=128:128:128" in profiles
            assert profiles[-1] == "batch=1:32:32,length=1:128:512", "no row of the data is left out"
        for place in cell.needs:
            if place.startswith("{engines}"):
                assert place.format(**PLACES) in built, cell.id
    assert len(built) == len(set(built)) == 8


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_command_is_one_of_the_product(device: Any) -> None:
    """Verbs, options, values, probes, profiles and runtimes are taken by the real command line."""
    for cell in FULL.cells(device):
        verb, *rest = cell.command(PLACES)
        values = spelling.verb([verb, *rest])
        for asked in map(_candidates.parse_runtime, values.get("runtime") or ()):
            name, runtime, given = asked
            assert name in [_candidates.parse_candidate(one)[0] for one in values["candidates"]], cell.id
            if options(cell, "--device") == ["cpu"] and cell.refusal is None:
                assert "graph" not in {*given, *given.values()}, cell.id
            if cell.refusal is None:
                catalog.runtime(runtime)(fake(runtime), options(cell, "--device")[0], 1, **given)


def fake(runtime: str) -> Any:
    """As much of an artifact as a runner looks at before it opens one."""
    kind = {"pytorch": "torch", "ort": "onnx", "trt": "tensorrt"}[runtime]
    return types.SimpleNamespace(kind=kind, path=Path("a"))


def test_what_a_cpu_lacks_is_not_asked_of_it() -> None:
    """No GPU time, no graph, no memory of a device; latency and rates instead, at the same points."""
    for cell in FULL.cells("cpu"):
        metrics = {one.metric for one in cell.expects}
        assert not {name for name in metrics if name.startswith(("gpu_", "device_", "enqueue_"))}, cell.id
        assert "precision=fp16" not in "".join(options(cell, "--runtime")), cell.id
    headline = next(cell for cell in FULL.cells("cpu") if cell.id == "headline/bert-base/ort-fp16")
    assert Expected("ort-fp16", "latency_p50_ms", {"batch_size": 32, "length": 128}) in headline.expects


def test_int8_runs_in_onnx_runtime_on_the_cpu_alone() -> None:
    """On a GPU it is to be refused, and its accuracy is measured on the CPU."""
    cells = {cell.id: cell for cell in FULL.cells("cuda")}
    assert options(cells[f"trained/{ORT8.name}"], "--device") == ["cpu"]
    assert cells["refusal/onnx-int8"].refusal == "CUDA provider has no INT8 kernels"
    assert options(cells["refusal/onnx-int8"], "--device") == ["cuda"]


def test_a_report_of_a_gpu_holds_what_a_cell_expects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The product's own session, probes and report, on a stand-in for the GPU: no metric is made up."""
    library = fake_nvml.Library(processes=False)
    monkeypatch.setattr(devices, "at", lambda device: Watched(Gpu("GPU-1", library), 400 * 2**20))
    monkeypatch.setattr(environment, "resolve_device", lambda device: device)
    monkeypatch.setattr(environment, "free_device_memory", lambda device: (0, 2**30))
    cell = next(cell for cell in TINY.cells("cuda") if cell.id == "headline/deep/sdpa-fp16")
    artifact = tiny_bench.fake_artifact(tmp_path / "engine")
    probes: list[Any] = list(options(cell, "--probes")[0].split(","))
    probes[probes.index("device-time")] = {
        "device-time": {"warmup_ms": 0.1, "warmup_runs": 2, "min_seconds": 0}
    }
    for name in ("throughput", "device-energy"):
        probes[probes.index(name)] = {name: {"windows": 2, "seconds": 0.01}}
    report = measure(
        [
            CandidateSpec(
                lane.name,
                artifact.path,
                tiny_bench.FAKE,
                {"graphs": [way == "yes" for way in lane.ways("cuda")]},
            )
            for lane in (EAGER32, SDPA16)
        ],
        tiny.sentences(16, 3),
        BenchConfig(
            device="cuda",
            rounds=4,
            runs=3,
            batch_sizes=tuple(map(int, options(cell, "--batch-sizes")[0].split(","))),
            lengths=tuple(map(int, options(cell, "--lengths")[0].split(","))),
            probes=tuple(probes),
        ),
    )
    held = figures.of(report)
    assert figures.lacking(held, cell.expects) == []
    assert len([one for one in cell.expects if one.metric.startswith("gpu_")]) == 6
    without = [one for one in held if one["metric"] != "gpu_p50_ms"]
    (first, *_) = figures.lacking(without, cell.expects)
    assert first == "gpu_p50_ms of eager-fp32 at batch_size 1, length 8, graph no"
    flagged = [one for one in held if one["metric"] == "gpu_p50_ms" and one["conditions"]["graph"] == "no"]
    assert all("host_bound" in one["flags"] for one in flagged)
    assert not any("samples" in one for one in held)
    json.dumps(held, allow_nan=False)


def test_random_models_are_the_same_everywhere(tmp_path: Path) -> None:
    """From their sizes and the seed alone; rows are read by the tokenizer without unknown words."""
    from transformers import AutoConfig, AutoTokenizer

    sizes = Sizes(2, 32, 4, 64, 64, 64)
    for name in ("a", "b"):
        models.classifier(sizes, tmp_path / name)
        models.rows(sizes.vocabulary, tmp_path / f"{name}-rows")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    for file in ("train.jsonl", "validation.jsonl"):
        texts = [(tmp_path / f"{name}-rows" / file).read_text() for name in ("a", "b")]
        assert texts[0] == texts[1]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    row = json.loads((tmp_path / "a-rows" / "validation.jsonl").read_text().splitlines()[0])
    ids = tokenizer(row["text"])["input_ids"]
    assert len(ids) == len(row["text"].split()) + 2
    assert tokenizer.unk_token_id not in ids
    config = AutoConfig.from_pretrained(tmp_path / "a")
    assert (config.num_hidden_layers, config.intermediate_size, config.vocab_size) == (2, 64, 64)
    assert {part: fewer.layers for part, fewer in depths(FULL.models["bert-base"]).items()} == {
        "depth1": 1,
        "depth2": 6,
    }


def test_preparing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What is there stays; every artifact that a cell of either device needs is made, without a GPU."""
    asked: list[list[str]] = []

    def paredown(words: list[str]) -> None:
        asked.append(words)
        Path(words[words.index("--out") + 1]).mkdir(parents=True)

    given = (tiny.text_model(tmp_path / "model"), tiny.text_data(tmp_path / "data"))
    prepare.prepare(TINY, tmp_path / "artifacts", given, paredown, lambda line: None)
    verbs = [words[0] for words in asked]
    assert set(verbs) == {"export", "quantize", "prune"}
    for words in asked:
        spelling.verb(words)
    for device in ("cuda", "cpu"):
        for cell in TINY.cells(device):  # type: ignore[arg-type]
            for place in cell.needs:
                if not place.startswith("{engines}"):
                    assert Path(place.format(artifacts=tmp_path / "artifacts")).is_dir(), place
    first = list(asked)
    asked.clear()
    (tmp_path / "artifacts" / "deep" / "onnx-fp16").rmdir()
    prepare.prepare(TINY, tmp_path / "artifacts", given, paredown, lambda line: None)
    assert asked == [words for words in first if words[-1].endswith("deep/onnx-fp16")]


def test_the_list_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a cell, with its estimate and the command as one would type it."""
    assert command.main(["--artifacts", "A", "--out", "x", "--list", "--plan", "tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(TINY.cells("cuda"))
    assert "paredown bench eager-fp32=A/deep/model" in lines[2]


RTX = Path(os.environ.get("PAREDOWN_TENSORRT_BINDINGS", ROOT / ".ci-bindings")) / "rtx"
BARE = ("torch", "transformers", "numpy", "onnx", "onnxruntime")


def required() -> list[str]:
    """The distributions that travel as wheels."""
    lines = (ROOT / "studies" / "gpu" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_wheels_of_the_readme_are_those_that_are_wanted() -> None:
    """What is downloaded on one machine is what pip asks for on the other."""
    page = (ROOT / "studies" / "gpu" / "README.md").read_text(encoding="utf-8")
    named = [word for line in re.findall(r"pip download \$FOR (.*)", page) for word in shlex.split(line)]
    plain = {re.split(r"[>=]", word)[0] for word in named if not word.startswith("-")}
    assert plain == {re.split(r"[>=]", line)[0] for line in required()}


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[run.Job]:
    """The artifacts of one tiny model, by real commands, with only the runtimes and the wheels there."""
    home = tmp_path_factory.mktemp("little")
    hidden = bare.write(home / "bare", [*BARE, *required()])
    plan = replace(TINY, models={"deep": TINY.models["deep"]}, shallow="none", lanes=(ORT16,))
    job = run.Job(plan, home / "artifacts", home / "out", "cpu", 20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_PATH", [str(ROOT), str(hidden), str(RTX)])
        patch.setenv("PAREDOWN_STORE", str(home / "store"))
        run.make(job, None, lambda line: None)
        yield job


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_it_runs_where_little_is_installed(little: run.Job, tmp_path: Path) -> None:
    """A headline cell is done, from the artifacts to the figures of its report."""
    made = {folder.parent.name + "/" + folder.name for folder in little.artifacts.glob("*/*")}
    assert {"deep/onnx-fp16", "deep/onnx-int8", "deep-keep50/model", "deep-depth1/model"} <= made
    cell = next(one for one in TINY.cells("cpu") if one.id == "headline/deep/ort-fp16")
    report = tmp_path / "report.json"
    with (tmp_path / "log").open("w") as log:
        answer = run.execute(cell.command(little.places(str(report))), 900, log)
    told = run.judge(cell, answer, report)
    assert told["status"] == "done", told
    assert told["result"]["candidates"]["ort-fp16"]["provider"] == "CPUExecutionProvider"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("lane", ["trt-fp16", "trt-int8"])
def test_nvidias_compiler_takes_what_a_cell_builds(little: run.Job, tmp_path: Path, lane: str) -> None:
    """Graph and profiles of the cell, by TensorRT-RTX, which compiles ahead of time on a CPU."""
    if not (RTX / "tensorrt_rtx_bindings").is_dir():
        pytest.skip(f"no TensorRT-RTX in {RTX}: .ci/run installs it where the registry has it")
    cell = next(one for one in TINY.cells("cuda") if one.id == f"build/deep/{lane}")
    places = {**little.places(), "engines": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        answer = run.execute([*cell.command(places), "--flavor", "tensorrt-rtx"], 300, log)
    told = run.judge(cell, answer, tmp_path)
    assert told["status"] == "done", told
    assert told["result"]["kind"] == "tensorrt"
