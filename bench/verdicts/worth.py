"""Is INT8 worth it? Answered at every point of the grid, against FP16, from one run's own rounds.

Both candidates took turns in the same rounds, so that the answer is the median of per-round ratios of their
medians, with its bootstrap interval over rounds. On a GPU the time is the GPU's own, with a CUDA graph where
both have one; else it is the latency. Candidates are paired where they run in the same runtime.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.record.model import Candidate, Interval, Measurement, Report
from bench.statistics import stats

_INT8 = ("int8",)
_HALF = ("fp16", "bf16")
_TIMES = ("gpu_p50_ms", "latency_p50_ms")


@dataclass(frozen=True)
class Worth:
    """The answer at one point.

    Attributes:
        int8: name of the candidate in INT8.
        half: name of the one in half precision.
        precision: of the latter.
        metric: that was compared.
        conditions: the point.
        ratio: time of INT8 over that of half precision.
        interval: of the ratio.
        accuracy: metric of INT8 less that of half precision on the same rows, where both were measured.
        spoiled: why one of the two runs counts for nothing, where it does not.
    """

    int8: str
    half: str
    precision: str
    metric: str
    conditions: dict[str, int | str]
    ratio: float
    interval: Interval | None
    accuracy: float | None
    spoiled: str | None = None

    @property
    def answer(self) -> str:
        """``yes`` where the whole interval is below 1, ``no`` above; else, or spoiled, ``not shown``."""
        if self.interval is None or self.spoiled is not None:
            return "not shown"
        if self.interval.high < 1:
            return "yes"
        return "no" if self.interval.low > 1 else "not shown"

    def sentence(self) -> str:
        """The answer in words."""
        length = self.conditions.get("length")
        point = f"batch {self.conditions.get('batch_size')}, " + (
            "real rows" if length == "data" else f"{length} {self.conditions.get('unit', 'tokens')}"
        )
        spread = (
            f" (95 % interval {self.interval.low:.3f} to {self.interval.high:.3f})" if self.interval else ""
        )
        words = {
            "yes": "yes",
            "no": "no, it is slower",
            "not shown": "no difference is shown",
        }[self.answer]
        if self.spoiled is not None:
            words = f"not shown, the run was spoiled ({self.spoiled})"
        time = "GPU time" if self.metric.startswith("gpu") else "latency"
        cost = "" if self.accuracy is None else f"; the score changes by {100 * self.accuracy:+.2f} pt"
        return (
            f"Is INT8 worth it? {point}: {words}. '{self.int8}' takes {self.ratio:.3f} of the {time} of "
            f"'{self.half}' ({self.precision.upper()}){spread}{cost}."
        )


def answers(report: Report) -> list[Worth]:
    """Every pair of an INT8 and a half-precision candidate in one runtime, at every point.

    Returns:
        Nothing where the report has no such pair or kept no samples.
    """
    pairs = []
    for int8 in _of(report, _INT8):
        for half in _of(report, _HALF):
            if int8.runtime != half.runtime or int8.device != half.device:
                continue
            pairs += _pair(report, int8, half)
    return pairs


def _of(report: Report, precisions: tuple[str, ...]) -> list[Candidate]:
    return [
        candidate for candidate in report.candidates if candidate.provenance.get("precision") in precisions
    ]


def _pair(report: Report, int8: Candidate, half: Candidate) -> list[Worth]:
    pairs = []
    for metric in _TIMES:
        mine = {
            _key(measurement): measurement
            for measurement in report.measurements
            if (measurement.candidate, measurement.metric) == (int8.name, metric)
        }
        theirs = {
            _key(measurement): measurement
            for measurement in report.measurements
            if (measurement.candidate, measurement.metric) == (half.name, metric)
        }
        both = [key for key in mine if key in theirs]
        graphs = {dict(key).get("graph") for key in both}
        for key in both:
            if "yes" in graphs and dict(key).get("graph") == "no":
                continue
            a, b = _rounds(mine[key]), _rounds(theirs[key])
            if a is None or b is None or a.shape != b.shape:
                continue
            draws = stats.resample_rounds(len(a), np.random.default_rng([report.seed, 11]))
            ratio, interval = stats.ratio_of_medians(a, b, draws)
            pairs.append(
                Worth(
                    int8=int8.name,
                    half=half.name,
                    precision=half.provenance["precision"],
                    metric=metric,
                    conditions=mine[key].conditions,
                    ratio=ratio,
                    interval=interval,
                    accuracy=_accuracy(report, int8.name, half.name),
                    spoiled=(mine[key].flags | theirs[key].flags).spoiled,
                )
            )
        if pairs:
            return pairs
    return pairs


def _key(measurement: Measurement) -> tuple[tuple[str, int | str], ...]:
    return tuple(sorted(measurement.conditions.items()))


def _rounds(measurement: Measurement) -> np.ndarray | None:
    """Samples as [rounds, runs]; None where they did not come in whole rounds, or in fewer than two."""
    if (
        not measurement.samples
        or measurement.rounds is None
        or measurement.rounds < 2
        or len(measurement.samples) % measurement.rounds
    ):
        return None
    return np.array(measurement.samples).reshape(measurement.rounds, -1)


def _accuracy(report: Report, int8: str, half: str) -> float | None:
    metric = next(
        (measurement.metric for measurement in report.measurements if measurement.probe == "accuracy"), None
    )
    if metric is None:
        return None
    quantized, reference = report.find(int8, metric), report.find(half, metric)
    return (
        None
        if quantized is None or reference is None or quantized.unit != "share"
        else quantized.value - reference.value
    )
