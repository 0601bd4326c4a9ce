"""The sentences of the gate on cut rows."""

from __future__ import annotations

import pytest
import tiny_bench

from bench.verdicts import judge
from compress.recipe import Named


@pytest.mark.parametrize(("beyond", "clause"), [(0, ""), (3, "; 'before' sees more of 3 of them")])
def test_only_rows_that_are_seen_more_of_are_counted_in_words(beyond: int, clause: str) -> None:
    """It said that the baseline "sees more of 0 of them", where both have one limit."""
    report = tiny_bench.report()
    before, after = report.candidates
    assert after.truncation is not None
    cut = after.truncation.model_copy(update={"beyond_baseline": beyond})
    candidates = (before, after.model_copy(update={"truncation": cut}))
    gate = Named(name="truncation", options={"at_most": "3%", "beyond_baseline": True})
    (verdict,) = judge.judge(report.model_copy(update={"candidates": candidates}), (gate,)).verdicts
    assert verdict.status == "pass"
    assert verdict.value == beyond / 100
    assert verdict.reason == (
        "4 of 100 evaluation rows (4.00 %) were cut to 16 tokens (the limit of the training rows, as "
        f"data.max_length: data asked){clause}; allowed: at most 3%"
    )
