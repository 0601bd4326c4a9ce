"""Judgments about an installation: pure functions from what was found to what it means.

``doctor`` finds out (versions, what loads, flags, disk); here it is decided what is missing, what is good
to know, and what is a problem, each in one sentence that ends with what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOW_DISK_BYTES = 2 * 1024**3
PACKAGES = ("compress", "deploy", "bench", "paredown")


@dataclass(frozen=True)
class Library:
    """A library that paredown can use.

    Attributes:
        module: what is imported.
        distribution: what is installed.
        enables: what it is for.
        install: the command that installs it.
        core: whether paredown cannot do without it.
    """

    module: str
    distribution: str
    enables: str
    install: str
    core: bool = True


def _core(module: str, enables: str, distribution: str | None = None) -> Library:
    return Library(module, distribution or module, enables, f"pip install {distribution or module}")


LIBRARIES = (
    _core("torch", "models and training"),
    _core("transformers", "model classes and tokenizers"),
    _core("tokenizers", "tokenizers"),
    _core("safetensors", "weights on disk"),
    _core("datasets", "reading rows"),
    _core("accelerate", "training on several devices or machines"),
    _core("optimum", "inferring the task of a model"),
    _core("torch_pruning", "structured pruning", "torch-pruning"),
    _core("peft", "merging LoRA adapters"),
    _core("onnx", "ONNX graphs"),
    _core("onnxscript", "the dynamo path of the ONNX export"),
    _core("PIL", "images", "pillow"),
    _core("matplotlib", "plots in reports"),
    Library(
        "onnxruntime",
        "onnxruntime",
        "running and quantizing ONNX models",
        "pip install 'paredown[cpu]' (with an NVIDIA GPU: 'paredown[gpu]', never both)",
        core=False,
    ),
    Library(
        "sklearn",
        "scikit-learn",
        "the handwritten digits that 'paredown demo' trains on",
        "pip install 'paredown[cpu]'",
        core=False,
    ),
    Library(
        "elftools",
        "pyelftools",
        "naming the libraries of NVIDIA that a package wants and does not find",
        "pip install 'paredown[gpu]'",
        core=False,
    ),
    Library(
        "pynvml",
        "nvidia-ml-py",
        "the GPU's clocks, memory and energy in bench runs",
        "pip install 'paredown[gpu]'",
        core=False,
    ),
    Library(
        "cuda.bindings",
        "cuda-bindings",
        "asking the GPU's driver what an engine is built for",
        "pip install 'paredown[gpu]'",
        core=False,
    ),
    Library("tensorrt", "tensorrt", "TensorRT engines", "pip install 'paredown[tensorrt]'", core=False),
)


@dataclass(frozen=True)
class Piece:
    """One library as it was found.

    Attributes:
        name: its distribution.
        version: None when it is not installed.
        state: ``works``, ``not installed``, or what went wrong when it was loaded.
        enables: what it is for.
    """

    name: str
    version: str | None
    state: str
    enables: str


@dataclass(frozen=True)
class Examination:
    """What ``doctor`` found.

    Attributes:
        machine: facts about machine and installation, by name.
        pieces: every library that paredown can use.
        missing: what is not there, what it would enable, and the command; nothing is wrong with that.
        notes: what is good to know, such as what the processor does with INT8.
        problems: what does not work, or not together, and how to mend it.
    """

    machine: dict[str, str]
    pieces: tuple[Piece, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """What loading a library showed.

    Attributes:
        error: why it does not load, or None.
        facts: what it says of itself (see ``paredown.doctor.proving``).
        printed: what it wrote to the terminal.
    """

    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    printed: str = ""


def judge_libraries(
    versions: Mapping[str, str | None], proofs: Mapping[str, Proof]
) -> tuple[list[Piece], list[str], list[str], list[str]]:
    """Pieces, missing ones, notes and problems.

    Args:
        versions: distribution -> installed version, None when absent.
        proofs: module -> what loading it showed, for the installed ones.
    """
    pieces, missing, notes, problems = [], [], [], []
    for library in LIBRARIES:
        name, version = library.distribution, versions.get(library.distribution)
        if library.module == "onnxruntime" and version is None and versions.get("onnxruntime-gpu"):
            name, version = "onnxruntime-gpu", versions["onnxruntime-gpu"]
        state = "not installed"
        if version is not None:
            proof = proofs[library.module]
            state = proof.error or "works"
            if proof.error:
                problems.append(
                    f"{name} {version} is installed and does not load ({proof.error}): {library.install}"
                )
            elif proof.printed:
                notes.append(f"{name} prints when it is loaded: {proof.printed.splitlines()[0][:160]}")
        elif library.core:
            problems.append(f"{name} is not installed ({library.enables}): {library.install}")
        else:
            missing.append(f"{name} would enable {library.enables}: {library.install}")
        pieces.append(Piece(name=name, version=version, state=state, enables=library.enables))
    return pieces, missing, notes, problems


def judge_pairs(versions: Mapping[str, str | None]) -> tuple[list[str], list[str]]:
    """Notes and problems about distributions that do not work together."""
    notes, problems = [], []
    if versions.get("onnxruntime") and versions.get("onnxruntime-gpu"):
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install the one that you want"
        )
    if versions.get("optimum-onnx") and _major(versions.get("transformers")) >= 5:
        problems.append(
            f"optimum-onnx {versions['optimum-onnx']} needs transformers below 4.58, and "
            f"{versions['transformers']} is installed: pip uninstall -y optimum-onnx (it is not used here)"
        )
    if versions.get("torchao"):
        notes.append(
            f"torchao {versions['torchao']} is installed: it prints a warning whenever torch or transformers "
            "is loaded, and paredown does not use it (pip uninstall torchao)"
        )
    return notes, problems


def judge_processor(flags: frozenset[str], machine: str) -> list[str]:
    """What the processor's instructions mean for INT8 and BF16."""
    if not flags:
        return [f"the processor's flags are not known here ({machine}): measure INT8 before you rely on it"]
    notes = []
    int8 = sorted({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"} & flags)
    if int8:
        notes.append(
            f"INT8: the processor multiplies bytes in hardware ({', '.join(int8)}), without saturation"
        )
    elif machine in {"x86_64", "AMD64"}:
        notes.append(
            "INT8: the processor has no VNNI: INT8 may be no faster than FP32, and products of U8 and S8 can "
            "saturate, which costs accuracy (quantize with reduce_range)"
        )
    else:
        notes.append("INT8: the processor has no byte products in hardware: INT8 may be no faster than FP32")
    bf16 = sorted({"avx512_bf16", "amx_bf16", "bf16"} & flags)
    if bf16:
        notes.append(
            f"BF16: multiplied in hardware ({', '.join(bf16)}): training with precision auto uses it"
        )
    else:
        notes.append("BF16: not in hardware: training stays in FP32")
    return notes


def judge_packages(origins: Mapping[str, Path | None], owners: Mapping[str, Sequence[str]]) -> list[str]:
    """Problems with the three import packages, which must lie side by side.

    Args:
        origins: package -> its folder, None when it is not found.
        owners: package -> the distributions that say that they install it.
    """
    home = origins["compress"]
    problems = []
    for name in PACKAGES[1:]:
        folder = origins[name]
        if folder is None:
            problems.append(f"the package '{name}' is not there: install paredown again")
        elif home is not None and folder.parent != home.parent:
            named = owners.get(name, ())
            owner = f" (of {', '.join(named)})" if named else ""
            problems.append(
                f"the package '{name}' comes from {folder}{owner} and not from {home.parent}: another "
                "distribution installs the same name; install paredown into an environment of its own"
            )
    return problems


def judge_requirements(requirements: Sequence[str], versions: Mapping[str, str | None]) -> list[str]:
    """Installed versions that are outside what paredown asks for.

    Args:
        requirements: as the metadata of the distribution lists them.
        versions: distribution -> installed version.
    """
    from packaging.requirements import Requirement

    problems = []
    for text in requirements:
        requirement = Requirement(text)
        version = versions.get(requirement.name)
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            problems.append(
                f"{requirement.name} {version} is installed and paredown needs {requirement.specifier}: "
                f"pip install '{requirement.name}{requirement.specifier}'"
            )
    return problems


def judge_disk(root: Path, free_bytes: int) -> tuple[list[str], list[str]]:
    """Note and problem about the room for the store."""
    text = f"the store {root} has {free_bytes / 1e9:.1f} GB free"
    if free_bytes < LOW_DISK_BYTES:
        return [], [f"{text}: free some space, run 'paredown store prune', or choose another --store"]
    return [text], []


def _major(version: str | None) -> int:
    head = (version or "0").split(".")[0]
    return int(head) if head.isdigit() else 0
