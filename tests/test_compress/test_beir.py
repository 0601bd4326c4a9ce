"""Query-document data in the layout of BEIR: rows, the whole corpus, and what does not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress import catalog, data
from compress.data.layout import open_source
from compress.errors import DataError
from compress.recipe import DataConfig

CORPUS = (
    {"_id": "a", "title": "Cats", "text": "They purr."},
    {"_id": "b", "title": "", "text": "Dogs bark."},
    {"_id": "c", "title": "Fish", "text": "They are silent."},
)
QUERIES = ({"_id": "1", "text": "who purrs"}, {"_id": "2", "text": "who barks"})
HEADER = "query-id\tcorpus-id\tscore\n"


def lines(entries: Any) -> str:
    """JSON lines."""
    return "".join(json.dumps(entry) + "\n" for entry in entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, two queries, judgements to learn from and to measure by."""
    (tmp_path / "corpus.jsonl").write_text(lines(CORPUS))
    (tmp_path / "queries.jsonl").write_text(lines(QUERIES))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text(f"{HEADER}1\ta\t1\n")
    (tmp_path / "qrels" / "test.tsv").write_text(f"{HEADER}1\ta\t2\n2\tb\t1\n")
    return tmp_path


def test_judgements_become_rows_and_the_whole_corpus_is_searched(folder: Path) -> None:
    """A title stands before its text; where it is measured, documents that nobody judged have relevance 0."""
    splits = data.load(DataConfig(source=str(folder)), catalog.task("text-embedding"), 0)
    learned = open_source(DataConfig(source=str(folder))).read("train").rows
    assert learned == [{"query": "who purrs", "document": "Cats They purr.", "relevance": "1"}]
    assert [(row["text"], row["text_pair"], row["label"]) for row in splits.eval] == [
        ("who purrs", "Cats They purr.", 2),
        ("who barks", "Dogs bark.", 1),
        ("who purrs", "Fish They are silent.", 0),
    ]


def test_a_document_more_is_other_data(folder: Path) -> None:
    """What identifies a split changes with the corpus."""
    before = open_source(DataConfig(source=str(folder))).identity("test")
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write(lines([{"_id": "d", "text": "Birds sing."}]))
    assert open_source(DataConfig(source=str(folder))).identity("test") != before


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("qrels/test.tsv", "3\ta\t1", "names '3', which queries.jsonl does not have"),
        ("qrels/test.tsv", "1\tz\t1", "names 'z', which corpus.jsonl does not have"),
        ("corpus.jsonl", '{"_id": "a", "text": "Again."}', "the _id 'a' stands for two texts"),
        ("queries.jsonl", '{"_id": "4"}', "an entry must have a text and an _id"),
    ],
)
def test_what_does_not_fit_together_is_named(folder: Path, file: str, line: str, words: str) -> None:
    """The file and the id."""
    with (folder / file).open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DataError, match=words):
        open_source(DataConfig(source=str(folder))).read("test")
