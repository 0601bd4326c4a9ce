"""Tiny SetFit folders: a body of sentence-transformers and a classifier of scikit-learn on its vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import tiny_embedders

LABELS = ["bad", "good"]
TEXTS = [str(row["text"]) for row in tiny.sentences(60, 4)]


def vectors(folder: Path, texts: Sequence[str], *, normalize: bool) -> np.ndarray:
    """What the body says of texts: the mean of the plain encoder's states, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    lines = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
            lines.append(encoder(**encoded).last_hidden_state[0].mean(dim=0).numpy())
    table = np.stack(lines)
    return table / np.linalg.norm(table, axis=1, keepdims=True) if normalize else table


def folder(
    path: Path, *, normalize: bool = True, labels: list[str] | None = LABELS, body_normalizes: bool = False
) -> Path:
    """The body with SetFit's settings and without a classifier."""
    tiny_embedders.folder(path, normalize=body_normalizes)
    settings = {"normalize_embeddings": normalize, "labels": labels}
    tiny_embedders.write(path / "config_setfit.json", settings)
    return path


def regression(path: Path, *, normalize: bool = True) -> Any:
    """A logistic regression that tells good texts from bad ones."""
    from sklearn.linear_model import LogisticRegression

    answers = [row["label"] for row in tiny.sentences(60, 4)]
    return LogisticRegression(C=100.0).fit(vectors(path, TEXTS, normalize=normalize), answers)


def write(path: Path, coefficients: Any, intercept: Any, **about: Any) -> Path:
    """The safe file of a classifier, as the printed command leaves it."""
    from safetensors.numpy import save_file

    tensors = {"coef": np.asarray(coefficients, "float32"), "intercept": np.asarray(intercept, "float32")}
    note = {"type": "LogisticRegression", "parts": ["LogisticRegression"], "classes": [0, 1], **about}
    save_file(tensors, path / "model_head.safetensors", {"head": json.dumps(note)})
    return path


def whole(path: Path, **options: Any) -> Path:
    """A folder with a trained classifier in its safe file."""
    folder(path, **options)
    head = regression(path)
    return write(path, head.coef_, head.intercept_)
