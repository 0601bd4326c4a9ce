"""Which libraries binaries want, read from real ELF files, and what doctor makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paredown.doctor import gpu_diagnosis, proving, shared_libraries
from paredown.doctor.diagnosis import Proof

CUDA, TENSORRT = "ONNX Runtime's CUDA provider", "ONNX Runtime's TensorRT provider"


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared library that wants two majors of NVIDIA's libraries, which are empty here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("elf")

    def build(name: str, soname: str, *links: Path) -> Path:
        (folder / "empty.c").write_text("int nothing(void) { return 0; }\n")
        command = [compiler, "-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{soname}"]
        subprocess.run(
            [*command, str(folder / "empty.c"), *map(str, links), "-o", str(folder / name)], check=True
        )
        return folder / name

    nvinfer = build("libnvinfer.so.10", "libnvinfer.so.10")
    cudart = build("libcudart.so.13", "libcudart.so.13")
    return build("provider.so", "provider.so", nvinfer, cudart)


def test_needed_entries_are_read_from_the_file(binary: Path) -> None:
    """In the linker's order, with their majors; only NVIDIA's are wishes."""
    entries = shared_libraries.needed(binary)
    assert entries[:2] == ("libnvinfer.so.10", "libcudart.so.13")
    assert any(name.startswith("libc.so") for name in entries)
    assert shared_libraries.wishes([binary, binary]) == ["libnvinfer.so.10", "libcudart.so.13"]


def test_the_reader_agrees_with_readelf() -> None:
    """On a real binary of this environment: the entries are those that binutils shows."""
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    import onnxruntime

    (file,) = (Path(onnxruntime.__file__).parent / "capi").glob("onnxruntime_pybind11_state*.so")
    process = subprocess.run(
        ["readelf", "-d", str(file)], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    )
    expected = [line.split("[")[1].rstrip("]") for line in process.stdout.splitlines() if "(NEEDED)" in line]
    assert list(shared_libraries.needed(file)) == expected


def test_what_is_no_elf_file_is_said(tmp_path: Path) -> None:
    """A text, a truncated file and a missing one are each an error that names the file."""
    (tmp_path / "text.so").write_text("hello")
    (tmp_path / "short.so").write_bytes(Path(sys.executable).resolve().read_bytes()[:20])
    for name in ("text.so", "short.so", "missing.so"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an ELF file"):
            shared_libraries.needed(tmp_path / name)
    assert shared_libraries.wishes([tmp_path / "text.so"]) == []


def test_what_loads_is_found_with_its_file(binary: Path) -> None:
    """The loader's own choice; what it cannot load is None."""
    files = shared_libraries.load([str(binary.parent / "libcudart.so.13"), "libnvinfer.so.99"])
    assert files["libnvinfer.so.99"] is None
    assert files[str(binary.parent / "libcudart.so.13")] == str(binary.parent / "libcudart.so.13")
    assert shared_libraries._loaded("libcudart.so.13") == str(binary.parent / "libcudart.so.13")


def test_owners_are_looked_up_in_their_packages(
    binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package's own files are read; what is not installed wants nothing."""
    package = tmp_path / "ort_like"
    (package / "capi").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copyfile(binary, package / "capi" / "p.so")
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {"provider": ("ort_like", "capi/p.so"), "other": ("not_installed_at_all", "*.so")}
    monkeypatch.setattr(shared_libraries, "_FILES", files)
    assert shared_libraries.wanted() == {"provider": ["libnvinfer.so.10", "libcudart.so.13"]}


def test_majors_are_in_names() -> None:
    """10 of libnvinfer.so.10; none of a name without one; stems are whole names."""
    assert shared_libraries.major("libnvinfer.so.10") == 10
    assert shared_libraries.major("libcublasLt.so.13.1") == 13
    assert shared_libraries.major("libcuda.so") is None
    assert shared_libraries.first(["libnvinfer_plugin.so.10", "libnvinfer.so.10"], "libnvinfer") == (
        "libnvinfer.so.10"
    )


def test_this_environment_is_examined() -> None:
    """In a proof, as doctor does it: with the CPU build of ONNX Runtime nothing is wanted."""
    proof = proving.prove("paredown.doctor.shared_libraries")
    assert proof["error"] is None
    facts = proof["facts"]
    assert set(facts) == {"wanted", "optional", "found"}
    assert set(facts["found"]) == {
        name for kind in ("wanted", "optional") for names in facts[kind].values() for name in names
    }


def _facts(**files: str | None) -> dict[str, Any]:
    """A provider for CUDA 13 and one for TensorRT 10; every library loads but those given."""
    wishes = {
        CUDA: ["libcublas.so.13", "libcudart.so.13", "libcuda.so.1"],
        TENSORRT: ["libcudart.so.13", "libnvinfer.so.10"],
    }
    every = {name: f"/lib/{name}" for names in wishes.values() for name in names}
    return {"wanted": wishes, "found": {**every, **{k.replace("_so_", ".so."): v for k, v in files.items()}}}


def judge(
    facts: dict[str, Any], *, has_gpu: bool = True, tensorrt: str | None = "10.16.1", **proofs: Proof
) -> tuple[list[str], list[str]]:
    """Notes and problems."""
    return gpu_diagnosis.judge_shared(facts, proofs, {"tensorrt": tensorrt}, has_gpu=has_gpu)


def test_what_is_found_is_a_note() -> None:
    """Every owner with the files that it finds; nothing is wrong."""
    notes, problems = judge(_facts())
    assert problems == []
    assert notes[0] == (
        f"{CUDA} finds libcublas.so.13 (/lib/libcublas.so.13), libcudart.so.13 (/lib/libcudart.so.13), "
        "libcuda.so.1 (/lib/libcuda.so.1)"
    )
    assert len(notes) == 2
    assert judge({}) == ([], [])


@pytest.mark.parametrize(
    ("lost", "command"),
    [
        ("libcublas_so_13", "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("libcuda_so_1", "install NVIDIA's driver"),
    ],
)
def test_a_lost_library_is_a_problem_where_there_is_a_gpu(lost: str, command: str) -> None:
    """With the owner, the name and the command; without a GPU it is only a note."""
    name = lost.replace("_so_", ".so.")
    _, problems = judge(_facts(**{lost: None}))
    assert problems == [f"{CUDA} wants {name}, which does not load here: {problems[0].split(': ', 1)[1]}"]
    assert command in problems[0]
    notes, problems = judge(_facts(**{lost: None}), has_gpu=False)
    assert problems == []
    assert command in notes[0]


def test_what_is_opened_later_is_optional() -> None:
    """It is cuDNN where the CUDA provider is installed and links none, of whatever major; else nothing."""
    assert shared_libraries.optional({CUDA: ["libcudart.so.13"]}) == {CUDA: ["libcudnn.so.9"]}
    for linked in ("libcudnn.so.9", "libcudnn.so.8"):
        assert shared_libraries.optional({CUDA: ["libcudart.so.12", linked]}) == {}
    assert shared_libraries.optional({TENSORRT: ["libnvinfer.so.10"]}) == {}


def test_cudnn_is_named_though_nothing_links_it() -> None:
    """Found with its file, or not found with the command; never a problem."""
    facts = {**_facts(), "optional": {CUDA: ["libcudnn.so.9"]}}
    for file, words in (
        ("/lib/libcudnn.so.9", "found (/lib/libcudnn.so.9)"),
        (None, "not found (pip install 'onnxruntime-gpu[cuda,cudnn]')"),
    ):
        notes, problems = judge({**facts, "found": {**facts["found"], "libcudnn.so.9": file}})
        assert problems == []
        (sentence,) = [note for note in notes if "libcudnn" in note]
        assert sentence.startswith(f"{CUDA} does not link libcudnn.so.9")
        assert sentence.endswith(words)


def test_another_tensorrt_than_the_provider_wants() -> None:
    """The major in the provider's own binary against the installed one, with the command that mends it."""
    notes, problems = judge(_facts(libnvinfer_so_10=None), tensorrt="11.4.0.106")
    assert problems == []
    assert any(
        f"{TENSORRT} wants libnvinfer.so.10 and tensorrt 11.4.0.106 is installed" in note
        and note.endswith("pip install 'tensorrt>=10,<11'")
        for note in notes
    )
    assert not any("is installed" in note for note in judge(_facts(), tensorrt="10.16.1")[0])
    assert any("wants libnvinfer.so.10, which does not load" in note for note in notes)


def test_what_one_command_mends_is_one_sentence() -> None:
    """Two lost libraries of one wheel are named together; those of the optional provider are notes."""
    notes, problems = judge(_facts(libcublas_so_13=None, libcudart_so_13=None))
    assert problems == [
        f"{CUDA} wants libcublas.so.13, libcudart.so.13, which do not load here: "
        "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    ]
    assert any(note.startswith(f"{TENSORRT} wants libcudart.so.13") for note in notes)


def test_cuda_majors_that_differ() -> None:
    """ONNX Runtime's against PyTorch's and against the driver's."""
    torch = Proof(facts={"cuda_build": "12.8", "devices": []})
    notes, _ = judge(_facts(), torch=torch)
    assert any("wants CUDA 13 (libcudart.so.13) and PyTorch is built for CUDA 12.8" in note for note in notes)
    old = Proof(facts={"driver": "550.1", "cuda": "12.4"})
    notes, _ = judge(_facts(), pynvml=old)
    assert any("the driver serves CUDA 12.4 and" in note and "update the driver" in note for note in notes)
    same = judge(_facts(), torch=Proof(facts={"cuda_build": "13.0"}), pynvml=Proof(facts={"cuda": "13.2"}))
    assert len(same[0]) == 2


def test_a_tensorrt_without_a_builder() -> None:
    """It loads and does not work: a problem on a GPU machine, nothing elsewhere."""
    proof = Proof(facts={"version": "10.16.1", "builder": "TypeError: pybind11::init(): factory"})
    _, problems = judge({}, tensorrt=proof.facts["version"], **{"tensorrt_": Proof()})
    assert problems == []
    verdict = gpu_diagnosis.judge_shared({}, {"tensorrt": proof}, {"tensorrt": "10.16.1"}, has_gpu=True)
    assert "tensorrt 10.16.1 loads and gives no builder on this GPU (TypeError" in verdict[1][0]
    assert gpu_diagnosis.judge_shared({}, {"tensorrt": proof}, {}, has_gpu=False) == ([], [])
