"""Fold a temperature into a classifier: its last layer's weights and bias divided by it.

Answers stay what they are and confidence comes to match being right. It costs nothing at run time.
The temperature is fitted on the selection rows; the rows that measure are not reachable from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import nn

from compress.articles import a_type
from compress.artifacts import artifact
from compress.errors import DataError, ModelError
from compress.model import checkpoint, padding, temperature
from compress.model import limit as limits
from compress.stage import Context, Role, StageConfig
from compress.training.examples import examples

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 3
TOOLS = ("torch", "transformers", "scipy")
DATA: frozenset[Role] = frozenset({"selection"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_BATCH = 32


class Config(StageConfig):
    """Options.

    Attributes:
        temperature: to fold in; fitted on the selection rows when absent.
    """

    temperature: float | None = Field(default=None, ge=temperature.LOW, le=temperature.HIGH)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing besides source and data."""
    return ()


def last_layer(model: nn.Module, feed: Mapping[str, torch.Tensor], output: str) -> nn.Linear:
    """The layer whose result is the model's output, found by running it.

    Args:
        model: in eval mode.
        feed: encoded rows.
        output: name of the model's output.

    Raises:
        ModelError: no linear layer gives the output as it is, or its weight serves elsewhere, too.
    """
    results: list[tuple[nn.Linear, torch.Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda module, _, result: results.append((module, result)))
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        with torch.inference_mode():
            expected = model(**feed)[output]
    finally:
        for hook in hooks:
            hook.remove()
    fitting = [
        layer for layer, result in results if result.shape == expected.shape and torch.equal(result, expected)
    ]
    if not fitting:
        raise ModelError(
            f"{a_type(model)} does not end in one linear layer, so that a temperature cannot be "
            "folded into it: divide its outputs where they are used"
        )
    layer = fitting[-1]
    holders = [module for module in model.modules() if getattr(module, "weight", None) is layer.weight]
    if len(holders) > 1:
        raise ModelError(
            f"the last layer of this {type(model).__name__} shares its weights with another part of the "
            "model, so that dividing them would change more than the outputs: divide the outputs where they "
            "are used"
        )
    return layer


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Fit, divide, check, save.

    Raises:
        ModelError: a model that gives numbers, or whose end is no linear layer of its own.
        DataError: no labeled selection rows, or rows that do not say which temperature fits.
    """
    if source is None or ctx.data is None:
        raise DataError("calibrate needs a model and data with labels")
    task = ctx.task
    torch.set_num_threads(ctx.threads)
    model = checkpoint.load(source.path, task)
    head = task.head_of(model.config.to_dict())
    data = ctx.data.for_head(task, head)
    processor, limit = task.load_processor(source.path), limits.read_derived(source.path).tokens
    rows = examples(task, list(data.selection), processor, limit)
    lengths, pads = task.lengths(rows, processor), limits.read_padding(source.path)
    batches = [
        task.encode([rows[i] for i in members], processor, head, limit)
        for members in padding.batches(lengths, len(rows), limit, _BATCH, pads=pads)
    ]

    def infer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        return {name: outputs[name].float().numpy() for name in task.OUTPUTS}

    decisions = temperature.decide(infer, batches, task, head)
    chosen, facts = temperature.choose(config.temperature, decisions)
    (output,) = task.link(head)
    feed = {name: torch.from_numpy(array) for name, array in batches[0].inputs.items()}
    layer = last_layer(model, feed, output)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            if parameter is not None:
                parameter.div_(chosen)
    scaled = temperature.decide(infer, batches[:1], task, head)
    facts["largest_difference"] = temperature.check(
        decisions.outputs[: len(scaled.outputs)], scaled.outputs, chosen
    )
    ctx.record("calibration", facts)
    checkpoint.save(model, ctx.out, source=source.path)
