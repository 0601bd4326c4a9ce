"""Figures that are taken window by window, candidates in turns: rates, and energy a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bench.record.model import Better, Measurement
from bench.statistics import stats


def resampled(of: Callable[[np.ndarray], float], draws: np.ndarray) -> np.ndarray:
    """A figure of whole windows, in resamples of them, [resamples].

    Args:
        of: from indices of windows to the figure; candidates that it compares are drawn together.
        draws: resamples of windows, from ``stats.resample_rounds``.
    """
    return np.array([of(draw) for draw in draws])


def figure(
    probe: str,
    metric: str,
    unit: str,
    better: Better,
    name: str,
    by_window: Mapping[str, np.ndarray],
    baseline: str,
    conditions: dict[str, int | str],
    draws: np.ndarray,
    notes: tuple[str, ...] = (),
) -> Measurement:
    """The figure of one candidate: median over windows with its interval, ratio by window.

    Args:
        probe: that took it.
        metric: its name.
        unit: of it.
        better: which direction is good.
        name: of the candidate.
        by_window: candidate -> what each window gave, [windows].
        baseline: of the ratio; there is no ratio where it was not taken, or a window of it gave nothing.
        conditions: stated with the figure.
        draws: resamples of windows, from ``stats.resample_rounds``.
        notes: what a reader must know.
    """
    samples = by_window[name][:, None]
    ratio = ratio_interval = None
    if baseline in by_window and (by_window[baseline] > 0).all():
        ratio, ratio_interval = stats.ratio_of_medians(samples, by_window[baseline][:, None], draws)
    return Measurement(
        probe=probe,
        candidate=name,
        metric=metric,
        value=float(np.median(samples)),
        unit=unit,
        better=better,
        interval=stats.percentile_interval(samples, 50, draws),
        ratio=ratio,
        ratio_interval=ratio_interval,
        conditions=conditions,
        samples=tuple(float(sample) for sample in samples.ravel()),
        rounds=len(samples),
        notes=notes,
    )
