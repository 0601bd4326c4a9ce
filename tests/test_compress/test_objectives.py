"""What fine-tuning minimizes beside the task's loss: R-Drop and adversarial training, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import numpy as np
import pytest
import tiny
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softplus

from compress import catalog
from compress.artifacts.store import Store
from compress.errors import ModelError, UserError
from compress.model.embeddings import input_embeddings
from compress.pipeline import building
from compress.recipe import DataConfig
from compress.tasks import Batch, Head
from compress.training.adversarial import AdversarialObjective, perturbation
from compress.training.batching import TorchBatch
from compress.training.consistency import ConsistencyObjective, symmetric_kl

_HEAD = Head("single_label", ("negative", "positive"))


def batch_of(inputs: dict[str, np.ndarray], labels: np.ndarray) -> TorchBatch:
    """Arrays as a training batch."""
    return TorchBatch(
        inputs={name: torch.from_numpy(values) for name, values in inputs.items()},
        labels=torch.from_numpy(labels),
        rows=np.arange(len(labels)),
        arrays=Batch(inputs=inputs, labels=labels),
    )


# --- R-Drop ------------------------------------------------------------------------------------


def test_symmetric_kl_of_two_distributions_by_hand() -> None:
    """(1/2, 1/2) and (1/4, 3/4): 1/4 ln 2 + 1/4 ln 3/2 = 1/4 ln 3; a row that is equal halves the mean."""
    even, odd = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3)]])
    assert symmetric_kl(even, odd, "softmax").item() == pytest.approx(math.log(3) / 4)
    assert symmetric_kl(torch.cat([even, odd]), torch.cat([odd, odd]), "softmax").item() == pytest.approx(
        math.log(3) / 8
    )
    # One label with outputs 0 and ln 3 is the same pair of distributions.
    assert symmetric_kl(even[:, :1], odd[:, 1:], "sigmoid").item() == pytest.approx(math.log(3) / 4)
    assert symmetric_kl(torch.tensor([[1.0]]), torch.tensor([[4.0]]), "identity").item() == 9.0


def test_symmetric_kl_is_pytorchs_divergence_both_ways_and_moves_both_sides() -> None:
    """Against ``kl_div`` on random outputs of tokens, of which some count."""
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, 5, 4, generator=source, requires_grad=True) for _ in range(2))
    counts = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    log_p, log_q = log_softmax(first, -1)[counts], log_softmax(second, -1)[counts]
    expected = kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    expected = expected + kl_div(log_p, log_q, log_target=True, reduction="batchmean")
    loss = symmetric_kl(first, second, "softmax", counts)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    mine = torch.autograd.grad(loss, (first, second), retain_graph=True)
    theirs = torch.autograd.grad(expected, (first, second))
    for gradient, reference in zip(mine, theirs, strict=True):
        torch.testing.assert_close(gradient, reference)
        assert gradient.abs().sum() > 0
        assert not gradient[~counts].any()
    assert symmetric_kl(first, second, "softmax", torch.zeros_like(counts)).item() == 0.0


class TwoPasses(torch.nn.Module):
    """Says its input in the first half of the batch, and with ln 3 on the second class in the other."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(rate)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        half = len(x) // 2
        shift = torch.zeros_like(x)
        shift[half:, 1] = math.log(3)
        return {"logits": x + shift}


def test_the_consistency_loss_is_the_mean_of_two_passes_and_their_distance() -> None:
    """Two rows whose passes say (1/2, 1/2) and (1/4, 3/4), labels 0 and 1, alpha 2."""
    task = catalog.load("task", "text-classification")
    batch = batch_of({"x": np.zeros((2, 2), dtype=np.float32)}, np.array([0, 1]))
    model = TwoPasses()
    loss = ConsistencyObjective(model, task, _HEAD, 2.0)(model, batch)
    supervised = (2 * math.log(2) + math.log(4) + math.log(4 / 3)) / 4
    assert loss.item() == pytest.approx(supervised + 2.0 / 2 * math.log(3) / 4)


def test_a_model_that_drops_nothing_is_refused() -> None:
    """Both passes would be one: a silent nothing at twice the time."""
    task = catalog.load("task", "text-classification")
    with pytest.raises(ModelError, match=r"no dropout.*leave rdrop at 0"):
        ConsistencyObjective(TwoPasses(0.0), task, _HEAD, 1.0)

    class SwinDropPath(torch.nn.Module):
        drop_prob = 0.1

    branches = torch.nn.Sequential(SwinDropPath())
    ConsistencyObjective(branches, task, _HEAD, 1.0)  # drops whole branches: allowed


# --- adversarial training ----------------------------------------------------------------------


def test_the_push_is_a_share_of_the_row_along_its_gradient() -> None:
    """Embeddings of length 10 and gradient (3, 4) over both tokens: epsilon 10 (0.6, 0.8).

    A row without a gradient is not pushed, and a position without one does not lengthen its row.
    """
    gradient = torch.tensor([[[3.0], [4.0], [0.0]], [[0.0], [0.0], [0.0]]])
    embedded = torch.tensor([[[6.0], [-8.0], [100.0]], [[1.0], [1.0], [1.0]]])
    push = perturbation(embedded, gradient, 0.05).flatten(1)
    assert push[0].tolist() == pytest.approx([0.3, 0.4, 0.0])
    assert push[1].tolist() == [0.0, 0.0, 0.0]


def test_a_gradient_whose_squares_vanish_has_a_direction_all_the_same() -> None:
    """Of a row that the model is sure of; the push is as long as any other's."""
    embedded, gradient = torch.tensor([[[6.0], [-8.0]]]), torch.tensor([[[3.0], [4.0]]])
    for scale in (1e-20, 1e-30, 1e-37):
        push = perturbation(embedded, gradient * scale, 0.05)
        torch.testing.assert_close(push, torch.tensor([[[0.3], [0.4]]]))


class Scorer(torch.nn.Module):
    """The score w . e(x) of an embedded number."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.tensor([[4.0, 3.0], [-3.0, 4.0]]), freeze=False)
        self.weight = torch.nn.Parameter(torch.tensor([0.6, -0.8]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.table(x)  # [batch, 1, 2]
        return (embedded @ self.weight).sum(dim=1)


def _logistic(model: torch.nn.Module, batch: TorchBatch) -> torch.Tensor:
    """Mean of softplus(-score): every row's label is 1."""
    return softplus(-model(**batch.inputs)).mean()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_adversarial_loss_of_a_linear_score_by_hand(frozen: bool) -> None:
    """The loss falls with w . e, so the push is -epsilon ||e|| w/||w||: scores fall by epsilon ||e|| ||w||.

    Both embeddings have length 5 and w has length 1; with epsilon 0.1 each score falls by 0.5.

    The push is a constant: the gradient by w is that of the two losses with r held fast.
    """
    model = Scorer()
    model.table.weight.requires_grad_(not frozen)
    batch = batch_of({"x": np.array([[0], [1]])}, np.array([1, 1]))
    objective = AdversarialObjective(_logistic, model.table, 0.1)
    scores = np.array([4 * 0.6 - 3 * 0.8, -3 * 0.6 - 4 * 0.8])
    loss = objective(model, batch)
    expected = (np.log1p(np.exp(-scores)).mean() + np.log1p(np.exp(-(scores - 0.5))).mean()) / 2
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    embedded = np.array([[4.0, 3.0], [-3.0, 4.0]])
    push = -0.5 * np.array([0.6, -0.8])
    slope = -1 / (1 + np.exp(scores))
    pushed_slope = -1 / (1 + np.exp(scores - 0.5))
    by_weight = (slope[:, None] * embedded + pushed_slope[:, None] * (embedded + push)).mean(0) / 2
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == pytest.approx(by_weight.tolist())
    assert (model.table.weight.grad is None) == frozen
    assert not model.table._forward_hooks


def test_a_model_without_input_embeddings_cannot_be_pushed() -> None:
    """The refusal names the option."""
    with pytest.raises(ModelError, match="a Scorer names no input embeddings: leave adversarial off"):
        input_embeddings(Scorer(), "adversarial")


def test_embeddings_that_are_not_one_tensor_are_refused() -> None:
    """Some vision models give the size of the picture beside them; the hook is gone afterwards."""
    model = Scorer()
    model.table.forward = lambda x: (x, (2, 2))  # type: ignore[method-assign, assignment]
    batch = batch_of({"x": np.array([[0]])}, np.array([1]))
    with pytest.raises(ModelError, match="Embedding gives not one tensor a pass: leave adversarial off"):
        AdversarialObjective(_logistic, model.table, 0.1)(model, batch)
    assert not model.table._forward_hooks


@pytest.mark.parametrize(
    "case",
    [
        case
        for case, (kind, extra) in families.CASES.items()
        if "conv_dim" not in extra and kind not in ("swin", "whisper")
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_push_raises_the_loss_of_every_family(case: str, frozen: bool) -> None:
    """Text and image models embed their inputs in one place, and a small push there goes uphill."""
    model = families.build(case)
    input_embeddings(model, "freeze_embeddings").requires_grad_(not frozen)
    inputs = families.feed(model)
    batch = TorchBatch(
        inputs=inputs, labels=torch.tensor([0, 1]), rows=np.arange(2), arrays=Batch(inputs={}, labels=None)
    )

    def objective(wrapped: torch.nn.Module, batch: TorchBatch) -> torch.Tensor:
        return cross_entropy(wrapped(**batch.inputs).logits, batch.labels)

    clean = objective(model, batch).item()
    loss = AdversarialObjective(objective, input_embeddings(model, "adversarial"), 1e-2)(model, batch)
    assert loss.item() > clean
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# --- both in the stage -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny classifier and its data."""
    root = tmp_path_factory.mktemp("objectives")
    data = DataConfig(source=str(tiny.text_data(root / "data")))
    return SimpleNamespace(folder=tiny.text_model(root / "model"), data=data)


@pytest.mark.parametrize(
    "options", [{"rdrop": 1.0}, {"adversarial": 0.1}, {"rdrop": 1.0, "adversarial": 0.1}]
)
def test_a_classifier_learns_with_it(
    subject: SimpleNamespace, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Selection accuracy reaches 90 %, and the weights are not those of plain training."""

    def run(**changes: Any) -> Any:
        settings = {"epochs": 8, "batch_size": 8, "learning_rate": 2e-3, "precision": "fp32", **changes}
        return building.run_stage(
            "finetune",
            subject.folder,
            options=settings,
            data_config=subject.data,
            seed=0,
            store=Store(tmp_path),
            threads=1,
        )

    trained = run(**options)
    accuracies = [e["metrics"]["accuracy"] for e in trained.manifest.facts["training"]["evaluations"]]
    assert max(accuracies) >= 0.9
    assert {name: trained.manifest.config[name] for name in options} == options
    assert trained.id != run().id


def test_rdrop_holds_two_passes_of_a_trained_model_closer(subject: SimpleNamespace, tmp_path: Path) -> None:
    """After training with a large weight, outputs under dropout differ less than after plain training."""
    from compress.model import checkpoint

    task = catalog.load("task", "text-classification")
    rows = tiny.sentences(64, 3)

    def spread(rdrop: float) -> float:
        artifact = building.run_stage(
            "finetune",
            subject.folder,
            options={
                "epochs": 4,
                "batch_size": 16,
                "learning_rate": 2e-3,
                "precision": "fp32",
                "keep": "last",
                "rdrop": rdrop,
            },
            data_config=subject.data,
            seed=0,
            store=Store(tmp_path),
            threads=1,
        )
        model = checkpoint.load(artifact.path, task).train()
        arrays = task.encode(rows, task.load_processor(artifact.path), _HEAD, None)
        inputs = {name: torch.from_numpy(values) for name, values in arrays.inputs.items()}
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            first, second = (model(**inputs)["logits"] for _ in range(2))
        return symmetric_kl(first, second, "softmax").item()

    assert spread(5.0) < 0.7 * spread(0.0)


@pytest.mark.parametrize("option", ["rdrop", "adversarial"])
def test_a_negative_value_is_refused(subject: SimpleNamespace, tmp_path: Path, option: str) -> None:
    """One sentence that names the option."""
    with pytest.raises(UserError, match=option):
        building.run_stage(
            "finetune",
            subject.folder,
            options={option: -1},
            data_config=subject.data,
            seed=0,
            store=Store(tmp_path),
        )
