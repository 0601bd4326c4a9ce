"""A linear probe: the base model stays as it is, byte for byte, and only what stands on it is trained.

A frozen base has no gradients, and is in evaluation mode: dropout adds nothing there, and the running
statistics of batch norms do not drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@contextmanager
def frozen(model: PreTrainedModel, freeze: bool) -> Iterator[None]:
    """The model with a base that training does not touch, for as long as this lasts.

    Args:
        model: of a task's class.
        freeze: whether it shall be so.

    Raises:
        ModelError: the model has no part that is only its head, so that nothing would be trained.
    """
    if not freeze:
        yield
        return
    base = model.base_model
    inside = {id(parameter) for parameter in base.parameters()}
    if base is model or all(id(parameter) in inside for parameter in model.parameters()):
        raise ModelError(
            f"a {type(model).__name__} has no weights apart from its base model, so that freeze_backbone "
            "would leave nothing to train: leave it out"
        )
    parameters = [parameter for parameter in base.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    plain = base.train

    def stay(mode: bool = True) -> nn.Module:
        module: nn.Module = plain(False)
        return module

    modes: Any = base
    modes.train = stay
    base.eval()
    try:
        yield
    finally:
        del modes.train
        for parameter in parameters:
            parameter.requires_grad_(True)
