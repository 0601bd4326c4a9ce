"""A command line that does not fit is one sentence and exit 2, as any other mistake of the user's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress import processes
from compress.errors import ExitCode, UserError
from paredown import app

ROOT = Path(__file__).resolve().parent.parent

MISTAKES = [
    ("prun x", "Unknown command 'prun'. Did you mean 'prune'? Known: baseline, bench, build, "),
    ("baseline sav", "Unknown command 'sav'. Did you mean 'save'? Known: compare, list, save."),
    ("plan demo --jsn", "Unknown option '--jsn'. Did you mean '--json'? Known: --column, --data, --help, "),
    ("--verbos list", "Unknown option '--verbos'. Did you mean '--verbose'? Known: --help, --quiet, "),
    ("prune x -z", "Unknown option '-z'. Known: --column, --criterion, "),
    ("store prune --verbose", "the option '--verbose' stands before the command: "),
    ("predict", "predict' needs the argument 'artifact' (Artifact or model folder): see '"),
    ("predict x --batch-size abc", "--batch-size is 'abc': it must be a valid integer; see '"),
    ("predict x --batch-size 0", "--batch-size is '0': it must be greater than or equal to 1; see '"),
    ("run demo --inconclusive pas", "--inconclusive is 'pas'; allowed: 'pass', 'fail'. Did you mean 'pass'?"),
    ("predict x --file", "option '--file' requires an argument: see '"),
    ("list --json=3", "option '--json' does not take a value: see '"),
    ("list gate more", "list' takes no argument 'more' (a text with blanks wants quotes): see '"),
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("line", "words"), MISTAKES)
def test_a_command_line_that_does_not_fit_is_one_sentence(
    line: str, words: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stdout, with --json too; one line on stderr that says what is allowed."""
    arguments = line.split()
    if as_json:
        # After the verb, so that an option that lacks its value goes on lacking it.
        arguments.insert(2 if arguments[0] in ("store", "baseline", "--verbos") else 1, "--json")
    with pytest.raises(SystemExit) as left:
        app.main(arguments)
    out, err = capsys.readouterr()
    assert left.value.code == ExitCode.INPUT
    assert out == ""
    assert err.startswith("paredown: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names the commands; the exit code says that nothing was done."""
    for arguments in ([], ["baseline"]):
        with pytest.raises(SystemExit) as left:
            app.main(arguments)
        out, err = capsys.readouterr()
        assert left.value.code == ExitCode.INPUT
        assert out == ""
        assert "Commands:" in err


def test_help_and_results_leave_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    """What is asked for is on stdout."""
    for arguments in (["--help"], ["prune", "--help"], ["--version"], ["list", "--json"]):
        with pytest.raises(SystemExit) as left:
            app.main(arguments)
        out, err = capsys.readouterr()
        assert left.value.code == ExitCode.OK
        assert err == ""
        assert out
    assert json.loads(out)


def test_an_interrupted_command_says_that_it_can_go_on(tmp_path: Path) -> None:
    """Ctrl-C: one sentence and exit 130."""
    code = (
        "import compress.catalog, signal, time\n"
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(*_, **__):\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "compress.catalog.entries = wait\n"
        "from paredown.app import main\nmain(['list'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == (
        "paredown: interrupted: what was finished is kept, and the same command goes on from there\n"
    )


@pytest.mark.parametrize(("variable", "value"), [("WORLD_SIZE", "0"), ("WORLD_SIZE", "two"), ("RANK", "-1")])
def test_what_no_launcher_of_processes_writes(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named; nothing of a wrong number of processes is guessed."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=rf"\${variable} is '{value}'"):
        (processes.index if variable == "RANK" else processes.count)()
