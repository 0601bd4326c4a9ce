"""A SetFit folder through every stage, the measuring and what is handed over, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_setfit

from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.recipe import Recipe
from compress.tasks import _setfit as setfit
from deploy.predictor import Predictor
from paredown import workflow
from paredown.app import main

TRAINED = {"batch_size": 16, "learning_rate": 2e-3, "precision": "fp32"}
STAGES = [
    "load",
    {"finetune": {"epochs": 3, **TRAINED}},
    {"distill": {"layers": 1, "epochs": 2, **TRAINED}},
    {"prune": {"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}},
    "export-onnx",
    {"quantize-onnx": {"mode": "static"}},
    {"half-precision": {}, "from": "export-onnx"},
    {"export-onnx": {}, "from": "load", "as": "whole"},
    {"quantize-onnx": {"mode": "dynamic"}, "as": "int8"},
]


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, results and messages of a command."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as left:
        code = int(left.code or 0)
    streams = capsys.readouterr()
    return code, streams.out, " ".join(streams.err.split())


@pytest.mark.slow
def test_a_setfit_folder_goes_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuned, distilled, pruned, exported, quantized, halved, measured, gated, asked and handed over."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    folder = tiny_setfit.whole(tmp_path / "model")
    rows = tiny.text_data(tmp_path / "data", train=96, evaluate=48)
    (rows / "labels.json").write_text(json.dumps(tiny_setfit.LABELS))
    recipe = Recipe.model_validate(
        {
            "model": str(folder),
            "data": {"source": str(rows), "calibration": 32},
            "stages": STAGES,
            "bench": {
                "probes": ["accuracy", "agreement", "latency", "size", "flips"],
                "candidates": ["load", "whole", "int8", "quantize-onnx", "half-precision"],
                "rounds": 2,
                "runs": 2,
                "threads": 1,
                "allow_chance": True,
            },
            "gates": [
                {"agreement": {"candidate": "whole", "at_least": "90%"}},
                {"accuracy-drop": {"candidate": "int8", "at_most": "20pt"}},
                {"size": {"candidate": "quantize-onnx", "at_most": "1x"}},
            ],
            "threads": 1,
        }
    )
    outcome = workflow.run(recipe, tmp_path / "out", Store(tmp_path / "store"))
    assert outcome.report is not None
    statuses = {verdict.gate: verdict.status for verdict in outcome.report.verdicts}
    assert statuses == {"agreement": "pass", "accuracy-drop": "pass", "size": "pass"}, outcome.report.verdicts
    artifacts = {entry.label: entry.artifact for entry in outcome.built}
    assert artifacts["load"].manifest.facts["setfit"]["head"] == "LogisticRegression"
    _check_probabilities(folder, artifacts["whole"])
    code, out, err = call(capsys, "predict", artifacts["int8"].path, "the good film", "--json")
    assert code == 0, err
    assert json.loads(out)["label"] in tiny_setfit.LABELS
    code, _, err = call(
        capsys, "bundle", artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle", "--data", rows
    )
    assert code == 0, err
    assert "text-classification" in (tmp_path / "bundle" / "README.md").read_text("utf-8")
    file = tmp_path / "damage.json"
    words = ("--data", rows, "--no-speed", "--json", file)
    code, _, err = call(capsys, "damage", artifacts["whole"].path, artifacts["int8"].path, *words)
    assert code == 0, err
    assert {"accuracy", "flips"} <= {entry["probe"] for entry in json.loads(file.read_text())["measurements"]}


def _check_probabilities(folder: Path, graph: Artifact) -> None:
    """The graph gives scikit-learn's probabilities on the vectors of the plain encoder."""
    texts = tiny_setfit.TEXTS[:8]
    expected = tiny_setfit.regression(folder).predict_proba(
        tiny_setfit.vectors(folder, texts, normalize=True)
    )
    with Predictor(graph) as predictor:
        shares = [answer.probabilities for answer in predictor.predict(texts, 4)]
    np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_a_pickle_ends_a_command_in_one_line_to_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing left behind, and the command stands there as it is to be run."""
    folder = tiny_setfit.folder(tmp_path / "model")
    (folder / "model_head.pkl").write_bytes(b"no pickle")
    rows = tiny.text_data(tmp_path / "data", train=24, evaluate=8)
    words = ("export", folder, "--data", rows, "--out", tmp_path / "out", "--store", tmp_path / "store")
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 2
    assert setfit.command(folder) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
