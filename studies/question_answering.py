"""Whether questions are answered as transformers answers them: the same spans, the same probabilities.

transformers 5 has no pipeline for questions any more, but still has what it decided by, for documents
(``select_starts_ends``): probabilities of both ends, masked, and the best span. Here its own tokenizer makes
the windows and that function the answers, one window at a time, without anything of paredown; paredown
answers the same rows in batches. Spans must be equal and probabilities within 1e-6:

    python -m studies.question_answering MODEL ROWS.jsonl --rows 200 --max-length 192
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

WITHIN = 1e-6


def plain(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], max_length: int, longest: int
) -> list[tuple[str, float, float]]:
    """Answer, its probability and that of no answer of each row, by transformers alone."""
    from transformers.pipelines.document_question_answering import select_starts_ends

    answers = []
    for row in rows:
        encoded = tokenizer(
            row["question"],
            row["context"],
            truncation="only_second",
            max_length=max_length,
            stride=min(128, max_length // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        best, nothing = ("", 0.0), 1e6
        for i in range(len(encoded["input_ids"])):
            feed = {
                name: torch.tensor([encoded[name][i]])
                for name in tokenizer.model_input_names
                if name in encoded
            }
            with torch.inference_mode():
                outputs = model(**feed)
            masked = np.array([[side != 1 for side in encoded.sequence_ids(i)]])
            masked[feed["input_ids"].numpy() == tokenizer.cls_token_id] = False
            starts, ends, scores, nothing = select_starts_ends(
                outputs.start_logits.double().numpy(),
                outputs.end_logits.double().numpy(),
                masked.astype(np.int64),
                feed["attention_mask"].numpy(),
                nothing,
                top_k=1,
                handle_impossible_answer=True,
                max_answer_len=longest,
            )
            for start, end, score in zip(starts, ends, scores, strict=True):
                if score > best[1]:
                    places = encoded["offset_mapping"][i]
                    best = (row["context"][places[start][0] : places[end][1]], float(score))
        answers.append((*best, nothing))
    return answers


def compare(folder: Path, rows: Sequence[Mapping[str, Any]], max_length: int) -> dict[str, Any]:
    """How many answers are equal, and how far probabilities are apart at most."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    from compress import catalog
    from compress.tasks import Head, question_answering

    task = catalog.task("question-answering")
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = plain(model, tokenizer, rows, max_length, question_answering.LONGEST)
    processor, head = task.load_processor(folder), Head("span", ())
    seen = task.pieces(rows, processor, max_length)
    predictions = []
    for begin in range(0, len(seen.rows), 8):
        batch = task.encode(seen.rows[begin : begin + 8], processor, head, max_length, labelled=False)
        with torch.inference_mode():
            outputs = model(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()})
        arrays = {name: outputs[name].numpy() for name in task.OUTPUTS}
        predictions += task.decode(arrays, batch, head)
    answers = task.joined(predictions, seen, head)
    gaps = [
        max(abs((answer.score or 0.0) - score), abs((answer.empty or 0.0) - nothing))
        for answer, (_, score, nothing) in zip(answers, expected, strict=True)
    ]
    equal = sum(answer.value == text for answer, (text, _, _) in zip(answers, expected, strict=True))
    return {
        "rows": len(rows),
        "windows": len(seen.rows),
        "equal": equal,
        "largest_difference": max(gaps, default=0.0),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison as JSON; 3 where answers or probabilities differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--rows", type=int, default=200, dest="count")
    parser.add_argument("--max-length", type=int, default=384)
    options = parser.parse_args(arguments)
    with options.rows.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(options.count), lines, strict=False)]
    outcome = compare(options.model, rows, options.max_length)
    sys.stdout.write(json.dumps(outcome) + "\n")
    return 0 if outcome["equal"] == len(rows) and outcome["largest_difference"] <= WITHIN else 3


if __name__ == "__main__":
    sys.exit(main())
