"""Which part of a model is its body, and which its head: everything outside the body is the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def name(model: PreTrainedModel) -> str:
    """The name of the body: what transformers says, else the one model of its own inside.

    A Whisper classifier says ``model`` as all of its family do, and holds an ``encoder`` alone.
    """
    from transformers import PreTrainedModel as Pretrained

    prefix: str = model.base_model_prefix
    if hasattr(model, prefix):
        return prefix
    inner = [child for child, module in model.named_children() if isinstance(module, Pretrained)]
    return inner[0] if len(inner) == 1 else prefix
