"""Divergence of outputs: hand-computed values for each way to read them."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.checking import divergence
from deploy.checking.outputs import Collected


def test_softmax_divergence_is_kl() -> None:
    """KL of (1/2, 1/2) from (1/4, 3/4) is ln 2 - ln 3 / 2, whatever is added to the logits."""
    reference = np.log(np.array([[0.5, 0.5]])) + 7.0
    candidate = np.log(np.array([[0.25, 0.75]])) - 3.0
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert divergence.per_row(reference, candidate, "softmax") == pytest.approx([expected])
    assert divergence.per_row(reference, reference, "softmax") == pytest.approx([0.0], abs=1e-12)


def test_sigmoid_divergence_adds_labels() -> None:
    """Each label is a coin of its own; far logits do not overflow."""
    reference, candidate = np.array([[0.0, 900.0]]), np.array([[np.log(3.0), 900.0]])
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert divergence.per_row(reference, candidate, "sigmoid") == pytest.approx([expected])


def test_regression_divergence_is_in_units_of_variance() -> None:
    """A shift by one standard deviation is half a nat."""
    reference = np.array([[-1.0], [1.0]])
    assert divergence.per_row(reference, reference + 1.0, "identity") == pytest.approx([0.5, 0.5])


def test_agreement_counts_decisions() -> None:
    """Rows agree where every decision is the same; numbers decide nothing."""
    a = Collected({"logits": np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0]])}, {"logits": "softmax"})
    b = Collected({"logits": np.array([[2.0, 0.0], [1.0, 0.0], [9.0, 2.0]])}, {"logits": "softmax"})
    assert b.agreeing(a) == (2, 3)
    c = Collected({"logits": np.array([[1.0, -1.0], [1.0, 1.0]])}, {"logits": "sigmoid"})
    d = Collected({"logits": np.array([[2.0, -3.0], [1.0, -1.0]])}, {"logits": "sigmoid"})
    assert d.agreeing(c) == (1, 2)
    e = Collected({"logits": np.array([[1.0]])}, {"logits": "identity"})
    assert e.agreeing(e) is None
    assert not Collected({"logits": np.array([[np.nan]])}, {"logits": "identity"}).finite()
