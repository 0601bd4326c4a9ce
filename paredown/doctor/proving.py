"""The child process of ``doctor``: loads one library after another and says what came of it.

``python -m paredown.doctor.proving NAME...`` writes one JSON line a library to stdout. Loading in a process
of its own shows what metadata cannot: a library that is installed and crashes, prints, or offers a provider
that it cannot create. Whatever the libraries themselves print is caught and reported.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any


def _torch() -> dict[str, Any]:
    import torch

    from compress import environment

    product = torch.ones(8, 8) @ torch.ones(8, 8)
    if float(product[0, 0]) != 8.0:
        raise RuntimeError(f"a product of ones gave {float(product[0, 0])} in place of 8")
    return {"cuda_build": environment.cuda_build(), "devices": environment.cuda_devices()}


def _transformers() -> dict[str, Any]:
    from transformers import AutoModelForSequenceClassification, BertConfig

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8
    )
    AutoModelForSequenceClassification.from_config(config)
    return {}


def _optimum() -> dict[str, Any]:
    from optimum.exporters.tasks import TasksManager  # noqa: F401 - it imports what optimum does not ask for

    return {}


def _onnxruntime() -> dict[str, Any]:
    import onnxruntime
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "twice",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    if hasattr(onnxruntime, "preload_dlls"):  # as the runtime does before it opens a session on a GPU
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
    listed = onnxruntime.get_available_providers()
    working = []
    for provider in listed:
        # A provider whose libraries are missing is left out of the session without an error.
        try:
            session = onnxruntime.InferenceSession(content, options, providers=[provider])
        except Exception:
            continue
        if session.get_providers()[0] == provider:
            working.append(provider)
    return {"listed": listed, "working": working}


def _tensorrt() -> dict[str, Any]:
    import tensorrt

    try:
        tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    except Exception as cause:  # without a GPU there is none, and the bindings raise a TypeError for it
        refused = f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
        return {"version": str(tensorrt.__version__), "builder": refused}
    return {"version": str(tensorrt.__version__), "builder": None}


def _shared_libraries() -> dict[str, Any]:
    from paredown.doctor import shared_libraries

    return shared_libraries.examine()


def _pynvml() -> dict[str, Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as cause:  # no driver
        return {"driver": None, "reason": str(cause)}
    version = pynvml.nvmlSystemGetCudaDriverVersion()
    driver = pynvml.nvmlSystemGetDriverVersion()
    return {
        "driver": driver.decode() if isinstance(driver, bytes) else driver,
        "cuda": f"{version // 1000}.{version % 1000 // 10}",
    }


_PROOFS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": _torch,
    "transformers": _transformers,
    "optimum": _optimum,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "pynvml": _pynvml,
    "paredown.doctor.shared_libraries": _shared_libraries,
}


def prove(module: str) -> dict[str, Any]:
    """Load one library, or do a small piece of work with it.

    Returns:
        ``{"module", "error": str | None, "facts": {...}}``.
    """
    try:
        facts = _PROOFS[module]() if module in _PROOFS else {}
        importlib.import_module(module)
    except Exception as cause:
        reason = " ".join(str(cause).split())[:300]
        return {"module": module, "error": f"{type(cause).__name__}: {reason}", "facts": {}}
    return {"module": module, "error": None, "facts": facts}


def main(modules: list[str]) -> None:
    """Prove modules in order; what they print goes into their line, not to the terminal."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 1)
        os.dup2(caught.fileno(), 2)
        for module in modules:
            channel.write(json.dumps({"begin": module}) + "\n")
            channel.flush()
            start = caught.seek(0, os.SEEK_END)
            proof = prove(module)
            sys.stdout.flush()
            sys.stderr.flush()
            caught.seek(start)
            proof["printed"] = caught.read().decode(errors="replace").strip()[:500]
            channel.write(json.dumps(proof) + "\n")
            channel.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
