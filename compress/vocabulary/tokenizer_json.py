"""A ``tokenizer.json`` with some of its pieces: ids move up, scores and the order of merges stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compress.vocabulary.pieces import Pieces, pairs


def cut(content: Mapping[str, Any], old_ids: Sequence[int], place: str) -> dict[str, Any]:
    """The content of the file with the pieces that stay.

    Args:
        content: parsed.
        old_ids: old ids in their order; every id that the file's other parts name is among them.
        place: what an error calls the file.

    Raises:
        ModelError: the file is damaged.
    """
    pieces = Pieces(content, place)
    new_ids = {old: new for new, old in enumerate(old_ids)}
    fresh = {**content, "model": _model(pieces, new_ids)}
    fresh["added_tokens"] = [
        {**token, "id": new_ids[token["id"]]} for token in content.get("added_tokens") or []
    ]
    fresh["post_processor"] = _moved_marks(content.get("post_processor"), new_ids)
    padding = content.get("padding")
    if isinstance(padding, dict) and padding.get("pad_id") in new_ids:
        fresh["padding"] = {**padding, "pad_id": new_ids[padding["pad_id"]]}
    return fresh


def _model(pieces: Pieces, new_ids: Mapping[int, int]) -> dict[str, Any]:
    model = dict(pieces.model)
    if pieces.algorithm == "Unigram":
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in new_ids]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
        return model
    in_order = sorted(pieces.vocabulary.items(), key=lambda entry: entry[1])
    # In the order of ids: transformers takes the ids of a word-level vocabulary from that.
    model["vocab"] = {piece: new_ids[old] for piece, old in in_order if old in new_ids}
    if "merges" in model:
        model["merges"] = [
            merge
            for merge, pair in zip(model["merges"], pairs(model, pieces.place), strict=True)
            if {*pair, pieces.merges.joined(pair)} <= model["vocab"].keys()
        ]
    return model


def _moved_marks(processor: Any, new_ids: Mapping[int, int]) -> Any:
    if not isinstance(processor, dict):
        return processor
    moved = dict(processor)
    if isinstance(processor.get("processors"), list):
        moved["processors"] = [_moved_marks(part, new_ids) for part in processor["processors"]]
    for side in ("sep", "cls"):
        mark = processor.get(side)
        if isinstance(mark, list) and len(mark) == 2 and isinstance(mark[1], int):
            moved[side] = [mark[0], new_ids[mark[1]]]
    templates = processor.get("special_tokens")
    if isinstance(templates, dict):
        moved["special_tokens"] = {
            name: {**template, "ids": [new_ids[old] for old in template.get("ids") or ()]}
            for name, template in templates.items()
        }
    return moved
