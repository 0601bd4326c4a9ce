"""What a user may have written into a script, a recipe or a reader of reports does not vanish unnoticed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from paredown.app import app
from tools import surface

ROOT = Path(__file__).resolve().parent.parent
VERBS = dict(surface.verbs(typer.main.get_command(app)))
WORDS = {"--inconclusive": "pass", "--optimization-level": "2"}
"""What options take that take neither any number nor any name: all others may be called 20."""


@pytest.fixture(scope="module")
def now() -> surface.Listing:
    """What there is, as the file would hold it."""
    found: surface.Listing = json.loads(surface.text(surface.listing()))
    return found


def test_nothing_that_is_held_is_gone_or_means_something_else(now: surface.Listing) -> None:
    """A removal or another default is meant where the file is written anew: python -m tools.surface."""
    held = json.loads((ROOT / surface.FILE).read_text(encoding="utf-8"))
    assert surface.losses(held, now) == []


def test_what_is_new_is_held(now: surface.Listing) -> None:
    """The file has all that there is; python -m tools.surface adds it."""
    held = json.loads((ROOT / surface.FILE).read_text(encoding="utf-8"))
    assert surface.losses(now, held) == []


def test_the_list_holds_what_a_user_writes_and_reads(now: surface.Listing) -> None:
    """One of each kind, by hand: a verb, an old name, a recipe key, an option of an entry, a report field."""
    assert now["verb paredown bench"]["CANDIDATES"] == surface.REQUIRED
    assert now["verb paredown baseline compare"]["--worse-by"] == "5%"
    assert now["verb paredown calibrate"] == now["verb paredown temperature"]
    assert now["recipe"]["BenchConfig.rounds"] == 20
    assert now["gate latency"]["implausible_speedup"] == "100x"
    assert now["stage prune"]["criterion_options"] == {}
    assert now["runtime pytorch"]["mode"] == "eager"
    assert now["report"]["Measurement.flags"]["spoiled"] is None
    assert now["finding flips"]["harmful"] == surface.REQUIRED


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("verb paredown bench", "--html", None, "verb paredown bench: --html is gone"),
        ("gate size", None, None, "gate size is gone"),
        ("recipe", "BenchConfig.rounds", 30, "recipe: the default of BenchConfig.rounds was 20 and is 30"),
        ("report", "Measurement.value", 0.0, "the default of Measurement.value was 'required' and is 0.0"),
    ],
)
def test_a_loss_is_named(now: surface.Listing, part: str, name: str | None, value: Any, said: str) -> None:
    """The sentence says which verb, option, key or field it is."""
    changed = copy.deepcopy(now)
    if name is None:
        del changed[part]
    elif value is None:
        del changed[part][name]
    else:
        changed[part][name] = value
    (loss,) = surface.losses(now, changed)
    assert said in loss


@pytest.mark.parametrize("words", VERBS)
def test_every_option_answers(words: str) -> None:
    """The real command line takes each option of each verb, and gives its value to the verb."""
    command = VERBS[words]
    for option in command.params:
        if option.param_type_name == "argument" or option.is_eager:
            continue
        line = []
        for one in command.params:
            if one.required and one is not option:
                line += ["20"] if one.param_type_name == "argument" else [one.opts[0], "20"]
        for name in (*option.opts, *option.secondary_opts):
            word = WORDS.get(name, "20")
            assert word != str(option.default)
            given = [name] if option.is_flag else [name, word]
            found = command.make_context(words, [*given, *line]).params[option.name]
            if option.is_flag:
                assert found is (name in option.opts), name
            else:
                assert str(found[0] if isinstance(found, list | tuple) else found) in {word, f"{word}.0"}, (
                    name
                )


@pytest.mark.parametrize("words", VERBS)
def test_every_help_names_every_option(words: str) -> None:
    """``--help`` of each verb has its arguments and options by all their names."""
    shown = CliRunner().invoke(app, [*words.split()[1:], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for one in VERBS[words].params:
        names = (
            [(one.metavar or one.name).lower()]
            if one.param_type_name == "argument"
            else [*one.opts, *one.secondary_opts]
        )
        assert all(name in shown.stdout.lower() for name in names), names
