"""Scores of ranked documents, by query, with ties resolved as chance would resolve them.

A model that gives every document of a query one score has ordered nothing. Where documents share a score,
each figure is therefore its mean over every order of those that are tied, in closed form: a constant answer
gets exactly what a random order gets, and never the 1 that sorting in the order of the file would give it.

    MRR@k     1 / place of the first relevant document, 0 where that is beyond k
    nDCG@k    sum of grade / log2(1 + place) to place k, divided by that of the best order
              (Jarvelin and Kekalainen 2002; gains are the grades themselves, as in trec_eval)
    recall@k  relevant documents to place k, of all relevant documents of the query

A document is relevant where its grade is above 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DEPTH = 10
RECALLS = (1, 10)


def blocks(scores: np.ndarray) -> list[np.ndarray]:
    """A query's documents from the highest score down, those of one score together."""
    order = np.argsort(-scores, kind="stable")
    cuts = np.flatnonzero(np.diff(scores[order])) + 1
    return np.split(order, cuts)


def reciprocal_rank(scores: np.ndarray, grades: np.ndarray, depth: int = DEPTH) -> float:
    """The expected reciprocal place of the first relevant document.

    In a block of ``b`` tied documents of which ``r`` are relevant, the first of these stands at the block's
    place ``j`` with probability C(b - j, r - 1) / C(b, r).
    """
    before = 0
    for block in blocks(scores):
        size, relevant = len(block), int((grades[block] > 0).sum())
        if relevant:
            orders = math.comb(size, relevant)
            places = range(1, min(size - relevant + 1, depth - before) + 1)
            return sum(math.comb(size - j, relevant - 1) / orders / (before + j) for j in places)
        before += size
    return 0.0


def gain(scores: np.ndarray, grades: np.ndarray, depth: int = DEPTH) -> float:
    """The expected nDCG: a place within a block gets the block's mean grade."""
    discounts = np.zeros(len(grades))
    top = min(depth, len(grades))
    discounts[:top] = 1 / np.log2(np.arange(2, top + 2))
    mean = np.concatenate([np.full(len(block), grades[block].mean()) for block in blocks(scores)])
    best = float(np.sort(grades)[::-1] @ discounts)
    return float(mean @ discounts) / best if best else 0.0


def recall(scores: np.ndarray, grades: np.ndarray, depth: int) -> float:
    """The expected share of the relevant documents that stand at the first ``depth`` places."""
    share = np.concatenate([np.full(len(block), (grades[block] > 0).mean()) for block in blocks(scores)])
    relevant = float((grades > 0).sum())
    return float(share[:depth].sum()) / relevant if relevant else 0.0


def of_query(scores: np.ndarray, grades: np.ndarray) -> np.ndarray:
    """One query's statistics, float64 [6]: 1, MRR, nDCG, each recall, and the MRR of a random order.

    All are 0 where none of its documents is relevant, so that it counts in no figure.
    """
    if not (grades > 0).any():
        return np.zeros(4 + len(RECALLS))
    figures = [reciprocal_rank(scores, grades), gain(scores, grades)]
    figures += [recall(scores, grades, depth) for depth in RECALLS]
    return np.array([1.0, *figures, reciprocal_rank(np.zeros(len(grades)), grades)])


def members(groups: np.ndarray) -> list[np.ndarray]:
    """The row numbers of each group, in the order of group numbers and of rows.

    Args:
        groups: group numbers from 0, int64 [rows].
    """
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(groups) else []


def numbered(keys: Sequence[object]) -> np.ndarray:
    """Group numbers of keys, from 0 in order of appearance, int64."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
