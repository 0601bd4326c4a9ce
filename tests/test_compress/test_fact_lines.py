"""Nested facts as a person reads them: no raw dictionary, no line that a terminal breaks."""

from __future__ import annotations

from typing import Any

from compress import fact_lines

FACTS: dict[str, Any] = {
    "seconds": 28.0619999,
    "rows": {"train": 200, "eval": 872},
    "data": {
        "source": "/somewhere/rows",
        "license": None,
        "splits": {"train": "train", "eval": "validation"},
        "quotes": {},
    },
    "checked": True,
    "kept": [1, 3, 5],
    "training": {"losses": [[1, 0.7], [100, 0.25], [200, 0.125]]},
    "parity": {"cases": [{"case": "one row", "largest": 1.19e-06}, {"case": "padded", "largest": 2e-05}]},
}


def test_facts_are_lines_with_their_parts_below_them() -> None:
    """Short parts in one line, others indented, rows of equal columns as a table, a curve by its ends."""
    assert fact_lines.lines(FACTS, 80) == [
        "seconds  28.06",
        "rows     train 200, eval 872",
        "data",
        "  source   /somewhere/rows",
        "  license  -",
        "  splits   train train, eval validation",
        "  quotes   none",
        "checked  yes",
        "kept     1, 3, 5",
        "training",
        "  losses  3, from (1, 0.7) to (200, 0.125), lowest (200, 0.125)",
        "parity",
        "  cases",
        "    case     largest",
        "    one row  1.19e-06",
        "    padded   2e-05",
    ]


def test_a_stage_that_has_just_run_is_shown_like_one_from_a_file() -> None:
    """Its facts hold tuples: a loss curve of 200 points is its ends and its lowest point, not 200 pairs."""
    curve = tuple((step, 1 / step if step < 150 else 0.5) for step in range(1, 201))
    evaluations = ({"step": 1, "metrics": {"accuracy": 0.5}}, {"step": 2, "metrics": {"accuracy": 0.75}})
    text_lines = fact_lines.lines({"training": {"losses": curve, "evaluations": evaluations}}, 100)
    assert text_lines[1] == "  losses  200, from (1, 1) to (200, 0.5), lowest (149, 0.006711)"
    assert all("{" not in line for line in text_lines)
    assert fact_lines.lines({"pair": ((1, 2), (3, 0))}, 80) == ["pair  2, from (1, 2) to (3, 0)"]
    assert fact_lines.lines({"texts": (("a", "b"),) * 4}, 80) == ["texts  4, from (a, b) to (a, b)"]


def test_no_line_is_wider_than_the_terminal() -> None:
    """Values wrap below themselves; a table that does not fit becomes lines; names stay with their values."""
    wide = [{f"column{i}": "x" * 12 for i in range(8)} for _ in range(12)]
    lines = fact_lines.lines({"words": " ".join(["word"] * 60), "wide": wide, "deep": {"wide": wide}}, 60)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("       word")
    assert lines[-1] == "    and 2 more (--json has all)"
    assert sum(line.startswith("  - column0 ") for line in lines) == 12
    assert all("{" not in line and "\u00a0" not in line for line in lines)


def test_what_lies_very_deep_or_is_very_long_is_cut() -> None:
    """A manifest from elsewhere may hold anything."""
    nested: Any = 1
    for _ in range(150):
        nested = {"a": [nested, {"b": 1}]}
    lines = fact_lines.lines({"deep": nested, "long": list(range(10**5))}, 80)
    assert len(lines) < 60
    assert lines[-1].endswith("99980 more")


def test_a_fact_in_a_cell_is_one_text() -> None:
    """As the page shows what is known of the rows."""
    assert fact_lines.brief({"text": "sentence", "label": None}) == "text sentence, label -"
    assert fact_lines.brief({"a": {"b": 1}}) == "a (b 1)"
    assert fact_lines.brief(["x", ["y"]]) == "x, (y)"
    assert fact_lines.brief(True) == "yes"
