"""SQuAD by paragraph as a ranking: which paragraph of an article is it that answers the question?

The question is the query, the paragraphs of its article are the documents, and that which it was asked of is
relevant. Of the articles to train on, a question gets some of the others, drawn at random; of those held out
(``resplit.json``), all of them, or as many as ``--documents`` says.

    python -m studies.squad_ranking ../shared/data/squad_v1 --out squad-ranking
    paredown finetune BASE --data squad-ranking --task text-ranking --out reranker
    paredown run ranking-int8 --model reranker --data squad-ranking --out runs/ranking
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def ranking(
    questions: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    negatives: int | None,
    most: int | None,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Rows of a ranking, those of a question together and in random order.

    Args:
        questions: with ``id``, ``title``, ``question`` and ``context``.
        titles: of the articles that are taken.
        negatives: paragraphs a question that do not answer it, at most; all of its article where None.
        most: questions, a seeded sample where there are more; all where None.
        seed: of every draw.
    """
    source = random.Random(seed)
    paragraphs: dict[str, dict[str, None]] = {}
    for row in questions:
        paragraphs.setdefault(row["title"], {})[row["context"]] = None
    sample = [row for row in questions if row["title"] in titles]
    if most is not None and len(sample) > most:
        sample = source.sample(sample, most)
    for row in sample:
        wrong = [text for text in paragraphs[row["title"]] if text != row["context"]]
        if negatives is not None:
            wrong = source.sample(wrong, min(negatives, len(wrong)))
        documents = [row["context"], *wrong]
        for text in source.sample(documents, len(documents)):
            yield {
                "query_id": row["id"],
                "query": row["question"],
                "document": text,
                "label": int(text == row["context"]),
            }


def main(words: Sequence[str] | None = None) -> None:
    """Write ``train.jsonl`` and ``validation.jsonl``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("squad", type=Path, help="folder with validation.jsonl.gz and resplit.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--negatives", type=int, default=3, help="other paragraphs a question to train on")
    parser.add_argument(
        "--documents", type=int, help="paragraphs a question that is held out; all by default"
    )
    parser.add_argument("--train", type=int, help="questions to train on; all by default")
    parser.add_argument("--evaluate", type=int, help="questions that are held out; all by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    split = json.loads((options.squad / "resplit.json").read_text(encoding="utf-8"))
    with gzip.open(options.squad / "validation.jsonl.gz", "rt", encoding="utf-8") as lines:
        questions = [json.loads(line) for line in lines]
    options.out.mkdir(parents=True, exist_ok=True)
    negatives = None if options.documents is None else options.documents - 1
    for name, titles, wrong, most in (
        ("train", split["train_titles"], options.negatives, options.train),
        ("validation", split["heldout_titles"], negatives, options.evaluate),
    ):
        rows = ranking(questions, titles, wrong, most, options.seed)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.out / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
