"""Build the TensorRT engine of this bundle on the machine at hand, and seal it with its passport.

    CUDA_VISIBLE_DEVICES=0 python build/build_engine.py --out engine

Needs Python 3.8 or later, TensorRT 8.6 or later and an NVIDIA driver, and nothing else. Every file of
the bundle is compared with its checksum first. The result is an artifact: ``paredown predict engine``
opens it. What differs between versions of TensorRT is found by asking for names, not versions.
"""
# Runs without paredown, on the Python of the target (JetPack has 3.8): only the standard library here.
# ruff: noqa: UP017

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import platform
import re
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

BUNDLE = Path(__file__).resolve().parent.parent
PLAN = "build/plan.json"
SUMS = "SHA256SUMS"
# The last opset that TensorRT 8.6, which has no typed networks, reads.
OPSET_WITHOUT_TYPES = 17


class Refused(Exception):  # noqa: N818 - reads as the sentence that it is
    """What the user can mend, as one sentence."""


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            checksum.update(block)
    return checksum.hexdigest()


def verify(bundle: Path) -> None:
    """Compare every file of the bundle with ``SHA256SUMS``.

    Raises:
        Refused: a file is missing or was changed; the first one is named.
    """
    sums = bundle / SUMS
    if not sums.is_file():
        raise Refused(f"{bundle} is no bundle: it has no {SUMS}")
    for line in sums.read_text(encoding="utf-8").splitlines():
        checksum, name = line.split("  ", 1)
        path = bundle / name
        if not path.is_file():
            raise Refused(f"{path} is missing: copy the bundle again")
        if digest(path) != checksum:
            raise Refused(f"{path} was changed since the bundle was made: copy the bundle again")


def describe_gpu() -> dict[str, Any] | None:
    """The first GPU (of those that CUDA_VISIBLE_DEVICES shows) as its driver describes it, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    handle, version = ctypes.c_int(0), ctypes.c_int(0)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t(0)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(handle), 0)
        or driver.cuDeviceGetName(name, len(name), handle)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)
        or driver.cuDriverGetVersion(ctypes.byref(version))
    )
    if failed:
        return None
    driver_file = Path("/proc/driver/nvidia/version")
    kernel = (
        re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)", driver_file.read_text())
        if driver_file.is_file()
        else None
    )
    return {
        "name": name.value.decode(),
        "compute_capability": f"{major.value}.{minor.value}",
        "memory_bytes": memory.value,
        "driver": kernel.group(1) if kernel else None,
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def has(trt: Any, owner: str, name: str) -> bool:
    """Whether this TensorRT has a member of one of its enumerations or classes."""
    return hasattr(getattr(trt, owner, None), name)


def refuse(trt: Any, plan: dict[str, Any], gpu: dict[str, Any], fp16: bool) -> None:
    """Refuse what this TensorRT or GPU cannot do with the graph.

    Raises:
        Refused: with what to do.
    """
    typed = has(trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
    precision, name = plan["precision"], "TensorRT " + trt.__version__
    if typed and fp16:
        raise Refused(
            name + " takes precision from the graph: leave --fp16 out, and bundle the FP16 graph that "
            "'paredown quantize ONNX --precision fp16' makes"
        )
    if not typed and (precision not in ("fp32", "int8") or plan["rest"] != "fp32"):
        raise Refused(
            name
            + " has no typed networks, and this graph is typed: bundle the FP32 graph (and give --fp16), "
            "or an INT8 graph made with 'paredown quantize ONNX --target tensorrt --set opset=17'"
        )
    if not typed and plan["opset"] > OPSET_WITHOUT_TYPES:
        raise Refused(
            "{} reads opsets up to {}, and this graph has {}: export and quantize it with opset {}".format(
                name, OPSET_WITHOUT_TYPES, plan["opset"], OPSET_WITHOUT_TYPES
            )
        )
    capability = tuple(int(part) for part in gpu["compute_capability"].split("."))
    if precision == "fp8" and capability < (8, 9):
        raise Refused(
            "FP8 needs compute capability 8.9, and {} has {}: bundle an INT8 or FP16 graph".format(
                gpu["name"], gpu["compute_capability"]
            )
        )


def network_flags(trt: Any) -> int:
    """Typed where that exists; TensorRT 8 must be told that the batch is an axis."""
    for name in ("STRONGLY_TYPED", "EXPLICIT_BATCH"):
        if has(trt, "NetworkDefinitionCreationFlag", name):
            return 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    return 0


def precision_flags(trt: Any, plan: dict[str, Any], fp16: bool) -> list[str]:
    """Precisions that the builder may choose, for a TensorRT without typed networks."""
    if has(trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED"):
        return []
    if plan["precision"] == "int8":
        return ["INT8", "FP16"]
    return ["FP16"] if fp16 else []


def timings(bundle: Path) -> list[bytes]:
    """The timing caches of the bundle; each fits one TensorRT and one GPU."""
    folder = bundle / "build" / "timings"
    return [path.read_bytes() for path in sorted(folder.glob("*.timing"))] if folder.is_dir() else []


def compile_engine(
    trt: Any, plan: dict[str, Any], onnx: Path, caches: list[bytes], options: argparse.Namespace
) -> dict[str, Any]:
    """Parse the graph and build its engine.

    Returns:
        ``plan`` (bytes) and ``timings`` (bytes or None).

    Raises:
        Refused: the parser does not take the graph, or the builder gave nothing.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        messages = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise Refused("TensorRT does not take the graph: " + "; ".join(messages))
    config = builder.create_builder_config()
    if has(trt, "PreviewFeature", "PROFILE_SHARING_0806"):
        # The runtime has a context for every shape; TensorRT 8.6 lets them share a profile only if asked.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimization_level
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
    config.clear_flag(trt.BuilderFlag.TF32)
    for name in precision_flags(trt, plan, options.fp16):
        config.set_flag(getattr(trt.BuilderFlag, name))
    for profile in plan["profiles"]:
        shapes = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            sizes = profile["inputs"][tensor.name]
            shapes.set_shape(tensor.name, tuple(sizes["min"]), tuple(sizes["opt"]), tuple(sizes["max"]))
        if config.add_optimization_profile(shapes) < 0:
            raise Refused("TensorRT does not take the profile {}".format(profile["axes"]))
    for content in [*caches, b""]:
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            break
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Refused(
            "TensorRT built no engine; its reason stands above. Lower the profiles' largest sizes, or give "
            "--workspace, where memory ran out"
        )
    timed = config.get_timing_cache()
    return {"plan": bytes(engine), "timings": None if timed is None else bytes(timed.serialize())}


def look_inside(trt: Any, engine: bytes) -> str | None:
    """The inspector's answer as JSON text; None where the engine cannot be opened."""
    opened = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(engine)
    if opened is None:
        return None
    text = opened.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return str(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def canonical(value: Any) -> str:
    """JSON as artifacts' ids are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal(folder: Path, plan: dict[str, Any], source: dict[str, Any], facts: dict[str, Any], trt: Any) -> str:
    """Write ``manifest.json``, last; gives the artifact's id."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": digest(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    sums = {name: entry["sha256"] for name, entry in files.items()}
    identity = canonical({"kind": "tensorrt", "task": source["task"], "files": sums})
    artifact_id = hashlib.sha256(identity.encode()).hexdigest()
    stage, config = "build-tensorrt", {"profiles": [profile["axes"] for profile in plan["profiles"]]}
    manifest = {
        "schema_version": 2,
        "kind": "tensorrt",
        "task": source["task"],
        "stage": stage,
        "config": config,
        "seed": source["seed"],
        "key": None,
        "parent": plan["source_id"],
        "lineage": [
            *source["lineage"],
            {"stage": stage, "config": config, "id": artifact_id, "seed": source["seed"]},
        ],
        "origin": source["origin"],
        "facts": facts,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "tensorrt": trt.__version__,
        },
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": files,
    }
    # The manifest's last member is the checksum of every byte before it, which paredown compares on opening.
    body = json.dumps(manifest, indent=1, allow_nan=False)[: -len("\n}")]
    checksum = hashlib.sha256(body.encode()).hexdigest()
    (folder / "manifest.json").write_text(f'{body},\n "seal": "{checksum}"\n}}\n', encoding="utf-8")
    return artifact_id


def build(options: argparse.Namespace, bundle: Path = BUNDLE) -> Path:
    """Verify, build, write the artifact whole or not at all.

    Raises:
        Refused: anything that the user can mend.
    """
    out = options.out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} holds something already: choose another --out")
    verify(bundle)
    plan = json.loads((bundle / PLAN).read_text(encoding="utf-8"))
    source = json.loads((bundle / "artifact" / "manifest.json").read_text(encoding="utf-8"))
    gpu = describe_gpu()
    if gpu is None:
        raise Refused("this machine shows no NVIDIA GPU, and TensorRT compiles for the GPU at hand")
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as cause:
        raise Refused(f"TensorRT's Python module cannot be imported ({cause}): install it") from cause
    refuse(trt, plan, gpu, options.fp16)
    onnx = bundle / "artifact" / "model.onnx"
    started = perf_counter()
    compiled = compile_engine(trt, plan, onnx, timings(bundle), options)
    seconds = round(perf_counter() - started, 3)

    folder = out.parent / f".{out.name}.{os.getpid()}.tmp"
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for name in plan["carried"]:
            shutil.copyfile(str(bundle / "artifact" / name), str(folder / name))
        (folder / "model.engine").write_bytes(compiled["plan"])
        inside = look_inside(trt, compiled["plan"])
        if inside is not None:
            (folder / "inspector.json").write_text(inside, encoding="utf-8")
        cache = compiled["timings"]
        if cache is not None:
            (folder / "model.timing").write_bytes(cache)
        typed = has(trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
        chosen = [name.lower() for name in precision_flags(trt, plan, options.fp16)]
        passport = {
            "schema_version": 1,
            "flavor": "tensorrt",
            "tensorrt": trt.__version__,
            "gpu": gpu,
            "precision": plan["precision"] if typed or not chosen else chosen[0],
            "typing": "strong" if typed else "flags",
            "options": {
                "precision": "fp16" if options.fp16 else None,
                "builder_optimization_level": options.optimization_level,
                "workspace_bytes": None if options.workspace is None else options.workspace << 20,
            },
            "profiles": plan["profiles"],
            "layers": None,
            "layers_missing": "built on the target: what its inspector says is in inspector.json",
            "onnx_sha256": digest(onnx),
            "source_id": plan["source_id"],
            "timing_cache": None if cache is None else hashlib.sha256(cache).hexdigest(),
            "engine_sha256": digest(folder / "model.engine"),
            "engine_bytes": len(compiled["plan"]),
            "build_seconds": seconds,
        }
        write_json(folder / "engine.json", passport)
        facts = {"seconds": seconds, "tensorrt": trt.__version__, "gpu": gpu["name"]}
        artifact_id = seal(folder, plan, source, facts, trt)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)
    served = bundle / plan["served"]
    shutil.copyfile(str(out / "model.engine"), str(served) + ".tmp")
    Path(str(served) + ".tmp").replace(served)
    sys.stdout.write("{}: engine {} for {}, in {} s\n".format(out, artifact_id[:12], gpu["name"], seconds))
    sys.stdout.write(f"{served}: ready for Triton\n")
    return out


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build this bundle's TensorRT engine for the GPU at hand.")
    parser.add_argument("--out", type=Path, default=Path("engine"), help="folder for the engine")
    parser.add_argument("--fp16", action="store_true", help="TensorRT 8 only: its builder may choose FP16")
    parser.add_argument("--workspace", type=int, default=None, help="most scratch memory, in MiB")
    parser.add_argument("--optimization-level", type=int, default=3, choices=range(6), help="0 fast to build")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run; gives the exit code: 2 for what the user can mend."""
    try:
        build(arguments(argv))
    except Refused as refusal:
        sys.stderr.write(f"build_engine: {refusal}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
