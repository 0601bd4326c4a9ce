"""What doctor finds by loading, and what it makes of what was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from compress import environment
from paredown.doctor import diagnosis, examination, gpu_diagnosis, proving
from paredown.doctor.diagnosis import LIBRARIES, Proof

CORE = {library.distribution: "1.0" for library in LIBRARIES}
WORKS = {library.module: Proof() for library in LIBRARIES}


@pytest.fixture
def strange_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importable modules: one that works, one that ends the process, one that prints, one that raises."""
    sources = {
        "lib_good": "",
        "lib_deadly": "import os\nos._exit(7)",
        "lib_noisy": "import os, sys\nprint('to stdout')\nos.write(2, b'to stderr')",
        "lib_broken": "raise OSError('libmissing.so: cannot open\\n  shared object')",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("strange_libraries")
def test_loading_tells_what_metadata_cannot() -> None:
    """A library that kills the process is named and the rest still load; prints and errors are caught."""
    proofs = examination.prove(["lib_good", "lib_deadly", "lib_noisy", "lib_broken", "lib_gone"])
    assert proofs["lib_good"] == Proof()
    assert proofs["lib_deadly"].error == "loading it ended the process (exit 7)"
    assert proofs["lib_noisy"] == Proof(printed="to stdout\nto stderr")
    assert proofs["lib_broken"].error == "OSError: libmissing.so: cannot open shared object"
    assert proofs["lib_gone"].error == "ModuleNotFoundError: No module named 'lib_gone'"


def test_the_examination_of_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed loads in a child process, what is not is named, and the result is plain JSON."""
    light = tuple(library for library in LIBRARIES if library.module in {"tokenizers", "safetensors", "onnx"})
    lost = diagnosis.Library("no_such", "no-such", "wonders", "pip install no-such", core=False)
    for module in (examination, diagnosis):
        monkeypatch.setattr(module, "LIBRARIES", (*light, lost))
    report = examination.examine(tmp_path / "not" / "there" / "yet")
    states = {piece.name: piece.state for piece in report.pieces}
    assert states == {
        "tokenizers": "works",
        "safetensors": "works",
        "onnx": "works",
        "no-such": "not installed",
    }
    assert report.missing == ("no-such would enable wonders: pip install no-such",)
    assert report.machine["python"]
    assert any("GB free" in text for text in (*report.notes, *report.problems))
    assert any(text.startswith("BF16") for text in report.notes)
    json.dumps(dataclasses.asdict(report))


def test_proofs_do_real_work() -> None:
    """A proof multiplies with torch, builds a model, and tries each provider of ONNX Runtime."""
    assert proving.prove("torch") == {
        "module": "torch",
        "error": None,
        "facts": {"cuda_build": environment.cuda_build(), "devices": environment.cuda_devices()},
    }
    assert proving.prove("transformers")["error"] is None
    assert proving.prove("optimum")["error"] is None
    assert proving.prove("safetensors") == {"module": "safetensors", "error": None, "facts": {}}
    assert "CPUExecutionProvider" in proving.prove("onnxruntime")["facts"]["working"]
    assert proving.prove("no_such")["error"] == "ModuleNotFoundError: No module named 'no_such'"


def test_missing_and_broken_libraries() -> None:
    """A core library that is absent or broken is a problem; an optional one is only missing."""
    versions: dict[str, str | None] = {**CORE, "peft": None, "tensorrt": None}
    proofs = {**WORKS, "onnx": Proof(error="ImportError: no"), "datasets": Proof(printed="hello\nthere")}
    pieces, missing, notes, problems = diagnosis.judge_libraries(versions, proofs)
    assert problems == [
        "peft is not installed (merging LoRA adapters): pip install peft",
        "onnx 1.0 is installed and does not load (ImportError: no): pip install onnx",
    ]
    assert missing == ["tensorrt would enable TensorRT engines: pip install 'paredown[tensorrt]'"]
    assert notes == ["datasets prints when it is loaded: hello"]
    states = {piece.name: (piece.version, piece.state) for piece in pieces}
    assert states["peft"] == (None, "not installed")
    assert states["onnx"] == ("1.0", "ImportError: no")
    assert states["torch"] == ("1.0", "works")


def test_the_gpu_build_of_onnxruntime_counts() -> None:
    """onnxruntime-gpu installs the same module: it is the piece then, and nothing is missing."""
    versions: dict[str, str | None] = {**CORE, "onnxruntime": None, "onnxruntime-gpu": "1.31"}
    pieces, missing, _, problems = diagnosis.judge_libraries(versions, WORKS)
    assert ("onnxruntime-gpu", "1.31") in {(piece.name, piece.version) for piece in pieces}
    assert missing == []
    assert problems == []


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        (
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"},
            "overwrite each other's files: pip uninstall",
        ),
        (
            {"optimum-onnx": "0.1.0", "transformers": "5.23.0"},
            "optimum-onnx 0.1.0 needs transformers below 4.58",
        ),
    ],
)
def test_pairs_that_do_not_work_together(versions: dict[str, str], reason: str) -> None:
    """Each such pair is a problem with the command that ends it; either one alone is none."""
    notes, problems = diagnosis.judge_pairs(versions)
    assert notes == []
    assert len(problems) == 1
    assert reason in problems[0]
    for name in versions:
        assert diagnosis.judge_pairs({k: v for k, v in versions.items() if k != name}) == ([], [])


def test_a_library_that_only_disturbs_is_a_note() -> None:
    """Doctor still ends well."""
    notes, problems = diagnosis.judge_pairs({"torchao": "0.18.0"})
    assert problems == []
    assert "it prints a warning whenever" in notes[0]


def _devices(
    *, build: str | None = None, devices: tuple[str, ...] = (), dead: tuple[str, ...] = ()
) -> dict[str, Proof]:
    working = ["CPUExecutionProvider"]
    return {
        "torch": Proof(facts={"cuda_build": build, "devices": list(devices)}),
        "onnxruntime": Proof(facts={"listed": [*dead, *working], "working": working}),
    }


def test_devices() -> None:
    """A GPU that nothing uses, a driver that is too old and a provider that is dead are told apart."""
    judge = gpu_diagnosis.judge_devices
    assert judge(_devices(), has_gpu=False) == ([], [], [])
    assert "a CUDA build would use it" in judge(_devices(), has_gpu=True)[0][0]
    assert "update the NVIDIA driver" in judge(_devices(build="13.0"), has_gpu=True)[2][0]
    assert "there is no GPU: it works on the CPU" in judge(_devices(build="13.0"), has_gpu=False)[1][0]
    assert "sees: H200" in judge(_devices(build="13.0", devices=("H200",)), has_gpu=True)[1][0]
    cuda = _devices(build="13.0", devices=("H200",), dead=("CUDAExecutionProvider",))
    assert "lists CUDAExecutionProvider and cannot create it" in judge(cuda, has_gpu=True)[2][0]
    listed = _devices(dead=("TensorrtExecutionProvider", "CUDAExecutionProvider"))
    missing, notes, problems = judge(listed, has_gpu=False)
    assert (missing, len(notes), problems) == ([], 2, [])
    assert judge({}, has_gpu=True) == ([], [], [])


@pytest.mark.parametrize(
    ("flags", "machine", "int8", "bf16"),
    [
        ({"avx512_vnni", "avx512_bf16"}, "x86_64", "(avx512_vnni), without saturation", "(avx512_bf16)"),
        ({"avx2"}, "x86_64", "has no VNNI: INT8 may be no faster", "not in hardware"),
        ({"asimddp", "bf16"}, "aarch64", "(asimddp), without saturation", "(bf16)"),
        ({"asimd"}, "aarch64", "no byte products in hardware", "not in hardware"),
    ],
)
def test_processor(flags: set[str], machine: str, int8: str, bf16: str) -> None:
    """The flags are told by what they mean for INT8 and BF16."""
    notes = diagnosis.judge_processor(frozenset(flags), machine)
    assert int8 in notes[0]
    assert bf16 in notes[1]


def test_processor_without_flags() -> None:
    """Where the flags are not known, doctor says so and promises nothing."""
    assert "are not known here (arm64)" in diagnosis.judge_processor(frozenset(), "arm64")[0]


def test_an_intruder_is_named() -> None:
    """A 'bench' of another distribution is named with its folder and owner; a lost one is named as lost."""
    home = Path("/env/site-packages")
    good = {name: home / name for name in diagnosis.PACKAGES}
    assert diagnosis.judge_packages(good, {}) == []
    intruder = {**good, "bench": Path("/other/bench")}
    (problem,) = diagnosis.judge_packages(intruder, {"bench": ["frappe-bench"]})
    assert "'bench' comes from /other/bench (of frappe-bench) and not from /env/site-packages" in problem
    assert "an environment of its own" in problem
    (problem,) = diagnosis.judge_packages({**good, "deploy": None}, {})
    assert "'deploy' is not there" in problem


def test_requirements() -> None:
    """An installed version outside what paredown asks for is a problem with the command that mends it."""
    versions: dict[str, str | None] = {"transformers": "4.57.6", "torch": "2.13.0+cpu", "onnx": None}
    problems = diagnosis.judge_requirements(["transformers<6,>=5.17", "torch>=2.8", "onnx>=1.19"], versions)
    assert problems == [
        "transformers 4.57.6 is installed and paredown needs <6,>=5.17: pip install 'transformers<6,>=5.17'"
    ]


def test_disk(tmp_path: Path) -> None:
    """Room on the store's disk is a note; hardly any is a problem."""
    assert diagnosis.judge_disk(tmp_path, 50 * 10**9)[1] == []
    notes, problems = diagnosis.judge_disk(tmp_path, 10**9)
    assert notes == []
    assert "has 1.0 GB free: free some space, run 'paredown store prune'" in problems[0]
    assert examination.free_bytes(tmp_path / "a" / "b") > 0
