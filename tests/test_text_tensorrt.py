"""The recipe for TensorRT: how its branches hang together, early refusals, and the same branches on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from compress import recipe
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import RecipeError, UserError
from compress.pipeline import chain, planning
from compress.recipe import Recipe
from deploy.graph import facts as graph_facts
from deploy.tensorrt import binding, gpu
from paredown import workflow


@pytest.fixture
def job(tmp_path: Path, text_model: Path, text_data: Path) -> Recipe:
    """The shipped recipe on a tiny model."""
    return recipe.read("text-tensorrt", [f"model={text_model}", f"data.source={text_data}"])


def test_both_engines_come_from_one_graph(job: Recipe) -> None:
    """The chain is accepted: one export, an FP16 branch and an INT8 branch, each typed before it is built."""
    links, start = chain.chain(job)
    assert start is None
    assert [(link.label, link.source) for link in links] == [
        ("load", None),
        ("distill", "load"),
        ("prune", "distill"),
        ("export-onnx", "prune"),
        ("fp16", "export-onnx"),
        ("engine-fp16", "fp16"),
        ("int8", "export-onnx"),
        ("int8-fp16", "int8"),
        ("engine-int8", "int8-fp16"),
    ]
    by_label: dict[str, Any] = {link.label: link for link in links}
    assert by_label["prune"].config.targets.round_to == 64
    assert by_label["int8"].config.static
    assert not by_label["int8"].config.head
    assert not by_label["int8"].config.attention
    labels = {link.label for link in links}
    assert set(job.bench.candidates) <= labels
    assert {gate.options["candidate"] for gate in job.gates} <= labels
    assert [name for name in labels if by_label[name].module.PRODUCES == "tensorrt"]


def test_a_machine_without_a_gpu_is_told_before_anything_is_trained(
    job: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence that names what to do instead; the store stays empty."""
    monkeypatch.setattr(gpu, "describe", lambda *_: None)
    monkeypatch.setattr(gpu, "count", lambda: 0)
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=r"no NVIDIA GPU.*paredown bundle ONNX --build-on-target"):
        workflow.run(job, tmp_path / "out", store)
    assert list(store.entries()) == []
    assert not (tmp_path / "out").exists()


def test_candidates_are_checked_before_anything_is_built(job: Recipe, tmp_path: Path) -> None:
    """A label that no stage bears, with those that there are."""
    wrong = job.model_copy(
        update={
            "device": "cpu",
            "stages": job.stages[:5],
            "bench": job.bench.model_copy(update={"candidates": ("load", "engine")}),
            "gates": (),
        }
    )
    with pytest.raises(RecipeError, match=r"bench\.candidates names engine; this run has: load, distill"):
        workflow.run(wrong, tmp_path / "out", Store(tmp_path / "store"))


def test_the_same_branches_run_on_a_cpu(
    tmp_path: Path, text_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the engines: FP16 and INT8 of one export, both measured, both delivered; nothing is redone."""
    monkeypatch.setattr(binding, "load", lambda *_: pytest.fail("no engine is built here"))
    shipped = recipe.read("text-tensorrt")
    stages = [
        recipe.written(entry)
        for entry in shipped.stages
        if entry.name in ("export-onnx", "half-precision", "quantize-onnx")
    ]
    job = Recipe.model_validate(
        {
            "model": str(tiny.text_model(tmp_path / "model")),
            "data": {"source": str(text_data), "calibration": 32},
            "stages": stages,
            "bench": {"probes": ["size", "agreement"], "candidates": ["load", "fp16", "int8-fp16"]},
            "gates": [
                {"size": {"candidate": "fp16", "at_most": "1x"}},
                {"agreement": {"candidate": "int8-fp16", "at_least": "90%"}},
            ],
            "threads": 1,
        }
    )
    store = Store(tmp_path / "store")
    out = tmp_path / "out"
    outcome = workflow.run(job, out, store)
    assert outcome.report is not None
    assert [verdict.status for verdict in outcome.report.verdicts] == ["pass", "pass"]
    assert [candidate.name for candidate in outcome.report.candidates] == ["load", "fp16", "int8-fp16"]
    listing = {
        artifact["label"]: artifact for artifact in json.loads((out / "run.json").read_text())["artifacts"]
    }
    assert {label: artifact["from"] for label, artifact in listing.items()} == {
        "load": None,
        "export-onnx": "load",
        "fp16": "export-onnx",
        "int8": "export-onnx",
        "int8-fp16": "int8",
    }
    shipped_int8, shipped_fp16 = Artifact.open(out / "model"), Artifact.open(out / "branches" / "fp16")
    assert shipped_int8.id == listing["int8-fp16"]["id"]
    assert shipped_fp16.id == listing["fp16"]["id"]
    assert [path.name for path in (out / "branches").iterdir()] == ["fp16"]
    facts = graph_facts.read(shipped_int8)
    assert (facts.precision, facts.rest, facts.target, facts.opset) == ("int8", "fp16", "tensorrt", 19)
    assert (out / "recipe.yaml").read_text().count("from: export-onnx") == 1
    again = recipe.read(str(out / "recipe.yaml"))
    assert [(entry.source, entry.label) for entry in again.stages] == [
        (entry.source, entry.label) for entry in job.stages
    ]
    assert all(step.ready for step in planning.plan(again, store))
