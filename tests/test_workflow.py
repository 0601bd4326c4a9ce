"""A run as a whole: what it refuses before it works, and the folder that it leaves at any moment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny

from compress.artifacts.artifact import Artifact, is_sealed
from compress.artifacts.store import Store, deliver
from compress.errors import UserError
from compress.pipeline import building
from compress.pipeline.building import Built
from compress.recipe import BenchConfig, DataConfig, Named, Recipe, StageEntry, read
from paredown import workflow


def recipe(model: Path, data: Path | None = None, **changes: Any) -> Recipe:
    """The shortest recipe that measures something."""
    fields: dict[str, Any] = {
        "model": str(model),
        "task": "text-classification",
        "data": DataConfig(source=str(data), calibration=16) if data else None,
        "stages": (StageEntry(name="export-onnx"),),
        "bench": BenchConfig(probes=(Named(name="size"),), rounds=2, runs=2, threads=1),
    }
    return Recipe(**{**fields, **changes})


def test_a_refused_run_leaves_nothing_and_the_mended_one_has_the_folder(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """A model without a tokenizer, then the right one, into the same place."""
    damaged = tmp_path / "damaged"
    shutil.copytree(text_model, damaged)
    for file in damaged.glob("tokenizer*"):
        file.unlink()
    out, store = tmp_path / "out", Store(tmp_path / "store")
    with pytest.raises(UserError, match="tokenizer"):
        workflow.run(recipe(damaged, text_data), out, store)
    assert not out.exists()
    assert workflow.run(recipe(text_model, text_data), out, store).report is not None


def test_a_folder_of_somebody_elses_keeps_what_it_holds(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """Another recipe's run, and a recipe of the user's own, are refused and not touched."""
    for names in (("recipe.yaml",), ("recipe.yaml", ".lock", "run.json"), ("notes.txt",)):
        out = tmp_path / "-".join(names)
        out.mkdir()
        for name in names:
            (out / name).write_text("mine")
        with pytest.raises(UserError, match="in use"):
            workflow.run(recipe(text_model, text_data), out, Store(tmp_path / "store"))
        assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(names, "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bench": BenchConfig(candidates=("nope",))}, r"bench\.candidates names nope; this run has: load"),
        ({"bench": BenchConfig(baseline="nope")}, r"bench\.baseline names nope; this run has: load"),
        ({"bench": BenchConfig(ship=("load", "nope"))}, r"bench\.ship names nope; this run has: load"),
        ({"bench": BenchConfig(device="cuda:7")}, "cuda"),
        (
            {"gates": (Named(name="size", options={"at_most": "1MB", "candidate": "nope"}),)},
            "gate 'size' names the candidate 'nope'",
        ),
        ({"gates": (Named(name="latency", options={"p50_at_most": 2}),)}, "unit"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_start(
    tmp_path: Path, text_model: Path, text_data: Path, changes: dict[str, Any], message: str
) -> None:
    """Nothing was built: the store does not even exist."""
    with pytest.raises(UserError, match=message):
        workflow.run(recipe(text_model, text_data, **changes), tmp_path / "out", Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()


def test_evaluation_rows_are_looked_at_before_the_work(tmp_path: Path, text_model: Path) -> None:
    """No split, an empty one, and a label that the model does not have are refused before the export."""
    store = Store(tmp_path / "store")
    data = tiny.text_data(tmp_path / "data")
    rows = (data / "validation.jsonl").read_text()
    cases = [
        ("", "no rows|empty"),
        (rows.replace('"label": 1', '"label": 5', 1), "5"),
        (None, r"no evaluation rows.*data\.eval"),
    ]
    for content, message in cases:
        (data / "validation.jsonl").unlink()
        if content is not None:
            (data / "validation.jsonl").write_text(content)
        with pytest.raises(UserError, match=message):
            workflow.run(recipe(text_model, data), tmp_path / "out", store)
        assert [entry.artifact.manifest.stage for entry in store.entries()] in ([], ["load"])
        (data / "validation.jsonl").touch()


@pytest.mark.parametrize(
    ("stage", "splits", "refused"),
    [
        ("export-onnx", ("validation",), True),
        ("finetune", ("validation",), True),
        ("finetune", ("validation", "unlabeled"), True),
        ("distill", ("validation",), True),
        ("distill", ("validation", "unlabeled"), False),
        ("export-onnx", ("validation", "unlabeled"), False),
        ("calibrate", ("validation",), True),
        ("calibrate", ("validation", "selection"), False),
        ("prune", ("validation",), False),
    ],
)
def test_a_stage_that_needs_training_rows_says_so_before_any_work(
    tmp_path: Path, text_model: Path, stage: str, splits: tuple[str, ...], refused: bool
) -> None:
    """Evaluation rows alone are refused when the recipe is looked at, with the stage and what there is."""
    data = tiny.text_data(tmp_path / "data")
    (data / "train.jsonl").unlink()
    for split in splits:
        tiny.write_jsonl(data / f"{split}.jsonl", tiny.sentences(20, 3))
    job = recipe(text_model, data, stages=(StageEntry(name=stage),))
    if not refused:
        workflow.check(job)
        return
    with pytest.raises(UserError, match=rf"stage '{stage}' needs training rows.*'validation' as eval"):
        workflow.run(job, tmp_path / "out", Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()


@pytest.fixture
def built(tmp_path: Path, text_model: Path, text_data: Path) -> list[Built]:
    """Two artifacts of one run."""
    return building.run(recipe(text_model, text_data), Store(tmp_path / "store"))


def test_shipping_goes_on_after_a_kill_at_any_step(tmp_path: Path, built: list[Built]) -> None:
    """The old one aside, half removed, or a copy half made: the next run ends with the new one alone."""
    first, last = built
    for killed in ("aside", "half removed", "half copied", "nothing"):
        folder = tmp_path / killed / "model"
        deliver(first.artifact, folder)
        if killed == "aside":
            folder.rename(folder.with_name(".model.old"))
        if killed == "half removed":
            (folder / "manifest.json").unlink()
        if killed == "half copied":
            shutil.copytree(folder, folder.with_name(".model.999999999.tmp"))
        workflow._ship(last, folder)
        assert Artifact.open(folder).id == last.artifact.id
        assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_shipping_what_is_there_already_touches_nothing(tmp_path: Path, built: list[Built]) -> None:
    """The same artifact is verified and left; a damaged copy is replaced."""
    folder = tmp_path / "model"
    workflow._ship(built[-1], folder)
    before = (folder / "manifest.json").stat()
    workflow._ship(built[-1], folder)
    assert (folder / "manifest.json").stat().st_ino == before.st_ino
    (folder / "config.json").write_text("{}")
    workflow._ship(built[-1], folder)
    assert is_sealed(folder)
    Artifact.open(folder)


def test_the_bench_chooses_between_the_plain_and_the_fused_graph(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """The shipped recipe on a tiny model: the gates judge what ships, and the other is kept as a branch."""
    shipped = read("text-onnx", [f"model={text_model}", f"data.source={text_data}"])
    quick = shipped.model_copy(
        update={
            "bench": shipped.bench.model_copy(
                update={"probes": (Named(name="latency"), Named(name="accuracy")), "threads": 1}
            ),
            "gates": (Named(name="accuracy-drop", options={"at_most": "50pt"}),),
        }
    )
    outcome = workflow.run(quick, tmp_path / "out", Store(tmp_path / "store"), inconclusive="pass")
    assert outcome.report is not None
    # What CI was told is in the report that the run folder keeps.
    assert json.loads((outcome.out / "report.json").read_text())["inconclusive"] == "pass"
    name = outcome.report.candidates[-1].name
    unshipped = {"export-onnx": "optimize-onnx", "optimize-onnx": "export-onnx"}[name]
    assert str(outcome.report.choice).startswith(f"{name} ships (optimize-onnx takes ")
    assert Artifact.open(outcome.out / "model").manifest.stage == name
    assert (outcome.out / "branches" / "optimize-onnx").is_dir() == (unshipped == "optimize-onnx")
    assert outcome.report.verdicts[0].candidate == name


def test_the_recorded_recipe_runs_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths as they were typed, then the run folder's recipe where other things bear the same names."""
    origin, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder, hidden in ((origin, 32), (elsewhere, 16)):
        folder.mkdir()
        tiny.text_model(folder / "teacher", hidden=hidden)
        tiny.text_data(folder / "data")
    monkeypatch.chdir(origin)
    store = Store(tmp_path / "store")
    first = workflow.run(recipe(Path("teacher"), Path("data")), "out", store)
    assert str(tmp_path) not in (origin / "out" / "report.json").read_text()
    monkeypatch.chdir(elsewhere)
    again = workflow.run(read(str(origin / "out" / "recipe.yaml")), "out", store)
    assert [entry.artifact.id for entry in again.built] == [entry.artifact.id for entry in first.built]
    assert again.built[-1].reused
    shutil.rmtree(origin / "teacher")
    with pytest.raises(UserError, match=f"{origin / 'teacher'}"):
        workflow.run(read(str(origin / "out" / "recipe.yaml")), tmp_path / "third", store)


def test_a_run_goes_on_where_its_recipe_was_recorded_with_paths_as_given(
    tmp_path: Path, text_model: Path, text_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As paredown did before: the same recipe from the same folder is the same run."""
    monkeypatch.chdir(tmp_path)
    job = recipe(Path(text_model.name), text_data)
    store = Store(tmp_path / "store")
    out = workflow.run(job, "out", store).out
    file = out / "recipe.yaml"
    assert f"model: {text_model}\n" in file.read_text()
    file.write_text(file.read_text().replace(f"model: {text_model}\n", f"model: {text_model.name}\n"))
    assert workflow.run(job, "out", store).built[-1].reused
    assert f"model: {text_model}\n" in file.read_text()
