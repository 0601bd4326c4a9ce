"""Which words of a text are masked: those that it masks itself, else a share of them, chosen by the text.

The choice depends on the text alone, so that every model, runtime and repetition is asked the same words,
whatever pieces its vocabulary has for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SHARE = 0.15


def chosen(text: str, words: Sequence[int | None]) -> np.ndarray:
    """Which tokens are masked, bool [tokens]: all pieces of each chosen word, one word at least.

    Args:
        text: that the tokens are of.
        words: number of the word that each token is of; None for specials.
    """
    numbers = sorted({word for word in words if word is not None})
    picked: set[int] = set()
    if numbers:
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        count = max(1, round(SHARE * len(numbers)))
        picked = set(np.random.default_rng(seed).permutation(numbers)[:count].tolist())
    return np.asarray([word in picked for word in words], dtype=bool)
