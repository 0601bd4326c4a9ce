"""Say what the real TensorRT bindings have of every declared name, in a process of its own.

Usage: python bindings_driver.py FOLDER MODULE. The folder holds the bindings; the libraries that they
link against are found through LD_LIBRARY_PATH (see ``test_tensorrt_contract``). Prints JSON.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main(folder: str, module: str) -> dict[str, Any]:
    """Which names exist, their documentation (pybind writes the signature there), and the probe's record."""
    sys.path[:0] = [folder, str(ROOT)]
    trt = importlib.import_module(module)
    from compress.errors import UserError
    from deploy.tensorrt import binding, layer_times, monitor, names

    documents: dict[str, str | None] = {}
    for owner, members in names.USED.items():
        for member in members:
            attribute = trt
            for part in f"{owner}.{member}".strip(".").split("."):
                attribute = getattr(attribute, part, None)
            documents[f"{owner}.{member}".strip(".")] = None if attribute is None else str(attribute.__doc__)
    bound = binding.Binding(trt)
    record = dataclasses.asdict(bound.can)
    message = ""
    try:
        bound._builder()
    except UserError as cause:
        message = str(cause)
    watch = type(monitor.create(trt, None)).__mro__[1].__name__ if record["progress_monitor"] else None
    times = layer_times.create(trt)
    for _ in range(2):
        times.report_layer_time("layer", 0.5)
    return {
        "documents": documents,
        "layer_times": times.milliseconds,
        "can": {name: sorted(v) if isinstance(v, frozenset) else v for name, v in record.items()},
        "without_libraries": message,
        "monitor": watch,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
