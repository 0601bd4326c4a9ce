"""Whether a row's answer depends on how far it is padded: its logits alone against those beside a longer row.

An attention mask should make padding invisible. It does not where a model has none (FNet), approximates
attention over all positions (Nystromformer), or is padded on the side that it was not made for (a BERT with
``padding_side: left``, whose positions then move). Such answers change with the rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks import Batch, Head

TOLERANCE = 1e-3
_MASK = "attention_mask"


def dependence(
    model: PreTrainedModel,
    task: ModuleType,
    rows: Sequence[Mapping[str, Any]],
    processor: Any,
    head: Head,
    limit: int | None,
) -> float | None:
    """The largest difference of a logit, in units of the largest logit or of 1 where that is more.

    Args:
        model: in PyTorch.
        task: that encodes the rows.
        rows: two rows of different lengths.
        processor: of the model.
        head: of the model.
        limit: tokens of a row.

    Returns:
        None where rows have no length, or both have the same.
    """
    lengths = task.lengths(rows, processor)
    if lengths is None or len(rows) != 2 or lengths[0] == lengths[1]:
        return None
    short = int(np.argmin(lengths))
    alone = task.encode([rows[short]], processor, head, limit, labelled=False)
    both = task.encode(list(rows), processor, head, limit, labelled=False)
    first, second = _logits(model, alone, 0), _logits(model, both, short)
    if first.shape != second.shape:
        return None
    return float(np.abs(first - second).max() / max(1.0, float(np.abs(first).max())))


def _logits(model: PreTrainedModel, batch: Batch, row: int) -> np.ndarray:
    """The logits of one row, those of its real positions where there is one a position."""
    import torch

    with torch.inference_mode():
        arrays = {name: torch.from_numpy(array) for name, array in batch.inputs.items()}
        logits = np.asarray(model(**arrays).logits[row].float())
    mask = batch.inputs.get(_MASK)
    return logits if logits.ndim == 1 or mask is None else logits[mask[row].astype(bool)]
