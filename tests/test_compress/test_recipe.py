"""Recipes: what they may hold, how they are overridden, and one sentence for each that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compress import catalog, recipe
from compress.errors import RecipeError, UnknownName
from compress.recipe import Recipe
from paredown.verbs import _options

WHOLE = """
model: ./sst2-minilm
task: text-classification
data: {train: data/train.jsonl, eval: data/eval.jsonl, calibration: 256}
seed: 7
stages:
  - prune: {criterion: fisher, keep: 0.5, round_to: 32}
  - export_onnx: {}
  - quantize-onnx: {mode: dynamic}
bench: {device: cpu, batch_sizes: [1, 8], lengths: [data, 64], probes: [latency, accuracy, size]}
gates:
  - accuracy-drop: {metric: accuracy, at_most: 1pt}
  - latency: {p95_at_most: 0.6x}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the recipe is written."""
    return tmp_path / "recipe.yaml"


def _read(file: Path, text: str, *overrides: str) -> Recipe:
    file.write_text(text)
    return recipe.read(str(file), overrides)


def test_a_whole_recipe(file: Path) -> None:
    """Every part is read; names are canonical, options stay as they are for the stage to judge."""
    parsed = _read(file, WHOLE)
    assert [entry.name for entry in parsed.stages] == ["prune", "export-onnx", "quantize-onnx"]
    assert parsed.stages[0].options == {"criterion": "fisher", "keep": 0.5, "round_to": 32}
    assert parsed.data is not None
    assert (parsed.data.calibration, parsed.data.eval) == (256, "data/eval.jsonl")
    assert [entry.name for entry in parsed.bench.probes] == ["latency", "accuracy", "size"]
    assert parsed.bench.lengths == ("data", 64)
    assert parsed.gates[1].options == {"p95_at_most": "0.6x"}
    assert (parsed.device, parsed.threads) == ("cpu", None)


def test_entries_can_be_written_in_three_ways(file: Path) -> None:
    """A bare name, a name with nothing behind it and a name with options are all entries."""
    parsed = _read(file, "stages: [distill, {prune: }, {export_onnx: {opset: 17}}]")
    assert [(entry.name, entry.options) for entry in parsed.stages] == [
        ("distill", {}),
        ("prune", {}),
        ("export-onnx", {"opset": 17}),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seeds: 3", r"unknown key 'seeds'\. Known keys: model, task, data, seed, .*Did you mean 'seed'\?"),
        (
            "data: {sources: x}",
            r"unknown key 'data\.sources'\. Known keys: source, train, .*Did you mean 'source'",
        ),
        ("bench: {batches: [1]}", r"unknown key 'bench\.batches'\. Known keys: probes, candidates"),
        ("seed: -1", r"seed: Input should be greater than or equal to 0 \(found -1\)"),
        ("seed: many", r"seed: .*valid integer.*\(found 'many'\)"),
        ("stages: {prune: {}}", "stages: Input should be a list"),
        (
            "stages: [{prune: {}, distill: {}}]",
            r"stages\.0: write an entry as 'name: \{options\}', one name each",
        ),
        ("stages: [{prune: 3}]", r"stages\.0: write an entry as"),
        ("stages: [3]", r"stages\.0: write an entry as"),
        ("stages: [{prune: {}, from: 3}]", r"stages\.0: 'from' is the label of a stage"),
        ("stages: [{from: prune}]", r"stages\.0: write an entry as"),
        ("stages: [{prune: {}, as: 'a b'}]", r"stages\.0\.label: .*pattern"),
        ("gates: [{size: {}, from: prune}]", r"gates\.0: write an entry as"),
        ("data: {labels: [yes, no]}", r"data\.labels\.0: .*valid string \(found True\)"),
        ("data: {selection_share: 0.5}", r"data\.selection_share: .*less than 0\.5"),
        ("bench: {batch_sizes: [0]}", r"bench\.batch_sizes\.0: .*greater than or equal to 1"),
        ("bench: {lengths: [all]}", "a length is a number of tokens or the word 'data'"),
        ("[prune]", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("a: [", r"is not valid YAML \(line 1\)"),
        ("seed: 1\nmodel: m\nseed: 2", r"is not valid YAML \(line 3\): the key 'seed' stands twice"),
        ("data: {train: a, train: b}", "the key 'train' stands twice"),
    ],
)
def test_recipes_that_do_not_hold_together(text: str, reason: str, file: Path) -> None:
    """Each is one sentence with the file, the place, what was found and what is allowed."""
    with pytest.raises(RecipeError, match=reason) as refused:
        _read(file, text)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_every_mistake_is_named_at_once(file: Path) -> None:
    """Two mistakes are two parts of the sentence."""
    with pytest.raises(RecipeError, match=r"seed: .*; unknown key 'speed'|unknown key 'speed'; seed: "):
        _read(file, "seed: -1\nspeed: 3")


def test_overrides(file: Path) -> None:
    """KEY=VALUE reaches keys, list entries, bare stage names and groups that were not there."""
    parsed = _read(
        file,
        "model: m\nstages: [prune, {export-onnx: }, distill]\ngates: [{latency: {p95_at_most: 0.6x}}]",
        "seed=3",
        "stages.0.prune.keep=0.4",
        "stages.1.export-onnx.opset=17",
        "stages.2=finetune",
        "gates.0.latency.p95_at_most=2ms",
        "data.source=./rows",
        "bench.batch_sizes=[1, 4]",
        "model=a=b",
    )
    assert (parsed.seed, parsed.model) == (3, "a=b")
    assert [(entry.name, entry.options) for entry in parsed.stages] == [
        ("prune", {"keep": 0.4}),
        ("export-onnx", {"opset": 17}),
        ("finetune", {}),
    ]
    assert parsed.gates[0].options == {"p95_at_most": "2ms"}
    assert parsed.data is not None
    assert parsed.data.source == "./rows"
    assert parsed.bench.batch_sizes == (1, 4)


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("seed", "--set takes KEY=VALUE, such as seed=3"),
        ("=3", "--set takes KEY=VALUE"),
        ("stages.5.prune.keep=1", "there is no entry '5' (0 to 0)"),
        ("stages.first.prune.keep=1", "there is no entry 'first' (0 to 0)"),
        ("stages.²=1", "there is no place '²'"),
        ("stages.7=prune", "there is no place '7'"),
        ("seed.x=3", "there is no place 'x'"),
        ("seed.x.y=3", "'x' is a value, not a group of keys"),
        ("bench.batch_sizes=[1", "'[1' is not valid YAML"),
        ("sead=3", "unknown key 'sead'"),
    ],
)
def test_overrides_that_find_no_place(assignment: str, reason: str, file: Path) -> None:
    """Each is one sentence about the option."""
    with pytest.raises(RecipeError, match=re.escape(reason)):
        _read(file, "seed: 5\nstages: [prune]", assignment)


def test_where_recipes_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file wins over a shipped recipe of that name; a lost path and a wrong name are told apart."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("seed: 41")
    assert recipe.read("demo").seed == 41
    (tmp_path / "demo").unlink()
    assert recipe.read("demo").stages
    for gone in ("gone.yaml", "a/gone", str(tmp_path)):
        with pytest.raises(
            RecipeError, match=r"There is no recipe file .*or a shipped recipe: audio-int8, demo, "
        ):
            recipe.read(gone)
    with pytest.raises(UnknownName, match=r"Unknown recipe 'demoo'\. Did you mean 'demo'\?"):
        recipe.read("demoo")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is not UTF-8 text, it looks like UTF-16"):
        recipe.read("binary.yaml")


@pytest.mark.parametrize("name", catalog.names("recipe"))
def test_shipped_recipes_are_valid(name: str) -> None:
    """Every recipe in the folder validates, and its stages, probes and gates exist."""
    parsed = recipe.read(name)
    for shelf, entries in (("stage", parsed.stages), ("probe", parsed.bench.probes), ("gate", parsed.gates)):
        for entry in entries:
            catalog.path(shelf, entry.name)  # type: ignore[arg-type]


def test_a_recipe_never_changes(file: Path) -> None:
    """Configurations are frozen."""
    parsed = _read(file, WHOLE)
    with pytest.raises(ValueError, match="frozen"):
        parsed.seed = 3  # type: ignore[misc]


def test_a_stage_says_where_it_starts_and_what_it_is_called(file: Path) -> None:
    """``from`` and ``as`` stand beside the stage; what is written is read back the same."""
    parsed = _read(
        file,
        "stages: [export_onnx, {half_precision: {precision: bf16}, from: export_onnx, as: half}, {prune: }]",
        "stages.2.from=export-onnx",
    )
    assert [(entry.source, entry.label) for entry in parsed.stages] == [
        (None, None),
        ("export-onnx", "half"),
        ("export-onnx", None),
    ]
    assert parsed.stages[1].options == {"precision": "bf16"}
    assert [recipe.written(entry) for entry in parsed.stages] == [
        {"export-onnx": {}},
        {"half-precision": {"precision": "bf16"}, "from": "export-onnx", "as": "half"},
        {"prune": {}, "from": "export-onnx"},
    ]
    again = Recipe.model_validate({"stages": [recipe.written(entry) for entry in parsed.stages]})
    assert again.stages == parsed.stages


def test_settings_of_a_single_stage() -> None:
    """Named options and KEY=VALUE entries become one tree; the entries win; clashes are refused."""
    tree = _options.settings(
        ["training.epochs=2", "keep=0.3"], training__epochs=1, training__schedule="linear", keep=None
    )
    assert tree == {"training": {"epochs": 2, "schedule": "linear"}, "keep": 0.3}
    for entries, reason in (
        (["epochs"], "--set takes KEY=VALUE"),
        (["a=[1"], "is not valid YAML"),
        (["a=1", "a.b=2"], "'a' is set to a value, so it has no 'b'"),
    ):
        with pytest.raises(RecipeError, match=re.escape(reason)):
            _options.settings(entries)
