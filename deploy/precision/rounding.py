"""Rounding that makes up for itself: what one weight's rounding adds, the weights after it take away.

GPTQ (Frantar et al. 2023, "GPTQ: accurate post-training quantization", algorithm 1): of a product
``x @ W`` the squared error over real inputs is ``trace((W - Q).T H (W - Q))`` with the second moments
``H = E[x x.T]``. Input channels are rounded one after the other, those that carry most first; the error
of each goes to the channels that are still to come, by the Cholesky factor of ``H``'s inverse. Nearest
rounding is the special case of inputs that are uncorrelated. Pure, on arrays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular

# Share of the mean second moment that is added to every channel's: the paper's, for channels that
# few rows never move apart.
DAMPING = 0.01
_BLOCK = 128

Nearest = Callable[[np.ndarray], np.ndarray]


def compensated(scaled: np.ndarray, moments: np.ndarray, nearest: Nearest) -> np.ndarray:
    """The representable weights that keep the product of real inputs nearest to what it was.

    Args:
        scaled: weights in units of their output channel's scale, [in, out].
        moments: second moments of the inputs, ``E[x x.T]`` up to a factor, [in, in].
        nearest: values -> the nearest ones that the format holds, of the same shape.

    Returns:
        What ``nearest`` gave for every row, [in, out].
    """
    order = np.argsort(-np.diagonal(moments), kind="stable")
    damped = moments[np.ix_(order, order)].astype(np.float64)
    step = DAMPING * float(np.diagonal(damped).mean())
    damped[np.diag_indices_from(damped)] += step if step > 0 else 1.0
    factor = _upper_of_inverse(damped)
    left = scaled[order].astype(np.float64)
    rounded = np.empty(left.shape, nearest(scaled[:1]).dtype)
    count = len(left)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.empty((end - start, left.shape[1]))
        for row in range(start, end):
            rounded[row] = nearest(left[row])
            error = (left[row] - rounded[row].astype(np.float64)) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], error)
            errors[row - start] = error
        # The rows behind the block hear of it at once: one product instead of many outer ones.
        left[end:] -= factor[start:end, end:].T @ errors
    restored = np.empty_like(rounded)
    restored[order] = rounded
    return restored


def _upper_of_inverse(matrix: np.ndarray) -> np.ndarray:
    """``U``, upper triangular, with ``U.T @ U`` the inverse of a positive definite matrix.

    Without that inverse: of the matrix with both axes turned round, Cholesky's factor turned back is
    ``U``'s inverse.
    """
    inverse = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    return np.asarray(solve_triangular(inverse, np.eye(len(matrix)), lower=False))
