"""Runs the verbs and ``deploy.load`` in one process, to see what leaves it; a script of its own.

    python silent_driver.py MODEL DATA FOLDER

prints one JSON object: each step with its exit code. It is run without ``HF_HUB_OFFLINE``, so that whatever
would ask for a name does.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path


def verb(*arguments: str) -> int:
    """One command in this process; its exit code."""
    from paredown import app

    with contextlib.redirect_stdout(io.StringIO()):
        try:
            app.main(list(arguments))
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def main(model: str, data: str, folder: Path) -> None:
    """Every verb that opens a model, the smallest way."""
    onnx, int8, report = str(folder / "onnx"), str(folder / "int8"), str(folder / "report.json")
    budget = folder / "budget.yaml"
    budget.write_text("- size: {at_most: 1GB}\n", encoding="utf-8")
    quick = ("--probes", "size,accuracy", "--rounds", "2", "--runs", "1", "--threads", "1")
    codes = {
        "export": verb("export", model, "--data", data, "--out", onnx),
        "quantize": verb("quantize", onnx, "--mode", "dynamic", "--out", int8),
        "predict": verb("predict", int8, "a lovely film"),
        "compare": verb("compare", onnx, int8, "--data", data),
        "bench": verb("bench", model, int8, "--data", data, *quick, "--json", report),
        "gate": verb("gate", report, "--budget", str(budget)),
        "damage": verb("damage", onnx, int8, "--data", data, "--no-speed", "--threads", "1", "--rows", "2"),
        "bundle": verb("bundle", int8, "--out", str(folder / "bundle")),
    }
    import deploy

    with deploy.load(int8, threads=1) as predictor:
        codes["deploy.load"] = 0 if predictor.predict(["a lovely film"])[0].label else 1
    sys.stdout.write(json.dumps(codes) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
