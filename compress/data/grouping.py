"""Which rows belong together, so that a split never parts near-duplicates or phrases of one sentence.

A text is compared as its sequence of words: letters and digits, case and punctuation aside. In
scripts without blanks each character counts as a word, and where most of the data is such, all
lengths below are doubled, since a Chinese word has about two characters. Two texts are *linked* when

1. they are equal,
2. one of at least ``PHRASE`` words stands whole inside the other,
3. both have at least ``EDIT`` words and differ in one word: replaced, added or left out, or
4. they share a run of ``RUN`` words.

Groups are the connected components. The lengths were measured on the 67,349 phrases of SST-2 (cut
from 6,920 sentences): with PHRASE = 3 the groups run together (one of 4,968 rows: phrases such as "one of
the" stand in unrelated sentences), with 4 the largest has 157 rows; 4 is the smallest length at
which groups stay near the size of a sentence's phrases. Adding rules 3 and 4 there makes the largest
248 rows, and the largest groups elsewhere are 568 of 5,749 rows (STS-B, whose captions
vary one pattern), 382 of 13,084 (SNIPS) and below 80 (RTE, CoLA, CLINC150, TNEWS, WNUT 17).
Rows shorter than PHRASE words link only by equality; where they may go is decided by what contains
them (``containers``, and ``carve`` in ``splits``).

Everything is exact but for collisions of 64-bit hashes: windows are compared by polynomial hashes
(Karp and Rabin 1987) over random word values, computed for all rows at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PHRASE = 4
EDIT = 5
RUN = 8

# Scripts that write without blanks: kana, Han ideographs (with extension A), Hangul syllables.
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+"
)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)


def words(text: str) -> tuple[str, ...]:
    """A text's words, case folded; a text without letters and digits is one word, itself."""
    tokens = tuple(_WORD.findall(text.casefold()))
    return tokens or (" ".join(text.split()),)


@dataclass(frozen=True)
class Corpus:
    """Texts as hashable windows.

    Attributes:
        owner: row of each text, int64 [texts].
        starts: place of each text's first word, int64 [texts + 1].
        prefix: polynomial hash of everything before a place, uint64 [words + 1].
        powers: powers of the base, uint64.
    """

    owner: np.ndarray
    starts: np.ndarray
    prefix: np.ndarray
    powers: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Words of each text."""
        lengths: np.ndarray = np.diff(self.starts)
        return lengths

    def hashes(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Hashes of the windows [begin, end), uint64 like ``begin``."""
        window_hashes: np.ndarray = self.prefix[end] - self.prefix[begin] * self.powers[end - begin]
        return window_hashes

    def windows(self, size: int, *, proper: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Begin and text of every window of ``size`` words inside one text (shorter than it if proper)."""
        room = self.lengths - size + 1
        counts = np.where(room > (1 if proper else 0), room, 0)
        text = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.starts[text] + within, text


def _powers(base: np.uint64, most: int) -> np.ndarray:
    """base**0 … base**most modulo 2**64."""
    powers = np.full(most + 1, base, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers, out=powers)


def index(rows: Sequence[Sequence[tuple[str, ...]]]) -> Corpus:
    """A corpus from rows of one or more word sequences each."""
    vocabulary: dict[str, int] = {}
    flat = [vocabulary.setdefault(word, len(vocabulary)) for texts in rows for text in texts for word in text]
    lengths = [len(text) for texts in rows for text in texts]
    owner = [row for row, texts in enumerate(rows) for _ in texts]
    # The seed is part of the method, not of a run: the same rows always hash alike.
    values = np.random.default_rng(20240229).integers(
        1, 2**64 - 1, size=max(1, len(vocabulary)), dtype=np.uint64
    )
    longest = max(lengths, default=0)
    powers = _powers(_BASE, longest)
    # prefix[i + 1] = prefix[i] * base + value, unrolled as sum of value * base**(-place): the base is
    # odd, so it has an inverse modulo 2**64.
    inverse = np.uint64(pow(int(_BASE), -1, 2**64))
    prefix = np.zeros(len(flat) + 1, dtype=np.uint64)
    terms = values[np.asarray(flat, dtype=np.int64)] * _powers(inverse, len(flat))[1:]
    prefix[1:] = np.cumsum(terms, dtype=np.uint64) * _powers(_BASE, len(flat))[1:]
    starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
    return Corpus(np.asarray(owner, dtype=np.int64), starts, prefix, powers)


def _equal_pairs(keys: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Chains of texts that share a key: int64 [pairs, 2]."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    return np.stack([texts[order[same]], texts[order[same + 1]]], axis=1)


def _contained(corpus: Corpus, sizes: Sequence[int]) -> np.ndarray:
    """Pairs (contained, container) of texts for contained texts of these sizes: int64 [pairs, 2]."""
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    lengths, text_hashes = corpus.lengths, corpus.hashes(corpus.starts[:-1], corpus.starts[1:])
    for size in sizes:
        phrases = np.flatnonzero(lengths == size)
        if not len(phrases):
            continue
        keys, first = np.unique(text_hashes[phrases], return_index=True)
        begin, text = corpus.windows(size, proper=True)
        hashes = corpus.hashes(begin, begin + size)
        at = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        hit = keys[at] == hashes
        pairs.append(np.stack([phrases[first[at[hit]]], text[hit]], axis=1))
    return np.concatenate(pairs)


def _one_word_apart(corpus: Corpus, least: int) -> np.ndarray:
    """Pairs of texts of at least ``least`` words that differ in one word: int64 [pairs, 2]."""
    begin, text = corpus.windows(1)
    keep = corpus.lengths[text] >= least
    place, text = begin[keep], text[keep]
    start, end = corpus.starts[text], corpus.starts[text + 1]
    after = end - place - 1
    without = corpus.hashes(start, place) * corpus.powers[after] + corpus.hashes(place + 1, end)
    # Replaced: equal once the word at the same place is gone, so the place is part of the key.
    replaced = _equal_pairs(without + (place - start + 1).astype(np.uint64) * _MIX, text)
    # Left out: equal to a whole text of one word less.
    long = corpus.lengths[text] > least
    text_hashes = corpus.hashes(corpus.starts[:-1], corpus.starts[1:])
    texts = np.flatnonzero(corpus.lengths >= least)
    if not len(texts):
        return replaced
    keys, first = np.unique(text_hashes[texts], return_index=True)
    at = np.minimum(np.searchsorted(keys, without[long]), len(keys) - 1)
    hit = keys[at] == without[long]
    left_out = np.stack([texts[first[at[hit]]], text[long][hit]], axis=1)
    return np.concatenate([replaced, left_out])


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest member of each node's connected component, int64 [count].

    Every node takes the smallest label among its neighbors, then labels jump to their own labels
    until nothing changes (Shiloach and Vishkin 1982, on arrays).
    """
    label = np.arange(count)
    while len(pairs):
        left, right = label[pairs[:, 0]], label[pairs[:, 1]]
        pairs = pairs[left != right]
        if not len(pairs):
            break
        low, high = np.minimum(left, right), np.maximum(left, right)
        np.minimum.at(label, high, low)
        while True:
            jumped = label[label]
            if np.array_equal(jumped, label):
                break
            label = jumped
    return label


def scale(rows: Sequence[Sequence[tuple[str, ...]]]) -> int:
    """What the lengths are multiplied with: 2 where most words are single characters of such a script."""
    total = sum(len(text) for texts in rows for text in texts)
    single = sum(
        1 for texts in rows for text in texts for word in text if len(word) == 1 and word >= "\u3040"
    )
    return 2 if 2 * single > total else 1


def group(rows: Sequence[Sequence[tuple[str, ...]]], together: np.ndarray | None = None) -> np.ndarray:
    """The group of each row as the index of the group's first row, int64 [rows].

    Args:
        rows: the word sequences of each row's texts (one for a single text, two for a pair); a row
            belongs to the groups of all of its texts.
        together: numbers from 0 of rows that belong together whatever their texts are, int64 [rows].
    """
    corpus, times = index(rows), scale(rows)
    text_hashes = corpus.hashes(corpus.starts[:-1], corpus.starts[1:])
    begin, text = corpus.windows(RUN * times)
    pairs = np.concatenate(
        [
            _equal_pairs(text_hashes, np.arange(len(text_hashes))),
            _contained(corpus, range(PHRASE * times, RUN * times)),
            _one_word_apart(corpus, EDIT * times),
            _equal_pairs(corpus.hashes(begin, begin + RUN * times), text),
        ]
    )
    linked = corpus.owner[pairs]
    if together is not None:
        _, first = np.unique(together, return_index=True)
        linked = np.concatenate([linked, np.stack([first[together], np.arange(len(rows))], axis=1)])
    return components(len(rows), linked)


def containers(rows: Sequence[Sequence[tuple[str, ...]]]) -> np.ndarray:
    """Pairs (first row with a text below PHRASE words, row that contains that text): int64 [pairs, 2]."""
    corpus = index(rows)
    pairs: np.ndarray = corpus.owner[_contained(corpus, range(1, PHRASE * scale(rows)))]
    return pairs
