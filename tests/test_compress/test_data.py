"""Data: what is read from where, which rows go on which side, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import SENTIMENT, Row, load, numbered, refused, write

from compress import data
from compress.data import files
from compress.errors import DataError
from compress.recipe import DataConfig
from compress.tasks import text_classification

# Which split is which side


def test_validation_comes_before_dev_and_test(tmp_path: Path) -> None:
    """Of several splits that could measure, the rule picks one and the facts name the others."""
    for name in ("train", "test", "dev", "validation"):
        write(tmp_path / f"{name}.jsonl", numbered(20))
    facts = load(source=str(tmp_path)).facts
    assert facts["splits"]["eval"] == "validation"
    assert facts["eval_also_there"] == ["dev", "test"]
    assert load(source=str(tmp_path), eval="test").facts["splits"]["eval"] == "test"


def test_files_may_stand_alone_or_be_named_within_the_folder(tmp_path: Path) -> None:
    """data.train and data.eval take a path, a file of the folder, or the name of a split."""
    write(tmp_path / "sentences.jsonl", numbered(20))
    write(tmp_path / "held.jsonl", numbered(30)[20:])
    alone = load(train=str(tmp_path / "sentences.jsonl"), eval=str(tmp_path / "held.jsonl"))
    by_file = load(source=str(tmp_path), train="sentences.jsonl", eval="held.jsonl")
    by_name = load(source=str(tmp_path), train="sentences", eval="held")
    assert alone.training.train == by_file.training.train == by_name.training.train
    assert len(alone.eval) == len(by_name.eval) == 10


def test_selection_is_carved_or_given(tmp_path: Path) -> None:
    """A selection split is taken whole; without one a tenth of the training rows is held out."""
    write(tmp_path / "train.jsonl", numbered(100))
    carved = load(source=str(tmp_path))
    assert (len(carved.training.train), len(carved.training.selection)) == (90, 10)
    assert carved.facts["selection"]["from"] == "train"
    write(tmp_path / "selection.jsonl", numbered(107)[97:])
    supplied = load(source=str(tmp_path))
    assert (len(supplied.training.train), len(supplied.training.selection)) == (100, 10)
    assert supplied.facts["selection"] == {"from": "selection"}
    assert supplied.facts["selection_rows_in_training"] == 3


def test_training_cannot_reach_evaluation(tmp_path: Path) -> None:
    """No row of the evaluation split is anywhere in what stages get."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", [{"text": "secret words of evaluation", "label": 1}] * 3)
    splits = load(source=str(tmp_path))
    assert "secret" not in repr(splits.training)
    assert len(splits.eval) == 3


def test_shared_rows_are_counted_and_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Evaluation rows that training holds, up to case and punctuation, are counted; pairs count whole."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", [{"text": "A3, b3 c3 d3 e3!", "label": 0}, {"text": "a3 b3", "label": 0}])
    with caplog.at_level("WARNING", logger="paredown"):
        splits = load(source=str(tmp_path))
    assert splits.facts["eval_rows_in_training"] == 1
    assert "1 of 2 eval rows are also among the training rows" in caplog.text


def test_one_split_plays_one_side(tmp_path: Path) -> None:
    """Training and measuring on the same file is refused, whatever it is called."""
    write(tmp_path / "train.jsonl", numbered(20))
    refused("data.train and data.eval are both", source=str(tmp_path), eval="train.jsonl")
    refused("data.train and data.eval are both", source=str(tmp_path), eval=str(tmp_path / "train.jsonl"))


def test_evaluation_alone_is_enough_until_training_is_wanted(tmp_path: Path) -> None:
    """Without training rows everything loads; reading them says what to give."""
    write(tmp_path / "test.jsonl", numbered(20))
    splits = load(source=str(tmp_path))
    assert len(splits.eval) == 20
    for rows in (splits.training.train, splits.training.selection, splits.training.calibration):
        assert len(rows) == 0
        assert not rows
        with pytest.raises(DataError, match=r"in a recipe: data\.train"):
            list(rows)
        with pytest.raises(DataError, match=r"in a recipe: data\.train"):
            rows[:3]
    with pytest.raises(DataError, match=r"in a recipe: data\.train"):
        splits.training.infer_head(text_classification)
    assert splits.training.for_head(text_classification, SENTIMENT).train is splits.training.train


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_without_commas_is_read_by_its_own_separator(tmp_path: Path, separator: str) -> None:
    """Spreadsheets of many countries write semicolons; quoted cells may hold the separator."""
    lines = [f"text{separator}label", f'"good{separator} fine"{separator}1', f"bad{separator}0"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = files.read_file(tmp_path / "a.csv")
    assert table.rows == [{"text": f"good{separator} fine", "label": "1"}, {"text": "bad", "label": "0"}]


def test_training_alone_is_enough_until_evaluation_is_wanted(tmp_path: Path) -> None:
    """Without evaluation rows training loads; asking for them says what to give."""
    write(tmp_path / "train.jsonl", numbered(20))
    splits = load(source=str(tmp_path))
    assert len(splits.eval) == 0
    with pytest.raises(DataError, match=r"in a recipe: data\.eval"):
        splits.eval[0]
    with pytest.raises(DataError, match=r"in a recipe: data\.eval"):
        data.evaluation(DataConfig(source=str(tmp_path)), text_classification, 0, SENTIMENT)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no data is given"),
        ({"source": "./nowhere"}, r"there is no folder \./nowhere"),
        ({"source": "{folder}"}, r"has no split named train.*other"),
        ({"source": "{folder}/other.jsonl"}, "is the file .*: give its folder"),
        (
            {"source": "{folder}", "train": "missing.jsonl"},
            r"data\.train is 'missing\.jsonl', which is neither.*other",
        ),
        ({"train": "{folder}/notes.txt"}, r"notes\.txt is of an unknown type: data files end in \.jsonl"),
    ],
)
def test_a_place_without_data_is_named(tmp_path: Path, config: dict[str, str], message: str) -> None:
    """What is not there, or cannot be data, is said with what is there."""
    write(tmp_path / "other.jsonl", numbered(3))
    (tmp_path / "notes.txt").write_text("hello")
    refused(message, **{key: value.format(folder=tmp_path) for key, value in config.items()})


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    """A folder with train.jsonl and train.csv does not say which to read."""
    write(tmp_path / "train.jsonl", numbered(3))
    write(tmp_path / "train.csv", numbered(3))
    refused(r"several files for the split 'train' \(train\.csv, train\.jsonl\)", source=str(tmp_path))


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    """A file without rows is named, also when it has a header."""
    (tmp_path / "train.jsonl").write_text("\n")
    refused("train.jsonl has no rows: the train split is empty", source=str(tmp_path))
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "train.csv").write_text("text,label\n")
    refused("train.csv has no rows", source=str(tmp_path))


# Columns and cells


def test_columns_are_found_by_usual_names(tmp_path: Path) -> None:
    """A pair under the names of GLUE is read as a pair; other columns are left out."""
    rows = [{"idx": i, "sentence1": f"a{i}", "sentence2": f"b{i}", "label": i % 2} for i in range(20)]
    write(tmp_path / "train.jsonl", rows)
    splits = load(source=str(tmp_path))
    assert splits.facts["columns"] == {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
    assert set(splits.training.train[0]) == {"text", "text_pair", "label"}


def test_columns_can_be_named(tmp_path: Path) -> None:
    """data.columns decides, also against a column that bears the role's own name."""
    write(tmp_path / "train.jsonl", [{"text": "x", "body": f"words {i}", "mood": i % 2} for i in range(20)])
    splits = load(source=str(tmp_path), columns={"text": "body", "label": "mood"})
    assert splits.training.train[0]["text"].startswith("words")
    assert splits.training.train[0]["label"] in {0, 1}


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"body": "x", "label": 1}, {}, r"no column for text .*The columns are: body, label"),
        (
            {"sentence": "x", "review": "y"},
            {},
            r"the column for text could be sentence or review; name it with --column text=NAME",
        ),
        ({"text": "x"}, {"text": "body"}, r"has no column 'body' \(asked for as text\)\. It has: text"),
        ({"text": "x"}, {"words": "text"}, r"names the role 'words'; this task has text, text_pair, label"),
        (
            {"text": None, "label": 1},
            {},
            r"train\.jsonl, line 2: the column 'text' must hold text, and this cell is null",
        ),
        ({"text": 5, "label": 1}, {}, r"line 2: .* this cell is a number"),
        ({"text": ["x"], "label": 1}, {}, r"line 2: .* this cell is a list"),
    ],
)
def test_columns_and_cells_that_do_not_fit(
    tmp_path: Path, row: Row, columns: dict[str, str], message: str
) -> None:
    """Missing, ambiguous and wrong: one sentence with the place and the columns that there are."""
    first = {key: "good" if key != "label" else 0 for key in row}
    write(tmp_path / "train.jsonl", [first, row])
    refused(message, source=str(tmp_path), columns=columns)


def test_sides_must_have_the_same_columns(tmp_path: Path) -> None:
    """A pair in training and single texts in evaluation are refused; a missing label is not."""
    write(tmp_path / "train.jsonl", [{"text": f"a{i}", "text_pair": "b", "label": i % 2} for i in range(9)])
    write(tmp_path / "test.jsonl", [{"text": "a", "label": 0}])
    refused("has a column for text_pair: both need the same", source=str(tmp_path))
    write(tmp_path / "test.jsonl", [{"text": "a", "text_pair": "b"}])
    assert "label" not in load(source=str(tmp_path)).eval[0]


# Labels


@pytest.mark.parametrize(
    "content",
    [["no", "yes"], {"0": "no", "1": "yes"}, {"no": 0, "yes": 1}, {"labels": ["no", "yes"], "other": ["x"]}],
)
def test_label_names_are_read_in_each_form(tmp_path: Path, content: Any) -> None:
    """labels.json may be a list, a mapping either way, or lists by column."""
    write(tmp_path / "train.jsonl", numbered(20))
    (tmp_path / "labels.json").write_text(json.dumps(content))
    splits = load(source=str(tmp_path))
    assert splits.label_names == ("no", "yes")
    assert load(source=str(tmp_path), labels=("a", "b")).label_names == ("a", "b")


@pytest.mark.parametrize("content", ['{"a": 1, "b": 2}', "[1, 2]", '["a", "a"]', "{"])
def test_labels_json_that_says_nothing_is_refused(tmp_path: Path, content: str) -> None:
    """Gaps, repetitions, other types and broken JSON get a sentence."""
    write(tmp_path / "train.jsonl", numbered(20))
    (tmp_path / "labels.json").write_text(content)
    refused(r"labels\.json", source=str(tmp_path))


def test_labels_are_put_in_the_heads_order(tmp_path: Path) -> None:
    """The data's id 0 is the head's id 1 where the names say so; every side is aligned."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", numbered(50)[40:])
    (tmp_path / "labels.json").write_text('["positive", "negative"]')
    raw = load(source=str(tmp_path)).training
    aligned = raw.for_head(text_classification, SENTIMENT)
    for before, after in (
        (raw.train, aligned.train),
        (raw.selection, aligned.selection),
        (raw.calibration, aligned.calibration),
    ):
        assert [row["label"] for row in after] == [1 - row["label"] for row in before]
    again = aligned.for_head(text_classification, SENTIMENT)
    assert list(again.train) == list(aligned.train)
    evaluation = data.evaluation(DataConfig(source=str(tmp_path)), text_classification, 0, SENTIMENT)
    assert [row["label"] for row in evaluation] == [1 - i % 2 for i in range(40, 50)]


def test_a_label_that_the_head_lacks_is_named_by_its_row(tmp_path: Path) -> None:
    """File, row, label and the head's labels are in the sentence, wherever the row went."""
    rows: list[Row] = [
        {"text": f"a{i} b{i}", "label": "positive" if i % 2 else "negative"} for i in range(30)
    ]
    rows[17]["label"] = "neutral"
    write(tmp_path / "train.jsonl", rows)
    training = load(source=str(tmp_path)).training
    with pytest.raises(DataError, match=r"train\.jsonl: row 18 has the label 'neutral'.*negative, positive"):
        training.for_head(text_classification, SENTIMENT)
    write(tmp_path / "test.jsonl", [{"text": "x", "label": 2}])
    with pytest.raises(DataError, match=r"test\.jsonl: row 1 has the label 2.*negative, positive"):
        data.evaluation(DataConfig(source=str(tmp_path)), text_classification, 0, SENTIMENT)


def test_one_class_only_is_refused_for_training(tmp_path: Path) -> None:
    """Rows of a single label teach nothing; the sentence names it."""
    write(tmp_path / "train.jsonl", [{**row, "label": 1} for row in numbered(20)])
    training = load(source=str(tmp_path)).training
    with pytest.raises(DataError, match=r"one class only \('positive', 18 rows\)"):
        training.for_head(text_classification, SENTIMENT)
    with pytest.raises(DataError, match=r"one class only \('1'\)"):
        training.infer_head(text_classification)


def test_rows_without_labels_serve_apart(tmp_path: Path) -> None:
    """Null labels and the unlabeled split are unlabeled rows; -1 in every row means no labels."""
    rows = numbered(40)
    for row in rows[30:]:
        row["label"] = None
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "unlabeled.jsonl", [{"text": f"q{i} r{i}"} for i in range(5)])
    training = load(source=str(tmp_path)).training
    assert len(training.train) + len(training.selection) == 30
    assert len(training.unlabeled) == 15
    assert all(set(row) == {"text"} for row in training.unlabeled)
    write(tmp_path / "train.jsonl", [{**row, "label": -1} for row in numbered(40)])
    training = load(source=str(tmp_path)).training
    assert len(training.unlabeled) == 45
    assert len(training.calibration) == 45
    with pytest.raises(DataError, match=r"train\.jsonl has no labels.*text, label"):
        list(training.train)


def test_evaluation_rows_are_all_labeled_or_none(tmp_path: Path) -> None:
    """Rows without any label come back without the key; a gap among labels is named."""
    config = DataConfig(source=str(tmp_path))
    write(tmp_path / "test.jsonl", [{"text": "a"}, {"text": "b"}])
    assert data.evaluation(config, text_classification, 0, SENTIMENT) == [{"text": "a"}, {"text": "b"}]
    write(tmp_path / "test.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": None}])
    with pytest.raises(DataError, match=r"test\.jsonl, line 2 has no label.*\(1 of 2 lack it\)"):
        data.evaluation(config, text_classification, 0, SENTIMENT)


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    """Labels of a csv file are integers or floats where all of them are."""
    (tmp_path / "train.csv").write_text("text,label\na b,3.8\nc d,2\ne f,0.25\n")
    training = load(source=str(tmp_path)).training
    assert sorted(row["label"] for row in [*training.train, *training.selection]) == [0.25, 2.0, 3.8]
    assert training.infer_head(text_classification).problem == "regression"


# Calibration and limits


def test_calibration_comes_from_training_and_covers_the_lengths(tmp_path: Path) -> None:
    """Calibration rows are training rows, as many as asked for, from each band of length."""
    rows = [{"text": " ".join(f"w{i}x{k}" for k in range(1 + i % 50)), "label": i % 2} for i in range(500)]
    write(tmp_path / "train.jsonl", rows)
    training = load(source=str(tmp_path), calibration=45).training
    assert len(training.calibration) == 45
    assert all(any(row is source_row for source_row in training.train) for row in training.calibration)
    lengths = sorted(len(row["text"].split()) for row in training.calibration)
    assert all(abs(length - (1 + i * 50 / 45)) < 4 for i, length in enumerate(lengths))
    assert training.calibration == load(source=str(tmp_path), calibration=45).training.calibration
    assert training.calibration != load(source=str(tmp_path), calibration=45, seed=1).training.calibration


def test_a_limit_bounds_the_training_rows(tmp_path: Path) -> None:
    """data.limit counts training rows; what is left out is among the facts."""
    write(tmp_path / "train.jsonl", numbered(200))
    splits = load(source=str(tmp_path), limit=40)
    assert len(splits.training.train) == 40
    assert len(splits.training.selection) == 4
    assert splits.facts["over_limit"] == 156


# Fingerprints


def test_a_fingerprint_changes_with_what_decides_the_rows(tmp_path: Path) -> None:
    """Bytes, options and seed change the training side; evaluation bytes do not, nor does the place."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", numbered(10))
    (tmp_path / "copy").mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    config = DataConfig(source=str(tmp_path))
    training = data.fingerprint(config, 0, "training")
    evaluation = data.fingerprint(config, 0, "evaluation")
    assert training != evaluation
    assert training == data.fingerprint(DataConfig(source=str(tmp_path / "copy")), 0, "training")
    assert evaluation == data.fingerprint(config, 1, "evaluation")
    fingerprints = {
        data.fingerprint(config, 1, "training"),
        *(
            data.fingerprint(config.model_copy(update=update), 0, "training")
            for update in (
                {"limit": 20},
                {"calibration": 9},
                {"selection_share": 0.2},
                {"max_length": 8},
                {"labels": ("a", "b")},
            )
        ),
    }
    assert len(fingerprints | {training}) == 7
    write(tmp_path / "test.jsonl", numbered(11))
    assert training == data.fingerprint(config, 0, "training")
    assert evaluation != data.fingerprint(config, 0, "evaluation")
    (tmp_path / "labels.json").write_text('["no", "yes"]')
    assert training != data.fingerprint(config, 0, "training")
