"""A verb that is told to end puts away what is half done, says so, and leaves no lane behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paredown.verbs import _signals as signals

ROOT = Path(__file__).resolve().parent.parent

# The verb stands still in the middle of a block that has something to put away.
WAITING = """
import pathlib, sys, time
import compress.catalog
def wait(*_, **__):
    half = pathlib.Path(sys.argv[1])
    half.mkdir()
    try:
        print('ready', flush=True)
        time.sleep(60)
    except Exception:
        print('taken for a mistake', flush=True)
    finally:
        half.rmdir()
compress.catalog.entries = wait
from paredown.app import main
main(['list'])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_verb_that_is_told_to_end(number: signal.Signals, tmp_path: Path) -> None:
    """One sentence, the exit code that a shell gives such a process, and nothing half done is left."""
    half = tmp_path / "half"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(half)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A shell that runs the tests under nohup lets its children ignore the signal.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # type: ignore[arg-type,return-value]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert half.is_dir()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out == ""
    assert err == (
        f"paredown: ended by {number.name}: what was finished is kept, and the same command goes on from "
        "there\n"
    )
    assert not half.exists()


def test_the_second_time_a_process_ends_at_once() -> None:
    """Whoever asks twice does not wait for what is put away; afterwards all is as it was."""
    before = signal.getsignal(signal.SIGTERM)
    handlers = []

    def work() -> None:
        with signals.heard():
            handlers.append(signal.getsignal(signal.SIGTERM))
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                handlers.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(signals.Ended) as ended:
        work()
    assert handlers[0] != signal.SIG_DFL
    assert handlers[1] == signal.SIG_DFL
    assert (ended.value.name, ended.value.code) == ("SIGTERM", 143)
    assert signal.getsignal(signal.SIGTERM) == before == signal.SIG_DFL


def test_what_is_ignored_stays_ignored() -> None:
    """``nohup paredown …`` goes on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.heard():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
