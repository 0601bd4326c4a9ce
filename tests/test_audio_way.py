"""Sounds through every stage, the measuring and what is handed over, on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_audio

from bench.record.model import Report
from compress.artifacts.artifact import Artifact
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from paredown import app, workflow

TRAINED = {"batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}
STAGES = (
    Named(name="load"),
    Named(name="finetune", options={"epochs": 4, **TRAINED}),
    Named(name="distill", options={"layers": 1, "epochs": 2, **TRAINED}),
    Named(name="export-onnx"),
    Named(name="quantize-onnx", options={"mode": "dynamic"}),
)
PRUNED = Named(name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}})
PROBES = ("accuracy", "agreement", "latency", "real-time-factor", "size", "macs", "flips", "memory")


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line; gives exit code, stdout and stderr."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))

    def _call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, " ".join(err.split())

    return _call


def made(folder: Path, stage: str) -> Path:
    """The folder of the artifact that a stage made."""
    return next(
        path.parent
        for path in sorted(folder.rglob("manifest.json"))
        if Artifact.open(path.parent).manifest.stage == stage
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
def test_sounds_go_the_whole_way(name: str, tmp_path: Path, call: Any) -> None:
    """Tuned, distilled, pruned where it is, exported, quantized, measured, gated, asked and handed over."""
    stages = STAGES if name == "whisper" else (*STAGES[:3], PRUNED, *STAGES[3:])
    lengths: tuple[int | str, ...] = ("data",) if name == "whisper" else ("data", 4_000)
    recipe = Recipe(
        model=str(tiny_audio.model(tmp_path / "model", name)),
        task="audio-classification",
        data=DataConfig(source=str(tiny_audio.data(tmp_path / "data")), calibration=16),
        threads=1,
        stages=stages,
        bench=BenchConfig(
            probes=tuple(Named(name=probe) for probe in PROBES),
            candidates=("finetune", "export-onnx", "quantize-onnx"),
            rounds=2,
            runs=2,
            threads=1,
            lengths=lengths,
            allow_chance=True,
        ),
        gates=(Named(name="truncation", options={"at_most": "0%"}),),
    )
    report = workflow.run(recipe, tmp_path / "out").report
    assert report is not None
    assert [verdict.status for verdict in report.verdicts] == ["pass"]
    facts = Artifact.open(made(tmp_path / "store", "load")).manifest.facts["data"]["sounds"]
    assert facts["rates"] == {"16000": 120}
    assert facts["channels"] == {"1": 120}
    _check_figures(report, name)
    graph = made(tmp_path / "store", "quantize-onnx")
    sound = tmp_path / "long.wav"
    sound.write_bytes(tiny_audio.encoded(tiny_audio.tone(1, 0, 1.5)))
    code, out, err = call("predict", graph, sound, "--json")
    assert code == 0, err
    assert json.loads(out)["label"] in tiny_audio.LABELS
    assert ("was cut to 16000 samples (the model's own limit)" in err) is (name == "whisper")
    code, _, err = call("bundle", graph, "--out", tmp_path / "bundle", "--data", tmp_path / "data")
    assert code == 0, err
    card = (tmp_path / "bundle" / "README.md").read_text("utf-8")
    assert "SOUND.wav" in card
    assert (tmp_path / "bundle" / "artifact" / "preprocessor_config.json").is_file()


def _check_figures(report: Report, name: str) -> None:
    """A factor for each candidate; points that say samples; a limit that counts them."""
    factors = [m.value for m in report.measurements if m.metric == "real_time_factor"]
    assert len(factors) == 3
    assert all(0 < factor < 10 for factor in factors)
    candidates = report.candidates
    assert {c.truncation.unit for c in candidates if c.truncation is not None} == {"samples"}
    points = {str(m.conditions.get("unit")) for m in report.measurements if "unit" in m.conditions}
    assert points == (set() if name == "whisper" else {"samples"})


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny_audio.CONFIGS)
def test_every_family_is_exported(name: str, tmp_path: Path, call: Any) -> None:
    """The graph computes what the model does, on real sounds and, where it is free, at lengths none has."""
    model, data = tiny_audio.model(tmp_path / "model", name), tiny_audio.data(tmp_path / "data", train=24)
    code, _, err = call("export", model, "--data", data, "--max-length", "24000", "--out", tmp_path / "graph")
    assert code == 0, err
    facts = Artifact.open(made(tmp_path / "graph", "export-onnx")).manifest.facts
    assert facts["graph"]["shapes_folded"] > 0
    checked = facts.get("lengths", {}).get("checked")
    assert checked is None if name in ("whisper", "ast") else checked[-1] == 24_000


@pytest.mark.slow
def test_audio_int8(tmp_path: Path, call: Any) -> None:
    """The shipped recipe to its report; a tiny model may be no faster, and 24 rows may not tell."""
    model, data = tiny_audio.model(tmp_path / "model", "whisper"), tiny_audio.data(tmp_path / "data")
    out = tmp_path / "out"
    words = ("run", "audio-int8", "--model", model, "--data", data, "--out", out, "--set", "bench.rounds=2")
    code, _, err = call(*words, "--set", "bench.allow_chance=true")
    assert code in (0, 3, 4, 5), err
    report = json.loads((out / "report.json").read_text())
    assert {"accuracy", "real_time_factor", "size_bytes"} <= {m["metric"] for m in report["measurements"]}
