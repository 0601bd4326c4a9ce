"""What is installed here, what each missing piece would enable, and what does not work together.

Every library is loaded in a process of its own: that a package is listed as installed does not mean that
it works.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from compress import children, environment, log, telemetry
from paredown.doctor import diagnosis, gpu_diagnosis
from paredown.doctor.diagnosis import LIBRARIES, PACKAGES, Examination, Proof

_TIMEOUT_S = 300.0
_SHARED = "paredown.doctor.shared_libraries"


def examine(store: Path) -> Examination:
    """Load everything that is installed, and judge what was found.

    Args:
        store: the store's root, for the room on its disk.
    """
    names = {library.distribution for library in LIBRARIES} | {"onnxruntime-gpu", "optimum-onnx", "torchao"}
    requirements = _requirements()
    versions = {name: environment.version(name) for name in names | _names(requirements)}
    installed = [
        library.module
        for library in LIBRARIES
        if versions[library.distribution] or (library.module == "onnxruntime" and versions["onnxruntime-gpu"])
    ]
    proofs = prove([*installed, *([_SHARED] if platform.system() == "Linux" else [])])
    machine = platform.machine()
    pieces, missing, notes, problems = diagnosis.judge_libraries(versions, proofs)
    pair_notes, pair_problems = diagnosis.judge_pairs(versions)
    gpu_missing, gpu_notes, gpu_problems = gpu_diagnosis.judge_devices(
        proofs, has_gpu=environment.has_nvidia_device()
    )
    shared_notes, shared_problems = gpu_diagnosis.judge_shared(
        proofs.get(_SHARED, Proof()).facts, proofs, versions, has_gpu=environment.has_nvidia_device()
    )
    disk_notes, disk_problems = diagnosis.judge_disk(store, free_bytes(store))
    return Examination(
        machine=environment.describe(),
        pieces=tuple(pieces),
        missing=(*missing, *gpu_missing),
        notes=(
            *notes,
            *pair_notes,
            *gpu_notes,
            *shared_notes,
            *diagnosis.judge_processor(environment.cpu_flags(), machine),
            *disk_notes,
            telemetry.note(),
        ),
        problems=(
            *diagnosis.judge_packages(_origins(), importlib.metadata.packages_distributions()),
            *problems,
            *diagnosis.judge_requirements(requirements, versions),
            *pair_problems,
            *gpu_problems,
            *shared_problems,
            *disk_problems,
        ),
    )


def prove(modules: Sequence[str]) -> dict[str, Proof]:
    """Load modules in a child process; after one that kills it, the rest go on in another."""
    proofs: dict[str, Proof] = {}
    left = list(modules)
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.progress("loading libraries", total=len(left)) as bar:
        while left:
            current = left[0]
            with subprocess.Popen(
                children.command("paredown.doctor.proving", *left),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            ) as child:
                timer = threading.Timer(_TIMEOUT_S, child.kill)
                timer.start()
                try:
                    for line in child.stdout or ():
                        message = json.loads(line)
                        if "begin" in message:
                            current = message["begin"]
                            continue
                        proofs[message["module"]] = Proof(
                            message["error"], message["facts"], message["printed"]
                        )
                        bar.advance(note=message["module"])
                    code = child.wait()
                finally:
                    timer.cancel()
            if current not in proofs:
                proofs[current] = Proof(error=f"loading it ended the process (exit {code})")
            left = [module for module in left if module not in proofs]
    return proofs


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk that a folder is on, or will be."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _origins() -> dict[str, Path | None]:
    origins: dict[str, Path | None] = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        origins[name] = Path(places[0]).resolve() if places else None
    return origins


def _requirements() -> list[str]:
    """What the installed paredown asks for, extras left out; nothing when it runs from a checkout."""
    try:
        listed = importlib.metadata.requires("paredown") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [text for text in listed if "extra ==" not in text]


def _names(requirements: Sequence[str]) -> set[str]:
    from packaging.requirements import Requirement

    return {Requirement(text).name for text in requirements}
