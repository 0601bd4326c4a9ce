"""What this machine and this installation are: versions, devices, and the door to optional libraries.

What there is of CUDA is found out here; ``deploy.device`` is what works with it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType

from compress.errors import MissingPiece, UserError


def require(module: str, extra: str | None = None, purpose: str = "") -> ModuleType:
    """Import an optional library, or say which command installs it.

    Raises:
        MissingPiece: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name is None or cause.name.split(".")[0] != module.split(".")[0]:
            raise
        install = f"pip install 'paredown[{extra}]'" if extra else f"pip install {module}"
        needed = f" ({purpose})" if purpose else ""
        raise MissingPiece(
            f"'{module}' is needed here{needed} and is not installed: run {install}"
        ) from cause


@cache
def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def onnxruntime_distribution() -> str | None:
    """Which of the two distributions that install ``onnxruntime`` is there."""
    return next((d for d in ("onnxruntime-gpu", "onnxruntime") if version(d)), None)


def versions(tools: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of some distributions; ``onnxruntime`` stands for its GPU build too."""
    by_tool: dict[str, str] = {}
    for tool in tools:
        name = (onnxruntime_distribution() or tool) if tool == "onnxruntime" else tool
        by_tool[name] = version(name) or "absent"
    return by_tool


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor (Linux; empty elsewhere)."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return frozenset()
    for line in info.read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


@cache
def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_count() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bf16_is_fast(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def resolve_device(device: str) -> str:
    """Check that a device exists; ``auto`` picks CUDA where there is one.

    Raises:
        UserError: it was asked for and is not there.
    """
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not device.startswith("cuda"):
        raise UserError(f"Unknown device '{device}'. Allowed: auto, cpu, cuda, cuda:N.")
    if not torch.cuda.is_available():
        raise UserError(
            f"Device '{device}' was asked for and PyTorch {torch.__version__} sees no CUDA device: "
            "use --device cpu, or install a CUDA build and driver (paredown doctor says what is there)."
        )
    index = int(device.split(":", 1)[1]) if ":" in device else 0
    if index >= torch.cuda.device_count():
        raise UserError(f"Device '{device}' was asked for; there are {torch.cuda.device_count()}.")
    return device


def cuda_build() -> str | None:
    """The CUDA version that PyTorch was built for; None for a CPU build."""
    import torch

    built: str | None = torch.version.cuda
    return built


def cuda_devices() -> list[str]:
    """The names of the CUDA devices that PyTorch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def compute_capability(device: str) -> tuple[int, int]:
    """Major and minor of a CUDA device that exists, such as (9, 0)."""
    import torch

    return torch.cuda.get_device_capability(device)


def has_nvidia_device() -> bool:
    """Whether the machine shows an NVIDIA GPU, whatever is installed."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def free_device_memory(device: str) -> tuple[int, int]:
    """Free and total bytes of a CUDA device that exists."""
    import torch

    return torch.cuda.mem_get_info(device)


def synchronize(device: str) -> None:
    """Wait for the device's queue; nothing on a CPU."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def device_memory_bytes(device: str) -> tuple[int, int] | None:
    """Peak allocated and reserved bytes of PyTorch's allocator on a CUDA device; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)


_OUT_OF_MEMORY = re.compile(
    r"out of memory|CUDA_ERROR_OUT_OF_MEMORY|Failed to allocate memory for requested buffer|OutOfMemory",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[Tt]ried to allocate ([0-9.]+ [KMG]iB)|requested buffer of size (\d+)")


def out_of_device_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch, ONNX Runtime or TensorRT says that a GPU's memory is full."""
    return _OUT_OF_MEMORY.search(str(error)) is not None


def explain_device_memory(
    error: BaseException, work: str = "", fitted: str = "", memory: tuple[int, int] | None = None
) -> str:
    """The sentence for a GPU whose memory is full.

    Args:
        error: that said so.
        work: that was tried, in words.
        fitted: the largest work that was done before, in words.
        memory: free and total bytes of the GPU, where they are known.
    """
    match = _ASKED.search(str(error))
    amount = "" if match is None else match[1] or f"{int(match[2]) / 2**20:.0f} MiB"
    parts = [f"{amount} more were asked" if amount else ""]
    if memory is not None:
        parts.append(f"{memory[0] / 2**30:.2f} of {memory[1] / 2**30:.2f} GiB are free")
    details = ", ".join(part for part in parts if part)
    return (
        f"the GPU's memory is full{' at ' + work if work else ''}{f' ({details})' if details else ''}"
        f"{f'; {fitted} did fit' if fitted else ''}: lower --batch-sizes or --lengths, or measure fewer "
        "candidates at once"
    )


def commit() -> str | None:
    """The commit of the checkout that this code runs from, or None for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() or None


_RECORDED = (
    "paredown",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "accelerate",
    "numpy",
    "onnx",
    "onnxruntime",
    "torch-pruning",
    "safetensors",
)
# Recorded where they are installed, and only there: a machine without them stays the machine that it was.
_RECORDED_IF_THERE = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx")


def describe() -> dict[str, str]:
    """What a manifest and a report record of the machine and the installation."""
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus": str(cpu_count()),
        **versions(_RECORDED),
        **{name: installed for name in _RECORDED_IF_THERE if (installed := version(name)) is not None},
    }
    checkout = commit()
    if checkout:
        facts["commit"] = checkout
    return facts
