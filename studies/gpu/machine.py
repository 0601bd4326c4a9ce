"""Facts of the machine: the GPU and its driver, library versions, and any TensorRT that lies about.

Versions are read from the installed metadata, nothing is imported. Paths are told only as far as
the library's own name: where a home folder is called after somebody, the record must not say so.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from studies.gpu import nvml

_SURE = 4
_ASKED = (
    "name",
    "driver_version",
    "memory.total",
    "memory.used",
    "compute_cap",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "pstate",
    "temperature.gpu",
    "power.draw",
    "power.limit",
    "mig.mode.current",
    "ecc.mode.current",
)
_DISTRIBUTIONS = (
    "torch",
    "transformers",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "tensorrt-rtx",
    "triton",
    "nvidia-cublas",
    "nvidia-cuda-runtime",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
)
_TENSORRT = re.compile(r"libnvinfer[\w-]*\.so[.\d]*$")
_PLACES = ("/usr", "/opt")
_MOST_FILES = 400_000


def smi() -> dict[str, str] | None:
    """What nvidia-smi says of the first device; None where there is none.

    A version that does not know one of the fields refuses them all: then only the first few are asked.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    for fields in (_ASKED, _ASKED[:_SURE]):
        try:
            done = subprocess.run(
                [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return dict(zip(fields, (cell.strip() for cell in done.stdout.strip().split(",")), strict=False))
    return None


def gpu_name() -> str | None:
    """The first device's name, for telling machines apart."""
    found = smi()
    return found.get("name") if found else None


def versions() -> dict[str, str]:
    """Installed versions of what matters; what is not installed is left out."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def tensorrt_libraries(places: tuple[str, ...] = ()) -> list[str]:
    """Names of every libnvinfer in the system's folders and on the paths of this Python."""
    given = places or (*_PLACES, *(place for place in sys.path if place and not place.startswith(_PLACES)))
    roots = [Path(place) for place in given]
    found, seen = set(), 0
    for root in roots:
        for _, folders, files in os.walk(root):
            seen += len(files) + len(folders)
            found |= {name for name in files if _TENSORRT.search(name)}
            if seen > _MOST_FILES:
                return [*sorted(found), "(stopped looking: too many files)"]
    return sorted(found)


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """Everything above, and one look at the device."""
    device = nvml.open_device()
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "cpu": cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "versions": versions(),
        "gpu": smi(),
        "nvml": device.snapshot() if device else None,
        "processes_on_gpu": len(device.processes() or ()) if device else None,
        "tensorrt_libraries": tensorrt_libraries(),
        "tools": {name: shutil.which(name) is not None for name in ("trtexec", "nvcc", "ncu", "gcc")},
    }
