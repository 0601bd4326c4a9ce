"""Data: what is read from where, which rows go on which side, and what is refused in which words."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from compress import data
from compress.data import files
from compress.data import layout as layouts
from compress.errors import DataError, UnknownName
from compress.recipe import DataConfig
from compress.tasks import Head, image_classification, text_classification, token_classification

SENTIMENT = Head("single_label", ("negative", "positive"))
Row = dict[str, Any]


def numbered(count: int, **extra: Any) -> list[Row]:
    """Rows without a common word, of two labels."""
    return [{"text": f"a{i} b{i} c{i} d{i} e{i}", "label": i % 2, **extra} for i in range(count)]


def load(task: Any = text_classification, seed: int = 0, **config: Any) -> data.Splits:
    """The rows of a configuration given as keywords."""
    return data.load(DataConfig(**config), task, seed)


def refused(message: str, **config: Any) -> None:
    """Loading fails with a sentence that holds these words."""
    with pytest.raises(DataError, match=message):
        load(**config)


# Reading files


def write(path: Path, rows: list[Row]) -> Path:
    """Rows in the format that the suffix names."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        import datasets

        datasets.Dataset.from_list(rows).to_parquet(str(path))
        return path
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        stream = io.StringIO()
        separator = "\t" if name.endswith(".tsv") else ","
        writer = csv.DictWriter(stream, rows[0], delimiter=separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = stream.getvalue()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_every_file_type_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """The same rows in any format are loaded as the same texts and integer labels."""
    rows = numbered(30)
    write(tmp_path / f"train{suffix}", rows)
    write(tmp_path / f"dev{suffix}", numbered(40)[30:])
    found = load(source=str(tmp_path), labels=("negative", "positive"))
    assert len(found.training.train) == 27
    assert len(found.training.selection) == 3
    everything = sorted([*found.training.train, *found.training.selection], key=str)
    assert everything == sorted(rows, key=str)
    assert list(found.eval) == numbered(40)[30:]
    assert found.facts["splits"] == {"train": "train", "eval": "dev"}


@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_jsonl_line_is_named(tmp_path: Path, packed: bool) -> None:
    """The sentence names file and line, also in a gzipped file."""
    text = '{"text": "a", "label": 0}\n\n{"text": "b", "label": }\n'
    path = tmp_path / ("train.jsonl.gz" if packed else "train.jsonl")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    refused(r"train\.jsonl(\.gz)?, line 3: this is not valid JSON", source=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", b"[1, 2]\n", "line 1: a row must be an object"),
        ("train.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "not UTF-8 text"),
        ("train.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:-9], "the gzip file is damaged"),
        ("train.jsonl.gz", b"no gzip at all", "the gzip file is damaged"),
        ("train.csv", b"text,label\na,0\nb\n", "line 3: 1 cells under a header of 2 columns"),
        ("train.csv", b'text,label\n"a,0\n', "train.csv, line 2"),
        ("train.csv", b"text,text\na,b\n", "the header names a column twice"),
        ("train.parquet", b"PAR1 not really", "cannot be read as parquet"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Each kind of damage gets one sentence with the file, and the line where there are lines."""
    (tmp_path / name).write_bytes(content)
    refused(message, source=str(tmp_path))


def test_a_quote_in_tsv_is_a_character_and_in_csv_a_quote(tmp_path: Path) -> None:
    """Tsv has no quoting, csv has; a line break inside quotes does not disturb later line numbers."""
    (tmp_path / "a.tsv").write_text('text\tlabel\n"so\tx\n', encoding="utf-8")
    assert files.read_file(tmp_path / "a.tsv").rows == [{"text": '"so', "label": "x"}]
    (tmp_path / "a.csv").write_text('text,label\n"so,\nit goes",x\nlast,y\n', encoding="utf-8")
    found = files.read_file(tmp_path / "a.csv")
    assert found.rows[0] == {"text": "so,\nit goes", "label": "x"}
    assert found.place(1) == f"{tmp_path / 'a.csv'}, line 4"


def test_words_that_mean_nothing_elsewhere_are_texts_in_csv(tmp_path: Path) -> None:
    """'null', 'NA' and '3' in a text column stay text; an empty cell is no value."""
    (tmp_path / "train.csv").write_text("text,label\nnull,0\nNA,1\n3,0\n", encoding="utf-8")
    found = load(source=str(tmp_path))
    assert sorted(row["text"] for row in [*found.training.train, *found.training.selection]) == [
        "3",
        "NA",
        "null",
    ]
    (tmp_path / "train.csv").write_text("text,label\n,0\nb,1\n", encoding="utf-8")
    refused("line 2: the column 'text' must hold text, and this cell is null", source=str(tmp_path))


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    """A split in parts below data/, as hub repositories have it, is one split."""
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00000-of-00002.parquet", numbered(10))
    write(tmp_path / "data" / "train-00001-of-00002.parquet", numbered(20)[10:])
    table = layouts.open_source(DataConfig(source=str(tmp_path))).read("train")
    assert table.rows == numbered(20)


def test_class_labels_of_parquet_features_are_kept(tmp_path: Path) -> None:
    """Names that the file itself carries become the head's labels."""
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    datasets.Dataset.from_list(numbered(20), features=features).to_parquet(str(tmp_path / "train.parquet"))
    found = load(source=str(tmp_path))
    assert found.label_names == ("no", "yes")
    assert found.facts["label_names_from"] == "the column's features"
    assert found.training.infer_head(text_classification) == Head("single_label", ("no", "yes"))


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
    given = load(source=str(tmp_path))
    assert (len(given.training.train), len(given.training.selection)) == (100, 10)
    assert given.facts["selection"] == {"from": "selection"}
    assert given.facts["selection_rows_in_training"] == 3


def test_training_cannot_reach_evaluation(tmp_path: Path) -> None:
    """No row of the evaluation split is anywhere in what stages get."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", [{"text": "secret words of evaluation", "label": 1}] * 3)
    found = load(source=str(tmp_path))
    assert "secret" not in repr(found.training)
    assert len(found.eval) == 3


def test_shared_rows_are_counted_and_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Evaluation rows that training holds, up to case and punctuation, are counted; pairs count whole."""
    write(tmp_path / "train.jsonl", numbered(40))
    write(tmp_path / "test.jsonl", [{"text": "A3, b3 c3 d3 e3!", "label": 0}, {"text": "a3 b3", "label": 0}])
    with caplog.at_level("WARNING", logger="paredown"):
        found = load(source=str(tmp_path))
    assert found.facts["eval_rows_in_training"] == 1
    assert "1 of 2 eval rows are also among the training rows" in caplog.text


def test_one_split_plays_one_side(tmp_path: Path) -> None:
    """Training and measuring on the same file is refused, whatever it is called."""
    write(tmp_path / "train.jsonl", numbered(20))
    refused("data.train and data.eval are both", source=str(tmp_path), eval="train.jsonl")
    refused("data.train and data.eval are both", source=str(tmp_path), eval=str(tmp_path / "train.jsonl"))


def test_evaluation_alone_is_enough_until_training_is_wanted(tmp_path: Path) -> None:
    """Without training rows everything loads; reading them says what to give."""
    write(tmp_path / "test.jsonl", numbered(20))
    found = load(source=str(tmp_path))
    assert len(found.eval) == 20
    for rows in (found.training.train, found.training.selection, found.training.calibration):
        assert len(rows) == 0
        assert not rows
        with pytest.raises(DataError, match=r"in a recipe: data\.train"):
            list(rows)
        with pytest.raises(DataError, match=r"in a recipe: data\.train"):
            rows[:3]
    with pytest.raises(DataError, match=r"in a recipe: data\.train"):
        found.training.infer_head(text_classification)
    assert found.training.for_head(text_classification, SENTIMENT).train is found.training.train


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_without_commas_is_read_by_its_own_separator(tmp_path: Path, separator: str) -> None:
    """Spreadsheets of many countries write semicolons; quoted cells may hold the separator."""
    lines = [f"text{separator}label", f'"good{separator} fine"{separator}1', f"bad{separator}0"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = files.read_file(tmp_path / "a.csv")
    assert found.rows == [{"text": f"good{separator} fine", "label": "1"}, {"text": "bad", "label": "0"}]


def test_training_alone_is_enough_until_evaluation_is_wanted(tmp_path: Path) -> None:
    """Without evaluation rows training loads; asking for them says what to give."""
    write(tmp_path / "train.jsonl", numbered(20))
    found = load(source=str(tmp_path))
    assert len(found.eval) == 0
    with pytest.raises(DataError, match=r"in a recipe: data\.eval"):
        found.eval[0]
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
    found = load(source=str(tmp_path))
    assert found.facts["columns"] == {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
    assert set(found.training.train[0]) == {"text", "text_pair", "label"}


def test_columns_can_be_named(tmp_path: Path) -> None:
    """data.columns decides, also against a column that bears the role's own name."""
    write(tmp_path / "train.jsonl", [{"text": "x", "body": f"words {i}", "mood": i % 2} for i in range(20)])
    found = load(source=str(tmp_path), columns={"text": "body", "label": "mood"})
    assert found.training.train[0]["text"].startswith("words")
    assert found.training.train[0]["label"] in {0, 1}


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"body": "x", "label": 1}, {}, r"no column for text .*The columns are: body, label"),
        (
            {"sentence": "x", "review": "y"},
            {},
            r"the column for text could be sentence or review; name it with --column text=NAME",
        ),
        ({"text": "x"}, {"text": "body"}, r"has no column 'body' \(asked for as text\); it has: text"),
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
    found = load(source=str(tmp_path))
    assert found.label_names == ("no", "yes")
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
    held = data.evaluation(DataConfig(source=str(tmp_path)), text_classification, 0, SENTIMENT)
    assert [row["label"] for row in held] == [1 - i % 2 for i in range(40, 50)]


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
    assert all(any(row is other for other in training.train) for row in training.calibration)
    lengths = sorted(len(row["text"].split()) for row in training.calibration)
    assert all(abs(length - (1 + i * 50 / 45)) < 4 for i, length in enumerate(lengths))
    assert training.calibration == load(source=str(tmp_path), calibration=45).training.calibration
    assert training.calibration != load(source=str(tmp_path), calibration=45, seed=1).training.calibration


def test_a_limit_bounds_the_training_rows(tmp_path: Path) -> None:
    """data.limit counts training rows; what is left out is among the facts."""
    write(tmp_path / "train.jsonl", numbered(200))
    found = load(source=str(tmp_path), limit=40)
    assert len(found.training.train) == 40
    assert len(found.training.selection) == 4
    assert found.facts["over_limit"] == 156


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
    others = {
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
    assert len(others | {training}) == 7
    write(tmp_path / "test.jsonl", numbered(11))
    assert training == data.fingerprint(config, 0, "training")
    assert evaluation != data.fingerprint(config, 0, "evaluation")
    (tmp_path / "labels.json").write_text('["no", "yes"]')
    assert training != data.fingerprint(config, 0, "training")


# Images


def picture(shade: int) -> bytes:
    """A small gray PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), shade, dtype=np.uint8)).save(stream, "png")
    return stream.getvalue()


def test_images_are_found_in_the_folder_and_in_a_zip_beside_it(tmp_path: Path) -> None:
    """Paths are relative to the data; an archive of the split's name serves its members unextracted."""
    (tmp_path / "images").mkdir()
    for i in range(4):
        (tmp_path / "images" / f"{i}.png").write_bytes(picture(i))
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        archive.writestr("test/a.png", picture(77))
    write(tmp_path / "train.jsonl", [{"file": f"images/{i}.png", "label": i % 2} for i in range(4)])
    write(tmp_path / "test.jsonl", [{"file": "test/a.png", "label": 0}])
    found = load(image_classification, source=str(tmp_path))
    assert found.eval[0]["image"].read() == picture(77)
    assert found.training.train[0]["image"].read()[:4] == b"\x89PNG"
    assert not (tmp_path / "test").exists()
    before = data.fingerprint(DataConfig(source=str(tmp_path)), 0, "training")
    (tmp_path / "images" / "1.png").write_bytes(picture(200))
    assert data.fingerprint(DataConfig(source=str(tmp_path)), 0, "training") != before


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png"])
def test_an_image_path_never_leads_out_of_the_data(tmp_path: Path, path: str) -> None:
    """Absolute paths and parent folders are refused, also when the file is there."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1))
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        archive.writestr(path, picture(2))
    write(folder / "train.jsonl", [{"file": path, "label": 0}])
    with pytest.raises(DataError, match="leads out of the data folder"):
        load(image_classification, source=str(folder))


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    """File, line and what was found."""
    write(tmp_path / "train.jsonl", [{"file": "gone.png", "label": 0}])
    with pytest.raises(
        DataError, match=r"train\.jsonl, line 1: the column 'file' must hold an image.*gone\.png"
    ):
        load(image_classification, source=str(tmp_path))
    (tmp_path / "train.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"train\.zip cannot be read as a zip archive"):
        load(image_classification, source=str(tmp_path))


def test_images_inside_the_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    """Encoded bytes of a parquet file, as hub sets have them, and pixels of a jsonl file."""
    import datasets

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])}
    )
    rows = [{"img": {"bytes": picture(i), "path": None}, "label": i % 2} for i in range(12)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "train.parquet"))
    write(tmp_path / "test.jsonl", [{"img": [[0, 255], [7, 9]], "label": 1}])
    found = load(image_classification, source=str(tmp_path))
    held = [*found.training.train, *found.training.selection]
    assert sorted(row["image"] for row in held) == sorted(picture(i) for i in range(12))
    assert found.eval[0]["image"].tolist() == [[0, 255], [7, 9]]
    assert found.facts["columns"] == {"image": "img", "label": "label"}
    config = DataConfig(source=str(tmp_path))
    assert data.fingerprint(config, 0, "training") == data.fingerprint(config, 0, "training")


@pytest.mark.parametrize(
    "cell", [5, None, {"path": None}, {"path": "gone.png"}, [[300]], ["x"], [[1, 2], [3]]]
)
def test_a_cell_that_is_no_image_is_refused(tmp_path: Path, cell: Any) -> None:
    """The sentence says which forms an image may have."""
    write(tmp_path / "train.jsonl", [{"image": cell, "label": 0}])
    with pytest.raises(DataError, match=r"line 1: the column 'image' must hold an image \(a path"):
        load(image_classification, source=str(tmp_path))


def test_equal_images_stay_on_one_side(tmp_path: Path) -> None:
    """The same picture under many names is one group."""
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for i in range(60):
            archive.writestr(f"{i}.png", picture(i // 3))
    write(tmp_path / "train.jsonl", [{"file": f"{i}.png", "label": i % 2} for i in range(60)])
    training = load(image_classification, source=str(tmp_path)).training
    pictures = [{row["image"].read() for row in rows} for rows in (training.train, training.selection)]
    assert len(training.selection) == 6
    assert not pictures[0] & pictures[1]


def test_the_digits_are_split_alike_for_every_seed() -> None:
    """A quarter of the 1,797 images measures, every class by its share, and no seed moves it."""
    found = load(image_classification, source="sklearn:digits")
    other = load(image_classification, source="sklearn:digits", seed=5)
    assert (len(found.eval), len(found.training.train), len(found.training.selection)) == (450, 1212, 135)
    assert np.bincount([row["label"] for row in found.eval]).tolist() == [
        45,
        46,
        44,
        46,
        45,
        46,
        45,
        45,
        43,
        45,
    ]
    held = [[row["image"].tobytes() for row in side.eval] for side in (found, other)]
    assert held[0] == held[1]
    assert found.training.selection[0] is not other.training.selection[0]
    learned = {row["image"].tobytes() for row in [*other.training.train, *other.training.selection]}
    assert not learned & set(held[0])
    image = found.eval[0]["image"]
    assert (image.shape, image.dtype, image.max() <= 255) == ((8, 8), np.uint8, True)
    assert found.training.infer_head(image_classification).labels == tuple("0123456789")
    with pytest.raises(UnknownName, match="Did you mean 'digits'"):
        load(image_classification, source="sklearn:digit")


# Tags


def test_tags_must_be_as_many_as_words(tmp_path: Path) -> None:
    """Words and tags of different number are refused by line; lists may also stand in csv cells."""
    write(
        tmp_path / "train.jsonl",
        [{"tokens": ["a", "b"], "tags": ["O", "B-x"]}, {"tokens": ["c"], "tags": []}],
    )
    with pytest.raises(DataError, match="line 2: 1 words in 'tokens' and 0 tags in 'tags'"):
        load(token_classification, source=str(tmp_path))
    (tmp_path / "train.jsonl").unlink()
    rows = [{"tokens": json.dumps([f"w{i}", "x"]), "tags": json.dumps(["O", "B-x"])} for i in range(9)]
    write(tmp_path / "train.csv", rows)
    assert load(token_classification, source=str(tmp_path)).training.train[0]["tags"] == ["O", "B-x"]


@pytest.mark.parametrize("cell", ["text", [], [1], None])
def test_words_must_be_a_list_of_texts(tmp_path: Path, cell: Any) -> None:
    """Anything else is refused by line."""
    write(tmp_path / "train.jsonl", [{"tokens": cell, "tags": ["O"]}])
    with pytest.raises(DataError, match="line 1: the column 'tokens' must hold a list of words"):
        load(token_classification, source=str(tmp_path))


# Real data


@pytest.mark.parametrize(
    ("name", "task", "problem", "rows"),
    [
        ("rte", text_classification, "single_label", (2490, 277)),
        ("stsb", text_classification, "regression", (5749, 1500)),
        ("wnut17", token_classification, "single_label", (3394, 1009)),
    ],
)
def test_real_sets_load_whole(
    shared: Path, name: str, task: Any, problem: str, rows: tuple[int, int]
) -> None:
    """Every row is on a side, labels align with the head that they ask for, nothing needs an option."""
    config = DataConfig(source=str(shared / "data" / name))
    found = data.load(config, task, 0)
    head = found.training.infer_head(task)
    aligned = found.training.for_head(task, head)
    assert head.problem == problem
    assert len(aligned.train) + len(aligned.selection) == rows[0]
    assert len(aligned.selection) >= 0.09 * rows[0]
    assert len(data.evaluation(config, task, 0, head)) == rows[1]
    assert len(aligned.calibration) == 256


def test_the_license_of_a_card_is_a_fact(tmp_path: Path) -> None:
    """The YAML head of a README states it; a folder without one states none."""
    tiny.text_data(tmp_path)
    assert load(source=str(tmp_path)).facts["license"] is None
    (tmp_path / "README.md").write_text("---\nlicense: [mit, cc0-1.0]\n---\n# Data\n")
    assert load(source=str(tmp_path)).facts["license"] == "mit, cc0-1.0"
