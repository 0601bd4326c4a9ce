"""Which products cost most accuracy in INT8, and which to leave out. Pure search over a measure.

Each product alone is quantized and the divergence of the outputs from the float graph is measured on
calibration rows; then the worst are left out one by one until the rest is close enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress import log

Measure = Callable[[frozenset[str]], float]


@dataclass(frozen=True)
class Choice:
    """What stays float, and why.

    Attributes:
        keep_float: names, in the order in which they were left out.
        alone: product -> divergence with only that product quantized, worst first.
        curve: divergence with 0, 1, 2, ... products left out.
        reached: whether the last one is within the target.
    """

    keep_float: tuple[str, ...]
    alone: dict[str, float]
    curve: tuple[float, ...]
    reached: bool


def rank(names: Sequence[str], measure: Measure) -> dict[str, float]:
    """Divergence with only one product quantized, for each of them, worst first."""
    divergences: dict[str, float] = {}
    with log.progress("sensitivity of each product", len(names)) as bar:
        for name in names:
            divergences[name] = measure(frozenset({name}))
            bar.advance()
    return dict(sorted(divergences.items(), key=lambda entry: (-entry[1], entry[0])))


def leave_out(names: Sequence[str], measure: Measure, target: float, at_most: int) -> Choice:
    """Leave the most sensitive products out until the divergence is within the target.

    Args:
        names: of all products that may be quantized.
        measure: set of quantized products -> mean divergence from the float graph, in nats.
        target: divergence to reach.
        at_most: how many may be left out.
    """
    every = frozenset(names)
    curve = [measure(every)]
    if curve[0] <= target:
        return Choice((), {}, tuple(curve), True)
    alone = rank(names, measure)
    left: list[str] = []
    for name in list(alone)[:at_most]:
        left.append(name)
        curve.append(measure(every - set(left)))
        if curve[-1] <= target:
            break
    # A product that was left out for nothing is taken back: the shortest prefix that is best counts.
    best = min(range(len(curve)), key=lambda i: (curve[i] > target, curve[i] if curve[-1] > target else i, i))
    return Choice(tuple(left[:best]), alone, tuple(curve), curve[best] <= target)
