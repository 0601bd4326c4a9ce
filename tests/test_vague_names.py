"""Names say what they hold: the share of those that say nothing stays within a budget that only falls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import vague_names

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = vague_names.budgets(ROOT)


def test_assigned_names_are_counted_by_hand(tmp_path: Path) -> None:
    """Variables, loop variables, fields and parameters count; attributes, functions and calls do not."""
    file = tmp_path / "module.py"
    file.write_text(
        "found: int = 1\n"
        "def held(where, rows):\n"
        "    for _one in rows:\n"
        "        rows.kept = print(said=_one)\n"
        "    return [row for row in rows]\n"
    )
    names = vague_names.tree(tmp_path)
    assert sorted(name.name for name in names) == ["_one", "found", "row", "rows", "where"]
    vague = {name.name: name.line for name in names if name.vague}
    assert vague == {"found": 1, "where": 2, "_one": 3}
    assert vague_names.share(names) == 60


def test_every_tree_has_a_budget_of_one_percent_or_less() -> None:
    """What people read and change is all of it: packages, studies, tools and tests."""
    assert BUDGETS.keys() == {"compress", "deploy", "bench", "paredown", "studies", "tools", "tests"}
    assert max(BUDGETS.values()) <= 1


@pytest.mark.parametrize("path", BUDGETS)
def test_a_tree_keeps_its_budget(path: str) -> None:
    """Where it says more, ``python -m tools.vague_names PATH`` names each place."""
    assert vague_names.share(vague_names.tree(ROOT / path)) <= BUDGETS[path]
