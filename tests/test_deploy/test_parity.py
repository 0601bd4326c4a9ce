"""Parity: the cases, and that a graph which takes the mask's length for the mask is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress.errors import ParityError
from deploy.checking import parity
from deploy.checking.parity import Case, Tolerance

IDS = np.array([[5, 6, 7, 0], [8, 9, 0, 0]])
MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
FEED = {"input_ids": IDS, "attention_mask": MASK}


def _encode(rows: Any) -> parity.Feed:
    longest = max(len(row["ids"]) for row in rows)
    ids = np.array([row["ids"] + [0] * (longest - len(row["ids"])) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


ROWS = [{"ids": list(range(1, 2 + i))} for i in range(12)]


def _masked_mean(feed: parity.Feed) -> dict[str, np.ndarray]:
    weights = feed["attention_mask"]
    return {"out": (feed["input_ids"] * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)}


def _mean_of_first_n(feed: parity.Feed) -> dict[str, np.ndarray]:
    """What a fused kernel does that keeps only the number of real tokens."""
    counts = feed["attention_mask"].sum(1)
    return {"out": np.array([[row[:n].mean()] for row, n in zip(feed["input_ids"], counts, strict=True)])}


def test_left_padding_moves_ids_and_mask_together() -> None:
    """Every array of the mask's shape is rolled by the row's own pads."""
    moved = parity.pad_left(FEED)
    assert moved["input_ids"].tolist() == [[0, 5, 6, 7], [0, 0, 8, 9]]
    assert moved["attention_mask"].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]


def test_holes_leave_the_first_position() -> None:
    """Some real positions are masked, never the first of a row, and ids stay."""
    feed = {"input_ids": np.ones((6, 9), int), "attention_mask": np.ones((6, 9), int)}
    holed = parity.punch_holes(feed, seed=1)
    assert (holed["attention_mask"][:, 0] == 1).all()
    assert (holed["attention_mask"] == 0).any(axis=1).all()
    assert (holed["input_ids"] == 1).all()


def test_cases_have_other_batches_lengths_and_masks() -> None:
    """One row of three lengths, a mixed batch, and the three kinds of mask are all among them."""
    lengths = np.array([len(row["ids"]) for row in ROWS])
    cases = parity.cases(ROWS, lengths, _encode, seed=0)
    names = " | ".join(case.name for case in cases)
    for kind in ("one row", "right-padded", "left-padded", "holed mask"):
        assert kind in names
    shapes = {case.feed["input_ids"].shape for case in cases}
    assert {1, 8} <= {shape[0] for shape in shapes}
    assert {1, 12} <= {shape[1] for shape in shapes}


def test_a_graph_that_only_knows_the_masks_length_is_caught() -> None:
    """It agrees under right padding, and the message names the case where it does not."""
    lengths = np.array([len(row["ids"]) for row in ROWS])
    cases = parity.cases(ROWS, lengths, _encode, seed=0)
    plain = [case for case in cases if case.name.startswith("right-padded")]
    assert parity.check(_masked_mean, _mean_of_first_n, plain, parity.FP32, "it")
    with pytest.raises(ParityError, match=r"(left-padded|holed)") as caught:
        parity.check(_masked_mean, _mean_of_first_n, cases, parity.FP32, "the fused graph")
    assert "the fused graph does not compute what its source computes" in str(caught.value)


def test_figures_are_the_largest_and_the_mean() -> None:
    """Over the positions that are not masked out; pads may differ."""
    case = Case("c", {"attention_mask": np.array([[1, 1, 0]])})
    reference = np.array([[[1.0], [2.0], [3.0]]])
    difference = parity.difference(
        case, "h", reference, np.array([[[1.0], [2.5], [99.0]]]), Tolerance(0.1, 0.1)
    )
    assert (difference.largest, difference.mean, difference.scale) == (0.5, 0.25, 2.0)
    assert difference.allowed == pytest.approx(0.3)


def test_not_a_number_and_other_shapes_never_pass() -> None:
    """NaN is infinitely far away; a wrong shape is a sentence of its own."""
    case = Case("c", {})
    with pytest.raises(ParityError, match="off by inf"):
        parity.check(
            lambda _: {"o": np.ones(2)},
            lambda _: {"o": np.array([1.0, np.nan])},
            [case],
            Tolerance(9, 9),
            "it",
        )
    with pytest.raises(ParityError, match=r"has shape \(3,\) and the source gives \(2,\)"):
        parity.check(lambda _: {"o": np.ones(2)}, lambda _: {"o": np.ones(3)}, [case], Tolerance(9, 9), "it")
    with pytest.raises(ParityError, match="has no output 'o'"):
        parity.check(lambda _: {"o": np.ones(2)}, lambda _: {"p": np.ones(2)}, [case], Tolerance(9, 9), "it")


def _off_by(error: float) -> tuple[parity.Infer, parity.Infer]:
    """A model that gives 10, and one that is off by so much."""
    return (lambda _: {"out": np.full((2, 1), 10.0)}), (lambda _: {"out": np.full((2, 1), 10.0 + error)})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (0.02, r"tolerance is 5e-05 .* 0\.002 would let it pass \(--set tolerance=0\.002\)"),
        (0.5, r"0\.05 would be needed, more than the 0\.01 that it may be"),
        (float("nan"), "No tolerance lets that pass"),
    ],
)
def test_a_failure_names_the_tolerance_that_it_would_take(error: float, reason: str) -> None:
    """Which option it is, what it is now and what it would have to be; that value does let it pass."""
    reference, candidate = _off_by(error)
    case = Case("a batch", {"x": np.zeros((2, 1))})
    with pytest.raises(ParityError, match=reason):
        parity.check(reference, candidate, [case], parity.FP32, "the graph")
    if reason.startswith("tolerance"):
        parity.check(reference, candidate, [case], Tolerance(parity.FP32.absolute, 0.002), "the graph")
