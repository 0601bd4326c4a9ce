"""How far two predictions are apart: a divergence per row, in nats, for each way to read outputs.

Softmax: ``KL(p || q)`` over classes. Sigmoid: the sum over labels of the Bernoulli KL. Identity
(regression): the squared difference over twice the reference's variance, which is the KL of two
normal distributions of that variance; of vectors its mean over their numbers, which for vectors of length
one is about 1 - cos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from compress.tasks import Link

_FLOOR = 1e-12


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities over the last axis, float64."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _log_sigmoid(logits: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0.0, -logits.astype(np.float64))


def per_row(
    reference: np.ndarray, candidate: np.ndarray, link: Link, variance: float | None = None
) -> np.ndarray:
    """Divergence of every row (or position), float64 [...] without the last axis.

    Args:
        reference: outputs of the source, [..., classes].
        candidate: outputs of what was made from it.
        link: how the last axis becomes probabilities.
        variance: of the reference's numbers, for ``identity``; over these rows when None.
    """
    if link == "softmax":
        p, q = log_softmax(reference), log_softmax(candidate)
        kl: np.ndarray = (np.exp(p) * (p - q)).sum(axis=-1)
        return np.maximum(kl, 0.0)
    if link == "sigmoid":
        on, off = _log_sigmoid(reference), _log_sigmoid(-reference)
        terms = np.exp(on) * (on - _log_sigmoid(candidate)) + np.exp(off) * (off - _log_sigmoid(-candidate))
        return np.maximum(terms.sum(axis=-1), 0.0)
    wide = reference.astype(np.float64)
    spread = max(float(wide.var()) if variance is None else variance, _FLOOR)
    gap: np.ndarray = ((wide - candidate.astype(np.float64)) ** 2).mean(axis=-1) / (2 * spread)
    return gap


def probabilities(outputs: np.ndarray, link: Link) -> np.ndarray:
    """Outputs as probabilities, float64; numbers as they are."""
    if link == "softmax":
        return np.exp(log_softmax(outputs))
    if link == "sigmoid":
        return np.exp(_log_sigmoid(outputs))
    return outputs.astype(np.float64)


def decisions(outputs: np.ndarray, link: Link) -> np.ndarray:
    """What is decided, int64: the class [...], or one 0/1 a label [..., labels].

    Raises:
        ValueError: numbers decide nothing.
    """
    if link == "softmax":
        return outputs.argmax(axis=-1).astype(np.int64)
    if link == "sigmoid":
        return (outputs >= 0).astype(np.int64)
    raise ValueError("a regression has no decisions")
