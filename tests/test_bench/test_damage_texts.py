"""Changed texts, challenge sets, groups and the weight of words."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_damage

from bench.answers import challenges, occlusion, perturb
from bench.answers.answers import Pair
from bench.findings import challenge, fairness, robustness
from compress import catalog
from compress.data import BESIDE
from compress.errors import DataError, UserError
from compress.tasks import Head

TEXT = catalog.load("task", "text-classification")
TOKENS = catalog.load("task", "token-classification")
IMAGES = catalog.load("task", "image-classification")
HEAD = tiny_damage.HEAD
RNG = np.random.default_rng


def source(seed: int = 0) -> random.Random:
    """A source of chance."""
    return random.Random(seed)


def test_a_typo_keeps_the_ends_of_a_word() -> None:
    """One word in ten, at least one; first and last letters and short words stay; a seed repeats it."""
    text = "the wonderful story of an ugly film"
    for seed in range(30):
        changed = perturb.typos(text, source(seed))
        pairs = zip(text.split(), changed.split(), strict=True)
        moved = [(old, new) for old, new in pairs if old != new]
        assert len(moved) <= 1
        for old, new in moved:
            assert len(old) >= 4
            assert (old[0], old[-1]) == (new[0], new[-1])
            assert abs(len(old) - len(new)) <= 1
    assert perturb.typos(text, source(3)) == perturb.typos(text, source(3))
    assert perturb.typos("so it is", source()) == "so it is"
    assert len({perturb.typos(text, source(seed)) for seed in range(30)}) > 5


def test_casing_changes_case_alone() -> None:
    """Whatever comes, letters are the same; a text without letters stays."""
    for seed in range(5):
        changed = perturb.casing("A fine Film", source(seed))
        assert changed != "A fine Film"
        assert changed.casefold() == "a fine film"
    assert perturb.casing("123", source()) == "123"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it works .", "it works"),
        ("it works", "it works."),
        ("good , warm and bright !", "good warm and bright"),
    ],
)
def test_punctuation_goes_or_comes(text: str, expected: str) -> None:
    """The closing mark is dropped or added; commas go."""
    assert perturb.punctuation(text, source()) == expected


def test_length_adds_what_says_nothing() -> None:
    """The text stays in front."""
    changed = perturb.length("a film", source())
    assert changed.startswith("a film https://t.co/")
    assert len(changed.split()) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the film is good", "the film is not good"),
        ("the film is not good", "the film is good"),
        ("it does n't work", "it does work"),
        ("it doesn't work, and it is dull", "it does work, and it is dull"),
        ("it didn\u2019t help", "it did help"),
        ("a lovely film", "a lovely film"),
    ],
)
def test_negation_turns_the_first_verb(text: str, expected: str) -> None:
    """Added where there is none, taken away where there is one; without a verb nothing happens."""
    assert perturb.negation(text, source()) == expected


def by_words(rows: Sequence[dict[str, Any]], blind: bool = False) -> Pair:
    """An original that finds 'good' in any case, and a candidate that needs it in small letters."""
    before = [0.9 if "good" in row["text"].lower() else 0.1 for row in rows]
    after = [0.9 if "good" in row["text"] and not blind else 0.1 for row in rows]
    labels = [row["label"] for row in rows] if all("label" in row for row in rows) else None
    return tiny_damage.pair(before, after, labels, list(rows))


ROWS = [{"text": "a good film" if i % 2 else "a dull film", "label": i % 2} for i in range(40)]


def test_robustness_is_what_the_candidate_loses_beyond_the_original() -> None:
    """The candidate reads small letters only: casing costs it, and the original nothing."""
    finding = robustness.find(ROWS, TEXT, by_words, 100, 0)
    changes = {change.name: change for change in finding.changes}
    assert finding.changes[0].name == "casing"
    casing = changes["casing"]
    assert casing.rows == 40
    assert (casing.clean_before, casing.clean_after, casing.before) == (1, 1, 1)
    assert casing.extra is not None
    assert casing.extra == pytest.approx((casing.after or 0) - 1)
    assert casing.extra < -0.1
    assert casing.interval is not None
    assert casing.interval.high < 0
    assert casing.worst[0].change == "harmful"
    assert casing.worst[0].truth == "positive"
    assert changes["length"].extra == 0
    assert "negation" not in changes
    assert "negation: the change applies to none of the rows" in finding.notes


def test_a_negated_text_is_measured_by_agreement_alone() -> None:
    """Its label is not known: no metric, no truth shown, only whether both models react alike."""
    rows = [{"text": "the film is good", "label": 1} for _ in range(10)]
    finding = robustness.find(
        rows, TEXT, lambda batch: by_words(batch, blind="not" in batch[0]["text"]), 100, 0
    )
    negation = next(change for change in finding.changes if change.name == "negation")
    assert negation.extra is None
    assert (negation.agreement, negation.reacted_before, negation.reacted_after) == (0, 0, 1)
    assert negation.worst
    assert all(row.truth is None and row.truth_before is None for row in negation.worst)


def test_a_sample_is_seeded_and_rows_keep_their_numbers() -> None:
    """Ten of forty rows, the same ones for a seed; a listed row is numbered as in the data."""
    finding = robustness.find(ROWS, TEXT, by_words, 10, 3)
    assert finding.rows == 10
    assert finding == robustness.find(ROWS, TEXT, by_words, 10, 3)
    listed = [row for change in finding.changes for row in change.worst]
    assert all(row.cells["text"].lower().startswith("a good") for row in listed)
    assert all(ROWS[row.number - 1]["label"] == 1 for row in listed)


def test_tagged_words_keep_their_places() -> None:
    """Typos and casing word by word, and nothing that would move a tag."""
    head = Head("tags", ("O", "B-X"))
    rows = [{"tokens": ["London", "calls", "again"], "tags": (1, 0, 0)} for _ in range(6)]

    def answer(batch: Sequence[dict[str, Any]]) -> Pair:
        assert all(len(row["tokens"]) == 3 for row in batch)
        true = [row["tags"] for row in batch]
        now = [(1, 0, 0) if row["tokens"][0] == "London" else (0, 0, 0) for row in batch]
        return tiny_damage.decided(head, true, now, true, batch)

    finding = robustness.find(rows, TOKENS, answer, 100, 0)
    assert {change.name for change in finding.changes} == {"typos", "casing"}
    assert finding.metric == "f1"


def test_images_have_no_texts_to_change() -> None:
    """One sentence."""
    with pytest.raises(UserError, match="the rows of this task have none"):
        robustness.find([], IMAGES, by_words, 10, 0)


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A file of rows."""
    return tiny.write_jsonl(folder / name, rows)


def test_a_labeled_set_is_passed_row_by_row(tmp_path: Path) -> None:
    """Tests are named by a column; the candidate's own failures are listed with what was wanted."""
    file = write(
        tmp_path,
        "set.jsonl",
        [
            {"text": "good", "label": 1, "functionality": "praise"},
            {"text": "GOOD", "label": 1, "functionality": "shout"},
            {"text": "dull", "label": 0, "functionality": "shout"},
        ],
    )
    read = challenges.read(str(file), TEXT, HEAD)
    assert (read.layout, len(read.cases)) == ("labeled", 3)
    finding = challenge.find(read, by_words(read.rows), TEXT)
    assert (finding.whole.before, finding.whole.harmful, finding.whole.beneficial) == (1, 1, 0)
    assert finding.whole.after == pytest.approx(2 / 3)
    assert [(test.name, test.cases, test.after) for test in finding.tests] == [
        ("shout", 2, 0.5),
        ("praise", 1, 1.0),
    ]
    assert [(row.cells["text"], row.truth) for row in finding.worst] == [("GOOD", "positive")]


def test_a_contrast_set_is_passed_pair_by_pair(tmp_path: Path) -> None:
    """Two files in the same order belong together: both right, or failed."""
    write(tmp_path / "c", "test_original.jsonl", [{"text": "good", "label": 1}, {"text": "dull", "label": 0}])
    write(tmp_path / "c", "test_contrast.jsonl", [{"text": "dull", "label": 0}, {"text": "GOOD", "label": 1}])
    read = challenges.read(str(tmp_path / "c"), TEXT, HEAD)
    assert (read.layout, [case.rows for case in read.cases]) == ("pairs", [(0, 2), (1, 3)])
    finding = challenge.find(read, by_words(read.rows), TEXT)
    assert (finding.whole.cases, finding.whole.before, finding.whole.after) == (2, 1.0, 0.5)
    assert finding.worst[0].cells["text"] == "GOOD"


def test_pairs_by_a_column(tmp_path: Path) -> None:
    """Rows of one pair_id belong together; one that stands alone is left out and said."""
    rows = [{"text": "good", "label": 1, "pair_id": i // 2} for i in range(5)]
    read = challenges.read(str(write(tmp_path, "p.jsonl", rows)), TEXT, HEAD)
    assert len(read.cases) == 2
    assert read.notes == ("1 rows without a partner were left out",)


CHECKLIST = [
    {"test": "words", "type": "MFT", "case": "good", "expected": 2},
    {"test": "words", "type": "MFT", "case": "plain", "expected": 1},
    {"test": "not negative", "type": "MFT", "case": "dull", "expected": None},
    {"test": "names", "type": "INV", "case": ["good Ann", "GOOD Bob"], "expected": None},
    {"test": "reducers", "type": "DIR", "case": ["a dull film", "a GOOD film"], "expected": None},
    {"test": "intensifiers", "type": "DIR", "case": ["good", "very good"], "expected": None},
]


def test_a_checklist_suite_is_read_by_its_types(tmp_path: Path) -> None:
    """Labels, a forbidden label, the same answer, and confidence that must not move the wrong way."""
    read = challenges.read(str(write(tmp_path, "suite.jsonl", CHECKLIST)), TEXT, HEAD)
    assert read.layout == "checklist"
    assert [case.rule for case in read.cases] == ["labels", "not", "same", "not up", "not down"]
    assert read.notes == ("1 cases expect a label that the model does not have, and were left out",)
    pair = by_words(read.rows)
    assert [case.passes(pair.before.predictions) for case in read.cases] == [True, False, True, True, True]
    assert [case.passes(pair.after.predictions) for case in read.cases] == [True, False, False, True, True]
    finding = challenge.find(read, pair, TEXT)
    assert finding.whole.harmful == 1
    assert finding.worst[0].truth == "the same for every variant"


def test_confidence_may_move_a_little() -> None:
    """Beyond a tenth the wrong way is a failure; the right way never is."""
    case = challenges.Case("t", (0, 1), "not down")
    for second, passes in ((0.85, True), (0.75, False), (0.99, True)):
        assert case.passes(tiny_damage.answers([0.9, second]).predictions) is passes


def test_a_large_set_is_sampled_with_its_rows(tmp_path: Path) -> None:
    """So many cases by the seed, each with all of its rows, and a note."""
    rows = [{"text": f"good {i}", "label": 1, "pair_id": i // 2} for i in range(40)]
    read = challenges.read(str(write(tmp_path, "p.jsonl", rows)), TEXT, HEAD).sample(5, 1)
    assert (len(read.cases), len(read.rows)) == (5, 10)
    assert read.notes == ("5 of 20 cases, chosen by the seed",)
    for case in read.cases:
        ids = {read.rows[i][BESIDE]["pair_id"] for i in case.rows}
        assert len(ids) == 1


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("a.jsonl", [{"text": "x", "label": "toxic"}], "has the label 'toxic', which the model's head"),
        ("a.jsonl", [{"text": "x"}], "has no labels: a challenge set says what is right"),
        ("a.jsonl", [{"words": "x", "label": 1}], "has no column for text"),
        ("a.jsonl", [{"text": "x", "label": 1, "pair_id": 1}], "every pair_id occurs once"),
        ("a.jsonl", [{"case": 3, "type": "MFT", "expected": 0}], "'case' must be a text or a list"),
        ("a.jsonl", [{"case": "x", "type": "ABC", "expected": 0}], "allowed: MFT, INV, DIR"),
        ("a.jsonl", [{"case": "x", "type": "MFT", "expected": 7}], "it counts 3 labels from 0"),
        ("a.jsonl", [{"case": ["x"], "type": "DIR", "expected": None}], "give a column 'direction'"),
        ("a.jsonl", [{"case": "x", "type": "MFT", "expected": 1}], "no case that these labels can judge"),
    ],
)
def test_a_set_that_does_not_fit_is_one_sentence(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], reason: str
) -> None:
    """Labels of another task, no labels, no text, nothing paired, a damaged suite: each names the set."""
    with pytest.raises(DataError, match=r"challenge set .*a\.jsonl: ") as raised:
        challenges.read(str(write(tmp_path, name, rows)), TEXT, HEAD)
    assert reason in str(raised.value)


def test_a_suite_for_other_labels_says_which(tmp_path: Path) -> None:
    """With the file that would name them."""
    file = write(tmp_path, "s.jsonl", CHECKLIST)
    with pytest.raises(
        DataError, match=r"expects the labels negative, neutral, positive.*toxic.*labels\.json"
    ):
        challenges.read(str(file), TEXT, Head("single_label", ("fine", "toxic")))
    (tmp_path / "labels.json").write_text(json.dumps(["fine", "so-so", "toxic"]))
    assert len(challenges.read(str(file), TEXT, Head("single_label", ("fine", "toxic"))).cases) == 5


@pytest.mark.parametrize("files", [(), ("a.jsonl", "b.jsonl")])
def test_a_folder_that_is_not_clear_is_one_sentence(tmp_path: Path, files: tuple[str, ...]) -> None:
    """No file, or several of which none is named as a test."""
    for name in files:
        write(tmp_path, name, [{"text": "x", "label": 1}])
    with pytest.raises(DataError, match=r"no data file|several files \(a, b\)"):
        challenges.read(str(tmp_path), TEXT, HEAD)
    with pytest.raises(DataError, match="no such folder or file"):
        challenges.read(str(tmp_path / "nowhere"), TEXT, HEAD)


def test_twins_of_different_size_are_refused(tmp_path: Path) -> None:
    """Rows at the same place belong together."""
    write(tmp_path, "x_original.jsonl", [{"text": "a", "label": 1}])
    write(tmp_path, "x_contrast.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    with pytest.raises(DataError, match="both need as many"):
        challenges.read(str(tmp_path), TEXT, HEAD)


def grouped() -> Pair:
    """Two groups of forty rows, half of each positive; the candidate misses half of one group's positives."""
    rows = [{"text": "x", BESIDE: {"who": "a" if i < 40 else "b"}} for i in range(80)] + [
        {"text": "x", BESIDE: {"who": "c"}}
    ]
    truth = [i % 2 for i in range(81)]
    before = [0.9 if true else 0.1 for true in truth]
    after = [0.1 if i < 40 and i % 4 == 1 else p for i, p in enumerate(before)]
    return tiny_damage.pair(before, after, truth, rows)


def test_gaps_between_groups_by_hand() -> None:
    """Accuracy 75 % against 100 %; half of the hits of one group: gaps of 25 and 50 points, none before."""
    gaps, small = fairness.by_column(grouped(), TEXT, "who", 20, RNG(0))
    metric, odds = gaps
    assert (metric.of, metric.before, metric.after) == ("metric", 0, pytest.approx(0.25))
    assert (odds.of, odds.before, odds.after) == ("equalized odds", 0, pytest.approx(0.5))
    # Missing half of the positives is as many false alarms of the other class: the first of both is named.
    assert odds.answer == "false alarms of negative"
    assert {group.name: group.after for group in odds.groups} == {"a": 0.5, "b": 0.0}
    assert metric.interval is not None
    assert metric.interval.low < 0.25 < metric.interval.high
    assert metric.interval.low > 0.05
    assert [(group.name, group.rows) for group in small] == [("c", 1)]


def test_groups_that_are_not_there_are_one_sentence() -> None:
    """An unknown column with those that there are; a column with one large group with its counts."""
    with pytest.raises(DataError, match="no column 'gender'; the columns are: who"):
        fairness.by_column(grouped(), TEXT, "gender", 20, RNG(0))
    with pytest.raises(DataError, match=r"has 0 groups of at least 50 rows.*a \(40\)"):
        fairness.by_column(grouped(), TEXT, "who", 50, RNG(0))


def test_sentences_that_differ_in_the_group_alone(tmp_path: Path) -> None:
    """Terms are taken out, with their article; the range of a probability and turned answers by hand."""
    assert fairness.frame("Ann is an Asian cook", "asian") == fairness.frame("Ann is a black cook", "black")
    rows = [
        {"text": f"{name} is {term} cook", "identity": term.split()[1], "label": 1}
        for name in ("Ann", "Bob")
        for term in ("an asian", "a black", "a white")
    ]
    rows.append({"text": "nobody is here", "identity": None, "label": 0})
    swaps = fairness.read_swaps(str(write(tmp_path, "t.jsonl", rows)), TEXT, None, 100, 0)
    assert (len(swaps.rows), int(swaps.frames.max()) + 1) == (6, 2)
    assert all("label" not in row for row in swaps.rows)

    def answer(batch: Sequence[dict[str, Any]]) -> Pair:
        after = [0.9 if "black" in row["text"] and "Ann" in row["text"] else 0.4 for row in batch]
        return tiny_damage.pair([0.4] * len(batch), after, None, list(batch))

    gap = fairness.by_swaps(swaps, answer, RNG(0))
    assert (gap.of, gap.answer, gap.swapped) == ("score", "positive", 2)
    assert (gap.before, gap.turned_before) == (pytest.approx(0), 0)
    assert (gap.after, gap.turned_after) == (pytest.approx(0.25), 0.5)
    assert {group.name: round(group.after, 3) for group in gap.groups} == {
        "asian": round(-0.5 / 6, 3),
        "black": round(1 / 6, 3),
        "white": round(-0.5 / 6, 3),
    }


def test_pairs_of_crows(tmp_path: Path) -> None:
    """Two sentences a row are one sentence for two groups."""
    rows = [{"sent_more": f"he {i}", "sent_less": f"she {i}", "bias_type": "gender"} for i in range(4)]
    swaps = fairness.read_swaps(str(write(tmp_path, "c.jsonl", rows)), TEXT, None, 4, 0)
    assert len(swaps.rows) == 4
    assert sorted(set(swaps.groups)) == ["sent_less", "sent_more"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"text": "x", "label": 1}], "needs a text column and one with the group's term"),
        ([{"text": "an asian cook", "identity": "asian"}], "no sentence occurs for two groups"),
    ],
)
def test_templates_that_are_none_are_one_sentence(
    tmp_path: Path, rows: list[dict[str, Any]], reason: str
) -> None:
    """Without a term, or without a second group."""
    with pytest.raises(DataError, match=reason):
        fairness.read_swaps(str(write(tmp_path, "t.jsonl", rows)), TEXT, None, 100, 0)


def test_the_word_that_an_answer_rests_on() -> None:
    """Without 'good' the probability falls from 0.9 to 0.1: 0.8 for that word, nothing for the others."""
    rows = [{"text": "a  good film", "label": 1}, {"text": "dull", "label": 0}]
    pair = by_words(rows)
    queries: list[dict[str, Any]] = []

    def answer(batch: Sequence[dict[str, Any]]) -> Pair:
        queries.extend(batch)
        return by_words(batch)

    explanations = occlusion.explain(pair, [0, 1], TEXT, answer)
    assert [row["text"] for row in queries] == ["good film", "a film", "a  good", ""]
    assert all("label" not in row for row in queries)
    assert explanations[0].words == ("a", "good", "film")
    assert explanations[0].before == pytest.approx((0, 0.8, 0))
    assert explanations[0].answer == "positive"
    assert explanations[1].before == pytest.approx((0,))


def test_long_texts_are_taken_apart_in_runs_of_words() -> None:
    """At most 48 pieces, which cover every word once; both texts of a pair are taken apart."""
    row = {"text": " ".join(f"w{i}" for i in range(100)), "text_pair": "one two"}
    pieces = occlusion.spans(row, TEXT)
    assert len(pieces) <= 48
    words = [word for role, start, end in pieces for word in row[role][start:end].split()]
    assert words == [*row["text"].split(), "one", "two"]


def test_rows_that_cannot_be_taken_apart_say_why() -> None:
    """Images have no words, numbers no probability."""
    assert "only where rows are texts" in str(occlusion.unsuited(IMAGES, by_words(ROWS)))
    number = tiny_damage.decided(Head("regression", ()), [1.0], [1.0], [1.0], [{"text": "x"}])
    assert "one label with a probability" in str(occlusion.unsuited(TEXT, number))
    assert occlusion.unsuited(TEXT, by_words(ROWS)) is None
