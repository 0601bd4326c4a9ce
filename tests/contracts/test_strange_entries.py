"""Entries that are there and are stranger than a broken file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import outside
import pytest
import tiny_bench

from bench import probes
from bench.report import tables
from compress import catalog, contract, distributions
from compress.errors import EntryError


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What was imported from the folder on the path, and which probes are broken, is forgotten."""
    yield
    distributions._all.cache_clear()
    probes._entry.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == outside.PACKAGE]:
        del sys.modules[name]


def test_what_is_no_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may put an object in its module's place: that was a TypeError about weak references."""
    outside.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / outside.PACKAGE / "gate_entry.py"
    file.write_text('"""Strange."""\n\nimport sys\n\nsys.modules[__name__] = 3\n')
    name = outside.NAMES["gate"]
    with pytest.raises(EntryError) as refused:
        catalog.load("gate", name)
    assert str(refused.value) == (
        f"the gate '{name}' ({file}) puts an object of the type int in the place of its module "
        "(sys.modules), and a module is wanted: have it keep its own"
    )


@pytest.mark.parametrize(
    ("line", "clause"),
    [
        ("DEFAULT = Shy()", "'DEFAULT' is a Shy, and bool is wanted"),
        ("measure = Shy()", "'measure' is a Shy, and 'measure(lanes, subject, config)' is wanted"),
        ("def measure(shy=Shy()): pass", "'measure(shy)' takes other parameters"),
    ],
)
def test_a_value_that_fails_to_say_itself_is_called_by_its_type(
    line: str, clause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of an entry never runs into the entry's own faults."""
    outside.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / outside.PACKAGE / "probe_entry.py"
    shy = "class Shy:\n    def __repr__(self):\n        raise OSError('not today')\n"
    file.write_text(f"{outside.SOURCES['probe']}\n\n{shy}\n\n{line}\n")
    with pytest.raises(EntryError) as refused:
        catalog.load("probe", outside.NAMES["probe"])
    assert clause in str(refused.value)


def test_an_entry_that_does_not_say_what_it_takes_is_written_by_its_name() -> None:
    """Functions in C have no signature."""
    assert contract._written("least", min) == "least"


def test_two_that_claim_one_probe_are_told_once_where_a_report_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every title and column went silently, since no probe can be loaded then; one warning says why."""
    outside.install(tmp_path, names={"probe": "latency"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="paredown"):
        shown = tables.candidates(tiny_bench.report())
    assert shown.header == []
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "brings a probe 'latency'" in warning
    assert "figures are shown without what such an entry says of them" in warning
