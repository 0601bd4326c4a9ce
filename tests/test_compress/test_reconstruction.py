"""Least squares after a cut: exact where it can be, never worse on the rows that it saw."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import CASES, build, feed, logits

from compress.errors import ModelError
from compress.pruning import surgery
from compress.pruning.anatomy import parts_of
from compress.pruning.reconstruction import LeastSquares, reconstruct
from compress.pruning.surgery import Plan
from compress.tasks import Batch
from compress.training.batching import TorchBatch


def batch(inputs: dict[str, torch.Tensor]) -> TorchBatch:
    """Model inputs as an unlabelled batch."""
    count = len(next(iter(inputs.values())))
    return TorchBatch(inputs, None, np.arange(count), Batch({}, None))


def test_line_by_hand() -> None:
    """Errors 2 x + 3 on x = 0, 1, 2 are explained by a slope of 2 and a constant of 3."""
    sums = LeastSquares()
    features = torch.tensor([[0.0], [1.0], [2.0]])
    sums.add(features[:2], 2 * features[:2] + 3)
    sums.add(features[2:], 2 * features[2:] + 3)
    weight, bias, left = sums.solve(ridge=1e-12)
    assert weight.tolist() == [[pytest.approx(2.0)]]
    assert bias.tolist() == [pytest.approx(3.0)]
    assert left == pytest.approx(0.0, abs=1e-9)


def test_ridge_by_hand() -> None:
    """Without a constant: slope = sum xe / (sum xx + ridge * sum xx) = 14 / 21 at ridge 1/2 for e = x."""
    sums = LeastSquares(constant=False)
    features = torch.tensor([[1.0], [2.0], [3.0]])
    sums.add(features, features)
    weight, bias, left = sums.solve(ridge=0.5)
    assert weight.tolist() == [[pytest.approx(14 / 21)]]
    assert bias is None
    assert left == pytest.approx((1 / 3) ** 2), "each error shrinks to a third"


def test_nothing_to_explain() -> None:
    """Zero errors ask for no change."""
    sums = LeastSquares()
    sums.add(torch.ones(4, 2), torch.zeros(4, 3))
    weight, bias, left = sums.solve(ridge=0.1)
    assert not weight.any()
    assert bias is not None
    assert not bias.any()
    assert left == 1.0
    with pytest.raises(ValueError, match="no tokens"):
        LeastSquares().solve(0.1)


def test_a_copied_neuron_is_replaced_exactly() -> None:
    """When a neuron that another one copies goes, the copy takes its column over."""
    original = build("bert")
    ffn = parts_of(original)[1]
    ffn.rows[0].weight.data[7] = ffn.rows[0].weight.data[3]
    ffn.rows[0].bias.data[7] = ffn.rows[0].bias.data[3]
    cut = copy.deepcopy(original)
    surgery.apply(cut, Plan({"layer.0.ffn": [u for u in range(48) if u != 7]}))
    inputs = feed(original)
    assert (logits(cut, inputs) - logits(original, inputs)).abs().max() > 1e-4
    left = reconstruct(cut, original, [batch(inputs)], ridge=1e-6)
    assert left == {"layer.0.ffn": pytest.approx(0.0, abs=1e-3)}
    assert (logits(cut, inputs) - logits(original, inputs)).abs().max() < 1e-4


def cut_of(model: Any) -> Plan:
    """Some heads and neurons of a model, as far as its family allows it."""
    plan: dict[str, Any] = {}
    for part in parts_of(model):
        if part.fixed is None and part.kind == "heads" and (part.tied or part.layer != 1):
            plan[part.name] = (1, 2) if part.layer == 2 and not part.tied else (0, 1, 3)
        elif part.fixed is None and part.kind == "ffn" and (part.layer == 1 or len(parts_of(model)) == 2):
            plan[part.name] = range(0, 48, 2)
    return Plan(plan)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("gpt2", "swin")])
def test_every_family_comes_nearer(case: str) -> None:
    """Cut parts explain a part of their error; the outputs come nearer to the whole model's."""
    original = build(case)
    generator = torch.Generator().manual_seed(8)
    inputs = {
        name: value.repeat(8, *[1] * (value.dim() - 1)) if value.is_floating_point() else value
        for name, value in feed(original).items()
    }
    for name, value in inputs.items():
        if value.is_floating_point():
            inputs[name] = value + 0.5 * torch.randn(value.shape, generator=generator)
        elif name == "input_ids":
            inputs[name] = torch.randint(5, 40, (16, 9), generator=generator)
            inputs["attention_mask"] = (torch.arange(9) < torch.arange(2, 18)[:, None]).long()
    cut = copy.deepcopy(original)
    plan = cut_of(original)
    surgery.apply(cut, plan)
    before = (logits(cut, inputs) - logits(original, inputs)).square().mean()
    untouched = {
        part.name: part.columns.weight.clone() for part in parts_of(cut) if part.name not in plan.units
    }
    left = reconstruct(cut, original, [batch(inputs)], ridge=1e-3)
    assert set(left) == set(plan.units)
    assert all(0 <= share < 1 for share in left.values())
    assert (logits(cut, inputs) - logits(original, inputs)).square().mean() < before
    for part in parts_of(cut):
        if part.name in untouched:
            assert torch.equal(part.columns.weight, untouched[part.name]), "parts that were not cut stay"


def test_stages_are_refused() -> None:
    """Swin halves its picture between stages, which no layer does."""
    original = build("swin")
    cut = copy.deepcopy(original)
    surgery.apply(cut, Plan({"layer.0.ffn": range(24)}))
    with pytest.raises(ModelError, match=r"computes more between its layers.*reconstruct: false"):
        reconstruct(cut, original, [batch(feed(original))])


def test_padding_is_not_learned_from() -> None:
    """What stands under the padding changes nothing."""
    original = build("bert")
    results = []
    for filler in (5, 11):
        inputs = feed(original)
        inputs["input_ids"][inputs["attention_mask"] == 0] = filler
        cut = copy.deepcopy(original)
        surgery.apply(cut, Plan({"layer.0.ffn": range(24)}))
        reconstruct(cut, original, [batch(inputs)])
        results.append(parts_of(cut)[1].columns.weight)
    assert torch.allclose(results[0], results[1], atol=1e-6)


def test_models_with_more_than_layers_are_refused() -> None:
    """DeBERTa-v2 with a convolution beside its first layer cannot be solved layer by layer."""
    config = build("deberta-v2").config
    config.conv_kernel_size, config.conv_act = 3, "gelu"
    original: Any = transformers.DebertaV2ForSequenceClassification._from_config(
        config, attn_implementation="eager"
    ).eval()
    for parameter in original.deberta.encoder.conv.parameters():
        parameter.data += 0.3
    cut = copy.deepcopy(original)
    surgery.apply(cut, Plan({"layer.0.ffn": range(24)}))
    with pytest.raises(ModelError, match=r"computes more between its layers.*reconstruct: false"):
        reconstruct(cut, original, [batch(feed(original))])
