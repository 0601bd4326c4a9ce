"""Masked words of a text: which pieces of the vocabulary stand there (masked language models).

The column is ``text``. A text with the tokenizer's mask in it is answered at its masks. In a text without
one, 15 % of the words are masked, chosen by the text itself (``_masks``), so that rows are their own target
and any text trains, compresses and scores such a model. Scores count masked pieces: how many are found first
(accuracy), at which place the right one stands (MRR), and how probable it is (pseudo-perplexity).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import log
from compress.errors import DataError, ModelError
from compress.tasks import Batch, Column, ExportSpec, Head, Link, Metric, Prediction, Row
from compress.tasks import _masks as masks
from compress.tasks import _scores as scores
from compress.tasks import _tokenizers as tokenizers
from compress.tasks import text_classification as texts
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    import torch

__all__ = ["default_processor"]

MODEL = "AutoModelForMaskedLM"
COLUMNS = {"text": Column(required=True, aliases=texts.COLUMNS["text"].aliases, holds="text")}
LABEL = ""
OUTPUTS = ("logits",)
_BLIND = "what no answer gets"
METRICS = (
    Metric("accuracy", blind=_BLIND, title="masked pieces found"),
    Metric("mrr", blind=_BLIND, title="MRR"),
    Metric("pseudo_perplexity", unit="perplexity", better="lower", title="pseudo-perplexity"),
)
NEW_HEADS = False  # outputs are the table of pieces itself, which only a trained model has
CHOICES = 5
IGNORED = -100

# Extras of a batch: which tokens are masked, bool [rows, length]; what stood there, int64 [rows, length],
# ``IGNORED`` where nobody knows; and the tokenizer, which has the names of pieces, object [rows].
_MASKED = "masked"
_TRUTH = "truth"
_NAMES = "names"


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """Pieces of a vocabulary, which the model's configuration counts."""
    return Head("filling", ())


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """There are no label cells: rows are their own target."""
    return list(cells)


def head_of(config: Mapping[str, Any]) -> Head:
    """Pieces of a vocabulary of this size.

    Raises:
        ModelError: the configuration does not count it.
    """
    size = config.get("vocab_size")
    if not isinstance(size, int):
        raise ModelError("config.json has no vocab_size, which says how many pieces a mask may stand for")
    return Head("filling", (), size=size)


def configure(config: Any, head: Head) -> None:
    """A config says it all: its vocabulary is the head."""


def load_processor(folder: Path) -> Any:
    """The tokenizer of a model folder; it must have a mask and know which word a piece is of.

    Raises:
        ModelError: there is none, or it lacks one of the two.
    """
    tokenizer = tokenizers.load_tokenizer(folder)
    if tokenizer.mask_token_id is None or not tokenizer.is_fast:
        lacking = "no mask_token" if tokenizer.is_fast else "no fast form (tokenizer.json)"
        raise ModelError(
            f"the tokenizer in {folder} has {lacking}, and fill-mask asks what stands at a mask: take the "
            "tokenizer that the model was trained with, or a masked language model"
        )
    return tokenizer


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row before truncation, specials included."""
    return texts.lengths([{"text": row["text"]} for row in rows], processor)


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays with masks in them, padded to the longest row."""
    encoded = tokenizers.encoded(
        processor,
        [row["text"] for row in rows],
        truncation=max_length is not None,
        max_length=max_length,
        padding=True,
        verbose=False,
    )
    inputs = tokenizers.arrays(encoded, processor)
    ids = inputs["input_ids"]
    masked = ids == processor.mask_token_id
    truth = np.full(ids.shape, IGNORED, dtype=np.int64)
    for i, row in enumerate(rows):
        if masked[i].any() or processor.mask_token in row["text"]:
            continue
        log.once(
            "fill-mask: in texts without %s, 15 %% of the words are masked, chosen by the text itself",
            processor.mask_token,
        )
        masked[i] = masks.chosen(row["text"], encoded.word_ids(i))
        truth[i, masked[i]] = ids[i, masked[i]]
    cut = np.zeros(len(rows), dtype=bool)
    if max_length is not None:
        cut = tokenizers.truncated(encoded, lambda: lengths(rows, processor))
    names = np.empty(len(rows), dtype=object)
    names[:] = processor
    return Batch(
        inputs={**inputs, "input_ids": np.where(masked, processor.mask_token_id, ids)},
        labels=truth if labelled else None,
        truncated=cut,
        extras={_MASKED: masked, _TRUTH: truth, _NAMES: names},
    )


def link(head: Head) -> dict[str, Link]:
    """A softmax over the vocabulary at each mask."""
    return {"logits": "softmax"}


def positions(batch: Batch) -> np.ndarray:
    """The masked tokens, bool [rows, length]."""
    masked: np.ndarray = batch.extras[_MASKED]
    return masked


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Cross entropy of what stood at the masks, a scalar; 0 where nobody knows that."""
    from torch.nn import functional

    counted = labels != IGNORED
    total = functional.cross_entropy(outputs["logits"][counted].float(), labels[counted], reduction="sum")
    return total / counted.sum().clamp(min=1)


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The likeliest pieces of each mask, and the place and probability of what stood there."""
    predictions = []
    for i, (masked, truth) in enumerate(zip(batch.extras[_MASKED], batch.extras[_TRUTH], strict=True)):
        logits = np.asarray(outputs["logits"][i][masked], dtype=np.float64)
        if not np.isfinite(logits).all():
            scores.finite(outputs["logits"])  # says which row
        shares = scores.softmax(logits)
        tokenizer = batch.extras[_NAMES][i]
        best = _likeliest(shares)
        texts_of_masks = [[tokenizer.decode([piece]) for piece in ids] for ids in best.tolist()]
        targets = truth[masked]
        probability = shares[np.arange(len(targets)), np.maximum(targets, 0)]
        ranks = 1 + (shares > probability[:, None]).sum(axis=1)
        predictions.append(
            Prediction(
                value=" ".join(tokenizer.convert_ids_to_tokens(best[:, 0].tolist())),
                label=" ".join(names[0].strip() for names in texts_of_masks),
                candidates=tuple(
                    tuple(zip(names, row[ids].tolist(), strict=True))
                    for names, ids, row in zip(texts_of_masks, best, shares, strict=True)
                ),
                truth=tuple(zip(ranks.tolist(), probability.tolist(), strict=True))
                if (targets != IGNORED).all()
                else None,
            )
        )
    return predictions


def _likeliest(shares: np.ndarray) -> np.ndarray:
    """The likeliest pieces of each mask, the best first, int64 [masks, ``CHOICES`` at most]."""
    count = min(CHOICES, shares.shape[1])
    pieces = np.argpartition(-shares, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(shares, pieces, axis=1), axis=1, kind="stable")
    return np.take_along_axis(pieces, order, axis=1)


def reference(row: Row, head: Head) -> tuple[str, ...]:
    """The text: what stood at its masks is known where it was encoded."""
    return (row["text"],)


def right(prediction: Prediction, reference: Any) -> bool:
    """Whether every masked piece is found."""
    return all(rank == 1 for rank, _ in prediction.truth or ((0, 0.0),))


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """Pieces found, sums of 1 / place and of -log probability, and pieces asked, float64 [rows, 4].

    Raises:
        DataError: a text masks words itself, so that nobody knows what stood there.
    """
    table = np.zeros((len(predictions), 4))
    for i, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        if prediction.truth is None:
            raise DataError(
                f"the text {str(reference[0])[:60]!r} has a mask in it, and nobody knows what stood there: "
                "score with texts that have none, whose words are masked here"
            )
        for rank, share in prediction.truth:
            table[i] += (rank == 1, 1 / rank, -math.log(max(share, 1e-300)), 1)
    return table


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """Share of masked pieces found, mean reciprocal rank, and the exponential of the mean loss."""
    hits, reciprocal, loss, count = (float(total) for total in totals)
    count = max(count, 1.0)
    return {
        "accuracy": hits / count,
        "mrr": reciprocal / count,
        "pseudo_perplexity": math.exp(min(loss / count, 700.0)),
    }


def blind(totals: np.ndarray, head: Head) -> float:
    """Nothing: one and the same piece at every mask is right so rarely that it is not counted."""
    return 0.0


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; a row of logits a token."""
    return ExportSpec(
        inputs={name: {0: "batch", 1: "sequence"} for name in tokenizers.input_names(processor)},
        outputs={"logits": {0: "batch", 1: "sequence"}},
        length_axis="sequence",
    )
