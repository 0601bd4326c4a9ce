"""Tests keep nothing in the user's own folders, whenever a fixture of theirs is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress import log

_KEPT = ("PAREDOWN_STORE", "HF_DATASETS_CACHE")


@pytest.fixture(scope="session")
def of_the_run() -> dict[str, str]:
    """Where a fixture of the whole run would keep what it makes."""
    return {name: os.environ[name] for name in _KEPT}


@pytest.fixture(scope="module")
def of_the_module() -> dict[str, str]:
    """Where a fixture of a module would."""
    return {name: os.environ[name] for name in _KEPT}


@pytest.mark.parametrize("name", _KEPT)
def test_every_scope_has_a_folder_of_the_run(
    name: str,
    of_the_run: dict[str, str],
    of_the_module: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Fixtures of a module are made before those of a test, and their runs went to ~/.cache/paredown."""
    root = tmp_path_factory.getbasetemp()
    for place in (of_the_run[name], of_the_module[name], os.environ[name]):
        assert Path(place).is_relative_to(root)
    assert os.environ[name] != of_the_module[name]


@pytest.fixture(scope="module")
def quiet_before() -> None:
    """A command line with --quiet, as an earlier test may have run one."""
    log.configure(-1)


@pytest.mark.usefixtures("quiet_before")
def test_no_earlier_command_line_hides_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """It left the logger at errors alone, so that what passed depended on the order of tests."""
    log.warning("what is %s", "said")
    assert "what is said" in caplog.text
