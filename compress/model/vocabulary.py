"""Whether a tokenizer and a model speak of the same ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress import fence, log
from compress.errors import ModelError
from compress.tasks import _tokenizers as tokenizers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# FP32 rounding of one row that is run twice is nothing; another token's answer is far off.
_ROUNDING = 1e-5


def fit(model: PreTrainedModel, tokenizer: Any, place: str, *, trained: bool = True) -> None:
    """Refuse ids that the embedding has no row for, and give a model without a padding id the tokenizer's.

    A GPT-2 style classifier reads its answer at the last token that is no padding: without the id it
    takes only batches of one row.

    Args:
        model: its configuration takes the padding id where it names none.
        tokenizer: of the same folder.
        place: what an error calls the folder.
        trained: whether the head is the folder's own, so that its answers must stay as they are.

    Raises:
        ModelError: the tokenizer gives ids beyond the embedding, or its padding id changes the answers.
    """
    rows = _embedding_rows(model)
    if rows is None:
        return
    check_ids(tokenizer, rows, place)
    if model.config.pad_token_id is None and tokenizer.pad_token_id is not None:
        _take_padding(model, tokenizer, place, trained=trained)


def _take_padding(model: PreTrainedModel, tokenizer: Any, place: str, *, trained: bool) -> None:
    """Give a model the tokenizer's padding id, unless that moves the answer of a row by itself.

    Without an id the answer is read at the last token. Where the tokenizer ends each row in the token that
    it pads with, the id would move it to the token before, which is another answer.

    Raises:
        ModelError: it does.
    """
    number, token = tokenizer.pad_token_id, tokenizer.pad_token
    before = _answer(model, tokenizer, place) if trained else None
    model.config.pad_token_id = number
    if before is not None:
        after = _answer(model, tokenizer, place)
        if np.abs(after - before).max() > _ROUNDING * max(1.0, float(np.abs(before).max())):
            raise ModelError(
                f"{place}: config.json names no pad_token_id, and the tokenizer pads with '{token}' "
                f"({number}), in which it also ends each row: transformers reads the answer of a single "
                "row at that token, and of several rows, which need the id, at the one before. Set "
                "pad_token_id in config.json to the id that the model was trained with, or to that of a "
                "token which ends no row (and pad_token in tokenizer_config.json to that token)"
            )
    log.warning(
        "%s: config.json names no pad_token_id, the tokenizer's is taken ('%s', %d); an answer that is read "
        "at the last token is read before it where a text itself ends in it",
        place,
        token,
        number,
    )


def _answer(model: PreTrainedModel, tokenizer: Any, place: str) -> np.ndarray:
    """A model's answer to one row without padding."""
    import torch

    encoded = tokenizer(["a"], verbose=False)
    feed = {name: torch.from_numpy(ids) for name, ids in tokenizers.arrays(encoded, tokenizer).items()}
    reason = f"{place}: the {type(model).__name__} does not run on a text"
    remedy = "its configuration, weights and tokenizer do not belong together"
    with fence.reading(reason, remedy), torch.inference_mode():
        answer: np.ndarray = model(**feed, return_dict=True).logits.float().numpy()
    return answer


def check_ids(tokenizer: Any, rows: int, place: str) -> None:
    """Refuse ids that an embedding has no row for.

    Args:
        tokenizer: its vocabulary is looked at, and the marks that it puts around a text.
        rows: of the embedding.
        place: what an error calls the folder.

    Raises:
        ModelError: the tokenizer gives ids beyond the embedding.
    """
    vocabulary = tokenizer.get_vocab()
    beyond = sorted((number, token) for token, number in vocabulary.items() if not 0 <= number < rows)
    if beyond:
        number, token = beyond[0]
        raise ModelError(
            f"{place}: the tokenizer has {len(vocabulary)} tokens and the model's embedding {rows} rows, so "
            f"{len(beyond)} of its ids ('{token}' = {number}, for one) have none: save the tokenizer that "
            "the model was trained with, or resize the model (resize_token_embeddings) and train it again"
        )
    # The marks around a text are ids of their own in a tokenizer's file, whatever its vocabulary says.
    marks = tokenizer("a", add_special_tokens=True)["input_ids"]
    if not all(0 <= number < rows for number in marks):
        raise ModelError(
            f"{place}: the tokenizer puts the ids {', '.join(map(str, marks))} in place of a text, and the "
            f"model's embedding has {rows} rows: save the tokenizer that the model was trained with"
        )


def _embedding_rows(model: PreTrainedModel) -> int | None:
    """Rows of the table of token embeddings; None where ids are hashed or there are none."""
    if (
        model.main_input_name != "input_ids"
        or getattr(model.config.get_text_config(), "vocab_size", None) is None
    ):
        return None
    rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    return rows if isinstance(rows, int) else None
