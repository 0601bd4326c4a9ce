"""Several processes that train one model: who this one is, and how they agree.

``accelerate launch`` (or torchrun) starts the processes and says so in the environment. Every
process runs the same program; the *main* one alone writes. Asking costs no import of torch.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn


def count() -> int:
    """How many processes were launched together; 1 for a plain run."""
    return _number("WORLD_SIZE", least=1)


def index() -> int:
    """The number of this process among them, from 0."""
    return _number("RANK", least=0)


def _number(variable: str, least: int) -> int:
    """What the launcher wrote into a variable; ``least`` where it is not set.

    Raises:
        UserError: it is no such number.
    """
    text = os.environ.get(variable, "").strip() or str(least)
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise UserError(
            f"${variable} is '{text[:80]}', and a launcher of several processes writes a number from {least} "
            "on into it: unset it, or start with 'accelerate launch'"
        )
    return int(text)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return index() == 0


@dataclass(frozen=True)
class Team:
    """The processes of one training run.

    Attributes:
        count: how many.
        index: which one this is.
        device: where this one computes.
        accelerator: Accelerate's handle; None when there is one process.
    """

    count: int
    index: int
    device: str
    accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.index == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as the objective should call it: gradients are averaged over processes."""
        return model if self.accelerator is None else self.accelerator.prepare_model(model)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over the processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, reduction="mean")

    def share(self, value: Any) -> Any:
        """The main process's value, on every process (a JSON value)."""
        if self.accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def spread(self, tensor: torch.Tensor) -> None:
        """Overwrite a tensor by the main process's values, on every process."""
        if self.accelerator is not None:
            from accelerate.utils import broadcast

            broadcast(tensor)

    def wait(self) -> None:
        """Return when every process is here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def team(device: str) -> Team:
    """The processes of this run; on CUDA each one takes the device of its local rank."""
    if count() == 1:
        return Team(count=1, index=0, device=device)
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # Unlabelled batches and frozen parts leave parameters without a gradient in some steps.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=[unused])
    return Team(
        count=accelerator.num_processes,
        index=accelerator.process_index,
        device=str(accelerator.device),
        accelerator=accelerator,
    )
