"""The chain export, INT8, FP16 on the real classifier: size, agreement, and the fused graph's parity."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_deploy

from deploy.compare import compare


def _rows(file: Path, step: int) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return [{"text": json.loads(line)["text"]} for line in stream][::step]


@pytest.mark.slow
def test_int8_of_a_real_classifier_says_the_same(shared: Path, tmp_path: Path) -> None:
    """At most 3 of 100 dev rows change their label, at a quarter of the size; calibrated on training rows."""
    model = shared / "models" / "minilm-sst2"
    if not model.is_dir():
        pytest.skip("no models/minilm-sst2 among the shared data")
    source = tmp_path / "torch"
    shutil.copytree(model, source)
    for file in (source, *source.iterdir()):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (source / "SOURCE.md").unlink()
    (source / "encoding.json").write_text('{"max_length": 66}')
    calibration = _rows(shared / "data" / "sst2" / "train.jsonl.gz", 700)
    dev = _rows(shared / "data" / "sst2" / "validation.jsonl.gz", 3)
    artifact = tiny_deploy.seal(source)
    exported = tiny_deploy.run("export_onnx", artifact, tmp_path / "onnx", calibration)
    assert exported.facts["parity"]["worst"]["largest"] < 1e-4
    int8 = tiny_deploy.run("quantize_onnx", exported.artifact, tmp_path / "int8", calibration)
    assert len(int8.facts["quantized"]["products"]) == 6 * 4 + 1
    assert len(int8.facts["quantized"]["tables"]) == 2
    assert int8.facts["tamed"]["used"]
    assert int8.facts["tamed"]["divergence_with"] < int8.facts["tamed"]["divergence_without"] / 2
    assert int8.artifact.size_bytes < 0.27 * artifact.size_bytes
    comparison = compare(exported.artifact, int8.artifact, dev, threads=1)
    assert comparison.agreement is not None
    assert comparison.agreement >= 0.97
    assert np.isfinite(comparison.divergence_mean)
