"""Carving, limits, calibration and the length limit, on rows that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from compress.data import grouping, splits

Words = tuple[str, ...]


def rows_of(*texts: str) -> list[list[Words]]:
    """One text a row."""
    return [[grouping.words(text)] for text in texts]


def families(count: int, size: int) -> list[list[Words]]:
    """``count`` groups of ``size`` rows: a sentence of its own words, and phrases of it."""
    rows = []
    for family in range(count):
        sentence = tuple(f"w{family}x{i}" for i in range(size + 8))
        rows += [[sentence[: len(sentence) - i]] for i in range(size)]
    return rows


def test_groups_stay_whole_and_the_share_is_kept() -> None:
    """A tenth of 200 rows in groups of 5 is four whole groups."""
    carving = splits.carve(families(40, 5), 200, 0.1, None, seed=3)
    assert len(carving.selection) == 20
    assert len(carving.train) == 180
    assert sorted(np.concatenate([carving.train, carving.selection]).tolist()) == list(range(200))
    assert set(np.bincount(carving.selection // 5).tolist()) <= {0, 5}
    assert (carving.groups, carving.largest, carving.over_limit, carving.dropped) == (40, 5, 0, 0)


def test_the_seed_decides_and_nothing_else() -> None:
    """Equal seeds carve alike, another seed differently."""
    rows = families(40, 5)
    same = [splits.carve(rows, 200, 0.1, None, seed=1).selection.tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != splits.carve(rows, 200, 0.1, None, seed=2).selection.tolist()


def test_never_more_than_two_thousand() -> None:
    """The share has a ceiling."""
    rows = [[(f"a{i}", f"b{i}", f"c{i}", f"d{i}")] for i in range(25_000)]
    assert len(splits.carve(rows, len(rows), 0.4, None, seed=0).selection) == splits.SELECTION_ROWS


def test_a_group_larger_than_the_share_stays_in_training() -> None:
    """Where all rows are versions of each other, nothing is held out."""
    carving = splits.carve(families(1, 30), 30, 0.1, None, seed=0)
    assert len(carving.selection) == 0
    assert len(carving.train) == 30


@pytest.mark.parametrize("seed", range(8))
def test_short_rows_follow_the_rows_around_them(seed: int) -> None:
    """A word is held out exactly when every row that holds it is; a word in no row is on its own."""
    sentences = [f"alpha{i} beta{i} gamma{i} delta{i} common" for i in range(12)]
    rows = rows_of(*sentences, "common", *(f"alpha{i}" for i in range(12)), "apart")
    carving = splits.carve(rows, len(rows), 0.4, None, seed=seed)
    selection = set(carving.selection.tolist())
    assert 12 not in selection  # "common" stands on both sides: training
    for i in range(12):
        assert (i in selection) is (13 + i in selection)
    assert 0 < len(selection) <= round(0.4 * len(rows))


def test_unlabeled_rows_of_a_held_out_group_are_dropped() -> None:
    """Rows without labels never count for selection, and none stays that is linked to a held-out row."""
    labeled = families(10, 2)
    loose = [[row[0][:-1]] for row in labeled[::2]] + [[("free", "words", "that", "stand", "alone")]]
    carving = splits.carve(labeled + loose, 20, 0.2, None, seed=0)
    groups = {int(i) // 2 for i in carving.selection}
    assert len(carving.selection) == 4
    assert carving.dropped == len(groups) == 2
    assert set(carving.unlabeled.tolist()) == {20 + i for i in range(11) if i not in groups}


def test_a_limit_takes_whole_groups_and_shrinks_the_share() -> None:
    """At most 50 of 200 rows train, in whole groups of 5, and a tenth of 50 is held out."""
    carving = splits.carve(families(40, 5), 200, 0.1, 50, seed=0)
    assert len(carving.selection) == 5
    assert len(carving.train) == 50
    assert carving.over_limit == 145
    assert set(np.bincount(carving.train // 5).tolist()) == {0, 5}


def test_a_limit_below_the_only_group_takes_single_rows() -> None:
    """A limit is exact also where no group fits into it."""
    rng = np.random.default_rng(0)
    rows = splits.limit_rows(np.arange(100), np.zeros(100, dtype=np.int64), 16, rng)
    assert len(rows) == 16
    assert (np.diff(rows) > 0).all()


def test_rows_that_are_scored_together_are_never_parted() -> None:
    """Queries of five documents, no texts in common: whole ones on each side, and within a limit."""
    rows = [[(f"q{i}",)] for i in range(200)]
    together = np.arange(200) // 5
    carving = splits.carve(rows, 200, 0.1, 33, seed=0, together=together)
    for side in (carving.train, carving.selection):
        assert set(np.bincount(side // 5).tolist()) <= {0, 5}
    assert len(carving.train) == 30
    assert carving.selection.size
    assert carving.over_limit == 200 - 30 - len(carving.selection)
    assert not splits.carve(rows, 200, 0.0, 4, seed=0, together=together).train.size


def test_calibration_takes_one_row_of_each_length_band() -> None:
    """Of lengths 0 to 999, ten rows are one of each hundred; seeds choose within the bands."""
    lengths = np.random.default_rng(0).permutation(1000).tolist()
    chosen = splits.stratified(lengths, 1000, 10, seed=0)
    assert sorted(lengths[i] // 100 for i in chosen) == list(range(10))
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() != splits.stratified(lengths, 1000, 10, seed=1).tolist()
    assert splits.stratified(None, 1000, 10, seed=0).shape == (10,)
    assert splits.stratified([5, 3], 2, 10, seed=0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("lengths", "model_max", "limit", "share"),
    [
        ([10] * 999 + [500], 512, 16, 0.001),
        ([10] * 998 + [500] * 2, 512, 504, 0.0),
        ([16] * 10, None, 16, 0.0),
        ([300, 600], 512, 512, 0.5),
    ],
)
def test_the_length_limit_covers_all_but_one_in_a_thousand(
    lengths: list[int], model_max: int | None, limit: int, share: float
) -> None:
    """The 99.9th percentile, up to a multiple of 8, at most what the model takes."""
    assert splits.choose_max_length(np.asarray(lengths), model_max) == (limit, pytest.approx(share))
