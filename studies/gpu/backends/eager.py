"""Torch with its attention written out, operator by operator: where everybody starts from."""

from __future__ import annotations

from studies.gpu.backends import _torch


def missing(device: str, precision: str) -> str | None:
    """Why it cannot run here."""
    if precision == "int8":
        return "torch has no INT8 kernels for this model on a GPU"
    return _torch.missing(device)


class Opened(_torch.Opened):
    """The model as it is."""

    attention = "eager"

    def __init__(self, subject: _torch.Subject, precision: str, device: str) -> None:
        super().__init__(subject, precision, device)
        self.graphs = (False,)
