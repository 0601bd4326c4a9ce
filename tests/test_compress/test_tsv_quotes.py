"""Quotes of a tab-separated file: the marks of its writer, or its text."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest

from compress import data
from compress.data import files, quoting
from compress.recipe import DataConfig
from compress.tasks import text_classification

TEXTS = ['"fine" film', "dull", 'she said "no"', "tab\tin it", "two\nlines", "plain words", '"', ""]


def _written(path: Path, texts: list[str], **style: Any) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", **style)
        writer.writerow(["text", "label"])
        writer.writerows((text, i % 2) for i, text in enumerate(texts))
    return path


def _read(path: Path) -> list[str | None]:
    return [row["text"] for row in files.read_file(path).rows]


@pytest.mark.parametrize("style", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_that_pandas_quotes_are_read_without_their_quotes(tmp_path: Path, style: Any, end: str) -> None:
    """``DataFrame.to_csv`` with tabs writes as ``csv`` does: 79 % of answers were right, now 100 %."""
    path = _written(tmp_path / "train.tsv", TEXTS, quoting=style, lineterminator=end)
    assert _read(path) == [text or None for text in TEXTS]
    assert quoting.quoting(path) == quoting.Quoting(marks=True)


@pytest.mark.parametrize(
    "lines",
    [
        ['say "hi"', "plain"],
        ['"fine" film', '"great"', "plain"],
        ['12" vinyl', '"quoted words"', "x"],
        ['"', "plain"],
    ],
)
def test_a_file_whose_text_has_quotes_keeps_them(
    tmp_path: Path, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """SST-2's and GLUE's files are written without quoting: a quote is a character of the sentence."""
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{line}\t{i % 2}\n" for i, line in enumerate(lines)))
    assert _read(path) == lines
    assert quoting.quoting(path) == quoting.Quoting(marks=False)


def test_without_quotes_there_is_nothing_to_decide(tmp_path: Path) -> None:
    """A file without a quote is read the same way either way, and nothing is said."""
    path = _written(tmp_path / "train.tsv", ["a", "b"])
    assert quoting.quoting(path) == quoting.Quoting(marks=False)


def test_what_could_be_either_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Cells whole in quotes that need none: text, since a writer of quotes would have left them bare."""
    rows = ['"great movie"', "dull", "fine", '"bad"'] * 4
    for split in ("train", "validation"):
        body = "".join(
            f"{text} {i}\t{i % 2}\n" if text[0] != '"' else f"{text}\t{i % 2}\n"
            for i, text in enumerate(rows)
        )
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\n" + body)
    with caplog.at_level(logging.WARNING):
        splits = data.load(DataConfig(source=str(tmp_path)), text_classification, 0)
    assert any("8 cells stand whole in quotes (the first on line 2)" in line for line in caplog.messages)
    assert splits.training.facts["tsv_quotes"] == {"train": "text", "eval": "text"}


def test_both_signs_in_one_file_are_said(tmp_path: Path) -> None:
    """One row written by hand makes all quotes text, and the doubt names the others."""
    path = _written(tmp_path / "train.tsv", ['"fine" film', "dull"], lineterminator="\n")
    with path.open("a") as stream:
        stream.write('say "hi"\t0\n')
    style = quoting.quoting(path)
    assert not style.marks
    assert (
        style.doubt
        == "1 cells stand whole in quotes (the first on line 2), and 1 have quotes in other places"
    )


def test_a_quotation_that_runs_over_rows_is_no_cell(tmp_path: Path) -> None:
    """Rows that are whole without quotes are never swallowed by a quote that opens in one of them."""
    path = tmp_path / "train.tsv"
    path.write_text('text\tlabel\nfine\t1\n"open\t0\nplain\t1\nclose"\t0\n')
    assert _read(path) == ["fine", '"open', "plain", 'close"']
    assert quoting.quoting(path).doubt == (
        "a quote opens on line 3 and closes on a later one, which could be one cell"
    )


def test_a_changed_file_is_decided_anew(tmp_path: Path) -> None:
    """The rule is kept by size and time, not by name alone."""
    path = _written(tmp_path / "train.tsv", TEXTS)
    assert quoting.quoting(path).marks
    path.write_text('text\tlabel\nsay "hi"\t1\n')
    assert not quoting.quoting(path).marks


def test_a_cell_of_a_csv_may_be_a_document(tmp_path: Path) -> None:
    """Cells over 131,072 characters are read (orange3 2404)."""
    path = tmp_path / "train.csv"
    long = "good " * 40_000
    path.write_text(f'text,label\n{long},1\n"{long}, too",0\n')
    assert _read(path) == [long, f"{long}, too"]
