"""Tests keep nothing in the user's own folders, whenever a fixture of theirs is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
