"""What stands at a mask: which words are masked, loss, figures and refusals, without a stage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_filling
import torch

from compress import catalog
from compress.errors import DataError, ModelError
from compress.tasks import Prediction
from compress.tasks import _masks as masks

TASK = "fill-mask"


def test_the_text_chooses_its_masks() -> None:
    """By hand: of eight words one is masked, with all its pieces, and of none none; the same every time."""
    words = [None, 0, 1, 2, 2, 3, 4, 5, 6, 7, None]
    first = masks.chosen("a text", words)
    assert (first == masks.chosen("a text", words)).all()
    assert len({words[i] for i in np.flatnonzero(first)}) == 1
    assert not masks.chosen("", [None, None]).any()
    counts = [masks.chosen(f"text {i}", list(range(40))).sum() for i in range(9)]
    assert counts == [6] * 9
    assert len({tuple(masks.chosen(f"text {i}", list(range(40)))) for i in range(9)}) == 9


def test_figures_by_hand() -> None:
    """Places 1 and 4 with probabilities 1/2 and 1/8: half found, MRR 5/8, perplexity 4."""
    task = catalog.task(TASK)
    head = task.head_of({"vocab_size": 8})
    prediction = Prediction("a b", "a b", truth=((1, 0.5), (4, 0.125)))
    figures = task.metrics(task.statistics([prediction], [("x",)], head).sum(axis=0), head)
    assert figures == pytest.approx({"accuracy": 0.5, "mrr": 0.625, "pseudo_perplexity": 4.0})
    assert not task.right(prediction, ("x",))
    with pytest.raises(DataError, match="has a mask in it, and nobody knows what stood there"):
        task.statistics([Prediction("a", "a")], [("a [MASK]",)], head)


def test_the_loss_is_that_of_the_model(tmp_path: Path) -> None:
    """Of masked pieces alone, as transformers computes it; a text with its own masks teaches nothing."""
    from transformers import BertForMaskedLM

    task = catalog.task(TASK)
    folder = tiny_filling.model(tmp_path / "model")
    network = BertForMaskedLM.from_pretrained(folder).eval()
    head, processor = task.head_of(network.config.to_dict()), task.load_processor(folder)
    batch = task.encode(tiny_filling.texts(6, 3), processor, head, 12)
    labels = torch.from_numpy(batch.labels)
    outputs = network(
        **{name: torch.from_numpy(array) for name, array in batch.inputs.items()}, labels=labels
    )
    assert task.loss(outputs, labels, head, batch).item() == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert (task.positions(batch) == (batch.labels != -100)).all()
    masked = task.encode([{"text": "the [MASK] is"}], processor, head, None)
    assert task.positions(masked).sum() == 1
    assert math.isclose(
        task.loss(
            {"logits": torch.zeros(1, 5, head.width)}, torch.from_numpy(masked.labels), head, masked
        ).item(),
        0,
    )


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    """The sentence says what is wanted."""
    folder = tiny_filling.model(tmp_path / "model")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content["mask_token"] = None
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has no mask_token, and fill-mask asks what stands at a mask"):
        catalog.task(TASK).load_processor(folder)
