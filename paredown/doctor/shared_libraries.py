"""Which shared libraries the installed GPU packages want, read from their files, and which of them load.

A wheel names the libraries that it wants, with their major version, in its own binaries (the ``NEEDED``
entries of an ELF file). That decides what works together; the metadata of distributions does not say it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CUDA_PROVIDER = "ONNX Runtime's CUDA provider"
# Owner -> libraries that it may open by itself while it runs: ONNX Runtime links cuDNN up to 1.30 alone.
_OPENED_LATER: dict[str, tuple[str, ...]] = {CUDA_PROVIDER: ("libcudnn.so.9",)}
# Owner, as messages call it -> package, and the files in it whose wishes count.
_FILES: dict[str, tuple[str, str]] = {
    CUDA_PROVIDER: ("onnxruntime", "capi/libonnxruntime_providers_cuda.so"),
    "ONNX Runtime's TensorRT provider": ("onnxruntime", "capi/libonnxruntime_providers_tensorrt.so"),
    "tensorrt": ("tensorrt_bindings", "*.so"),
    "tensorrt 8": ("tensorrt", "*.so"),
    "tensorrt-rtx": ("tensorrt_rtx_bindings", "*.so"),
}
_OF_NVIDIA = re.compile(r"^lib(cuda|cudart|cublas|cublasLt|cudnn\w*|curand|cufft|nv\w+|tensorrt\w*)\.so")
_MAPS = Path("/proc/self/maps")


def needed(path: Path) -> tuple[str, ...]:
    """The libraries that a binary wants, as its ``NEEDED`` entries name them.

    Raises:
        ValueError: it is no ELF file, or a damaged one.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as stream:
            for section in ELFFile(stream).iter_sections():
                if isinstance(section, DynamicSection):
                    return tuple(tag.needed for tag in section.iter_tags("DT_NEEDED"))
    except (ELFError, OSError) as cause:
        raise ValueError(f"{path} cannot be read as an ELF file: {cause}") from cause
    return ()


def wishes(files: Iterable[Path]) -> list[str]:
    """NVIDIA's libraries among those that some binaries want, each once."""
    names: dict[str, None] = {}
    for file in files:
        with contextlib.suppress(
            ValueError
        ):  # a damaged wheel shows when it is loaded, which is tried as well
            names |= dict.fromkeys(name for name in needed(file) if _OF_NVIDIA.match(name))
    return list(names)


def wanted() -> dict[str, list[str]]:
    """Owner -> the libraries of NVIDIA that it wants, for every owner that is installed."""
    by_owner = {}
    for owner, (package, pattern) in _FILES.items():
        spec = importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        names = wishes(sorted(path for folder in folders for path in Path(folder).glob(pattern)))
        if names:
            by_owner[owner] = names
    return by_owner


def optional(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Owner -> libraries that it does not link and may open while it runs.

    Args:
        needs: owner -> what it links, of any major version.
    """
    by_owner = {}
    for owner, names in _OPENED_LATER.items():
        if owner in needs:
            linked = {name.split(".so")[0] for name in needs[owner]}
            by_owner[owner] = [name for name in names if name.split(".so")[0] not in linked]
    return {owner: names for owner, names in by_owner.items() if names}


def load(names: Iterable[str]) -> dict[str, str | None]:
    """Name -> the file that the loader took for it; None where it does not load."""
    files: dict[str, str | None] = {}
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            files[name] = None
        else:
            files[name] = _loaded(name)
    return files


def _loaded(name: str) -> str:
    """The file of a library that is in this process."""
    if not _MAPS.is_file():
        return name
    mapped = {line.split(maxsplit=5)[5] for line in _MAPS.read_text().splitlines() if line.count("/")}
    return next((path for path in sorted(mapped) if Path(path).name.startswith(name)), name)


def major(name: str) -> int | None:
    """The major version in a library's name: 10 of ``libnvinfer.so.10``."""
    match = re.search(r"\.so\.(\d+)", name)
    return int(match[1]) if match else None


def first(names: Sequence[str], stem: str) -> str | None:
    """The first of some names that is a library's, such as ``libnvinfer``."""
    return next((name for name in names if name.split(".so")[0] == stem), None)


def examine() -> dict[str, Any]:
    """What is wanted and what loads, after the packages have brought in what they carry themselves.

    Returns:
        ``{"wanted": owner -> names, "optional": owner -> names, "found": name -> file or None}``; nothing is
        wanted where pyelftools is not installed, which ``doctor`` then lists as missing.
    """
    needs = wanted() if importlib.util.find_spec("elftools") else {}
    if needs:
        # PyTorch and TensorRT load the libraries of their own wheels, ONNX Runtime on request.
        for module in ("torch", "tensorrt", "onnxruntime"):
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                loaded = importlib.import_module(module)
                if hasattr(loaded, "preload_dlls"):
                    loaded.preload_dlls()
    later = optional(needs)
    names = dict.fromkeys(name for group in (*needs.values(), *later.values()) for name in group)
    return {"wanted": needs, "optional": later, "found": load(names)}
