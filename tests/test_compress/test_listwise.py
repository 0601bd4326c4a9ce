"""ListNet on whole queries: the loss by hand, batches that part no query, and a model that learns by it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import tiny_ranking
import torch

from compress import catalog
from compress import data as rows
from compress.errors import RecipeError
from compress.model import checkpoint
from compress.recipe import DataConfig, validate
from compress.stage import Context
from compress.stages import finetune
from compress.tasks import Head
from compress.training.batching import lists_a_batch, plan_lists, steps_per_epoch
from compress.training.listwise import ListwiseObjective, listnet
from compress.training.loop import _Run
from compress.training.selection import Selection

TASK = catalog.task("text-ranking")


def test_the_loss_by_hand() -> None:
    """Grades 1, 0 ask e / (1 + e) and 1 / (1 + e), scores ln 3 and 0 give 3/4 and 1/4; one alone is 0."""
    scores = torch.tensor([math.log(3), 5.0, 0.0])
    grades, lists = torch.tensor([1.0, 1.0, 0.0]), np.array([7, 2, 7])
    first = math.e / (1 + math.e)
    expected = -(first * math.log(3 / 4) + (1 - first) * math.log(1 / 4))
    assert float(listnet(scores, grades, lists)) == pytest.approx(expected / 2)
    shifted = torch.tensor([math.log(3) + 9, -4.0, 9.0])
    assert float(listnet(shifted, grades, lists)) == pytest.approx(expected / 2, rel=1e-5)


def test_the_objective_knows_the_query_of_each_row() -> None:
    """By the place of a row among the training rows, wherever it stands in the batch."""
    objective = ListwiseObjective(TASK, Head("ranking", ()), np.array([0, 0, 1, 1]))
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])
    batch: Any = SimpleNamespace(labels=labels, rows=np.array([3, 0, 2, 1]), arrays=None)
    logits = torch.tensor([[0.5], [1.0], [2.0], [-1.0]])
    by_query = [
        listnet(logits[picks, 0], labels[picks], np.zeros(2))
        for picks in (torch.tensor([1, 3]), torch.tensor([0, 2]))
    ]
    torch.testing.assert_close(objective.of({"logits": logits}, batch), sum(by_query) / 2)
    with pytest.raises(RecipeError, match="of models that rank documents, and this is none"):
        ListwiseObjective(catalog.task("text-classification"), Head("single_label", ("a", "b")), np.zeros(0))


@pytest.mark.parametrize("lengths", [None, np.arange(1, 31)])
def test_no_batch_parts_a_query(lengths: np.ndarray | None) -> None:
    """Seven queries of one to ten documents, about eight rows a batch: each whole, once an epoch."""
    source = np.random.default_rng(0)
    lists = source.permutation(np.repeat(np.arange(7), [1, 2, 3, 4, 4, 6, 10]))
    assert lists_a_batch(lists, 8) == 2
    assert lists_a_batch(lists, 1) == 1
    epochs = [plan_lists(lengths, lists, 8, seed=0, epoch=epoch) for epoch in (0, 1)]
    for plan in epochs:
        assert len(plan) == steps_per_epoch(30, 8, None, lists) == 4
        assert sorted(np.concatenate(plan)) == list(range(30))
        whole = [set(lists[batch]) for batch in plan]
        assert sum(map(len, whole)) == 7
    assert any(not np.array_equal(a, b) for a, b in zip(*epochs, strict=True))


def test_processes_share_a_batch_by_whole_queries() -> None:
    """Of three queries one process gets two and the other one; weights make the mean right."""
    lists = np.array([0, 1, 0, 2, 1, 0])
    parts = []
    for index in (0, 1):
        run: Any = SimpleNamespace(team=SimpleNamespace(index=index, count=2), lists=lists)
        parts.append(_Run._share(run, np.array([5, 4, 3, 2, 1, 0])))
    assert [part.tolist() for part, _ in parts] == [[5, 3, 2, 0], [4, 1]]
    assert [weight for _, weight in parts] == [pytest.approx(4 / 3), pytest.approx(2 / 3)]
    run = SimpleNamespace(team=SimpleNamespace(index=1, count=2), lists=lists)
    idle, weight = _Run._share(run, np.array([0, 2]))
    assert (idle.tolist(), weight) == ([0, 2], 0.0)
    run.lists = None
    assert _Run._share(run, np.array([4, 7, 9]))[0].tolist() == [7]


def test_a_model_learns_to_rank_from_whole_queries(tmp_path: Path) -> None:
    """Fine-tuned by lists, a cross-encoder of random weights finds the document with the good words."""
    source = tiny_deploy.seal(tiny_ranking.cross_encoder(tmp_path / "model"), task="text-ranking")
    config = DataConfig(source=str(tiny_ranking.data(tmp_path / "data", 80, 16)), calibration=16)
    training = rows.load(config, TASK, 0).training
    out = tmp_path / "out"
    out.mkdir()
    context = Context(
        out=out,
        scratch=out,
        task=TASK,
        data=training,
        seed=0,
        threads=1,
        device="cpu",
        record=lambda name, value: None,
    )
    options = {"listwise": True, "epochs": 5, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}
    finetune.run(source, validate(finetune.Config, options, "finetune"), context)
    figures = []
    for folder in (source.path, out):
        model = checkpoint.load(folder, TASK)
        head = TASK.head_of(model.config.to_dict())
        selection = Selection(
            TASK, head, training.for_head(TASK, head).selection, TASK.load_processor(folder), 64
        )
        figures.append(selection(model)["mrr_10"])
    assert figures[1] > max(0.85, figures[0])


def test_listwise_is_of_rankers(tmp_path: Path) -> None:
    """A classifier is refused before anything is trained; with rdrop it is one or the other."""
    source = tiny_deploy.text_artifact(tmp_path / "model")
    config = DataConfig(source=str(tiny.text_data(tmp_path / "data", train=32, evaluate=8)), calibration=8)
    task = catalog.task("text-classification")
    context = Context(
        out=tmp_path,
        scratch=tmp_path,
        task=task,
        data=rows.load(config, task, 0).training,
        seed=0,
        threads=1,
        device="cpu",
        record=lambda name, value: None,
    )
    with pytest.raises(RecipeError, match="listwise is of models that rank documents"):
        finetune.run(source, finetune.Config(listwise=True), context)
    with pytest.raises(RecipeError, match="give either listwise or rdrop, not both"):
        validate(finetune.Config, {"listwise": True, "rdrop": 1}, "finetune")
