"""Data files of every type give the same rows, and a broken one is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tiny_data import load, numbered, refused, write

from compress.data import files
from compress.data import layout as layouts
from compress.recipe import DataConfig
from compress.tasks import Head, text_classification


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
