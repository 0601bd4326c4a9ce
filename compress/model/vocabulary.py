"""Whether a tokenizer and a model speak of the same ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import log
from compress.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fit(model: PreTrainedModel, tokenizer: Any, where: str) -> None:
    """Refuse ids that the embedding has no row for, and give a model without a padding id the tokenizer's.

    A GPT-2 style classifier reads its answer at the last token that is no padding: without the id it
    takes only batches of one row.

    Args:
        model: its configuration takes the padding id where it names none.
        tokenizer: of the same folder.
        where: what an error calls the folder.

    Raises:
        ModelError: the tokenizer gives ids beyond the embedding.
    """
    rows = _embedding_rows(model)
    if rows is None:
        return
    check_ids(tokenizer, rows, where)
    if model.config.pad_token_id is None and tokenizer.pad_token_id is not None:
        model.config.pad_token_id = tokenizer.pad_token_id
        log.info(
            "%s: config.json names no pad_token_id, the tokenizer's is taken (%d)",
            where,
            tokenizer.pad_token_id,
        )


def check_ids(tokenizer: Any, rows: int, where: str) -> None:
    """Refuse ids that an embedding has no row for.

    Args:
        tokenizer: its vocabulary is looked at, and the marks that it puts around a text.
        rows: of the embedding.
        where: what an error calls the folder.

    Raises:
        ModelError: the tokenizer gives ids beyond the embedding.
    """
    vocabulary = tokenizer.get_vocab()
    beyond = sorted((number, token) for token, number in vocabulary.items() if not 0 <= number < rows)
    if beyond:
        number, token = beyond[0]
        raise ModelError(
            f"{where}: the tokenizer has {len(vocabulary)} tokens and the model's embedding {rows} rows, so "
            f"{len(beyond)} of its ids ('{token}' = {number}, for one) have none: save the tokenizer that "
            "the model was trained with, or resize the model (resize_token_embeddings) and train it again"
        )
    # The marks around a text are ids of their own in a tokenizer's file, whatever its vocabulary says.
    marks = tokenizer("a", add_special_tokens=True)["input_ids"]
    if not all(0 <= number < rows for number in marks):
        raise ModelError(
            f"{where}: the tokenizer puts the ids {', '.join(map(str, marks))} in place of a text, and the "
            f"model's embedding has {rows} rows: save the tokenizer that the model was trained with"
        )


def _embedding_rows(model: PreTrainedModel) -> int | None:
    """Rows of the table of token embeddings; None where ids are hashed or there are none."""
    if model.main_input_name != "input_ids" or getattr(model.config, "vocab_size", None) is None:
        return None
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    return rows if isinstance(rows, int) else None
