"""SQuAD by paragraph as a ranking: what a query's documents are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from studies import squad_ranking

QUESTIONS = [
    {"id": f"{title}{number}{turn}", "title": title, "question": f"q{turn}?", "context": f"{title} {number}"}
    for title in "ab"
    for number in range(4)
    for turn in range(2)
]


def test_a_questions_documents_are_its_articles_paragraphs() -> None:
    """All of them, each once, and the one that it was asked of is relevant."""
    rows = list(squad_ranking.ranking(QUESTIONS, ["a"], None, None, 0))
    assert len(rows) == 8 * 4
    mine = [row for row in rows if row["query_id"] == "a21"]
    assert {row["document"] for row in mine} == {"a 0", "a 1", "a 2", "a 3"}
    assert [row["document"] for row in mine if row["label"]] == ["a 2"]
    assert {row["query"] for row in mine} == {"q1?"}


def test_few_others_and_few_questions_are_drawn_by_seed(tmp_path: Path) -> None:
    """Two documents a question to train on; the same seed writes the same files."""
    (tmp_path / "resplit.json").write_text(json.dumps({"train_titles": ["a"], "heldout_titles": ["b"]}))
    with gzip.open(tmp_path / "validation.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in QUESTIONS)
    for name in ("first", "second"):
        words = [str(tmp_path), "--out", str(tmp_path / name), "--negatives", "1", "--train", "3"]
        squad_ranking.main(words)
    for split, count in (("train", 3 * 2), ("validation", 8 * 4)):
        texts = [(tmp_path / name / f"{split}.jsonl").read_text() for name in ("first", "second")]
        assert texts[0] == texts[1]
        rows = [json.loads(line) for line in texts[0].splitlines()]
        assert len(rows) == count
        assert {row["document"][0] for row in rows} == {"a" if split == "train" else "b"}
