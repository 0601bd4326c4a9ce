"""Parts of the training loop by hand-computed cases: schedule, batches, dropout, the choice of weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import training_driver as driver

from compress import catalog
from compress.tasks import Batch, Head
from compress.training.batching import EncodedRows, learn_padding, plan_epoch, plan_sorted, steps_per_epoch
from compress.training.dropout import DropoutSource, own_dropout
from compress.training.loop import better, evaluation_steps
from compress.training.schedule import depth_factor, multiplier, parameter_groups


def test_linear_schedule_rises_over_the_warm_up_and_falls_to_zero() -> None:
    """Ten steps with two of warm-up: 1/2, 1, then 8/8 down to 1/8."""
    multipliers = [multiplier("linear", step, 10, 0.2) for step in range(10)]
    assert multipliers == pytest.approx([0.5, 1.0, *[n / 8 for n in range(8, 0, -1)]])


def test_cosine_schedule_is_half_way_down_in_the_middle() -> None:
    """Without warm-up the cosine is 1 at the start, 1/2 in the middle and (1 - cos(pi/4))/2 later."""
    assert multiplier("cosine", 0, 8, 0.0) == 1.0
    assert multiplier("cosine", 4, 8, 0.0) == pytest.approx(0.5)
    assert multiplier("cosine", 6, 8, 0.0) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)


def test_layer_wise_rates_and_decay_of_a_bert(tmp_path: Path) -> None:
    """With a decay of 0.5 and two layers: embeddings 1/4, first layer 1/2, last layer and head 1."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny.text_model(tmp_path))
    groups = parameter_groups(
        model.named_parameters(), stack="bert.encoder.layer", layers=2, layer_decay=0.5, weight_decay=0.1
    )
    settings = {name: (group.factor, group.weight_decay) for group in groups for name in group.names}
    assert settings["bert.embeddings.word_embeddings.weight"] == (0.25, 0.1)
    assert settings["bert.embeddings.LayerNorm.weight"] == (0.25, 0.0)
    assert settings["bert.encoder.layer.0.output.dense.weight"] == (0.5, 0.1)
    assert settings["bert.encoder.layer.1.output.dense.bias"] == (1.0, 0.0)
    assert settings["bert.pooler.dense.weight"] == (1.0, 0.1)
    assert settings["classifier.weight"] == (1.0, 0.1)
    assert len(settings) == len(list(model.parameters()))
    assert depth_factor(0, 3, 0.5) == 0.125


def test_an_epoch_holds_every_row_once_in_batches_of_like_length() -> None:
    """Each row comes once, batches are full but the last, and lengths inside a batch hardly differ."""
    lengths = np.random.default_rng(0).integers(5, 60, size=1003)
    plan = plan_epoch(lengths, 1003, 16, seed=1, epoch=0, groups=None)
    assert sorted(np.concatenate(plan)) == list(range(1003))
    assert sorted(len(batch) for batch in plan) == [11] + [16] * 62
    assert len(plan) == steps_per_epoch(1003, 16, None) == 63
    assert max(np.ptp(lengths[batch]) for batch in plan) <= 6
    widths = [int(lengths[batch].max()) for batch in plan]
    assert widths != sorted(widths)  # the order of the batches is shuffled


def test_the_order_follows_from_seed_and_epoch() -> None:
    """The same seed and epoch give the same batches, another epoch or seed gives others."""
    lengths = np.random.default_rng(0).integers(5, 60, size=200)

    def flat(seed: int, epoch: int) -> list[int]:
        return np.concatenate(plan_epoch(lengths, 200, 16, seed, epoch, None)).tolist()

    assert flat(1, 0) == flat(1, 0)
    assert flat(1, 0) != flat(1, 1)
    assert flat(1, 0) != flat(2, 0)


def test_groups_never_share_a_batch() -> None:
    """Rows of two groups come in batches of their own."""
    groups = np.array([0] * 21 + [1] * 10)
    plan = plan_epoch(None, 31, 4, seed=0, epoch=0, groups=groups)
    assert all(len(set(groups[batch].tolist())) == 1 for batch in plan)
    assert len(plan) == steps_per_epoch(31, 4, groups) == 6 + 3
    assert [groups[batch][0] for batch in plan_sorted(None, 31, 4, groups)] == [0] * 6 + [1] * 3


def test_gathered_batches_are_what_the_task_would_encode(text_model: Path) -> None:
    """Rows encoded once and gathered equal rows encoded together, up to padding at the end."""
    task = catalog.load("task", "text-classification")
    processor = task.load_processor(text_model)
    head = Head("single_label", ("negative", "positive"))
    rows = tiny.sentences(300, 1)
    lengths = task.lengths(rows, processor)
    cached = EncodedRows(rows, lambda part: task.encode(part, processor, head, 12), np.minimum(lengths, 12))
    assert cached.cached
    for indices in (np.array([5, 290, 17]), np.array([7])):
        gathered, encoded = (
            cached.gather(indices),
            task.encode([rows[i] for i in indices], processor, head, 12),
        )
        width = encoded.inputs["input_ids"].shape[1]
        assert gathered.labels.tolist() == encoded.labels.tolist()
        for name, array in encoded.inputs.items():
            assert gathered.inputs[name].dtype == array.dtype
            assert gathered.inputs[name][:, :width].tolist() == array.tolist()
        assert not gathered.inputs["attention_mask"][:, width:].any()


def test_padding_is_learned_on_either_side() -> None:
    """The value and the side of the padding come from one row alone and beside a longer one."""
    alone = Batch(inputs={"x": np.array([[3, 4]])}, labels=np.array([[1, 2]]))
    beside = Batch(inputs={"x": np.array([[9, 3, 4], [5, 6, 7]])}, labels=np.array([[1, 2, -100], [0, 0, 0]]))
    paddings = learn_padding(alone, beside)
    assert paddings is not None
    (inputs,) = [paddings[name] for name in paddings if name == "x"]
    (labels,) = [paddings[name] for name in paddings if name != "x"]
    assert (inputs.value, inputs.left) == (9, True)
    assert (labels.value, labels.left) == (-100, False)


def test_gathered_batches_keep_what_decoding_needs(tmp_path: Path) -> None:
    """Rows of several lengths, gathered out of order, decode word by word as if encoded together."""
    from compress.tasks import token_classification as tokens

    tiny.save_tokenizer(tmp_path)
    processor = tokens.load_processor(tmp_path)
    head = Head("single_label", ("O", "B-mood"))
    rows = [
        {"tokens": ["good"] * size, "tags": (0, 1) * (size // 2) + (0,) * (size % 2)} for size in (1, 4, 7)
    ]
    source = EncodedRows(
        rows, lambda part: tokens.encode(part, processor, head, None), tokens.lengths(rows, processor)
    )
    assert source.cached
    batch = source.gather(np.array([2, 0, 1]))
    logits = np.stack([batch.labels != 1, batch.labels == 1], axis=-1).astype(np.float32)
    decoded = [prediction.value for prediction in tokens.decode({"logits": logits}, batch, head)]
    assert decoded == [rows[i]["tags"] for i in (2, 0, 1)]
    assert sorted(batch.inputs) == ["attention_mask", "input_ids", "token_type_ids"]


def test_rows_whose_padding_is_no_constant_are_encoded_batch_by_batch() -> None:
    """Nothing is assumed: without one padding value the task encodes every batch itself."""

    def encode(part: Any) -> Batch:
        width = max(len(row) for row in part)
        return Batch(inputs={"x": np.array([[*row, *range(width - len(row))] for row in part])}, labels=None)

    rows: list[Any] = [[1], [1, 2, 3, 4]]
    source = EncodedRows(rows, encode, np.array([1, 4]))
    assert not source.cached
    assert source.gather(np.array([0, 1])).inputs["x"].tolist() == [[1, 0, 1, 2], [1, 2, 3, 4]]


def test_rows_beyond_the_budget_are_encoded_batch_by_batch() -> None:
    """A small memory budget leads to the same batches, encoded on the way."""
    rows = driver.rows(40)
    lengths = np.array([len(row["ids"]) for row in rows])
    ample = EncodedRows(rows, driver.encode, lengths)
    lean = EncodedRows(rows, driver.encode, lengths, budget_bytes=10)
    assert ample.cached
    assert not lean.cached
    plan = plan_epoch(lengths, 40, 8, 0, 0, None)
    for left, right in zip(ample.batches(plan, "cpu"), lean.batches(plan, "cpu"), strict=True):
        width = right.inputs["ids"].shape[1]
        assert torch.equal(left.inputs["ids"][:, :width], right.inputs["ids"])
        assert torch.equal(left.labels, right.labels)


def test_selection_is_scored_evenly_and_at_the_end() -> None:
    """Twice an epoch of 5 steps, 12 steps in all: after 2, 5, 8, 10 and at the end, 12."""
    assert sorted(evaluation_steps(12, 5, 2)) == [2, 5, 8, 10, 12]
    assert sorted(evaluation_steps(10, 5, 1)) == [5, 10]
    assert sorted(evaluation_steps(3, 100, 1)) == [3]


def test_a_tie_goes_to_the_later_weights() -> None:
    """Equal figures replace the best, lower ones and NaN do not."""
    assert better({"accuracy": 0.5}, None)
    assert better({"accuracy": 0.5}, {"accuracy": 0.5})
    assert not better({"accuracy": 0.4}, {"accuracy": 0.5})
    assert not better({"accuracy": float("nan")}, {"accuracy": 0.5})


def test_dropout_sets_the_right_share_to_zero_and_keeps_the_mean() -> None:
    """A tenth is dropped, the rest is divided by 0.9, and the same seed drops the same."""
    source = DropoutSource()
    source.seed([1, 2])
    values = torch.ones(400_000, requires_grad=True)
    dropped = source.apply(values, 0.1)
    assert dropped.detach().unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
    source.seed([1, 2])
    assert torch.equal(source.apply(torch.ones(400_000), 0.1), dropped.detach())


def test_own_dropout_is_taken_out_again() -> None:
    """Modules draw from the source only inside the context, and never in eval mode."""
    model = torch.nn.Sequential(torch.nn.Dropout(0.5))
    source = DropoutSource()
    values = torch.ones(1000)
    with own_dropout(model, source):
        model.train()
        source.seed([3])
        first = model(values)
        source.seed([3])
        assert torch.equal(model(values), first)
        model.eval()
        assert torch.equal(model(values), values)
    assert "forward" not in vars(model[0])
