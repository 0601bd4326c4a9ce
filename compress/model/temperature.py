"""One temperature for a classifier's outputs: dividing them by it makes confidence match being right.

The temperature minimizes the mean negative log likelihood of held-out rows (Guo et al. 2017, "On
Calibration of Modern Neural Networks"); the loss is convex in its inverse, and answers do not change.
"""

from __future__ import annotations

import math

import numpy as np

from compress.errors import DataError
from compress.tasks import Link

LOW, HIGH = 0.05, 20.0


def nll(outputs: np.ndarray, truth: np.ndarray, link: Link, temperature: float = 1.0) -> np.ndarray:
    """Negative log likelihood of each decision, float64 [decisions], in nats.

    Args:
        outputs: before the link, [decisions, classes].
        truth: class ids, int [decisions] (``softmax``); 0 or 1, [decisions, classes] (``sigmoid``).
        link: ``softmax`` or ``sigmoid``; of the latter, the mean over labels.
        temperature: that outputs are divided by.
    """
    scaled = np.asarray(outputs, dtype=np.float64) / temperature
    if link == "softmax":
        shifted = scaled - scaled.max(axis=-1, keepdims=True)
        picked = np.take_along_axis(shifted, truth[:, None].astype(np.int64), axis=-1)[:, 0]
        found: np.ndarray = np.log(np.exp(shifted).sum(axis=-1)) - picked
        return found
    if link == "sigmoid":
        signed = np.where(truth > 0.5, -scaled, scaled)
        return np.asarray(np.logaddexp(0.0, signed).mean(axis=-1))
    raise ValueError("a number has no likelihood that a temperature could change")


def fit(outputs: np.ndarray, truth: np.ndarray, link: Link) -> float:
    """The temperature that fits some held-out decisions.

    Args:
        outputs: as for ``nll``.
        truth: as for ``nll``.
        link: as for ``nll``.

    Raises:
        DataError: the rows do not say which: there are none, all of them are answered right however
            confident the model is, or none is.
    """
    from scipy.optimize import minimize_scalar

    if not len(outputs):
        raise DataError("there are no selection rows to fit a temperature on: give data.selection")
    edge = math.log(LOW), math.log(HIGH)
    found = minimize_scalar(
        lambda place: float(nll(outputs, truth, link, math.exp(place)).mean()),
        bounds=edge,
        method="bounded",
        options={"xatol": 1e-6},
    )
    if min(abs(found.x - edge[0]), abs(found.x - edge[1])) < 1e-3:
        kind = "right" if found.x < 0 else "wrong"
        raise DataError(
            f"the {len(outputs)} selection rows do not say which temperature fits (nearly all of their "
            f"answers are {kind}): give more rows, or other ones than the model was trained on"
        )
    return math.exp(float(found.x))
