"""Groups: each rule by hand, all of them against a slow reference, and SST-2 as it is."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from compress.data import grouping, splits

Words = tuple[str, ...]


def slow_links(a: Words, b: Words, times: int = 1) -> bool:
    """The four rules of the module's docstring, word for word."""
    phrase, edit, run = (times * size for size in (grouping.PHRASE, grouping.EDIT, grouping.RUN))
    short, long = sorted((a, b), key=len)
    inside = any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))
    if a == b or (len(short) >= phrase and inside):
        return True
    if len(short) >= edit:
        if len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1:
            return True
        if len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long))):
            return True
    runs = {a[i : i + run] for i in range(len(a) - run + 1)}
    return any(b[i : i + run] in runs for i in range(len(b) - run + 1))


def slow_groups(rows: list[list[Words]], times: int = 1) -> list[int]:
    """Connected components by repeated merging."""
    label = list(range(len(rows)))
    for i in range(len(rows)):
        for j in range(i):
            if label[i] != label[j] and any(slow_links(a, b, times) for a in rows[i] for b in rows[j]):
                low, high = sorted((label[i], label[j]))
                label = [low if entry == high else entry for entry in label]
    return label


def together(*texts: str) -> bool:
    """Whether texts form one group."""
    return len(set(grouping.group([[grouping.words(text)] for text in texts]).tolist())) == 1


@pytest.mark.parametrize(
    ("first", "second", "linked"),
    [
        ("A fine film!", "a fine, FILM", True),
        ("a fine film", "a fine story", False),
        ("one of the best", "it is one of the best films", True),
        ("of the best", "it is one of the best films", False),
        ("a b c d e", "a b x d e", True),
        ("a b c d", "a b x d", False),
        ("a b c d e", "a b c c d e", True),
        ("a b c d e", "e d c b a", False),
        ("q a b c d e f g h r", "s t a b c d e f g h u", True),
        ("q a b c d e f g r s", "s t a b c d e f g u v", False),
        ("!!!", "!!!", True),
        ("!!!", "???", False),
    ],
)
def test_each_rule_links_what_it_says(first: str, second: str, linked: bool) -> None:
    """Equal, contained phrase, one word apart, shared run: at the length, and one word below it."""
    assert together(first, second) is linked


def test_links_go_on_through_a_third_row() -> None:
    """Two phrases without a common word are one group through the sentence that holds both."""
    left, right = "the cat sat down", "while dogs ran away"
    assert not together(left, right)
    assert together(left, right, f"{left} {right}")


def test_a_pair_links_by_either_text() -> None:
    """Rows of two texts share a group when any of their texts do."""
    rows = [
        [grouping.words("one premise of five words"), grouping.words("first thing")],
        [grouping.words("another premise that differs"), grouping.words("first other")],
        [grouping.words("one premise of five words"), grouping.words("second thing")],
    ]
    assert grouping.group(rows).tolist() == [0, 1, 0]


def test_characters_count_half_where_a_script_has_no_blanks() -> None:
    """Chinese text links by phrases of 8 characters, not of 4."""
    assert grouping.words("电影 good片") == ("电", "影", "good", "片")
    assert not together("电影很好", "这部电影很好看")
    assert together("这部电影真的很好", "我说这部电影真的很好看吧")


@pytest.mark.parametrize("seed", range(6))
def test_groups_equal_the_slow_reference(seed: int) -> None:
    """On random rows over few words, hashes on arrays give the groups that comparing all pairs gives."""
    source = random.Random(seed)
    base = [tuple(source.choices("abcdefghijklmnop", k=source.randrange(1, 24))) for _ in range(25)]
    rows: list[list[Words]] = []
    for _ in range(90):
        text = source.choice(base)
        begin = source.randrange(len(text))
        cut = list(text[begin : begin + source.randrange(1, 24)])
        if source.random() < 0.3:
            cut[source.randrange(len(cut))] = "q"
        if source.random() < 0.2:
            cut.insert(source.randrange(len(cut)), "r")
        rows.append([tuple(cut), ("z", str(source.randrange(40)))] if seed % 2 else [tuple(cut)])
    assert grouping.group(rows).tolist() == slow_groups(rows)


def test_containers_finds_every_row_around_a_short_one() -> None:
    """A text below four words is paired with each row that holds it whole, longer short ones too."""
    texts = ["film", "good film", "a good film it is", "nothing at all here", "film club"]
    pairs = {tuple(pair) for pair in grouping.containers([[grouping.words(t)] for t in texts]).tolist()}
    assert pairs == {(0, 1), (0, 2), (0, 4), (1, 2)}


def test_components_follow_long_chains() -> None:
    """A chain of a thousand links in shuffled order is one component, named by its first node."""
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)
    shuffled = np.random.default_rng(0).permutation(chain)
    assert (grouping.components(1000, shuffled) == 0).all()
    assert grouping.components(3, np.zeros((0, 2), dtype=np.int64)).tolist() == [0, 1, 2]


def test_sst2_is_carved_without_a_leak_in_seconds(shared: Path) -> None:
    """Of 67,349 phrases, at most 2,000 are held out, and none equals, holds or lies in a training row."""
    with gzip.open(shared / "data/sst2/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    begin = time.process_time()  # of this process alone: the machine may be busy
    words = [grouping.words(text) for text in texts]
    carving = splits.carve([[text] for text in words], len(words), 0.1, None, seed=0)
    assert time.process_time() - begin < 15
    assert 1800 <= len(carving.selection) <= splits.SELECTION_ROWS
    assert len(carving.train) + len(carving.selection) == len(texts) == 67_349
    assert carving.largest < 400  # groups stay near the size of one sentence's phrases
    train = {words[i] for i in carving.train}
    selection = {words[i] for i in carving.selection}
    assert not train & selection
    phrases = {text[i:j] for text in selection for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    inside_selection = train & phrases
    assert max(map(len, inside_selection)) < grouping.PHRASE
    longest = max(map(len, selection))
    for text in train:
        for i in range(len(text)):
            for j in range(i + 1, min(len(text), i + longest) + 1):
                assert text[i:j] not in selection
