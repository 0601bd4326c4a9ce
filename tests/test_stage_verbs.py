"""The verbs of a stage: every option of the stage is in their help, and their flags reach the stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compress.pipeline import building
from paredown import app
from paredown.verbs import _rendering, _stage
from tools import stage_options

ROOT = Path(__file__).resolve().parent.parent


def help_of(verb: str) -> str:
    """The help of a verb, its line breaks taken out."""
    result = CliRunner().invoke(app.app, [verb, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    return " ".join(result.output.split())


def test_the_listing_is_what_the_stages_say() -> None:
    """``options.json`` is as ``python -m tools.stage_options`` writes it today."""
    assert (ROOT / stage_options.FILE).read_text(encoding="utf-8") == stage_options.text()


@pytest.mark.parametrize("verb", app._STAGES)
def test_help_lists_every_option_with_its_default(verb: str) -> None:
    """As a flag or for ``--set``, whichever the verb has; the default beside it."""
    text = help_of(verb)
    for stage in app._STAGES[verb]:
        for option in _stage.listing()[stage]:
            flag, setting = f"--{option['name'].replace('_', '-')} ", f" {option['name']} ("
            assert flag in text or setting in text, option["name"]
            if setting in text and option["default"]:
                defaults = [part.split("]")[0] for part in text.split(setting)[1:]]
                assert any(default.endswith(f"[default: {option['default']}") for default in defaults), (
                    option["name"]
                )


@pytest.mark.parametrize("verb", ["finetune", "distill", "prune"])
def test_flags_and_settings_reach_the_stage(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag is the option of its name, ``--set`` any other, and what is not given is the stage's default."""
    call: dict[str, Any] = {}

    def run_stage(stage: str, source: str, **options: Any) -> None:
        call.update(options, stage=stage, source=source)

    monkeypatch.setattr(building, "run_stage", run_stage)
    monkeypatch.setattr(_rendering, "show_artifact", lambda artifact, as_json: None)
    flag = {"finetune": "--epochs", "distill": "--layers", "prune": "--rounds"}[verb]
    words = [verb, "here", flag, "2", "--set", "teacher=x", "--data", "rows", "--seed", "5", "--limit", "20"]
    result = CliRunner().invoke(app.app, words)
    assert result.exit_code == 0, result.output
    assert (call["stage"], call["source"], call["seed"]) == (verb, "here", 5)
    assert call["options"] == {flag.removeprefix("--"): 2, "teacher": "x"}
    assert (call["data_config"].source, call["data_config"].limit) == ("rows", 20)
    assert call["device"] == "cpu"


def test_a_switch_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is on by default has a flag that ends it."""
    call: dict[str, Any] = {}
    monkeypatch.setattr(building, "run_stage", lambda *_, **options: call.update(options))
    monkeypatch.setattr(_rendering, "show_artifact", lambda artifact, as_json: None)
    assert CliRunner().invoke(app.app, ["prune", "here", "--no-reconstruct"]).exit_code == 0
    assert call["options"] == {"reconstruct": False}


def test_types_are_in_words() -> None:
    """Literals by their values, unions by their parts, tuples as lists."""
    listed = {option["name"]: option["type"] for option in json.loads(stage_options.text())["distill"]}
    assert listed["schedule"] == "linear | cosine"
    assert listed["layers"] == "int | list[int]"
    assert listed["student"] == "Path"
