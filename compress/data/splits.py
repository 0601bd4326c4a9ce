"""Dividing rows: what is held out for selection, what calibrates, which length limit fits.

Selection is carved by groups (``grouping``). Rows shorter than a phrase that stand inside
other rows follow them: into selection when every row that contains them is there, else into
training. So no selection row equals, contains or is contained in a training row, except that a
training row below ``grouping.PHRASE`` words may stand inside a selection row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.data import grouping

SELECTION_ROWS = 2000


@dataclass(frozen=True)
class Carving:
    """Row numbers on each side, ascending.

    Attributes:
        train: rows to train on.
        selection: rows held out; empty where no group is small enough.
        unlabeled: rows without labels that go with the training rows.
        dropped: unlabeled rows that belong to a group that is held out, so that no side takes them.
        over_limit: rows that ``limit`` left on no side.
        groups: how many groups there are.
        largest: rows of the largest.
    """

    train: np.ndarray
    selection: np.ndarray
    unlabeled: np.ndarray
    dropped: int
    over_limit: int
    groups: int
    largest: int


def _followers(
    rows: Sequence[Sequence[tuple[str, ...]]], groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Groups that follow others, bool [rows] at their first row, and pairs (follower, leader group)."""
    phrase = grouping.PHRASE * grouping.scale(rows)
    short = np.fromiter((all(len(t) < phrase for t in texts) for texts in rows), dtype=bool, count=len(rows))
    all_short = np.ones(len(rows), dtype=bool)
    np.logical_and.at(all_short, groups, short)
    pairs = groups[grouping.containers(rows)]
    pairs = pairs[all_short[pairs[:, 0]] & (pairs[:, 0] != pairs[:, 1])]
    follows = np.zeros(len(rows), dtype=bool)
    follows[pairs[:, 0]] = True
    return follows, pairs[~follows[pairs[:, 1]]]


def carve(
    rows: Sequence[Sequence[tuple[str, ...]]],
    labeled: int,
    share: float,
    limit: int | None,
    seed: int,
    together: np.ndarray | None = None,
) -> Carving:
    """Hold labeled rows out for selection, by whole groups in seeded order.

    Args:
        rows: word sequences of each row's texts, the labeled rows first.
        labeled: how many rows have labels; the others count in no share, but follow their group.
        share: of the labeled rows to hold out, at most ``SELECTION_ROWS``; 0 for none. At least one group
            where rows are scored together.
        limit: at most this many training rows, by whole groups while they fit; all when None.
        seed: of the order.
        together: group numbers from 0 of rows that are scored together, int64 [rows], which nothing parts:
            ``limit`` then takes no single rows either. None where each row is scored by itself.
    """
    count = len(rows)
    rng = np.random.default_rng(seed)
    groups = grouping.group(rows, together)
    follows, pairs = _followers(rows, groups)
    sizes = np.bincount(groups[:labeled], minlength=count)
    target = min(SELECTION_ROWS, max(1, round(share * min(labeled, limit or labeled)))) if share else 0
    leaders = np.flatnonzero((sizes > 0) & ~follows)
    if share and together is not None and len(leaders) > 1:
        target = max(target, int(sizes[leaders].min()))  # a query may have more documents than that share
    order = rng.permutation(leaders[sizes[leaders] <= target])

    def held_out(groups_taken: int) -> np.ndarray:
        chosen = np.zeros(count, dtype=bool)
        chosen[order[:groups_taken]] = True
        following = follows.copy()
        following[pairs[~chosen[pairs[:, 1]], 0]] = False
        return chosen | following

    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        if sizes[held_out(middle)].sum() <= target:
            low = middle
        else:
            high = middle - 1
    selection_mask = held_out(low)[groups] if low else np.zeros(count, dtype=bool)
    train = np.flatnonzero(~selection_mask[:labeled])
    parts = groups if together is None else together
    within_limit = limit_rows(train, parts[train], limit, rng, whole=together is not None)
    return Carving(
        train=within_limit,
        selection=np.flatnonzero(selection_mask[:labeled]),
        unlabeled=labeled + np.flatnonzero(~selection_mask[labeled:]),
        dropped=int(selection_mask[labeled:].sum()),
        over_limit=len(train) - len(within_limit),
        groups=len(np.unique(groups)),
        largest=int(np.bincount(groups, minlength=1).max()),
    )


def limit_rows(
    rows: np.ndarray,
    groups: np.ndarray,
    limit: int | None,
    rng: np.random.Generator,
    *,
    whole: bool = False,
) -> np.ndarray:
    """At most ``limit`` of the rows: whole groups in random order while they fit, then single rows.

    Args:
        rows: row numbers, ascending.
        groups: of each.
        limit: all rows where None.
        rng: of the order.
        whole: whether a part of a group is of no use, so that there may be fewer rows than ``limit``.
    """
    if limit is None or len(rows) <= limit:
        return rows
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    group_mask, left = np.zeros(len(names), dtype=bool), limit
    for name in rng.permutation(len(names)):
        if sizes[name] <= left:
            group_mask[name] = True
            left -= sizes[name]
    chosen = group_mask[member]
    if left and not whole:
        chosen[rng.choice(np.flatnonzero(~chosen), size=left, replace=False)] = True
    limited: np.ndarray = rows[chosen]
    return limited


def stratified(lengths: Sequence[int] | None, rows: int, count: int, seed: int) -> np.ndarray:
    """``count`` of the rows, one from each of as many equal bands of length; ascending int64.

    Args:
        lengths: length of each row in any unit, or None where rows have none (a plain sample).
        rows: how many rows there are.
        count: how many to take; all of them when there are no more.
        seed: of the choice.
    """
    if rows <= count:
        return np.arange(rows)
    rng = np.random.default_rng(seed)
    if lengths is None:
        return np.sort(rng.choice(rows, size=count, replace=False))
    order = np.lexsort((rng.random(rows), np.asarray(lengths)))
    return np.sort([band[rng.integers(len(band))] for band in np.array_split(order, count)])


def choose_max_length(lengths: np.ndarray, model_max: int | None) -> tuple[int, float]:
    """The length limit for rows of these lengths, and the share of rows that it cuts.

    The 99.9th percentile, rounded up to a multiple of 8, at most what the model takes.

    Args:
        lengths: tokens of each row, specials included; at least one row.
        model_max: positions of the model; None where it has no limit.
    """
    rank = math.ceil(0.999 * len(lengths)) - 1
    limit = -(-int(np.sort(lengths)[rank]) // 8) * 8
    if model_max is not None:
        limit = min(limit, model_max)
    return limit, float(np.mean(lengths > limit))
