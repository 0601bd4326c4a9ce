"""A model that picks one of several texts, run on each choice by itself: a logit each, of any number of them.

transformers' own classes take [rows, choices, length] and give [rows, choices], so that rows of different
numbers of choices could not share a batch, and a graph would have a third free axis. Weights and arithmetic
are theirs: only the form of what goes in is another.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers


class _Single:
    """What the class of every architecture shares; its other base is transformers' own."""

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        """Logits of encodings.

        Args:
            input_ids: [encodings, length], which gives [encodings, 1]; or [rows, length, choices], for rows
                of as many choices each, which gives [rows, choices].
            inputs: what else the model takes, its tensors of the same shape.
        """
        tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        switches = {name: value for name, value in inputs.items() if name not in tensors}
        forms = {
            name: tensor[:, None] if tensor.ndim == 2 else tensor.transpose(1, 2).contiguous()
            for name, tensor in {"input_ids": input_ids, **tensors}.items()
        }
        return super().forward(**forms, **switches)  # type: ignore[misc]  # of the class beside it


@cache
def model_class(base: type[transformers.PreTrainedModel]) -> type[transformers.PreTrainedModel]:
    """The class of an architecture, under the name by which everybody else loads it.

    Args:
        base: transformers' class, such as ``BertForMultipleChoice``.
    """
    chosen: type[transformers.PreTrainedModel] = type(
        base.__name__, (_Single, base), {"__doc__": base.__doc__}
    )
    return chosen
