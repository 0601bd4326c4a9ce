"""A division of SST-2's training rows for comparing settings: none is chosen on the development rows.

``python -m studies.held_out data/sst2 held-out`` writes two folders that every verb reads as data:
``sentences`` (training phrases; beside them in ``train_sentences.jsonl`` the full sentences to train on; as
evaluation rows, full sentences that were held out) and ``phrases`` (the phrases of those as evaluation rows).
Whatever ``compress.data.grouping`` holds for near-duplicates or parts of one sentence lies on one side.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.data import grouping

SENTENCES = 2000
SEED = 20261125
_LARGEST = 300  # a group with more rows stays in training: it is held together by common short phrases


def held_groups(phrases: np.ndarray, sentences: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Groups to hold out, in random order, until they have at least ``count`` sentences.

    Args:
        phrases: the group of each training phrase.
        sentences: the group of each full sentence.
        count: sentences wanted; all groups that are not too large, where these have fewer.
        seed: of the order.
    """
    sizes = np.bincount(np.concatenate([phrases, sentences]))
    groups = np.random.default_rng(seed).permutation(np.unique(sentences))
    groups = groups[sizes[groups] <= _LARGEST]
    reached = np.cumsum(np.bincount(sentences, minlength=len(sizes))[groups])
    return groups[: int(np.searchsorted(reached, count)) + 1]


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _write(folder: Path, labels: str, **splits: Sequence[dict[str, Any]]) -> None:
    folder.mkdir()
    (folder / "labels.json").write_text(labels, encoding="utf-8")
    for name, rows in splits.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def divide(source: Path, out: Path) -> None:
    """Write the two folders.

    Args:
        source: folder with ``train.jsonl.gz`` (phrases), ``train_sentences.jsonl.gz`` and ``labels.json``.
        out: folder to make.

    Raises:
        OSError: a file is missing, or the folder is there already; then nothing is written.
    """
    phrases, sentences = _read(source / "train.jsonl.gz"), _read(source / "train_sentences.jsonl.gz")
    labels = (source / "labels.json").read_text(encoding="utf-8")
    groups = np.asarray(grouping.group([(grouping.words(row["text"]),) for row in phrases + sentences]))
    of_phrases, of_sentences = groups[: len(phrases)], groups[len(phrases) :]
    chosen = held_groups(of_phrases, of_sentences, SENTENCES, SEED)
    out_phrases, out_sentences = np.isin(of_phrases, chosen), np.isin(of_sentences, chosen)
    out.mkdir(parents=True)
    _write(
        out / "sentences",
        labels,
        train=[phrases[i] for i in np.flatnonzero(~out_phrases)],
        train_sentences=[sentences[i] for i in np.flatnonzero(~out_sentences)],
        validation=[sentences[i] for i in np.flatnonzero(out_sentences)],
    )
    _write(out / "phrases", labels, validation=[phrases[i] for i in np.flatnonzero(out_phrases)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Divide as the command line says."""
    about = (__doc__ or "").split("\n", 1)[0]
    parser = argparse.ArgumentParser(prog="python -m studies.held_out", description=about)
    parser.add_argument("source", type=Path, help="folder of SST-2's rows")
    parser.add_argument("out", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    try:
        divide(options.source, options.out)
    except OSError as cause:
        parser.error(f"{cause}: give the folder with SST-2's train.jsonl.gz, and a new folder to make")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
