"""Learning the order of a query's documents from all of them at once (ListNet).

    L = - sum over documents j of P_y(j) log P_s(j),   P_x(j) = exp(x_j) / sum over k of exp(x_k)

Cao et al. 2007 ("Learning to Rank: From Pairwise Approach to Listwise Approach") with the probability of
standing first: y are the grades of a query's documents and s the model's scores of them; the mean over the
queries of a batch. What a score is by itself says nothing then, only its distance from those beside it.
"""

from __future__ import annotations

import numpy as np
import torch

from compress.errors import RecipeError
from compress.tasks import Head, Task
from compress.training.batching import TorchBatch
from compress.training.objectives import TaskObjective


def listnet(scores: torch.Tensor, grades: torch.Tensor, lists: np.ndarray) -> torch.Tensor:
    """The mean cross entropy over lists, a scalar.

    Args:
        scores: of documents [rows].
        grades: their relevance [rows].
        lists: which query each belongs to, int64 [rows].
    """
    terms = []
    for number in np.unique(lists):
        picks = torch.from_numpy(np.flatnonzero(lists == number)).to(scores.device)
        target = torch.softmax(grades[picks], dim=0)
        terms.append(-(target * torch.log_softmax(scores[picks], dim=0)).sum())
    return torch.stack(terms).mean()


class ListwiseObjective(TaskObjective):
    """The loss of whole queries. Call it with the model and the batch."""

    def __init__(self, task: Task, head: Head, lists: np.ndarray) -> None:
        """Take the task module, what the model predicts, and the query of each training row.

        Raises:
            RecipeError: the model ranks nothing.
        """
        super().__init__(task, head)
        if head.problem != "ranking":
            raise RecipeError("listwise is of models that rank documents, and this is none: leave it out")
        self._lists = lists

    def of(self, outputs: dict[str, torch.Tensor], batch: TorchBatch) -> torch.Tensor:
        """The mean loss of the batch's queries, a scalar."""
        if batch.labels is None:
            raise TypeError("a batch without labels has no loss by labels")
        (name,) = self._task.OUTPUTS
        return listnet(outputs[name].float().reshape(-1), batch.labels.float(), self._lists[batch.rows])
