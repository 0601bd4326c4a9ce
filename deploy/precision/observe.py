"""Watching tensors inside a graph while real rows pass through it, in bounded memory.

The tensors become outputs of a copy of the graph. Rows pass twice: the first pass finds extremes,
the second one counts bins; nothing is kept of a batch once it is counted. Values at padded positions
are left out wherever a tensor has the batch and length axes in front.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compress import log
from compress.errors import UserError
from deploy.checking.parity import MASK
from deploy.graph.taps import real_values
from deploy.precision.ranges import Extremes, Histogram

if TYPE_CHECKING:
    from compress.tasks import Batch
    from deploy.checking.parity import Infer
    from deploy.precision.filters import TapMeans


def _pass(
    infer: Infer,
    batches: Sequence[Batch],
    tensors: Sequence[str],
    description: str,
    keep: Callable[[str], bool],
) -> Iterator[tuple[str, np.ndarray]]:
    with log.progress(description, len(batches)) as bar:
        for batch in batches:
            outputs = infer(batch.inputs)
            mask = batch.inputs.get(MASK)
            for name in tensors:
                if keep(name):
                    yield name, real_values(np.asarray(outputs[name]), mask)
            bar.advance()


def extremes(
    infer: Infer, batches: Sequence[Batch], tensors: Sequence[str], description: str
) -> dict[str, Extremes]:
    """The smallest and largest real value of each tensor."""
    by_name = {name: Extremes() for name in tensors}
    for name, values in _pass(infer, batches, tensors, description, lambda _: True):
        by_name[name].add(values)
    return by_name


def channel_peaks(
    infer: Infer, batches: Sequence[Batch], tensors: Sequence[str], description: str
) -> dict[str, np.ndarray]:
    """The largest absolute real value of each channel (last axis) of each tensor, float32 [channels]."""
    peaks: dict[str, np.ndarray] = {}
    for name, values in _pass(infer, batches, tensors, description, lambda _: True):
        maxima = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0, initial=0.0)
        peaks[name] = np.maximum(peaks[name], maxima) if name in peaks else maxima
    return peaks


def second_moments(
    infer: Infer, batches: Sequence[Batch], tensors: Sequence[str], description: str
) -> dict[str, np.ndarray]:
    """Sum of ``x x.T`` over real positions of each tensor, x its last axis, float32 [channels, channels].

    Raises:
        UserError: a tensor's values are not finite, or too large to be squared.
    """
    sums: dict[str, np.ndarray] = {}
    for name, values in _pass(infer, batches, tensors, description, lambda _: True):
        flat = values.reshape(-1, values.shape[-1])
        moments = flat.T @ flat
        sums[name] = sums[name] + moments if name in sums else moments
    for name, total in sums.items():
        if not np.isfinite(total).all():
            raise UserError(
                f"'{name}' has values on calibration rows that are not finite, or too large to be squared, "
                "and rounding: gptq goes by their squares: look for the row or the layer that makes them, or "
                "give rounding: nearest"
            )
    return sums


def tap_means(
    infer: Infer, batches: Sequence[Batch], by_name: Mapping[str, tuple[str, TapMeans]], description: str
) -> dict[str, TapMeans]:
    """What the taps of convolutions see on average.

    Args:
        infer: a session that gives their inputs.
        batches: of rows.
        by_name: convolution -> its input and an empty mean, which is filled.
        description: of the progress.
    """
    takers: dict[str, list[TapMeans]] = defaultdict(list)
    for tensor, means in by_name.values():
        takers[tensor].append(means)
    for name, values in _pass(infer, batches, list(takers), description, lambda _: True):
        for means in takers[name]:
            means.add(values)
    return {name: means for name, (_, means) in by_name.items()}


def histograms(
    infer: Infer, batches: Sequence[Batch], tensors: Sequence[str], description: str
) -> dict[str, Histogram]:
    """A histogram of each tensor's real values, from two passes."""
    spans = extremes(infer, batches, tensors, f"{description}: extremes")
    counted = {name: Histogram(span.low, span.high) for name, span in spans.items()}
    for name, values in _pass(infer, batches, tensors, f"{description}: counts", counted.__contains__):
        counted[name].add(values)
    return counted
