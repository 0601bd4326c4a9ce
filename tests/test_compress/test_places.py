"""Which texts of a recipe name places, and that a name of something else stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from compress.pipeline.places import settle, settle_data
from compress.recipe import BenchConfig, DataConfig, Named, Recipe, StageEntry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, full of names that recipes use."""
    monkeypatch.chdir(tmp_path)
    for name in ("teacher", "original", "student", "fisher", "cpu", "checks", "templates", "baselines"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_options_that_name_places_become_absolute(folder: Path) -> None:
    """Models, teachers, sets and baselines; neither a word of ours nor any other option."""
    recipe = Recipe(
        model="teacher",
        stages=(
            StageEntry(name="distill", options={"student": "student", "teacher": "original"}, label="d"),
            StageEntry(name="prune", options={"criterion": "fisher", "teacher": "teacher", "keep": 0.5}),
        ),
        bench=BenchConfig(
            probes=(
                Named(name="challenge", options={"sets": ["checks", "not-there"]}),
                Named(name="fairness", options={"templates": ["templates"], "column": "teacher"}),
            ),
            device="cpu",
        ),
        gates=(
            Named(name="regression", options={"baseline": "baselines", "worse_by_at_most": "5%"}),
            Named(name="regression", options={"baseline": "git:main", "worse_by_at_most": "5%"}),
        ),
    )
    settled = settle(recipe)
    assert settled.model == str(folder / "teacher")
    assert settled.stages[0].options == {"student": str(folder / "student"), "teacher": "original"}
    assert settled.stages[0].label == "d"
    assert settled.stages[1].options == {
        "criterion": "fisher",
        "teacher": str(folder / "teacher"),
        "keep": 0.5,
    }
    assert settled.bench.probes[0].options["sets"] == [str(folder / "checks"), "not-there"]
    assert settled.bench.probes[1].options == {"templates": [str(folder / "templates")], "column": "teacher"}
    assert [gate.options["baseline"] for gate in settled.gates] == [str(folder / "baselines"), "git:main"]
    assert settle(settled) == settled
    assert settle(Recipe(model="owner/name")).model == "owner/name"


def test_files_of_the_data_stay_and_files_beside_it_become_absolute(folder: Path) -> None:
    """A split and a file of the source go with it; a file from here, alone or beside a source, does not."""
    tiny.text_data(folder / "data")
    (folder / "more.jsonl").write_text("")
    (folder / "train").write_text("a file that bears a split's name")
    config = DataConfig(source="data", train="train", selection="validation.jsonl", eval="more.jsonl")
    settled = settle_data(config)
    assert settled.source == str(folder / "data")
    assert (settled.train, settled.selection) == ("train", "validation.jsonl")
    assert settled.eval == str(folder / "more.jsonl")
    assert settle_data(DataConfig(train="more.jsonl")).train == str(folder / "more.jsonl")
    hub = DataConfig(source="owner/name", train="train")
    assert settle_data(hub) == hub
