"""Whose turn it is: every candidate once a round, in an order shuffled anew.

Candidates are measured in turns, so that a machine whose speed drifts drifts for all of them, and in a
shuffled order, so that none always follows the same other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

_Lane = TypeVar("_Lane")


def shuffled(lanes: Sequence[_Lane], generator: np.random.Generator) -> Iterator[_Lane]:
    """The lanes of one round, each once.

    Args:
        lanes: of the candidates.
        generator: of the order; the next round takes the same one, which goes on from here.
    """
    for index in generator.permutation(len(lanes)):
        yield lanes[int(index)]
