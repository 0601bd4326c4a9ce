"""The shipped recipe for images, from a folder to a report, on a tiny residual network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import tiny_images

from paredown import app


def _folders(root: Path) -> tuple[Path, Path]:
    """A model folder, and images that are labelled with what the model answers."""
    import torch
    from transformers import AutoModelForImageClassification

    from compress.tasks import image_classification as task

    model = root / "model"
    tiny_images.artifact(model, "resnet")
    processor, network = task.load_processor(model), AutoModelForImageClassification.from_pretrained(model)
    (root / "data").mkdir()
    for split, count, seed in (("train", 40, 0), ("test", 60, 1)):
        rows = tiny_images.rows(count, seed)
        pixels = processor([row["image"] for row in rows], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            answers = network.eval()(pixel_values=pixels).logits.argmax(dim=1).tolist()
        labelled = [
            {"image": row["image"].tolist(), "label": f"class {answer}"}
            for row, answer in zip(rows, answers, strict=True)
        ]
        tiny.write_jsonl(root / "data" / f"{split}.jsonl", labelled)
    return model, root / "data"


def test_image_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight bits in every convolution, measured against the original; the gates answer."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    model, data = _folders(tmp_path)
    out = tmp_path / "out"
    # Without the lanes that only take time: what they need of images is tested with the probes.
    fast = ("--set", "bench.probes=[accuracy, agreement, size, execution]", "--set", "bench.rounds=2")
    gates = "gates=[{accuracy-drop: {at_most: 0.5pt, judge: point}}, {size: {at_most: 0.3x}}]"
    shared = ("run", "image-int8", "--model", model, "--data", data, "--out", out)
    words = (*shared, *fast, "--set", gates)
    with pytest.raises(SystemExit) as left:
        app.main([str(word) for word in words])
    # 60 rows may not tell, and a tiny graph is mostly names: 3, 4 and 5 are answers.
    assert left.value.code in (0, 3, 4, 5), capsys.readouterr().err
    report = json.loads((out / "report.json").read_text())
    metrics = {entry["metric"] for entry in report["measurements"]}
    assert {"accuracy", "agreement"} <= metrics
    manifests = [json.loads(file.read_text()) for file in (tmp_path / "store").rglob("manifest.json")]
    facts = next(manifest["facts"] for manifest in manifests if manifest["stage"] == "quantize-onnx")
    assert facts["taken"] == "mode: static"
    assert facts["coverage"]["eight_bit"] == 10
