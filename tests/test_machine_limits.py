"""What the machine refuses is a sentence with what to do, whatever class a library gives it; a bug is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_deploy

from compress.artifacts.artifact import Artifact
from compress.errors import EntryError, ModelError
from paredown import app
from paredown.verbs import _machine as machine

ROOT = Path(__file__).resolve().parent.parent


def caused(problem: Exception, cause: BaseException) -> Exception:
    """An error that was raised from another."""
    problem.__cause__ = cause
    return problem


def put_away(problem: Exception, context: BaseException) -> Exception:
    """An error that was raised ``from None`` while another was handled."""
    problem.__context__, problem.__suppress_context__ = context, True
    return problem


def system(number: int, path: str | None = "x") -> OSError:
    """What the system raises of a path."""
    return OSError(number, os.strerror(number), path)


SHORT = "memory ran out: free some, or ask for less at once"
REFUSALS: list[tuple[BaseException, str]] = [
    (MemoryError(), SHORT),
    (system(errno.ENOMEM), SHORT),
    (ImportError("libtorch_cpu.so: failed to map segment from shared object"), SHORT),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), SHORT),
    (RuntimeError("std::bad_alloc"), SHORT),
    (RuntimeError("can't start new thread"), SHORT),
    (caused(ValueError("no model"), MemoryError()), SHORT),
    (system(errno.EMFILE), "Too many open files (x): raise the limit of open files (ulimit -n)"),
    (system(errno.ENOSPC), "No space left on device (x): free space or choose another --store and --out"),
    (system(errno.EROFS), "Read-only file system (x): free space or choose another --store and --out"),
    (system(errno.EACCES), "Permission denied (x): give another path, or take the right to use this one"),
    (
        system(errno.EFBIG, None),
        "File too large (while writing): free space, raise the limit of a file's size",
    ),
    (RuntimeError("I/O error: File too large (os error 27)"), "File too large: free space, raise the limit"),
    (RuntimeError("No space left on device (os error 28)"), "No space left on device: free space or choose"),
    (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
    (system(errno.ENAMETOOLONG, "a" * 5000), "File name too long (aaaa"),
]


@pytest.mark.parametrize(("problem", "words"), REFUSALS, ids=[repr(one)[:60] for one, _ in REFUSALS])
def test_a_refusal_of_the_machine(problem: BaseException, words: str) -> None:
    """Memory, open files, a disk, a path: by class, by number, or by the words of a library."""
    sentence = machine.refusal(problem)
    assert sentence is not None
    assert words in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("a bug"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "ours"),
        caused(KeyError("a bug"), system(errno.ENAMETOOLONG)),
        put_away(KeyError("a bug"), system(errno.ENOSPC)),
        ModelError("the model says: not enough memory"),
    ],
)
def test_a_bug_of_ours_keeps_its_traceback(problem: Exception) -> None:
    """A missing file may be one that we forgot, and our own words are no proof."""
    assert machine.refusal(problem) is None


def test_a_library_that_finds_no_memory_while_it_is_imported_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence about the entry goes on with what to do."""

    def names(*_: object, **__: object) -> None:
        cause = ImportError("libtorch_cpu.so: failed to map segment from shared object")
        raise caused(EntryError("the stage 'load' cannot be imported"), cause)

    monkeypatch.setattr("compress.catalog.entries", names)
    with pytest.raises(SystemExit) as left:
        app.main(["list"])
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert err == f"paredown: the stage 'load' cannot be imported; {SHORT} (batch sizes, lengths, rows)\n"


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(getattr(resource, sys.argv[1]), (int(sys.argv[2]),) * 2)
from paredown.app import main
main(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("limit", "most", "words"),
    [
        ("RLIMIT_FSIZE", 2000, "File too large"),
        ("RLIMIT_AS", 300 << 20, "memory ran out"),
    ],
)
def test_a_verb_within_narrow_limits(limit: str, most: int, words: str, tmp_path: Path) -> None:
    """One sentence, exit 2, and nothing half written beside the output; with room the same command works."""
    source = tiny_deploy.text_artifact(tmp_path / "source")
    command = ["bundle", str(source.path), "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, str(most), *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("paredown: ")]
    assert len(sentences) == 1
    assert words in sentences[0]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert Artifact.open(source.path).id == source.id
    with pytest.raises(SystemExit) as left:
        app.main(command)
    assert left.value.code == 0
