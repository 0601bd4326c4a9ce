"""Data files of every type give the same rows, and a broken one is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tiny_data import load, numbered, refused, write

from compress.data import files
from compress.data import layout as layouts
from compress.errors import DataError
from compress.recipe import DataConfig
from compress.tasks import Head, text_classification


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_every_file_type_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """The same rows in any format are loaded as the same texts and integer labels."""
    rows = numbered(30)
    write(tmp_path / f"train{suffix}", rows)
    write(tmp_path / f"dev{suffix}", numbered(40)[30:])
    splits = load(source=str(tmp_path), labels=("negative", "positive"))
    assert len(splits.training.train) == 27
    assert len(splits.training.selection) == 3
    everything = sorted([*splits.training.train, *splits.training.selection], key=str)
    assert everything == sorted(rows, key=str)
    assert list(splits.eval) == numbered(40)[30:]
    assert splits.facts["splits"] == {"train": "train", "eval": "dev"}


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
        ("train.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "the gzip file is damaged"),
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
    table = files.read_file(tmp_path / "a.csv")
    assert table.rows[0] == {"text": "so,\nit goes", "label": "x"}
    assert table.place(1) == f"{tmp_path / 'a.csv'}, line 4"


def test_words_that_mean_nothing_elsewhere_are_texts_in_csv(tmp_path: Path) -> None:
    """'null', 'NA' and '3' in a text column stay text; an empty cell is no value."""
    (tmp_path / "train.csv").write_text("text,label\nnull,0\nNA,1\n3,0\n", encoding="utf-8")
    splits = load(source=str(tmp_path))
    assert sorted(row["text"] for row in [*splits.training.train, *splits.training.selection]) == [
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
    splits = load(source=str(tmp_path))
    assert splits.label_names == ("no", "yes")
    assert splits.facts["label_names_from"] == "the column's features"
    assert splits.training.infer_head(text_classification) == Head("single_label", ("no", "yes"))


_PLAIN = "text,label\n{}".format("".join(f"a{i} b{i} c{i},{i % 2}\n" for i in range(30)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", _PLAIN.replace("text,label", "text, label")),
        ("train.csv", _PLAIN.replace(",", ", ")),
        ("train.csv", _PLAIN.replace("text,label", " text ,label ")),
        ("train.csv", "\ufeff" + _PLAIN),
        ("train.csv", _PLAIN.replace("text,label", '"text","label"')),
        ("train.csv", _PLAIN.replace(",", ', "').replace("\n", '"\n')),
        ("train.csv", _PLAIN.replace("text,label", "Text,LABEL")),
        ("train.csv", _PLAIN.replace("text,label", "text,label,")),
        ("train.csv", _PLAIN.replace("\n", ",\n")),
        ("train.csv", "," + _PLAIN.replace("\n", "\n0,")[:-2]),
        ("train.csv", _PLAIN.replace(",", "; ")),
        ("train.tsv", _PLAIN.replace("text,label", "text , label").replace(",", "\t")),
    ],
)
def test_a_header_is_read_however_its_names_are_written(tmp_path: Path, name: str, content: str) -> None:
    """Blanks, a byte order mark, quotes, capitals, a separator after the last name, an index without one."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    splits = load(source=str(tmp_path), labels=("negative", "positive"))
    rows = [*splits.training.train, *splits.training.selection]
    expected = [{"text": f"a{i} b{i} c{i}", "label": i % 2} for i in range(30)]
    assert sorted(rows, key=str) == sorted(expected, key=str)


def test_a_blank_that_only_a_cell_has_is_its_own(tmp_path: Path) -> None:
    """The header decides: without a blank after its separators, those in the rows are text."""
    (tmp_path / "train.csv").write_text("label,text\n" + "".join(f"{i % 2}, a{i} b{i}\n" for i in range(30)))
    splits = load(source=str(tmp_path), labels=("negative", "positive"))
    assert all(row["text"].startswith(" a") for row in splits.training.train)


@pytest.mark.parametrize(
    ("content", "named", "message"),
    [
        ("text,lable\na,b\n", {}, r"no filled column .*\. Did you mean 'lable'\? Name it with --column"),
        ("sentences,label\na,b\n", {"text": "sentense"}, r"no column 'sentense'.*Did you mean 'sentences'\?"),
        ("zzz,label\na,b\n", {}, r"no column for text \(text, .*\)\. Name it with --column text=NAME"),
        ("Text,TEXT,label\na,b,c\n", {}, "could be Text or TEXT"),
        ("text, text\na,b\n", {}, "names a column twice: text, text"),
    ],
)
def test_a_column_that_is_not_found_is_asked_about(
    tmp_path: Path, content: str, named: dict[str, str], message: str
) -> None:
    """What is wanted, what there is, and what is nearest to it."""
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load(source=str(tmp_path), columns=named).training.infer_head(text_classification)
