"""Torch with scaled_dot_product_attention, without and with a CUDA graph."""

from __future__ import annotations

from studies.gpu.backends import _torch
from studies.gpu.backends.eager import missing

__all__ = ["Opened", "missing"]


class Opened(_torch.Opened):
    """One fused attention kernel a layer."""

    attention = "sdpa"
