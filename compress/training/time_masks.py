"""Masks over stretches of time (SpecAugment, Park et al. 2019) that models of samples put on in training.

wav2vec2 and its kin hide spans of a fixed number of positions (``mask_time_length``, ten are a fifth of a
second), drawn from NumPy's global generator. Here a batch of sounds that are shorter than one span is heard
whole, which transformers refuses with an error of its own; and what is drawn comes from a seed of the step,
so that a run repeats itself and leaves NumPy's generator as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

_METHOD = "_mask_hidden_states"


class MaskSource:
    """Where the seeds of masks come from; seeded before every step."""

    def __init__(self) -> None:
        """Start with the seed 0."""
        self.seed([0])

    def seed(self, entropy: list[int]) -> None:
        """Start the stream that these numbers name."""
        self._stream = np.random.default_rng(np.random.SeedSequence(entropy))

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """NumPy's global generator at the next seed, and afterwards where it was."""
        before = np.random.get_state()
        np.random.seed(int(self._stream.integers(2**32)))
        try:
            yield
        finally:
            np.random.set_state(before)


@contextmanager
def own_time_masks(model: nn.Module, source: MaskSource) -> Iterator[None]:
    """Let every module that masks time draw from a source, and mask no sound shorter than a span."""
    masking = [module for module in model.modules() if hasattr(type(module), _METHOD)]
    for module in masking:
        setattr(module, _METHOD, _masked(module, getattr(module, _METHOD), source))
    try:
        yield
    finally:
        for module in masking:
            delattr(module, _METHOD)


def _masked(
    module: nn.Module, plain: Callable[..., torch.Tensor], source: MaskSource
) -> Callable[..., torch.Tensor]:
    config: Any = module.config

    def mask(states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not module.training or states.shape[1] < config.mask_time_length:
            return states
        with source.drawn():
            return plain(states, *args, **kwargs)

    return mask
