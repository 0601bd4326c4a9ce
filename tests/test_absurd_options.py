"""Every option of every verb, taken from the command line itself, with values that nobody means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from paredown import app

ABSURD = (*("", "-1", "a" * 5000, "a\0b"),)
# What the verbs take first: nothing of it is there, so that no verb gets as far as its work.
ABSENT = "nothing-here"


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every verb, with what it takes."""
    nested = getattr(command, "commands", None)
    if nested is None:
        yield words, command.params
        return
    for name, each in nested.items():
        yield from verbs(each, (*words, name))


VERBS = [
    (words, params)
    for words, params in verbs(typer.main.get_command(app.app))
    if words not in (("doctor",), ("demo",))
]


@pytest.mark.parametrize(("words", "params"), VERBS, ids=[" ".join(words) for words, _ in VERBS])
def test_an_absurd_value_is_a_sentence(
    words: tuple[str, ...],
    params: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2 and one line on stderr (a verb that only lists may do that), never a traceback, nothing made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    given = [ABSENT for each in params if each.param_type_name == "argument" and each.required]
    needed = {each.opts[0]: ABSENT for each in params if each.param_type_name == "option" and each.required}
    options = [each.opts[0] for each in params if not getattr(each, "is_flag", True)]
    for option in options:
        for value in ABSURD:
            filled = {**needed, option: value}
            arguments = [*words, *given, *(word for pair in filled.items() for word in pair)]
            capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                app.main(arguments)
            err = capsys.readouterr().err
            lines = [line for line in err.splitlines() if line.startswith("paredown: ")]
            case = (*words, option, value[:40], err[-1500:])
            assert "Traceback" not in err, case
            assert left.value.code in (0, 2), case
            assert left.value.code == 0 or (len(lines) == 1 and len(lines[0]) < 1500), case
            assert left.value.code == 2 or words[0] in ("list", "store", "baseline"), case
    assert [path.name for path in tmp_path.iterdir()] == []
