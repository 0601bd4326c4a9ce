"""The page of families × stages says what the stages do, for every family there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.pruning.families import FAMILIES
from tools import family_matrix
from tools.tiny_families import CASES, build


def rows(page: str) -> dict[str, list[str]]:
    """Family -> the cells of its row."""
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_family_that_is_pruned_is_in_the_matrix() -> None:
    """No family has a description without a tiny model of it."""
    assert {kind for kind, _ in CASES.values()} == set(FAMILIES)


@pytest.mark.slow
def test_a_row_is_what_the_stages_do(tmp_path: Path) -> None:
    """GPT-2 loses layers alone, the other stages take it, and each cell is kept as soon as it is known."""
    cells: dict[str, str] = {}
    counts: list[int] = []
    family_matrix.run("gpt2", tmp_path, cells, lambda: counts.append(len(cells)))
    assert list(cells) == list(family_matrix.COLUMNS)
    refused = {column for column, text in cells.items() if text != "ok"}
    assert refused == {"prune heads", "prune ffn"}
    assert "Conv1D" in cells["prune heads"]
    assert counts == list(range(1, len(cells) + 1))


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Finished cells are read again; of a family whose cells are all there, nothing is run."""
    cells = {"gpt2": dict.fromkeys(family_matrix.COLUMNS, "ok")}
    family_matrix.write(tmp_path, cells)
    assert family_matrix.read(tmp_path) == cells
    family_matrix.run("gpt2", tmp_path, cells["gpt2"], lambda: None)
    assert [file.name for file in tmp_path.iterdir()] == ["cells.json"]
    assert family_matrix.read(tmp_path / "nowhere") == {}


def test_refusals_of_one_sentence_share_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two families that are refused alike point at one sentence, and options are said beside an ok."""
    monkeypatch.setattr(family_matrix, "offered", lambda: ["gpt2", "resnet", "swin"])
    cells = {
        family: dict.fromkeys(family_matrix.COLUMNS, "ok") | {"prune ffn": text}
        for family, text in {"gpt2": "It cannot.", "resnet": "It cannot.", "swin": "ok"}.items()
    }
    page = family_matrix.page(cells)
    table = rows(page)
    at = list(family_matrix.COLUMNS).index("prune ffn")
    assert [table[family][at] for family in table] == ["1", "1", "ok (2)"]
    assert "\n1. It cannot.\n2. With `reconstruct: false`" in page


def test_every_tiny_model_is_built() -> None:
    """The families beside those that are pruned have a model too."""
    for family in family_matrix.FAMILIES:
        if family not in CASES:
            assert sum(parameter.numel() for parameter in build(family).parameters()) > 100


def test_the_page_has_every_family_and_every_stage() -> None:
    """The committed page has the tool's rows and columns, each cell ok or the number of a sentence below."""
    page = family_matrix.PAGE.read_text(encoding="utf-8")
    header = next(line for line in page.splitlines() if line.startswith("| family"))
    assert header == f"| family | {' | '.join(family_matrix.COLUMNS)} |"
    table = rows(page)
    assert list(table) == family_matrix.offered()
    notes = [line.partition(". ") for line in page.splitlines() if line[:1].isdigit()]
    numbers = {number for number, _, _ in notes}
    for cells in table.values():
        assert len(cells) == len(family_matrix.COLUMNS)
        assert all(cell == "ok" or cell.removeprefix("ok (").removesuffix(")") in numbers for cell in cells)
    assert all(len(sentence) > 20 for _, _, sentence in notes)
