"""Flips, slices, calibration and divergence on answers made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_damage

from bench.answers import answers, scoring, shown, slicing
from bench.answers.answers import Pair
from bench.findings import calibration, divergence, flips, slices
from compress import catalog
from compress.data import BESIDE
from compress.errors import DataError, UserError
from compress.tasks import Head

TEXT = catalog.load("task", "text-classification")
TOKENS = catalog.load("task", "token-classification")
RNG = np.random.default_rng


def test_flips_are_split_by_whether_they_harm() -> None:
    """One row of each kind: right to wrong, wrong to right, the same; counted, listed and tested."""
    pair = tiny_damage.pair([0.9, 0.8, 0.2, 0.9, 0.7], [0.1, 0.4, 0.9, 0.9, 0.6], [1, 1, 1, 1, 0])
    finding = flips.find(pair, TEXT, 100, 0.02, RNG(0))
    assert (finding.harmful, finding.beneficial, finding.other, finding.rows) == (2, 1, 0, 5)
    assert finding.p_value == 1.0
    # The first row moved from 0.9 to 0.1 and the second from 0.8 to 0.4: the further one comes first.
    assert [(row.number, row.change) for row in finding.worst] == [
        (1, "harmful"),
        (2, "harmful"),
        (3, "beneficial"),
    ]
    first = finding.worst[0]
    assert (first.truth, first.before, first.after) == ("positive", "positive", "negative")
    assert (first.truth_before, first.truth_after) == (pytest.approx(0.9), pytest.approx(0.1))
    assert first.cells == {"text": "row 0"}
    assert finding.matrix is not None
    assert finding.matrix.counts == ((0, 1), (2, 2))
    assert finding.notes


def test_only_as_many_rows_are_listed_as_asked() -> None:
    """The rest is counted; the most divergent rows need no flip."""
    pair = tiny_damage.pair([0.9] * 4 + [0.99], [0.1] * 4 + [0.6], [1] * 5)
    finding = flips.find(pair, TEXT, 2, 0.02, RNG(0))
    assert (len(finding.worst), finding.left_out) == (2, 2)
    assert len(finding.divergent) == 2
    every = flips.find(pair, TEXT, 100, 0.02, RNG(0))
    assert 5 in {row.number for row in every.divergent} - {row.number for row in every.worst}


def test_entities_flip_one_by_one() -> None:
    """The original has both entities, the candidate loses one and invents one: two parts went wrong."""
    head = Head("tags", ("O", "B-X", "I-X"))
    true, lost = (1, 2, 0, 1), (1, 2, 0, 0)
    invented = (0, 0, 1, 0)
    pair = tiny_damage.decided(
        head,
        [true, (0, 0, 0, 0)],
        [lost, invented],
        [true, (0, 0, 0, 0)],
        [{"tokens": list("abcd")} for _ in range(2)],
    )
    finding = flips.find(pair, TOKENS, 10, 0.02, RNG(0))
    assert finding.parts is not None
    assert (finding.parts.name, finding.parts.total, finding.parts.harmful, finding.parts.beneficial) == (
        "entities",
        3,
        2,
        0,
    )
    assert finding.harmful == 2
    assert finding.matrix is None
    assert finding.worst[0].cells == {"tokens": "a b c d"}


def test_labels_of_a_set_flip_one_by_one() -> None:
    """A label too many is one part gone wrong; the set as a whole flips with it."""
    head = Head("multi_label", ("a", "b", "c"))
    pair = tiny_damage.decided(head, [(0,), (1,)], [(0, 1), (1, 2)], [(0,), (1, 2)], [{"text": "x"}] * 2)
    finding = flips.find(pair, TEXT, 10, 0.02, RNG(0))
    assert finding.parts is not None
    assert (finding.parts.harmful, finding.parts.beneficial) == (1, 1)
    assert (finding.harmful, finding.beneficial) == (1, 1)


def test_numbers_flip_where_the_error_grows() -> None:
    """Beyond 2 % of the range of the original's answers, with the mean absolute error before and after."""
    head = Head("regression", ())
    pair = tiny_damage.decided(head, [0.0, 1.0, 5.0], [0.01, 2.0, 4.0], [0.0, 1.0, 4.0], [{"text": "x"}] * 3)
    finding = flips.find(pair, TEXT, 10, 0.02, RNG(0))
    assert finding.tolerance == pytest.approx(0.1)
    assert (finding.harmful, finding.beneficial) == (1, 1)
    assert finding.error_before == pytest.approx(1 / 3)
    assert finding.error_after == pytest.approx((0.01 + 1) / 3)


def test_rows_without_labels_are_refused() -> None:
    """Harm needs a truth; the message says what needs none."""
    with pytest.raises(DataError, match=r"no labels, which finding flips needs.*divergence"):
        flips.find(tiny_damage.pair([0.9], [0.1], None), TEXT, 10, 0.02, RNG(0))


def sliced(count: int = 80) -> Pair:
    """Rows of two genres; the candidate fails half of the first one."""
    rows = [{"text": "a " * (i % 20 + 1), BESIDE: {"genre": "x" if i < 40 else "y"}} for i in range(count)]
    truth = [i % 2 for i in range(count)]
    before = [0.9 if true else 0.1 for true in truth]
    after = [1 - p if i < 40 and i % 4 < 2 else p for i, p in enumerate(before)]
    return tiny_damage.pair(before, after, truth, rows)


def test_slices_name_where_it_broke() -> None:
    """The genre that the candidate fails comes first, with an exact difference and a corrected p-value."""
    pair = sliced()
    lengths = np.array([len(row["text"].split()) for row in pair.rows])
    finding = slices.find(pair, TEXT, lengths, ["genre"], 20, RNG(0))
    worst = finding.slices[0]
    assert (worst.family, worst.name, worst.rows) == ("genre", "x", 40)
    assert worst.difference == pytest.approx(-0.5)
    assert worst.p_value == pytest.approx(2 / 2**20)
    assert worst.holm == pytest.approx(min(1, worst.p_value * len(finding.slices)))
    assert worst.simultaneous is not None
    assert worst.interval is not None
    assert worst.simultaneous.low < worst.interval.low
    unchanged = next(segment for segment in finding.slices if segment.name == "y")
    assert (unchanged.difference, unchanged.p_value) == (0, 1)
    assert {segment.family for segment in finding.slices} == {
        "label",
        "length",
        "genre",
        "class (F1 on all rows)",
    }
    assert any("same confidence" in note for note in finding.notes)


def test_a_clear_change_stays_clear_among_many_slices() -> None:
    """An error that grows in one of thirty groups alone: corrected for all, still below 1 %."""
    groups, size = 30, 20
    truth = [float(i % 7) for i in range(groups * size)]
    after = [value + (3.0 if i < size else 0.0) for i, value in enumerate(truth)]
    rows = [{"text": "x", BESIDE: {"group": str(i // size)}} for i in range(groups * size)]
    pair = tiny_damage.decided(Head("regression", ()), truth, after, truth, rows)
    finding = slices.find(pair, TEXT, None, ["group"], 20, RNG(0))
    assert len(finding.slices) > 30
    worst = finding.slices[0]
    assert (worst.name, worst.rows) == ("0", 20)
    assert worst.holm < 0.01
    assert worst.simultaneous is not None
    assert worst.simultaneous.low == pytest.approx(3)


def test_small_slices_are_said_and_not_judged() -> None:
    """With fewer rows than asked for, a slice is in the list of small ones only."""
    pair = sliced(44)
    finding = slices.find(pair, TEXT, None, ["genre"], 20, RNG(0))
    assert [(segment.name, segment.rows) for segment in finding.small] == [("y", 4)]
    assert all(segment.name != "y" for segment in finding.slices)


def test_a_column_of_names_is_not_listed() -> None:
    """A value a row: how many they are is said, and no value of them stands in the finding."""
    pair = sliced(44)
    for i, row in enumerate(pair.rows):
        row[BESIDE]["author"] = f"author{i}@example.org"
    finding = slices.find(pair, TEXT, None, ["genre", "author"], 20, RNG(0))
    assert [(segment.family, segment.name, segment.rows) for segment in finding.small] == [
        ("genre", "y", 4),
        ("author", "44 values", 44),
    ]
    assert "@example.org" not in finding.model_dump_json()


def test_two_rows_have_no_slice() -> None:
    """Nothing is large enough: one sentence."""
    pair = tiny_damage.pair([0.9, 0.1], [0.9, 0.1], [1, 0])
    with pytest.raises(DataError, match="there are 2 rows and no slice of them has 20"):
        slices.find(pair, TEXT, None, [], 20, RNG(0))


def test_a_column_that_is_not_there_is_named() -> None:
    """With the columns that there are."""
    with pytest.raises(DataError, match="no column 'topic'; the columns are: genre"):
        slices.find(sliced(), TEXT, None, ["topic"], 20, RNG(0))


def test_slices_of_numbers_compare_errors() -> None:
    """Quarters of the label, mean absolute error, lower is better: the worst slice has grown most."""
    head = Head("regression", ())
    truth = [float(i) for i in range(80)]
    after = [value + (4.0 if value >= 60 else 0.0) for value in truth]
    pair = tiny_damage.decided(head, truth, after, truth, [{"text": "x"}] * 80)
    finding = slices.find(pair, TEXT, None, [], 20, RNG(0))
    assert (finding.metric, finding.better) == ("mean absolute error", "lower")
    assert finding.slices[0].name == "highest quarter: 60 to 79"
    assert finding.slices[0].difference == pytest.approx(4)
    assert finding.slices[0].p_value < 0.01
    assert finding.slices[-1].p_value == 1


def test_quarters_keep_equal_values_together() -> None:
    """Eight values in four; ties make fewer; one value makes none; a missing one is in no slice."""
    four = slicing.quarters("length", np.arange(8.0), " tokens")
    assert [int(cut.mask.sum()) for cut in four] == [2, 2, 2, 2]
    assert four[0].name == "lowest quarter: 0 to 1 tokens"
    tied = slicing.quarters("length", np.array([1.0, 1, 1, 1, 1, 1, 1, 9]))
    assert [cut.name for cut in tied] == ["1", "9"]
    assert slicing.quarters("length", np.full(5, 3.0)) == []
    gapped = slicing.quarters("n", np.array([1.0, 2, np.nan, 4]))
    assert not any(cut.mask[2] for cut in gapped)


def test_columns_are_cut_by_value_or_by_quarter() -> None:
    """Words and few numbers by value, with empty cells; many numbers by quarter."""
    assert [cut.name for cut in slicing.by_column("c", ["a", None, "a", ""])] == ["(empty)", "a"]
    assert [cut.name for cut in slicing.by_column("c", [1, 2, 1])] == ["1", "2"]
    assert len(slicing.by_column("c", list(range(40)))) == 4
    assert len(slicing.by_column("c", [True, False, True])) == 2


def test_the_f1_of_a_class_by_hand() -> None:
    """Two of three found with one false alarm: 2 * 2 / (3 + 3)."""
    pair = tiny_damage.pair([0.9, 0.9, 0.1, 0.9], [0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0])
    true = [
        scoring.parts(scoring.named(reference, pair.head), pair.head) for reference in pair.references or []
    ]
    sides = [
        [scoring.parts(prediction.label, pair.head) for prediction in s.predictions]
        for s in (pair.before, pair.after)
    ]
    score = scoring.class_score(pair, "positive", true, sides)
    assert score.values() == (pytest.approx(2 / 3), pytest.approx(6 / 7))


def test_calibration_figures_by_hand() -> None:
    """Two bins of two: confidences 0.6, 0.7 half right and 0.8, 0.9 all right."""
    p = np.array([0.6, 0.7, 0.8, 0.9])
    outputs = np.stack([np.log(1 - p), np.log(p)], axis=1)
    truth = np.array([1, 0, 1, 1])
    figures = calibration.sums(outputs, truth, np.arange(4), 4, "softmax", bins=2).reliability()
    assert figures.ece == pytest.approx((abs(1.3 - 1) + abs(1.7 - 2)) / 4)
    assert figures.brier == pytest.approx(np.mean([2 * 0.16, 2 * 0.49, 2 * 0.04, 2 * 0.01]))
    assert figures.nll == pytest.approx(-np.mean(np.log([0.6, 0.3, 0.8, 0.9])))
    assert [(bucket.count, bucket.right) for bucket in figures.bins] == [(2, 0.5), (2, 1.0)]


def test_calibration_of_sets_takes_every_label() -> None:
    """Two labels a row are two decisions; Brier and likelihood are means over labels."""
    p = np.array([[0.9, 0.2], [0.6, 0.3]])
    truth = np.array([[1.0, 0.0], [0.0, 0.0]])
    sums = calibration.sums(np.log(p / (1 - p)), truth, np.arange(2), 2, "sigmoid", bins=1)
    assert sums.counts.tolist() == [2, 2]
    figures = sums.reliability()
    assert figures.ece == pytest.approx(abs(0.9 + 0.8 + 0.6 + 0.7 - 3) / 4)
    assert figures.brier == pytest.approx((0.01 + 0.04 + 0.36 + 0.09) / 4)
    assert figures.nll == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.4, 0.7])))


def planted(scale: float, seed: int, count: int = 4000) -> Pair:
    """An honest original, and a candidate whose outputs are larger by a factor."""
    rng = RNG(seed)
    logit = rng.normal(0, 2, size=count)
    p = 1 / (1 + np.exp(-logit))
    truth = (rng.random(count) < p).astype(int).tolist()
    return tiny_damage.pair(p.tolist(), (1 / (1 + np.exp(-scale * logit))).tolist(), truth)


def test_a_temperature_undoes_what_was_planted() -> None:
    """A candidate that is twice too sure asks for temperature 2, and is then as honest as the original."""
    finding = calibration.find(planted(2.0, 1), planted(2.0, 2), None, RNG(0))
    assert finding.temperature_before == pytest.approx(1, abs=0.1)
    assert finding.temperature_after == pytest.approx(2, abs=0.2)
    assert finding.after.ece > finding.before.ece + 0.03
    assert finding.changes["ece"].low > 0
    assert finding.scaled_after is not None
    assert finding.scaled_before is not None
    assert finding.scaled_after.ece == pytest.approx(finding.scaled_before.ece, abs=0.005)
    interval = finding.scaled_changes["ece"]
    assert interval.low <= 0.0 <= interval.high


def test_without_selection_rows_no_temperature_is_fitted() -> None:
    """The reason is a note; the plain figures stand."""
    finding = calibration.find(planted(2.0, 1, 50), None, "there are no training rows", RNG(0))
    assert finding.temperature_after is None
    assert finding.notes == ("no temperature was fitted: there are no training rows",)


def test_selection_rows_that_are_all_right_fit_nothing() -> None:
    """The likelihood has no maximum then: a note, no made-up figure."""
    pair = tiny_damage.pair([0.9, 0.1] * 10, [0.8, 0.2] * 10, [1, 0] * 10)
    finding = calibration.find(pair, pair, None, RNG(0))
    assert finding.temperature_after is None
    assert "do not say which temperature fits" in finding.notes[0]


def test_numbers_have_no_calibration() -> None:
    """One sentence."""
    pair = tiny_damage.decided(Head("regression", ()), [1.0], [1.0], [1.0], [{"text": "x"}])
    with pytest.raises(UserError, match=r"needs one distribution|gives numbers"):
        calibration.find(pair, None, None, RNG(0))


def test_divergence_is_that_of_the_distributions() -> None:
    """KL of (0.5, 0.5) from (0.9, 0.1) by hand; equal models have none."""
    kl = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    finding = divergence.find(tiny_damage.pair([0.9, 0.9], [0.5, 0.9], None), RNG(0))
    assert finding.mean == pytest.approx(kl / 2)
    assert finding.largest == pytest.approx(kl)
    same = divergence.find(tiny_damage.pair([0.9], [0.9], None), RNG(0))
    assert same.mean == pytest.approx(0, abs=1e-12)


def test_models_that_cut_rows_differently_are_refused() -> None:
    """Their words cannot be compared one by one."""
    first, second = tiny_damage.answers([0.9, 0.8], None), tiny_damage.answers([0.9], None)
    pair = answers.Pair([{"text": "x"}], tiny_damage.HEAD, first, second, None)
    with pytest.raises(UserError, match="same length limit"):
        answers.decided(pair, "the divergence")


def test_long_texts_are_cut_where_they_are_shown() -> None:
    """What is shown is for reading; a sign says that there was more."""
    cells = shown.cells({"text": "x" * 5000, "label": 1}, TEXT)
    assert list(cells) == ["text"]
    assert len(cells["text"]) == 1200
    assert cells["text"].endswith("…")
