"""R-Drop: two passes of a row through different dropout masks are to say the same.

    L = 1/2 (L_task(p1) + L_task(p2)) + alpha/2 (KL(p1 || p2) + KL(p2 || p1))     Liang et al. 2021, eq. 2-4

The paper adds both task losses and here is their mean, the size that a loss has without R-Drop: the paper's
alpha is twice the one here. Dropout trains many sub-models and evaluation runs their mean; the second term
keeps them together. Both passes are one call on the inputs twice over, so that a step costs two steps.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import log_softmax

from compress.articles import a_type
from compress.errors import ModelError
from compress.tasks import Head, Link, Task
from compress.tasks._decisions import ABSENT
from compress.training.batching import TorchBatch
from compress.training.objectives import TaskObjective


def symmetric_kl(
    first: torch.Tensor, second: torch.Tensor, link: Link, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """KL(p || q) + KL(q || p) of two outputs, a scalar with gradients into both.

    Args:
        first: outputs before the link, [batch, classes], [batch, length, classes] or [batch, length].
        second: the same shape.
        link: ``softmax``: sum over classes of (p - q)(log p - log q). ``sigmoid``: mean over labels of the
            Bernoulli case, (p - q)(a - b) for outputs a and b. ``identity``: mean squared difference, which
            is that of two normal distributions with variance 1. ``positions``: softmax over those that count.
        positions: boolean [batch, length]: the outputs that count; None when all do.
    """
    first, second = first.float(), second.float()
    if positions is not None and link == "positions":
        first, second = (side.masked_fill(~positions, ABSENT) for side in (first, second))
    elif positions is not None:
        first, second = first[positions], second[positions]
    if first.numel() == 0:
        return first.sum() + second.sum()
    if link == "identity":
        return (first - second).square().mean()
    if link == "sigmoid":
        return ((first.sigmoid() - second.sigmoid()) * (first - second)).mean()
    log_p, log_q = log_softmax(first, dim=-1), log_softmax(second, dim=-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean()


class ConsistencyObjective:
    """The task's loss of two passes and how far apart they are. Call it with the model and the batch."""

    def __init__(self, model: nn.Module, task: Task, head: Head, weight: float) -> None:
        """Take the model to train, the task module, what the model predicts, and alpha.

        Raises:
            ModelError: the model drops nothing, so that both passes are one.
        """
        if not any(_drops(module) for module in model.modules()):
            raise ModelError(
                f"{a_type(model)} of this configuration has no dropout, so that two passes say the "
                "same: leave rdrop at 0, or set a dropout rate in the model's config.json"
            )
        self._task = task
        self._supervised = TaskObjective(task, head)
        self._links: dict[str, Link] = task.link(head)
        self._weight = weight

    def __call__(self, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
        """The loss, a scalar."""
        outputs = model(**{name: torch.cat([values, values]) for name, values in batch.inputs.items()})
        halves = {name: outputs[name].chunk(2) for name in self._task.OUTPUTS}
        supervised = [
            self._supervised.of({name: half[at] for name, half in halves.items()}, batch) for at in (0, 1)
        ]
        counts = self._task.positions(batch.arrays)
        positions = None if counts is None else torch.from_numpy(counts).to(supervised[0].device)
        apart = [
            symmetric_kl(halves[name][0], halves[name][1], link, positions)
            for name, link in self._links.items()
        ]
        return torch.stack(supervised).mean() + self._weight / 2 * torch.stack(apart).mean()


def _drops(module: nn.Module) -> bool:
    """Whether a module drops values, or whole branches as vision models do, at a rate above 0."""
    if isinstance(module, nn.Dropout):
        return module.p > 0
    return type(module).__name__.endswith("DropPath") and float(getattr(module, "drop_prob", 0) or 0) > 0
