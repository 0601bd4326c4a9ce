"""One temperature for a classifier's outputs: dividing them by it makes confidence match being right.

The temperature minimizes the mean negative log likelihood of held-out rows (Guo et al. 2017, "On
Calibration of Modern Neural Networks"); the loss is convex in its inverse, and answers do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.errors import DataError, ModelError, ParityError
from compress.tasks import Batch, Head, Link, Task

LOW, HIGH = 0.05, 20.0
# FP16 heads round at about 1e-3 of a value; FP32 ones stay far below.
_ROUNDING = 2e-3


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
        losses: np.ndarray = np.log(np.exp(shifted).sum(axis=-1)) - picked
        return losses
    if link == "sigmoid":
        signed = np.where(truth > 0.5, -scaled, scaled)
        return np.asarray(np.logaddexp(0.0, signed).mean(axis=-1))
    raise ValueError("a number has no likelihood that a temperature could change")


def slope(outputs: np.ndarray, truth: np.ndarray, link: Link, inverse: float) -> float:
    """The derivative of the mean negative log likelihood by the inverse temperature; it rises with it.

    Softmax: mean over decisions of ``sum_k p_k z_k - z_truth``; sigmoid: mean over decisions and labels of
    ``(p_k - truth_k) z_k``.
    """
    z = np.asarray(outputs, dtype=np.float64)
    if link == "softmax":
        p = np.exp(inverse * (z - z.max(axis=-1, keepdims=True)))
        p /= p.sum(axis=-1, keepdims=True)
        true = np.take_along_axis(z, truth[:, None].astype(np.int64), axis=-1)[:, 0]
        return float(((p * z).sum(axis=-1) - true).mean())
    return float(((_sigmoid(inverse * z) - truth) * z).mean())


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -z))


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
    from scipy.optimize import brentq

    if not len(outputs):
        raise DataError("there are no selection rows to fit a temperature on: give data.selection")
    ends = slope(outputs, truth, link, 1 / HIGH), slope(outputs, truth, link, 1 / LOW)
    if not ends[0] < 0 < ends[1]:
        kind = "right" if ends[0] < 0 else "wrong"
        raise DataError(
            f"the {len(outputs)} selection rows do not say which temperature fits (nearly all of their "
            f"answers are {kind}): give more rows, or other ones than the model was trained on"
        )
    root = brentq(lambda inverse: slope(outputs, truth, link, inverse), 1 / HIGH, 1 / LOW, xtol=1e-9)
    return 1 / float(root)


@dataclass(frozen=True)
class Decisions:
    """A model's outputs on labeled rows, one line a decision.

    Attributes:
        outputs: before the link, float64 [decisions, classes].
        truth: class ids, or 0/1 for each label.
        link: ``softmax`` or ``sigmoid``.
    """

    outputs: np.ndarray
    truth: np.ndarray
    link: Link

    def mean_nll(self, temperature: float = 1.0) -> float:
        """Mean negative log likelihood, in nats."""
        return float(nll(self.outputs, self.truth, self.link, temperature).mean())


def decide(
    infer: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]],
    batches: Sequence[Batch],
    task: Task,
    head: Head,
) -> Decisions:
    """Run labeled batches and keep the decisions that count.

    Raises:
        ModelError: the model's answers have no probabilities that one temperature could change.
        DataError: there are no labeled rows.
    """
    links = task.link(head)
    if head.problem == "ranking":
        raise ModelError(
            "calibration divides outputs by a temperature, which changes no order, and order is all that a "
            "model that ranks is asked for: leave the stage out"
        )
    if len(links) != 1 or "identity" in links.values():
        raise ModelError(
            "calibration divides a classifier's outputs by a temperature, and this model gives numbers or "
            "several outputs: leave the stage out"
        )
    ((name, link),) = links.items()
    outputs, truths = [], []
    for batch in batches:
        if batch.labels is None:
            raise DataError("calibration needs labeled rows: give data.selection, or data.train")
        logits = np.asarray(infer(batch.inputs)[name], dtype=np.float64)
        real = task.positions(batch)
        outputs.append(logits if real is None else logits[real])
        truths.append(batch.labels if real is None else batch.labels[real])
    if not outputs:
        raise DataError("there are no selection rows to fit a temperature on: give data.selection")
    return Decisions(np.concatenate(outputs), np.concatenate(truths), link)


def choose(temperature: float | None, decisions: Decisions) -> tuple[float, dict[str, Any]]:
    """The temperature to fold in, and what a manifest records of it.

    Args:
        temperature: by the user; fitted when None.
        decisions: on the selection rows.
    """
    chosen = fit(decisions.outputs, decisions.truth, decisions.link) if temperature is None else temperature
    return chosen, {
        "temperature": chosen,
        "fitted": temperature is None,
        "decisions": len(decisions.outputs),
        "nll_before": decisions.mean_nll(),
        "nll_after": decisions.mean_nll(chosen),
    }


def check(before: np.ndarray, after: np.ndarray, temperature: float) -> float:
    """The largest difference between the new outputs and the old ones over the temperature.

    Raises:
        ParityError: it is more than rounding explains.
    """
    expected = before / temperature
    largest = float(np.abs(after - expected).max())
    scale = float(np.abs(expected).max())
    if not largest <= _ROUNDING * max(scale, 1.0):
        raise ParityError(
            f"the scaled model's outputs differ from the divided ones by {largest:.3g} (largest output "
            f"{scale:.3g}). Nothing was sealed."
        )
    return largest
