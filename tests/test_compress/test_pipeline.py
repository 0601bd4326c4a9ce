"""The fold: keys, reuse, order, facts and refusals, on stages that only write text."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress import catalog, contract
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import RecipeError, UserError
from compress.pipeline import building, planning
from compress.recipe import Named, Recipe
from compress.stage import Context, Stage, StageConfig
from compress.tasks import Task


class Options(StageConfig):
    """Options of the fake stages."""

    model: str | None = None
    text: str = "x"
    fail: bool = False


def fake(consumes: frozenset[str], produces: str, calls: list[str], name: str) -> types.SimpleNamespace:
    """A stage that writes its text after its source's."""

    def run(source: Artifact | None, config: Options, ctx: Context) -> None:
        calls.append(name)
        before = source.file("text").read_text() if source else ""
        if config.fail:
            (ctx.out / "half").write_text("x")
            raise UserError("told to fail")
        (ctx.out / "text").write_text(before + config.text)
        ctx.record("length", len(before) + len(config.text))

    stage = types.SimpleNamespace(
        Config=Options,
        CONSUMES=consumes,
        PRODUCES=produces,
        VERSION=1,
        TOOLS=("numpy",),
        DATA=frozenset(),
        NEEDS_DATA=False,
        DETERMINISTIC=True,
        ANCESTORS=False,
        MAKES_HEAD=False,
        reads=lambda config: (Path(config.model),) if config.model else (),
        run=run,
        infer_task=lambda config, rows: "text-classification",
    )
    assert contract.breaches(stage, Stage) == []
    contract.complete(stage, Stage)
    return stage


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the stage shelf by fakes; the list says which of them ran."""
    ran: list[str] = []
    stages = {
        "load": fake(frozenset(), "torch", ran, "load"),
        "grow": fake(frozenset({"torch"}), "torch", ran, "grow"),
        "convert": fake(frozenset({"torch"}), "onnx", ran, "convert"),
    }
    real: Callable[..., Any] = catalog.load

    def load(shelf: Any, name: str) -> Any:
        if shelf == "stage":
            if name not in stages:
                return real(shelf, name)
            return stages[name]
        task = types.SimpleNamespace()
        contract.complete(task, Task)
        return task

    monkeypatch.setattr(catalog, "load", load)
    monkeypatch.setattr(catalog, "path", lambda shelf, name: Path(name))
    return ran


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that stands for a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("w")
    return folder


def recipe(model: Path, *stages: Named, seed: int = 0) -> Recipe:
    """A recipe on the fake stages."""
    return Recipe(model=str(model), task="text-classification", stages=stages, seed=seed)


def test_stages_fold_and_the_store_is_reused(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """Each stage runs once; the second run takes everything from the store with equal ids."""
    store = Store(tmp_path / "store")
    job = recipe(model, Named(name="grow", options={"text": "y"}), Named(name="convert"))
    first = building.run(job, store)
    assert calls == ["load", "grow", "convert"]
    assert first[-1].artifact.file("text").read_text() == "xyx"
    assert first[-1].artifact.manifest.facts["length"] == 3
    assert [step.stage for step in first[-1].artifact.manifest.lineage] == ["load", "grow", "convert"]
    second = building.run(job, store)
    assert calls == ["load", "grow", "convert"]
    assert [entry.artifact.id for entry in second] == [entry.artifact.id for entry in first]
    assert all(entry.reused for entry in second)


def test_a_change_reruns_only_what_follows(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """Other options change that stage and those after it; variants share their common prefix."""
    store = Store(tmp_path / "store")
    building.run(recipe(model, Named(name="grow"), Named(name="convert")), store)
    calls.clear()
    building.run(recipe(model, Named(name="grow"), Named(name="convert", options={"text": "z"})), store)
    assert calls == ["convert"]
    calls.clear()
    building.run(recipe(model, Named(name="grow"), seed=1), store)
    assert calls == ["load", "grow"]
    calls.clear()
    (model / "weights").write_text("v")
    building.run(recipe(model, Named(name="grow")), store)
    assert calls[0] == "load"


def test_a_repeated_stage_gets_a_label_of_its_own(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """Labels stay unique where a stage recurs."""
    built = building.run(recipe(model, Named(name="grow"), Named(name="grow")), Store(tmp_path / "store"))
    assert [entry.label for entry in built] == ["load", "grow", "grow-2"]


def test_a_failing_stage_keeps_what_was_finished(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A mistake in the last stage leaves the earlier ones sealed and nothing half-written."""
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="told to fail"):
        building.run(recipe(model, Named(name="grow", options={"fail": True})), store)
    assert [entry.artifact.manifest.stage for entry in store.entries()] == ["load"]
    assert list((tmp_path / "store" / "building").iterdir()) == []


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((Named(name="convert"), Named(name="grow")), "'grow' takes torch and convert gives onnx"),
        ((Named(name="grow"), Named(name="load")), "'load' starts a chain"),
        ((Named(name="grow", options={"txt": 1}),), r"unknown key 'txt'.*Known keys: model, text, fail"),
    ],
)
def test_a_chain_that_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, model: Path, calls: list[str], stages: tuple[Named, ...], reason: str
) -> None:
    """The sentence names the stage and what it takes; no stage ran."""
    with pytest.raises(RecipeError, match=reason):
        building.run(recipe(model, *stages), Store(tmp_path / "store"))
    assert calls == []


def test_plan_touches_nothing_and_knows_the_store(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """Before a run everything is to do, after it everything is ready; estimates rest on earlier runs."""
    store = Store(tmp_path / "store")
    job = recipe(model, Named(name="grow"))
    before = planning.plan(job, store)
    assert [step.ready for step in before] == [False, False]
    assert not (tmp_path / "store").exists()
    building.run(job, store)
    assert [step.ready for step in planning.plan(job, store)] == [True, True]
    changed = planning.plan(recipe(model, Named(name="grow", options={"text": "q"})), store)
    assert [step.ready for step in changed] == [True, False]
    assert changed[1].seconds is not None
    assert "1 earlier run" in changed[1].basis


def test_a_sealed_artifact_is_a_start(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A recipe on an artifact starts there, without load, and its lineage goes on."""
    store = Store(tmp_path / "store")
    first = building.run(recipe(model, Named(name="grow")), store)[-1].artifact
    calls.clear()
    built = building.run(recipe(first.path, Named(name="convert")), store)
    assert calls == ["convert"]
    assert [step.stage for step in built[-1].artifact.manifest.lineage] == ["load", "grow", "convert"]


@pytest.mark.parametrize("named", ["model", "load"])
def test_load_passes_a_sealed_artifact_through(
    tmp_path: Path, model: Path, calls: list[str], named: str
) -> None:
    """A recipe with 'load', as the shipped ones are, starts from the artifact itself, under load's label."""
    store = Store(tmp_path / "store")
    first = building.run(recipe(model, Named(name="grow")), store)[-1].artifact
    calls.clear()
    written = {"model": str(first.path)} if named == "load" else {}
    tree: dict[str, Any] = {"stages": [{"load": written}, {"convert": {}}, {"convert": {}, "from": "load"}]}
    job = Recipe.model_validate(tree if written else {**tree, "model": str(first.path)})
    assert planning.check(job).labels == ("load", "convert", "convert-2")
    built = building.run(job, store)
    assert calls == ["convert"]
    assert built[0].artifact == first
    assert [(entry.label, entry.source) for entry in built] == [
        ("load", None),
        ("convert", "load"),
        ("convert-2", "load"),
    ]
    assert [step.stage for step in built[1].artifact.manifest.lineage] == ["load", "grow", "convert"]
    labelled = Recipe.model_validate({"model": str(first.path), "stages": [{"load": {}, "as": "whole"}]})
    assert planning.check(labelled).labels == ("whole",)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"revision": "main"}, "revision"),
        ({"adapter": "x"}, "adapter"),
        ({"architecture": {"model_type": "bert"}}, "architecture"),
        ({"text": "x", "fail": False}, None),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_load_options_that_contradict_a_sealed_artifact_are_named(
    tmp_path: Path, model: Path, calls: list[str], options: dict[str, Any], named: str | None
) -> None:
    """Nothing that was asked for is passed over; what only states the default asks for nothing."""
    first = building.run(recipe(model, Named(name="grow")), Store(tmp_path / "store"))[-1].artifact
    job = Recipe.model_validate({"model": str(first.path), "stages": [{"load": options}]})
    if named is None:
        assert planning.check(job).labels == ("load",)
        return
    with pytest.raises(RecipeError, match=f"asks for {named}, and .* is a sealed artifact.*leave it out"):
        planning.check(job)


def test_a_sealed_artifact_of_another_kind_is_named(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A recipe for models on what was converted already: not the order is wrong, but what it starts from."""
    first = building.run(recipe(model, Named(name="convert")), Store(tmp_path / "store"))[-1].artifact
    job = Recipe.model_validate({"model": str(first.path), "stages": [{"load": {}}, {"convert": {}}]})
    with pytest.raises(
        RecipeError,
        match=r"is an artifact of the kind onnx, and stage 'convert' takes an artifact of the kind torch",
    ):
        planning.check(job)


def test_run_stage_delivers_to_a_folder(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A single verb copies its result to --out, sealed."""
    out = tmp_path / "out"
    artifact = building.run_stage(
        "grow", model, options={"text": "q"}, task="text-classification", out=out, store=Store(tmp_path / "s")
    )
    assert artifact.path == out
    assert Artifact.open(out).file("text").read_text() == "xq"


def branched(model: Path) -> Recipe:
    """One model converted twice, once as it is and once grown after the first branch ended."""
    return Recipe.model_validate(
        {
            "model": str(model),
            "task": "text-classification",
            "stages": [
                {"grow": {"text": "y"}},
                {"convert": {"text": "1"}, "as": "first"},
                {"grow": {"text": "z"}, "from": "grow"},
                {"convert": {"text": "2"}, "as": "second"},
            ],
        }
    )


def test_a_branch_starts_at_an_earlier_stage(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """Both ends come from the common stage and know nothing of each other; the prefix runs once."""
    store = Store(tmp_path / "store")
    built = building.run(branched(model), store)
    assert [(entry.label, entry.source) for entry in built] == [
        ("load", None),
        ("grow", "load"),
        ("first", "grow"),
        ("grow-2", "grow"),
        ("second", "grow-2"),
    ]
    texts = {entry.label: entry.artifact.file("text").read_text() for entry in built}
    assert (texts["first"], texts["second"]) == ("xy1", "xyz2")
    second = built[-1].artifact.manifest
    assert [step.stage for step in second.lineage] == ["load", "grow", "grow", "convert"]
    assert second.parent == built[3].artifact.id
    straight = recipe(model, *(Named(name="grow", options={"text": t}) for t in "yz"))
    calls.clear()
    assert building.run(straight, store)[-1].artifact.id == built[3].artifact.id
    assert calls == [], "a branch has the key that the same stages in a row have"


def test_ancestors_are_those_of_the_branch(
    tmp_path: Path, model: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that asks for its ancestors sees no artifact of another branch."""
    ancestors: list[tuple[str, ...]] = []
    grow = catalog.load("stage", "grow")
    monkeypatch.setattr(grow, "ANCESTORS", True)
    plain = grow.run

    def run(source: Artifact, config: Options, ctx: Context) -> None:
        ancestors.append(tuple(artifact.manifest.stage for artifact in ctx.ancestors))
        plain(source, config, ctx)

    monkeypatch.setattr(grow, "run", run)
    building.run(branched(model), Store(tmp_path / "store"))
    assert ancestors == [(), ("load",)]


def test_plan_follows_branches(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A branch whose start is built has a key, whatever became of the other one."""
    store = Store(tmp_path / "store")
    building.run(recipe(model, Named(name="grow", options={"text": "y"})), store)
    planned = planning.plan(branched(model), store)
    assert [(step.label, step.source, step.ready) for step in planned] == [
        ("load", None, True),
        ("grow", "load", True),
        ("first", "grow", False),
        ("grow-2", "grow", False),
        ("second", "grow-2", False),
    ]
    assert [step.key is not None for step in planned] == [True, True, True, True, False]
    building.run(branched(model), store)
    assert all(step.ready for step in planning.plan(branched(model), store))


def test_a_sealed_start_bears_its_stages_name(tmp_path: Path, model: Path, calls: list[str]) -> None:
    """A stage of that name gets another label, and branches may start at the artifact."""
    store = Store(tmp_path / "store")
    first = building.run(recipe(model, Named(name="grow")), store)[-1].artifact
    stages = [{"grow": {}}, {"convert": {}}, {"convert": {}, "from": "grow"}]
    job = Recipe.model_validate({"model": str(first.path), "stages": stages})
    built = building.run(job, store)
    assert [(entry.label, entry.source) for entry in built] == [
        ("grow", None),
        ("grow-2", "grow"),
        ("convert", "grow-2"),
        ("convert-2", "grow"),
    ]
    assert [entry.artifact.file("text").read_text() for entry in built] == ["xx", "xxx", "xxxx", "xxx"]


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        (
            {"convert": {}, "from": "grw"},
            "starts from 'grw', and no stage before it is called that: load, gr",
        ),
        ({"convert": {}, "from": "convert"}, "'convert' takes torch and convert gives onnx"),
        ({"convert": {}, "from": "grow", "as": "convert"}, "two stages are called 'convert'"),
    ],
)
def test_branches_that_cannot_be_are_refused(
    tmp_path: Path, model: Path, calls: list[str], stage: dict[str, Any], reason: str
) -> None:
    """A start that is not there, one of the wrong kind, a label that is taken; nothing ran."""
    job = Recipe.model_validate(
        {
            "model": str(model),
            "task": "text-classification",
            "stages": [{"grow": {}}, {"convert": {}}, stage],
        }
    )
    with pytest.raises(RecipeError, match=reason):
        building.run(job, Store(tmp_path / "store"))
    assert calls == []
