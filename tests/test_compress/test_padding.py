"""Answers that depend on the padding of a batch are measured and said."""

from __future__ import annotations

import json
from pathlib import Path

import tiny

from compress import catalog, pipeline
from compress.model import checkpoint, padding
from compress.tasks import Head

TASK = catalog.load("task", "text-classification")
ROWS = [{"text": "good film"}, {"text": "bad film with a very dull story and no end"}]
HEAD = Head("single_label", ("negative", "positive"))


def test_a_mask_makes_padding_invisible(text_model: Path) -> None:
    """A BERT padded on the right answers alike alone and in a batch; rows of one length tell nothing."""
    opened = pipeline.open_artifact(text_model)
    model = checkpoint.load(opened.path, TASK)
    processor = TASK.load_processor(opened.path)
    moved = padding.dependence(model, TASK, ROWS, processor, HEAD, None)
    assert moved is not None
    assert moved < 1e-5
    assert padding.dependence(model, TASK, ROWS[:1] * 2, processor, HEAD, None) is None
    assert "padding" not in opened.manifest.facts


def test_padding_on_the_other_side_is_said(text_model: Path) -> None:
    """With ``padding_side: left`` a BERT's positions move with the longest row of the batch."""
    file = text_model / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "padding_side": "left"}))
    embeddings = text_model / "model.safetensors"
    tiny.scale(embeddings, "position_embeddings", 50.0)
    opened = pipeline.open_artifact(text_model)
    assert opened.manifest.facts["padding"]["moved"] > padding.TOLERANCE
