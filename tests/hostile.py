"""What every wrong input must end in: exit 2, one sentence, nothing on stdout, no traceback."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_bench

from bench.record import document as reports
from compress.artifacts import seal
from paredown import app

DIGITS = "1" * 5000
HALF = "\\ud800"
ABSENT = object()
"""Stands for a field that is taken out."""

BYTES = {
    "utf16": "- size: {at_most: 1MB}\n".encode("utf-16"),
    "utf16 without a mark": "- size: {at_most: 1MB}\n".encode("utf-16-le"),
    "utf32": "- size: {at_most: 1MB}\n".encode("utf-32"),
    "latin-1": "- größe: {at_most: 1MB}\n".encode("latin-1"),
    "binary": bytes(range(256)) * 8,
    "gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 60,
    "nul": b"\x00" * 100,
    "empty": b"",
    "blank": b"\n\n",
}
"""Files that are no text of the kind that is asked for."""


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        app.main([str(word) for word in words])
    captured = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence that a command line ends in."""
    code, out, err = run(capsys, *words)
    sentences = [line for line in err.splitlines() if line.startswith("paredown: ")]
    assert "Traceback" not in err, err[-2000:]
    assert (code, out, len(sentences)) == (2, "", 1), err[-2000:]
    assert err.splitlines()[-1] == sentences[0], err
    assert len(sentences[0]) < 1500
    return sentences[0]


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder in a file's place."""
    path.mkdir()


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path)


def dangling(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to(path.parent / "nowhere")


def device(path: Path) -> None:
    """A link to a device that never ends."""
    path.symlink_to("/dev/zero")


NO_FILES: tuple[Callable[[Path], None], ...] = (fifo, folder, loop, dangling, device)


def tree() -> dict[str, Any]:
    """The hand-made report as JSON."""
    return json.loads(reports.to_json(tiny_bench.report()))  # type: ignore[no-any-return]


def changed(content: Any, place: str, value: Any) -> Any:
    """A JSON tree with another value at a place such as ``measurements.0.value``."""
    fresh = copy.deepcopy(content)
    node = fresh
    *parents, last = place.split(".")
    for step in parents:
        node = node[int(step)] if isinstance(node, list) else node[step]
    key: Any = int(last) if isinstance(node, list) else last
    if value is ABSENT:
        del node[key]
    else:
        node[key] = value
    return fresh


def sealed_anew(path: Path, content: dict[str, Any]) -> Path:
    """A report file whose checksum fits whatever it holds."""
    path.write_text(json.dumps(seal.sealed(content)))
    return path
