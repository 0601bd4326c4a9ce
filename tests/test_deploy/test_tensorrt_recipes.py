"""Every shipped recipe that builds an engine, whole, with TensorRT-RTX as its compiler and a tiny model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tiny

from compress import catalog, recipe
from compress.artifacts.store import Store
from compress.pipeline import building
from deploy.tensorrt import passport

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(os.environ.get("PAREDOWN_TENSORRT_BINDINGS", ROOT / ".ci-bindings")) / "rtx"
RECIPES = [
    name
    for name in catalog.names("recipe")
    if any(stage.name == "build-tensorrt" for stage in recipe.read(name).stages)
]

# What makes a recipe quick without another graph: fewer layers and epochs, and no search.
QUICK: dict[str, dict[str, Any]] = {
    "build-tensorrt": {"flavor": "tensorrt-rtx", "profiles": ["batch=1:2:4,length=1:16:16"]},
    "distill": {"layers": 1, "epochs": 1, "batch_size": 16},
    "prune": {"recover": {"epochs": 1, "batch_size": 16}},
    "quantize-onnx": {"keep_float": "none", "tame": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_compiler_takes_what_the_recipe_makes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the fine-tuned model through distillation and pruning to every engine of the recipe."""
    if not (FOLDER / "tensorrt_rtx_bindings").is_dir():
        pytest.skip(f"no TensorRT-RTX in {FOLDER}: .ci/run installs it where the registry has it")
    monkeypatch.syspath_prepend(str(FOLDER))
    # A width that is left something to take in multiples of 64, as on a GPU.
    model = tiny.text_model(tmp_path / "model", layers=2, hidden=64, heads=4, ffn=256)
    data = tiny.text_data(tmp_path / "data", train=64, evaluate=16)
    shipped = recipe.read(name, [f"model={model}", f"data.source={data}"])
    stages = tuple(
        stage.model_copy(update={"options": {**stage.options, **QUICK.get(stage.name, {})}})
        for stage in shipped.stages
    )
    quick = shipped.model_copy(update={"stages": stages, "device": "cpu"})
    built = building.run(quick, Store(tmp_path / "store"))
    engines = [step.artifact for step in built if step.artifact.kind == "tensorrt"]
    assert len(engines) == sum(stage.name == "build-tensorrt" for stage in shipped.stages)
    for engine in engines:
        record = passport.read(engine)
        assert passport.engine(engine, record)
        assert record.typing == "strong"
    pruned = next((step.artifact for step in built if step.artifact.manifest.stage == "prune"), None)
    if pruned is not None:
        counts = pruned.manifest.facts["parameters"]
        assert counts["after"] < counts["before"]


def test_the_gate_knows_whether_there_is_such_a_recipe() -> None:
    """The list is read from the shelf, so that a recipe that builds engines cannot be left out."""
    shelf = {
        name
        for name in catalog.names("recipe")
        if "build-tensorrt" in catalog.path("recipe", name).read_text()
    }
    assert set(RECIPES) == shelf
