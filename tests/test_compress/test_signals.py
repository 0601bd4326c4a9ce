"""Signals by hand on a net of two units, and against plain autograd on a real one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from torch import nn

from compress.criteria import fisher, taylor
from compress.errors import DataError, TrainingError
from compress.pruning import signals
from compress.pruning.anatomy import Part, parts_of
from compress.tasks import Batch
from compress.training.batching import TorchBatch

ALL = frozenset({"gradients", "fisher", "activations"})


class TwoUnits(nn.Module):
    """h = W1 x (two neurons), y = W2 h: small enough to differentiate by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1, 2, bias=False)
        self.second = nn.Linear(2, 1, bias=False)
        self.first.weight.data = torch.tensor([[2.0], [3.0]])
        self.second.weight.data = torch.tensor([[1.0, -1.0]])

    def forward(self, values: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        return {"logits": self.second(self.first(values))}

    @property
    def part(self) -> Part:
        """Its two neurons."""
        return Part(0, "ffn", (self.first,), self.second, 1)


def batch(inputs: dict[str, Any], labels: Any) -> TorchBatch:
    """Tensors as a batch."""
    inputs = {name: torch.as_tensor(value) for name, value in inputs.items()}
    labels = None if labels is None else torch.as_tensor(labels)
    count = len(next(iter(inputs.values())))
    return TorchBatch(inputs, labels, np.arange(count), Batch({}, None))


def half_squared(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(y - label)^2 / 2, meaned over rows and positions."""
    return 0.5 * (outputs["logits"].squeeze(-1) - labels).square().mean()


def test_two_units_by_hand() -> None:
    """Fisher, gradients and activations of two rows are those worked out on paper.

    Rows x = 1 and x = 2 with labels 0: h = (2, 3) and (4, 6), y = -1 and -2, dL/dy = y.
    dL/dm = dL/dy * w2 * h: (-2, 3) and (-8, 12); squared and summed (68, 153).
    dL/dW1 = dL/dy * w2 * x: (-1, 1) and (-4, 4), summed (-5, 5); dL/dW2 = dL/dy * h: (-10, -15).
    """
    net = TwoUnits()
    rows = batch({"values": [[[1.0]], [[2.0]]]}, [[0.0], [0.0]])
    by_part = signals.collect(net, [net.part], [rows], ALL, loss=half_squared)
    ffn = by_part["layer.0.ffn"]
    assert ffn.fisher.tolist() == [68.0, 153.0]
    assert ffn.gradients[0].tolist() == [[-5.0], [5.0]]
    assert ffn.gradients[1].tolist() == [[-10.0, -15.0]]
    assert ffn.activations.tolist() == [(4 + 16) / 2, (9 + 36) / 2]
    structure, generator = net.part.structure(), torch.Generator()
    assert fisher.score(structure, ffn, fisher.Config(), generator).tolist() == [68.0, 153.0]
    # |sum g w|: |-5*2 - 10*1| = 20 and |5*3 + 15*1| = 30
    assert taylor.score(structure, ffn, taylor.Config(), generator).tolist() == [20.0, 30.0]


def test_batches_add_up_and_rows_keep_their_own_derivative() -> None:
    """One batch of two rows gives what two batches of one row give."""
    net = TwoUnits()
    both = [batch({"values": [[[1.0]], [[2.0]]]}, [[0.0], [0.0]])]
    single = [
        batch({"values": [[[1.0]]]}, [[0.0]]),
        batch({"values": [[[2.0]]]}, [[0.0]]),
    ]
    together, apart = (
        signals.collect(net, [net.part], b, ALL, loss=half_squared)["layer.0.ffn"] for b in (both, single)
    )
    assert torch.equal(together.fisher, apart.fisher)
    assert torch.equal(together.gradients[0], apart.gradients[0])
    assert torch.equal(together.activations, apart.activations)


def test_padding_does_not_count() -> None:
    """Mean squares are over real positions, whatever stands in the padding."""
    net = TwoUnits()
    rows = batch({"values": [[[1.0], [2.0]], [[3.0], [100.0]]], "attention_mask": [[1, 1], [1, 0]]}, None)
    by_part = signals.collect(net, [net.part], [rows], frozenset({"activations"}), loss=half_squared)
    assert by_part["layer.0.ffn"].activations.tolist() == pytest.approx(
        [4 * (1 + 4 + 9) / 3, 9 * (1 + 4 + 9) / 3]
    )


def test_mean_square_of_a_wide_unit() -> None:
    """A head's figure is the mean over its own features."""
    squares, count = signals.unit_mean_squares(torch.tensor([[[1.0, 3.0, 2.0, 2.0]]]), None, 2)
    assert (squares.tolist(), count) == ([5.0, 4.0], 1)


def test_rows_without_a_label_have_no_loss() -> None:
    """A row of ignored positions adds nothing, where a mean over nothing would be NaN."""
    logits, rows = torch.randn(2, 3, 4), Batch({}, None)
    labels = torch.tensor([[1, 2, -100], [-100, -100, -100]])

    def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, batch: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs["logits"].flatten(0, 1), labels.flatten())

    total = signals.row_losses({"logits": logits}, labels, rows, loss)
    assert total == pytest.approx(loss({"logits": logits[:1]}, labels[:1], rows.row(0)).item())


@pytest.fixture
def bert(tmp_path: Path) -> Any:
    """The tiny text classifier."""
    folder = tiny.text_model(tmp_path / "model")
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def cross_entropy(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean over rows."""
    return nn.functional.cross_entropy(outputs["logits"], labels)


def text_rows() -> TorchBatch:
    """Three rows, one padded."""
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 9, 3, 0], [2, 11, 12, 13, 3]])
    return batch({"input_ids": ids, "attention_mask": (ids > 0).long()}, [0, 1, 0])


def test_agrees_with_autograd_on_a_transformer(bert: Any) -> None:
    """Gradients are autograd's; a head's Fisher is the sum of its rows' own squared derivatives."""
    rows, parts = text_rows(), parts_of(bert)
    by_part = signals.collect(bert, parts, [rows], ALL, loss=cross_entropy)
    loss = 3 * cross_entropy(bert(**rows.inputs), rows.labels, rows.arrays)
    loss.backward()
    for part in parts:
        signal = by_part[part.name]
        reference = [linear.weight.grad for linear in part.rows] + [part.columns.weight.grad]
        reference += [linear.bias.grad for linear in part.rows]
        for ours, theirs in zip(signal.gradients, reference, strict=True):
            assert torch.allclose(ours.float(), theirs, atol=1e-6)
    bert.zero_grad(set_to_none=True)
    expected = torch.zeros(4, dtype=torch.float64)
    part = parts[2]
    for row in range(3):
        mask = torch.ones(4, requires_grad=True)
        handle = part.columns.register_forward_pre_hook(
            lambda _m, args, mask=mask: (args[0] * mask.repeat_interleave(8),)
        )
        single = {name: value[row : row + 1] for name, value in rows.inputs.items()}
        cross_entropy(bert(**single), rows.labels[row : row + 1], rows.arrays).backward()
        handle.remove()
        expected += mask.grad.double().square()
    assert torch.allclose(by_part[part.name].fisher, expected, rtol=1e-3)


def test_the_model_is_left_as_it_was(bert: Any) -> None:
    """No hook, gradient or changed flag stays behind, after an error neither."""
    bert.classifier.requires_grad_(False)
    flags = [p.requires_grad for p in bert.parameters()]
    signals.collect(bert, parts_of(bert), [text_rows()], ALL, loss=cross_entropy)
    rows = batch(text_rows().inputs, None)
    with pytest.raises(DataError):
        signals.collect(bert, parts_of(bert), [rows], ALL, loss=cross_entropy)
    assert [p.requires_grad for p in bert.parameters()] == flags
    assert all(p.grad is None for p in bert.parameters())
    assert not any(module._forward_pre_hooks for module in bert.modules())


def test_unlabelled_rows_are_refused_where_labels_are_needed(bert: Any) -> None:
    """Importance is never measured on made-up labels; activations need none."""
    rows = batch(text_rows().inputs, None)
    with pytest.raises(DataError, match=r"needs fisher of the loss, and the rows have no labels.*activation"):
        signals.collect(bert, parts_of(bert), [rows], frozenset({"fisher"}), loss=cross_entropy)
    by_part = signals.collect(bert, parts_of(bert), [rows], frozenset({"activations"}), loss=cross_entropy)
    assert all((signal.activations > 0).all() for signal in by_part.values())


def test_nothing_needed_runs_nothing(bert: Any) -> None:
    """A criterion of weights alone asks for no rows."""
    by_part = signals.collect(bert, parts_of(bert), [], frozenset(), loss=cross_entropy)
    assert set(by_part) == {part.name for part in parts_of(bert)}
    assert all(signal.fisher is signal.gradients is signal.activations is None for signal in by_part.values())


def test_a_loss_that_is_no_number_stops(bert: Any) -> None:
    """Weights with NaN are an error that says where to look."""
    bert.classifier.weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"loss .* is not a number"):
        signals.collect(bert, parts_of(bert), [text_rows()], ALL, loss=cross_entropy)
    broken = transformers.BertForSequenceClassification(bert.config).eval()
    broken.bert.embeddings.word_embeddings.weight.data[5] = float("nan")
    with pytest.raises(TrainingError, match=r"signals of layer\.0\.heads"):
        signals.collect(
            broken,
            parts_of(broken),
            [text_rows()],
            frozenset({"activations"}),
            loss=cross_entropy,
        )
