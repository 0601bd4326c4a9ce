"""A tiny classifier of every model family that can be pruned, what it takes, and what it answers."""

from __future__ import annotations

from typing import Any

import torch

from tools.tiny_families import CASES, build

__all__ = ["CASES", "build", "feed", "logits"]


def feed(model: Any) -> dict[str, torch.Tensor]:
    """Two rows of input, the second one padded where the family has a mask."""
    generator = torch.Generator().manual_seed(5)
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        return {"pixel_values": torch.randn(2, 3, size, size, generator=generator)}
    if model.main_input_name == "input_features":
        frames = 2 * model.config.max_source_positions
        return {"input_features": torch.randn(2, model.config.num_mel_bins, frames, generator=generator)}
    if model.main_input_name == "input_values":
        return {"input_values": torch.randn(2, 3200, generator=generator)}
    ids = torch.randint(5, 40, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    if model.config.pad_token_id is not None:  # by which decoders find the last token
        ids[1, 6:] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits without a graph."""
    with torch.no_grad():
        return model(**inputs).logits
