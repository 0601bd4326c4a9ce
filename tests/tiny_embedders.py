"""Tiny embedders: folders as sentence-transformers writes them, and rows for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny

HIDDEN = 32


def folder(
    path: Path,
    *,
    pooling: dict[str, Any] | None = None,
    dense: dict[str, Any] | None = None,
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    default: str | None = None,
    limit: int | None = 32,
    layers: int = 2,
) -> Path:
    """A folder of sentence-transformers: encoder at the top, a folder a module.

    Args:
        path: to write.
        pooling: content of the pooling's configuration; a mean when None.
        dense: content of a dense layer's configuration; no such layer when None.
        normalize: whether vectors get the length 1.
        prompts: name -> text.
        default: name of the prompt of every text.
        limit: tokens.
        layers: of the encoder.
    """
    import torch
    from safetensors.torch import save_file

    tiny.base_model(path, layers=layers)
    after = [*(["Dense"] if dense else []), *(["Normalize"] if normalize else [])]
    listed = modules("", *after)
    for entry in listed:
        (path / entry["path"]).mkdir(exist_ok=True)
    write(path / "modules.json", listed)
    write(path / "1_Pooling" / "config.json", pooling or {"pooling_mode_mean_tokens": True})
    if limit is not None:
        write(path / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
    settings = {"prompts": prompts or {}, "default_prompt_name": default, "similarity_fn_name": "cosine"}
    write(path / "config_sentence_transformers.json", settings)
    if dense:
        write(path / "2_Dense" / "config.json", dense)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            weights = {"linear.weight": torch.randn(dense["out_features"], dense["in_features"]) / 5}
            if dense.get("bias", True):
                weights["linear.bias"] = torch.randn(dense["out_features"]) / 5
        save_file(weights, path / "2_Dense" / "model.safetensors")
    return path


def modules(place: str, *after: str) -> list[dict[str, Any]]:
    """The content of a ``modules.json``.

    Args:
        place: of the encoder.
        after: classes behind the pooling.
    """
    kinds = ["Transformer", "Pooling", *after]
    return [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else place,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]


def write(file: Path, content: Any) -> None:
    """A JSON file."""
    file.write_text(json.dumps(content), encoding="utf-8")


def scored(count: int, seed: int) -> list[dict[str, Any]]:
    """Pairs of texts: 1.0 where both are of one mood, 0.0 where not."""
    first, second = tiny.sentences(count, seed), tiny.sentences(count, seed + 100)
    return [
        {"text": a["text"], "text_pair": b["text"], "label": float(a["label"] == b["label"])}
        for a, b in zip(first, second, strict=True)
    ]


def searched(count: int, seed: int) -> list[dict[str, Any]]:
    """Queries of one loaded word each, and a text that holds it."""
    words = [*tiny.WORDS_GOOD, *tiny.WORDS_BAD]
    rows: list[dict[str, Any]] = []
    for i in range(count):
        word = words[(i + seed) % len(words)]
        plain = " ".join(tiny.WORDS_PLAIN[(i + j + seed) % len(tiny.WORDS_PLAIN)] for j in range(4))
        rows.append({"query": f"the {word}", "document": f"{plain} {word} {word}", "relevance": 1})
    return rows
