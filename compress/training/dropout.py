"""Dropout with a generator of its own, and fast on every CPU.

On a CPU that is not Intel's, PyTorch 2.13 draws Bernoulli numbers one by one (some 6 ns each: a tenth
of the time of a training step of a small encoder). Here masks are cut out of a stream of 16-bit
integers, so that the rate is p rounded to 1/65536. Attention dropout happens inside PyTorch's
attention and stays with torch's global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

_LEVELS = 1 << 16


class DropoutSource:
    """Where the masks come from; seeded before every step."""

    def __init__(self) -> None:
        """Start with the seed 0."""
        self.seed([0])

    def seed(self, entropy: list[int]) -> None:
        """Start the stream that these numbers name."""
        self._stream = np.random.SFC64(np.random.SeedSequence(entropy))

    def apply(self, values: torch.Tensor, rate: float) -> torch.Tensor:
        """The values with a share ``rate`` of them set to 0 and the others divided by 1 - rate."""
        count = values.numel()
        bits = self._stream.random_raw(-(-count // 4)).view(np.uint16)[:count]
        mask = torch.from_numpy(bits >= round(rate * _LEVELS)).view(values.shape)
        return values * mask.to(values.dtype).mul_(1 / (1 - rate))


@contextmanager
def own_dropout(model: nn.Module, source: DropoutSource) -> Iterator[None]:
    """Let every ``nn.Dropout`` of a model on the CPU draw from a source, for as long as this lasts."""
    replaced: list[nn.Dropout] = []

    def use(module: nn.Dropout) -> None:
        plain = module.forward

        def forward(values: torch.Tensor) -> torch.Tensor:
            if not module.training or module.p == 0:
                return values
            if module.p == 1 or values.device.type != "cpu":
                return plain(values)
            return source.apply(values, module.p)

        module.forward = forward  # type: ignore[method-assign, assignment]
        replaced.append(module)

    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            use(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward
