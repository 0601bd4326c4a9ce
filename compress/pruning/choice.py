"""Which units stay, given their scores, their costs and what widths are allowed. Pure.

Kept counts of a part come in steps: its ``minimum``, then multiples of ``multiple``, then all of it.
Inside a part the best units stay. Between parts:

* ``uniform``: every part keeps the same share of its units, rounded down to an allowed count;
* ``global``: parts compete. A step's worth is the summed score of the units that it adds, by their
  cost; as units are sorted, worth by cost never rises inside a part, and taking the best step that
  still fits the budget is the greedy solution of the knapsack (exact where all steps cost the same).

Never more than the asked-for share stays, except where the minimum says so.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Scope = Literal["uniform", "global", "joint"]

_SLACK = 1e-9  # 0.3 * 10 is 2.9999999999999996


@dataclass(frozen=True)
class Pool:
    """The units of one part that compete to stay.

    Attributes:
        name: of the part.
        scores: of its units as they are now [units]; higher = keep.
        cost: of one unit, in whatever the budget counts.
        whole: how many units the part had before any pruning; shares refer to this.
        multiple: kept counts are multiples of this, or all units.
        minimum: at least this many stay (all of them, where there are fewer).
    """

    name: str
    scores: tuple[float, ...]
    cost: float
    whole: int
    multiple: int = 1
    minimum: int = 1

    @property
    def units(self) -> int:
        """How many units there are now."""
        return len(self.scores)


def allowed_counts(units: int, multiple: int, minimum: int) -> list[int]:
    """The counts that may be kept of some units, ascending; the last one is all of them.

    >>> allowed_counts(100, 32, 8)
    [32, 64, 96, 100]
    """
    first = math.ceil(minimum / multiple) * multiple
    counts = [count for count in range(first, units, multiple) if count > 0]
    return [*counts, units]


def best_units(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """The indices of the highest scores, ascending; among equals, the lower index stays."""
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    return tuple(sorted(int(unit) for unit in order[:count]))


def choose(pools: Sequence[Pool], keep: float, scope: Scope) -> dict[str, tuple[int, ...]]:
    """The units that stay in every pool, ascending, by part name.

    Args:
        pools: what competes; with ``global`` and ``joint`` their scores must be comparable.
        keep: share of the whole (unpruned) cost that stays, above 0 and at most 1.
        scope: ``uniform``, or one competition among all pools given.
    """
    counts = _uniform(pools, keep) if scope == "uniform" else _competing(pools, keep)
    return {pool.name: best_units(pool.scores, count) for pool, count in zip(pools, counts, strict=True)}


def best_layers(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """The layers that stay, ascending: those with the highest scores, at least one."""
    return best_units(scores, max(1, count))


def layer_scores(heads: Sequence[Sequence[float]], ffn: Sequence[Sequence[float]]) -> list[float]:
    """A layer's score: the layer's share of all heads' scores plus its share of all neurons' scores.

    Shares make the two kinds comparable where a criterion's scores are not.

    Args:
        heads: scores of the heads, one sequence a layer.
        ffn: scores of the neurons, one sequence a layer.
    """
    totals = []
    for kind in (heads, ffn):
        sums = np.array([math.fsum(scores) for scores in kind])
        totals.append(sums / sums.sum() if sums.sum() > 0 else np.full(len(sums), 1 / max(len(sums), 1)))
    return [float(score) for score in totals[0] + totals[1]]


def _uniform(pools: Sequence[Pool], keep: float) -> list[int]:
    counts = []
    for pool in pools:
        most = keep * pool.whole + _SLACK
        steps = allowed_counts(pool.units, pool.multiple, pool.minimum)
        counts.append(max((step for step in steps if step <= most), default=steps[0]))
    return counts


def _competing(pools: Sequence[Pool], keep: float) -> list[int]:
    budget = keep * sum(pool.whole * pool.cost for pool in pools) * (1 + _SLACK)
    steps = [allowed_counts(pool.units, pool.multiple, pool.minimum) for pool in pools]
    sums = [np.concatenate([[0.0], np.cumsum(np.sort(np.asarray(pool.scores))[::-1])]) for pool in pools]
    positions = [0] * len(pools)
    spent = sum(pool.cost * step[0] for pool, step in zip(pools, steps, strict=True))

    def offer(index: int) -> tuple[float, int] | None:
        """The next step of a pool as (minus worth by cost, pool); None where it is whole."""
        if positions[index] + 1 >= len(steps[index]):
            return None
        now, then = steps[index][positions[index]], steps[index][positions[index] + 1]
        worth = sums[index][then] - sums[index][now]
        return -worth / ((then - now) * pools[index].cost), index

    heap = [entry for entry in map(offer, range(len(pools))) if entry is not None]
    heapq.heapify(heap)
    while heap:
        _, index = heapq.heappop(heap)
        now, then = steps[index][positions[index]], steps[index][positions[index] + 1]
        price = (then - now) * pools[index].cost
        if spent + price > budget:
            continue  # later steps of this pool may not jump the queue
        spent += price
        positions[index] += 1
        following = offer(index)
        if following is not None:
            heapq.heappush(heap, following)
    return [step[at] for step, at in zip(steps, positions, strict=True)]
