"""BigBird keeps its attention: else one short batch turns it to full attention for every row that follows.

transformers sets ``original_full`` inside ``forward`` where a batch is too short for blocks, and never sets
it back, so that the answer for a long row depends on what was asked before it (transformers 18620).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_BLOCKS = "block_sparse"


def keep(model: PreTrainedModel) -> None:
    """Let every call begin with the attention of the configuration, where a model has that choice."""
    base: Any = model.base_model
    if getattr(base, "attention_type", None) == _BLOCKS:
        base.register_forward_pre_hook(_restore)


def _restore(module: nn.Module, inputs: Any) -> None:
    base: Any = module
    base.set_attention_type(_BLOCKS)
