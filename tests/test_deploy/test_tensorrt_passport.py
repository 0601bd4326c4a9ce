"""The passport of an engine: where it may run, how it is rebuilt, and what is checked before it is opened."""

from __future__ import annotations

import hashlib
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import tiny_deploy

from compress import environment
from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError, MissingPiece, UserError
from deploy import cuda_driver
from deploy.tensorrt import gpu, passport, profiles
from deploy.tensorrt.gpu import Gpu
from deploy.tensorrt.passport import BuildOptions, Here, Passport

H200 = Gpu(name="NVIDIA H200", compute_capability="9.0", memory_bytes=150 << 30, driver="580.10", cuda="13.0")
H100 = H200.model_copy(update={"name": "NVIDIA H100 PCIe"})
A100 = H200.model_copy(update={"name": "NVIDIA A100", "compute_capability": "8.0"})
T4 = H200.model_copy(update={"name": "Tesla T4", "compute_capability": "7.5"})
RTX = H200.model_copy(update={"name": "NVIDIA RTX 4090", "compute_capability": "8.9"})
CONTENT = b"a serialized engine"


def made(**changes: Any) -> Passport:
    """A passport of an engine built on an H200 by TensorRT 10."""
    options = changes.pop("options", {"precision": "fp16"})
    fields: dict[str, Any] = {
        "flavor": "tensorrt",
        "tensorrt": "10.16.1",
        "gpu": H200,
        "precision": "fp16",
        "typing": "strong",
        "options": BuildOptions(**options),
        "profiles": (
            profiles.shape(profiles.parse("batch=1:8:32,length=16:64:128"), {"x": ["batch", "length"]}),
        ),
        "onnx_sha256": "0" * 64,
        "source_id": "1" * 64,
        "engine_sha256": hashlib.sha256(CONTENT).hexdigest(),
        "engine_bytes": len(CONTENT),
        "build_seconds": 1.5,
    }
    return Passport(**{**fields, **changes})


def here(version: str | None = "10.16.1", device: Gpu | None = H200, flavor: Any = "tensorrt") -> Here:
    """A machine."""
    return Here(flavor=flavor, tensorrt=version, gpu=device)


def engine_artifact(folder: Path, written: Passport, content: bytes = CONTENT) -> Artifact:
    """A sealed engine with a passport."""
    folder.mkdir()
    (folder / passport.ENGINE).write_bytes(content)
    passport.write(folder, written)
    return tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")


def test_it_runs_where_it_was_built() -> None:
    """Same GPU, same version: nothing to say."""
    assert passport.check(made(), here()) is None


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        (here("10.16.0"), "built with tensorrt 10.16.1 and 10.16.0 is installed here"),
        (here("11.4.0"), "built with tensorrt 10.16.1 and 11.4.0 is installed here"),
        (here(None), "needs tensorrt 10.16.1, which is not installed here"),
        (here(device=None), "built for NVIDIA H200 (compute capability 9.0), and this machine shows no GPU"),
        (here(device=A100), "this is NVIDIA A100 (compute capability 8.0)"),
        (here(device=H100), "this is NVIDIA H100 PCIe (compute capability 9.0)"),
    ],
)
def test_elsewhere_the_answer_is_one_sentence_with_the_command(machine: Here, sentence: str) -> None:
    """What differs, and how it is rebuilt."""
    refusal = passport.check(made(), machine, "runs/onnx")
    assert refusal is not None
    assert sentence in refusal
    assert refusal.endswith(
        "build it again on this machine: paredown build runs/onnx --precision fp16 "
        "--profile batch=1:8:32,length=16:64:128 --out ENGINE"
    )


@pytest.mark.parametrize(
    ("options", "machine", "runs"),
    [
        ({"version_compatible": True}, here("10.17.0"), True),
        ({"version_compatible": True}, here("10.15.0"), False),
        ({"version_compatible": True}, here("11.0.0"), False),
        ({"hardware_compatibility": "ampere_plus"}, here(device=A100), True),
        ({"hardware_compatibility": "ampere_plus"}, here(device=T4), False),
        ({"hardware_compatibility": "same_compute_capability"}, here(device=H100), True),
        ({"hardware_compatibility": "same_compute_capability"}, here(device=A100), False),
    ],
)
def test_compatibility_that_was_asked_for_counts(options: Any, machine: Here, runs: bool) -> None:
    """Later versions of the same major one, and GPUs of the level that the build was given."""
    assert (passport.check(made(options=options), machine) is None) is runs


def test_an_engine_without_weights_is_not_run() -> None:
    """It would compute with nothing: the sentence says so, and the command builds it whole."""
    refusal = str(passport.check(made(options={"strip_plan": True, "refit": True}), here()))
    assert "without its weights (strip_plan)" in refusal
    assert "--set refit=true" in refusal
    assert "strip_plan=true" not in refusal


def test_an_ahead_of_time_engine_runs_on_what_it_lists() -> None:
    """TensorRT-RTX compiles for compute capabilities, not for the GPU at hand."""
    built = made(flavor="tensorrt-rtx", gpu=None, options={"compute_capabilities": ("8.6", "8.9")})
    rtx = {"flavor": "tensorrt-rtx"}
    assert passport.check(built, here(device=RTX, **rtx)) is None
    refusal = passport.check(built, here(device=H200, **rtx))
    assert refusal is not None
    assert "for compute capability 8.6, 8.9 and this is NVIDIA H200" in refusal
    assert "--flavor tensorrt-rtx --compute-capability 8.6 --compute-capability 8.9" in refusal
    assert "needs tensorrt-rtx" in str(passport.check(built, here()))
    assert "built for compute capability 8.6, 8.9, and this machine shows no GPU" in str(
        passport.check(built, here(device=None, **rtx))
    )


def test_the_command_gives_the_same_options_back(tmp_path: Path) -> None:
    """Every option that is not the default is in it, and the stage's own configuration takes them."""
    from deploy.stages.build_tensorrt import Config
    from paredown.verbs import _options as options_

    options = BuildOptions(
        precision="int8",
        builder_optimization_level=5,
        workspace_bytes=1 << 30,
        hardware_compatibility="ampere_plus",
        version_compatible=True,
        refit=True,
        weight_streaming=True,
        strip_plan=True,
    )
    words = shlex.split(made(options=options.model_dump()).command("my onnx", "out"))
    assert words[:3] == ["paredown", "build", "my onnx"]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    config = Config.model_validate({**options_.settings(settings), "precision": "int8"})
    assert {name: getattr(config, name) for name in BuildOptions.model_fields} == options.model_dump()


def test_it_reads_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    """Equal after writing; an unknown version of it is an error with a remedy."""
    artifact = engine_artifact(tmp_path / "engine", made())
    assert passport.read(artifact) == made()
    (artifact.path / passport.FILE).write_text('{"schema_version": 2}')
    with pytest.raises(ArtifactError, match=r"another version of paredown.*build the engine again"):
        passport.read(artifact)


def test_the_bytes_are_checked_before_anything_opens_them(tmp_path: Path) -> None:
    """Whole: given; truncated or with one bit changed: refused with the command."""
    artifact = engine_artifact(tmp_path / "engine", made())
    assert passport.engine(artifact, made()) == CONTENT
    (artifact.path / passport.ENGINE).write_bytes(CONTENT[:-3])
    with pytest.raises(
        ArtifactError, match=r"has 16 bytes and was sealed with 19: it is truncated.*paredown build"
    ):
        passport.engine(artifact, made())
    (artifact.path / passport.ENGINE).write_bytes(b"b" + CONTENT[1:])
    with pytest.raises(ArtifactError, match=r"was changed since it was built.*paredown build"):
        passport.engine(artifact, made())
    with pytest.raises(ArtifactError, match=r"changed model\.engine"):
        Artifact.open(artifact.path)


def test_one_process_serves_one_gpu() -> None:
    """A second engine on the same device is fine, on another one it is refused until the first is closed."""
    gpu.claim("cuda")
    gpu.claim("cuda:0")
    with pytest.raises(UserError, match=r"open on cuda:0, and another on cuda:1.*CUDA_VISIBLE_DEVICES"):
        gpu.claim("cuda:1")
    gpu.release("cuda")
    with pytest.raises(UserError, match="open on cuda:0"):
        gpu.claim("cuda:1")
    gpu.release("cuda:0")
    gpu.claim("cuda:1")
    gpu.release("cuda:1")
    with pytest.raises(UserError, match="TensorRT engines are for CUDA devices; device 'cpu' was asked for"):
        gpu.claim("cpu")


def test_the_driver_version_is_read_from_its_own_file() -> None:
    """As the open and the closed kernel module write it."""
    plain = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    assert gpu.driver_version(plain) == "535.104.05"
    assert gpu.driver_version(opened) == "580.65.06"
    assert gpu.driver_version("nothing") is None


class Driver:
    """``cuda.bindings.driver`` of a machine with two GPUs; every call is written down."""

    class CUdevice_attribute:
        """Under NVIDIA's name."""

        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {
            "cuDeviceGetCount": 2,
            "cuDeviceGet": "device",
            "cuDeviceGetName": b"Fake H200\0\0\0",
            "cuDeviceTotalMem": 2**37,
            "cuDriverGetVersion": 13020,
            "cuDeviceGetUuid": types.SimpleNamespace(bytes=bytes(range(16))),
            "cuDevicePrimaryCtxRetain": "context",
            "cuCtxPopCurrent": "context",
        }

    def __getattr__(self, name: str) -> Any:
        def function(*given: Any) -> tuple[Any, ...]:
            self.calls.append((name, *given))
            if name == self.refuses:
                return (2, None)
            if name == "cuDeviceGetAttribute":
                return (0, {75: 9, 76: 0}[given[0]])
            return (0, self.answers[name]) if name in self.answers else (0,)

        return function


def test_a_gpu_is_described_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, compute capability, memory and CUDA; a number that there is not gives None."""
    monkeypatch.setattr(gpu, "library", Driver)
    gpu.describe.cache_clear()
    found = gpu.describe(1)
    assert found is not None
    assert (found.name, found.compute_capability, found.memory_bytes) == ("Fake H200", "9.0", 2**37)
    assert found.cuda == "13.2"
    assert gpu.describe(2) is None
    gpu.describe.cache_clear()


def test_a_context_is_held_and_its_gpu_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the identity that NVML writes; what the driver refuses is a sentence."""
    driver = Driver()
    monkeypatch.setattr(gpu, "library", lambda: driver)
    assert gpu.hold(1) == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert driver.calls[0] == ("cuDeviceGet", 1)
    assert driver.calls[-1] == ("cuDevicePrimaryCtxRetain", "device")
    driver.refuses = "cuDevicePrimaryCtxRetain"
    with pytest.raises(UserError, match="cuDevicePrimaryCtxRetain failed with CUDA error 2"):
        gpu.hold(0)


def test_another_gpu_is_made_current_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the driver, in order, also when the work fails; the first GPU needs nothing."""
    driver = Driver()
    monkeypatch.setattr(gpu, "library", lambda: driver)
    with gpu.current(0):
        pass
    assert driver.calls == []
    with pytest.raises(RuntimeError, match="inside"), gpu.current(1):
        raise RuntimeError("inside")
    assert driver.calls == [
        ("cuDeviceGet", 1),
        ("cuDevicePrimaryCtxRetain", "device"),
        ("cuCtxPushCurrent", "context"),
        ("cuCtxPopCurrent",),
        ("cuDevicePrimaryCtxRelease", "device"),
    ]
    driver.refuses = "cuDevicePrimaryCtxRetain"
    with pytest.raises(UserError, match="no context on GPU 1"), gpu.current(1):
        pass


def test_a_gpu_whose_driver_cannot_be_asked_is_a_missing_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package: the command that installs it where there is a GPU, else no GPU."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    for there in (False, True):
        monkeypatch.setattr(environment, "has_nvidia_device", lambda there=there: there)
        cuda_driver.library.cache_clear()
        if there:
            with pytest.raises(MissingPiece, match=r"paredown\[gpu\]"):
                cuda_driver.library()
        else:
            assert cuda_driver.library() is None
    cuda_driver.library.cache_clear()


def test_a_machine_without_a_driver_shows_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """None and 0, not an exception."""
    monkeypatch.setattr(gpu, "library", lambda: None)
    gpu.describe.cache_clear()
    assert gpu.count() == 0
    assert gpu.describe(0) is None
    gpu.describe.cache_clear()
