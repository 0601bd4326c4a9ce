"""From rows to feeds: the same rows for everyone, fixed lengths, predictions in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_bench

from bench.lanes import cuts, feeds
from bench.lanes.feeds import Point
from bench.lanes.lane import Lane, LaneSpec
from bench.probes import Subject
from compress import catalog
from compress.errors import UserError
from compress.recipe import BenchConfig
from compress.tasks import Head
from deploy.truncation import Truncation

ROWS = tiny.sentences(30, 5)


def subject(**bench: Any) -> Subject:
    """What is measured on: thirty rows."""
    return Subject(
        task=catalog.load("task", "text-classification"),
        rows=ROWS,
        head=Head("single_label", ("negative", "positive")),
        bench=BenchConfig(**bench),
        baseline="one",
        seed=3,
    )


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """An open lane with the fake runtime."""
    artifact = tiny_bench.fake_artifact(tmp_path_factory.mktemp("feeds") / "artifact")
    with Lane(LaneSpec("one", artifact, tiny_bench.FAKE)) as opened:
        yield opened


def test_batches_go_through_all_rows_before_any_comes_again() -> None:
    """Ten batches of three from ten rows: each row three times, every ten rows a whole order."""
    batches = feeds.batches(10, 10, 3, np.random.default_rng(0))
    flat = [row for batch in batches for row in batch]
    assert [len(batch) for batch in batches] == [3] * 10
    assert sorted(flat[:10]) == list(range(10))
    assert sorted(flat) == sorted(list(range(10)) * 3)
    assert flat[:10] != flat[10:20]


def test_stretch_joins_real_rows_and_cuts_at_the_length() -> None:
    """Rows [1 2 3] and [4 5] become 1 2 3 4; a single short row is repeated."""
    parts = [{"ids": np.array([[1, 2, 3]])}, {"ids": np.array([[4, 5]])}]
    assert feeds.stretch(parts, {"ids": 1}, 4)["ids"].tolist() == [[1, 2, 3, 4]]
    assert feeds.stretch(parts[1:], {"ids": 1}, 5)["ids"].tolist() == [[4, 5, 4, 5, 4]]


def test_the_grid_is_every_batch_size_with_every_length() -> None:
    """Two sizes and two lengths are four points, with their words."""
    points = feeds.points(subject(batch_sizes=(1, 8), lengths=("data", 12)))
    assert points == [Point(1, "data"), Point(1, 12), Point(8, "data"), Point(8, 12)]
    assert [str(point) for point in points[:2]] == ["batch 1, real lengths", "batch 1, 12 tokens"]


def test_fixed_lengths_are_exact_and_made_of_real_tokens(lane: Lane) -> None:
    """Every feed has the asked shape, no padding, and only token ids that rows hold."""
    feed_set = feeds.at(lane, subject(), Point(4, 12), 100)
    token_ids = set()
    encode = feeds.encoder(lane, subject())
    for row in ROWS:
        token_ids |= set(encode([row]).inputs["input_ids"].ravel().tolist())
    assert len(feed_set.arrays) == 8
    for feed in feed_set.arrays:
        assert feed["input_ids"].shape == feed["attention_mask"].shape == (4, 12)
        assert feed["attention_mask"].all()
        assert set(feed["input_ids"].ravel().tolist()) <= token_ids
    assert feed_set.note() == "12.0 tokens a row, of them 0 % padding"


def test_real_feeds_are_the_same_rows_for_the_same_seed(lane: Lane) -> None:
    """Two candidates get the same rows in the same order; padding is stated as counted."""
    first = feeds.at(lane, subject(), Point(4, "data"), 6)
    second = feeds.at(lane, subject(), Point(4, "data"), 6)
    assert len(first.arrays) == 6
    for left, right in zip(first.arrays, second.arrays, strict=True):
        np.testing.assert_array_equal(left["input_ids"], right["input_ids"])
    masks = np.concatenate([feed["attention_mask"].ravel() for feed in first.arrays])
    assert first.padding == pytest.approx((masks == 0).mean())
    assert len({feed["input_ids"].shape for feed in first.arrays}) > 1


def test_a_length_is_refused_where_rows_have_none(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task without tokens answers to a token length with what to use."""
    monkeypatch.setattr(feeds, "_length_axes", lambda lane, subject: {})
    with pytest.raises(
        UserError, match="lengths: 12 was asked for, and rows of this model have no free length in tokens"
    ):
        feeds.at(lane, subject(), Point(1, 12), 1)


@pytest.mark.parametrize("size", [1, 7])
def test_predictions_come_in_the_order_of_the_rows(lane: Lane, size: int) -> None:
    """Batches are formed by length and every row gets its own prediction; a second call runs nothing."""
    sizes: list[int] = []
    predictions = feeds.predict(lane, subject(), size, sizes.append)
    assert [prediction.value for prediction in predictions] == [row["label"] for row in ROWS]
    assert sum(sizes) == len(ROWS)
    again: list[int] = []
    assert feeds.predict(lane, subject(), size, again.append) is predictions
    assert again == [len(ROWS)]


def test_cut_rows_are_counted(lane: Lane) -> None:
    """Rows longer than the artifact's 16 tokens, specials included, are cut; the baseline has none beyond."""
    cut = sum(len(str(row["text"]).split()) + 2 > 16 for row in ROWS)
    counted = cuts.count([lane], subject())["one"]
    assert counted == Truncation(rows=len(ROWS), cut=cut, limit=16, beyond_baseline=0)


def test_the_limit_of_the_artifact_holds(lane: Lane) -> None:
    """No encoded row is longer than ``encoding.json`` says."""
    long = {"text": " ".join(["good"] * 40), "label": 1}
    assert feeds.encoder(lane, subject())([long]).inputs["input_ids"].shape == (1, 16)
