"""Judgments about a GPU and the libraries around it: pure functions, as in ``diagnosis``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paredown.doctor import shared_libraries
from paredown.doctor.diagnosis import Proof

_TENSORRT = "ONNX Runtime's TensorRT provider"
_CUDA = shared_libraries.CUDA_PROVIDER
# Start of a library's name -> the command that brings it.
_REMEDIES = (
    ("libcuda.", "install NVIDIA's driver (nvidia-smi shows whether it is there)"),
    ("libnvinfer", "pip install 'tensorrt>={major},<{next}'"),
    ("libnvonnxparser", "pip install 'tensorrt>={major},<{next}'"),
    ("lib", "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
)


def judge_devices(proofs: Mapping[str, Proof], *, has_gpu: bool) -> tuple[list[str], list[str], list[str]]:
    """Missing pieces, notes and problems about a GPU.

    Args:
        proofs: of ``torch`` and ``onnxruntime``, where they loaded.
        has_gpu: whether the machine shows an NVIDIA device.
    """
    missing, notes, problems = [], [], []
    torch = proofs.get("torch", Proof()).facts
    build, devices = torch.get("cuda_build"), torch.get("devices", [])
    if has_gpu and torch and build is None:
        missing.append(
            "this machine has an NVIDIA GPU and PyTorch is a CPU build; a CUDA build would use it: "
            "choose a CUDA build of PyTorch at https://pytorch.org/get-started"
        )
    if has_gpu and build is not None and not devices:
        problems.append(
            f"PyTorch is built for CUDA {build} and sees no device, though this machine has one: update the "
            "NVIDIA driver (nvidia-smi says which CUDA it serves), or install a PyTorch for the driver's CUDA"
        )
    if not has_gpu and build is not None and not devices:
        notes.append(f"PyTorch is built for CUDA {build} and there is no GPU: it works on the CPU")
    if devices:
        notes.append(f"PyTorch (CUDA {build}) sees: {', '.join(devices)}")
    runtime = proofs.get("onnxruntime", Proof()).facts
    dead = [p for p in runtime.get("listed", []) if p not in runtime.get("working", [])]
    for provider in dead:
        text = (
            f"ONNX Runtime lists {provider} and cannot create it here; asked for, it would fall back to the "
            "CPU without an error (paredown refuses that)"
        )
        if has_gpu and provider == "CUDAExecutionProvider":
            problems.append(
                f"{text}: install the CUDA and cuDNN libraries, pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        else:
            notes.append(text)
    return missing, notes, problems


def remedy(name: str) -> str:
    """The command that brings a missing library."""
    major = shared_libraries.major(name) or 0
    text = next(text for start, text in _REMEDIES if name.startswith(start))
    return text.format(major=major, next=major + 1)


def judge_shared(
    facts: Mapping[str, Any],
    proofs: Mapping[str, Proof],
    versions: Mapping[str, str | None],
    *,
    has_gpu: bool,
) -> tuple[list[str], list[str]]:
    """Notes and problems about the shared libraries that GPU packages want.

    Args:
        facts: ``wanted`` and ``optional`` (owner -> names) and ``found`` (name -> file, or None), from
            ``paredown.doctor.shared_libraries``.
        proofs: of the libraries, where they loaded.
        versions: distribution -> installed version.
        has_gpu: whether the machine shows an NVIDIA device; without one a missing library is no problem.
    """
    notes: list[str] = []
    problems: list[str] = []
    needs, files = facts.get("wanted", {}), facts.get("found", {})
    for owner, names in needs.items():
        lost: dict[str, list[str]] = {}
        for name in names:
            if not files.get(name):
                lost.setdefault(remedy(name), []).append(name)
        for command, missing in lost.items():
            verb = "does" if len(missing) == 1 else "do"
            sentence = f"{owner} wants {', '.join(missing)}, which {verb} not load here: {command}"
            if (
                owner == _TENSORRT
            ):  # an option that nothing needs; what fights it is said below, in one sentence
                notes.append(f"{sentence} (only for the provider 'tensorrt' of runtime 'ort')")
            else:
                (problems if has_gpu else notes).append(sentence)
        present = [f"{name} ({files[name]})" for name in names if files.get(name)]
        if present:
            notes.append(f"{owner} finds {', '.join(present)}")
    for owner, names in facts.get("optional", {}).items():
        for name in names:
            state = f"found ({files[name]})" if files.get(name) else f"not found ({remedy(name)})"
            notes.append(
                f"{owner} does not link {name} and opens it where an operator, such as a convolution, "
                f"needs it: {state}"
            )
    notes += _fights(needs, proofs, versions)
    builder = proofs.get("tensorrt", Proof()).facts.get("builder")
    if builder and has_gpu:
        problems.append(
            f"tensorrt {versions.get('tensorrt')} loads and gives no builder on this GPU ({builder}): its "
            "CUDA must be one that the driver serves; pip install 'paredown[tensorrt]' in a fresh "
            "environment, or update the driver"
        )
    return notes, problems


def _fights(
    needs: Mapping[str, list[str]], proofs: Mapping[str, Proof], versions: Mapping[str, str | None]
) -> list[str]:
    """Majors of TensorRT and CUDA that differ between packages."""
    notes = []
    nvinfer = shared_libraries.first(needs.get(_TENSORRT, []), "libnvinfer")
    installed = versions.get("tensorrt") or ""
    has = installed.split(".")[0]
    major = shared_libraries.major(nvinfer) if nvinfer else None
    if nvinfer and major is not None and has.isdigit() and int(has) != major:
        notes.append(
            f"{_TENSORRT} wants {nvinfer} and tensorrt {installed} is installed: that provider cannot load, "
            f"and the runtime 'trt' uses {installed} directly; for the provider, "
            f"pip install 'tensorrt>={major},<{major + 1}'"
        )
    cudart = shared_libraries.first(needs.get(_CUDA, []), "libcudart")
    runtime = shared_libraries.major(cudart) if cudart else None
    build = str(proofs.get("torch", Proof()).facts.get("cuda_build") or "")
    if cudart and runtime is not None and build and int(build.split(".")[0]) != runtime:
        notes.append(
            f"{_CUDA} wants CUDA {runtime} ({cudart}) and PyTorch is built for CUDA {build}: both are loaded "
            f"side by side; to have one, install a PyTorch for CUDA {runtime} (https://pytorch.org/get-started)"
        )
    served = str(proofs.get("pynvml", Proof()).facts.get("cuda") or "")
    if served and runtime is not None and int(served.split(".")[0]) < runtime:
        notes.append(
            f"the driver serves CUDA {served} and {_CUDA} wants CUDA {runtime}: update the driver, or "
            "install an onnxruntime-gpu that was built for the driver's CUDA"
        )
    return notes
