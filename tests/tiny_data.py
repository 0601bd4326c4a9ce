"""Small files of rows, for tests of reading and dividing data."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from compress import data
from compress.errors import DataError
from compress.recipe import DataConfig
from compress.tasks import Head, text_classification

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
