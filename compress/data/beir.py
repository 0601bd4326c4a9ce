"""Queries, documents and which answer which, in the layout of BEIR (Thakur et al. 2021).

corpus.jsonl     {"_id", "title", "text"} a line
queries.jsonl    {"_id", "text"} a line
qrels/SPLIT.tsv  query-id, corpus-id, score under a header

A row is a query with a document and its relevance. Where queries are searched and not learned from, the
documents that no judgement names stand in rows of relevance 0, so that the whole corpus is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from compress.artifacts import artifact
from compress.data.files import digest, objects, read_file
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files, front_matter
from compress.tasks import _images as images

CORPUS, QUERIES, JUDGEMENTS = "corpus.jsonl", "queries.jsonl", "qrels"
_COLUMNS = ("query", "document", "relevance")
_IDS = ("query-id", "corpus-id", "score")
_LEARNED = "train"


def is_beir(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    named = (folder / CORPUS, folder / QUERIES)
    return all(files.is_file(file, error=DataError) for file in named) and files.is_folder(
        folder / JUDGEMENTS, error=DataError
    )


class Beir:
    """A folder in this layout; its splits are those of the judgements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(file.stem for file in (self.folder / JUDGEMENTS).glob("*.tsv")))

    def pin(self) -> str | None:
        """Files are identified one by one."""
        return None

    def _file(self, split: str) -> Path:
        return self.folder / JUDGEMENTS / f"{split}.tsv"

    def _texts(self, name: str) -> dict[str, str]:
        """Texts by id; a title stands before its text."""
        texts: dict[str, str] = {}
        for number, entry in objects(self.folder / name):
            place = f"{self.folder / name}, line {number}"
            text, key = entry.get("text"), entry.get("_id")
            if not isinstance(text, str) or not isinstance(key, str | int):
                raise DataError(
                    f'{place}: an entry must have a text and an _id, such as {{"_id": "7", "text": "…"}}'
                )
            if str(key) in texts:
                raise DataError(
                    f"{place}: the _id '{files.shown(str(key))}' stands for two texts: give each its own"
                )
            title = entry.get("title")
            texts[str(key)] = f"{title} {text}".strip() if isinstance(title, str) else text
        return texts

    @cached_property
    def _corpus(self) -> dict[str, str]:
        return self._texts(CORPUS)

    @cached_property
    def _queries(self) -> dict[str, str]:
        return self._texts(QUERIES)

    def read(self, split: str) -> Table:
        """The rows of a split.

        Raises:
            DataError: a file is broken, or a judgement names a query or a document that is not there.
        """
        judged = read_file(self._file(split))
        missing = [name for name in _IDS if name not in judged.columns]
        if missing:
            raise DataError(
                f"{judged.name} has no column {' and '.join(missing)}: its header is {', '.join(_IDS)}"
            )
        rows = []
        named: set[str] = set()
        for number, line in enumerate(judged.rows):
            place = judged.place(number)
            query = _found(self._queries, line["query-id"], QUERIES, place)
            document = _found(self._corpus, line["corpus-id"], CORPUS, place)
            named.add(str(line["corpus-id"]))
            rows.append(dict(zip(_COLUMNS, (query, document, line["score"]), strict=True)))
        if rows and split != _LEARNED:
            rows += [
                {"query": rows[0]["query"], "document": text, "relevance": "0"}
                for key, text in self._corpus.items()
                if key not in named
            ]
        return Table(judged.name, _COLUMNS, rows)

    def identity(self, split: str) -> str:
        """A checksum over the three files."""
        paths = (self._file(split), self.folder / CORPUS, self.folder / QUERIES)
        return artifact.digest_text(artifact.canonical_json([digest(path) for path in paths]))

    def label_names(self, split: str) -> Any:
        """Relevances have no names."""
        return None

    def license(self) -> str | None:
        """The license that the folder's README.md states, or None."""
        return front_matter.license_of(self.folder / "README.md")

    def image(self, reference: str, split: str) -> images.ImageFile | None:
        """There are none."""
        return None


def _found(texts: Mapping[str, str], key: Any, name: str, place: str) -> str:
    if str(key) not in texts:
        raise DataError(
            f"{place} names '{files.shown(str(key))}', which {name} does not have: correct the id, or leave "
            "the line out"
        )
    return texts[str(key)]
