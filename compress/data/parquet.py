"""Rows of a parquet file and of a ``datasets.Dataset``, read by the ``datasets`` library."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress import environment
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """What the libraries say of a broken file, as a sentence; nothing of ours runs within."""
    import datasets

    arrow = environment.require("pyarrow", purpose="parquet files")
    try:
        yield
    except (
        datasets.exceptions.DatasetsError,
        arrow.ArrowException,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        NotImplementedError,
        OSError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as cause:
        reason = (str(cause.__cause__ or cause).strip() or type(cause).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read as parquet: {files.shown(reason)}") from cause


def read(path: Path) -> Table:
    """The rows of a parquet file.

    Raises:
        DataError: it is no regular file, or broken.
    """
    import datasets

    files.check(path, error=DataError)
    # The library keeps an Arrow copy of what it reads: in a folder that goes away with this call.
    with tempfile.TemporaryDirectory(prefix="paredown-") as cache, _sentence(path):
        loaded = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        return from_dataset(loaded, str(path))


def from_dataset(loaded: Any, name: str) -> Table:
    """The rows of a ``datasets.Dataset``; images and sounds stay encoded."""
    import datasets

    names: dict[str, tuple[str, ...]] = {}
    for column, feature in loaded.features.items():
        inner = feature.feature if isinstance(feature, datasets.List) else feature
        if isinstance(inner, datasets.ClassLabel):
            names[column] = tuple(inner.names)
        if isinstance(feature, datasets.Image | datasets.Audio):
            loaded = loaded.cast_column(column, replace(feature, decode=False))
    return Table(name, tuple(loaded.column_names), loaded.to_list(), names)


def first_row(path: Path) -> dict[str, Any]:
    """The first row of a parquet file without reading the rest; empty where there is none."""
    files.check(path, error=DataError)
    parquet = environment.require("pyarrow.parquet", purpose="parquet files")
    with _sentence(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1):
            row: dict[str, Any] = batch.to_pylist()[0]
            return row
    return {}
