"""Where two models part: the hidden states after each layer, side by side on the same rows.

A torch model gives its hidden states. Of an ONNX graph, the output of layer ``i`` is the last tensor
that leaves the nodes whose names say that layer; names survive quantization and half precision, and
not every fusion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from compress import catalog
from compress.errors import UserError
from compress.model import checkpoint
from deploy.checking.parity import MASK
from deploy.graph import nodes as graph
from deploy.graph.taps import real_values, with_outputs
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Batch
    from deploy.checking.parity import Feed

_LAYER = re.compile(r"(?:^|[/.])(?:layer|layers|block|blocks|h)[./](\d+)[/.]")
States = Callable[["Feed"], list[np.ndarray]]


@dataclass(frozen=True)
class LayerError:
    """How far one layer's outputs are apart.

    Attributes:
        layer: from 1.
        relative: root mean square of the difference over that of the reference.
    """

    layer: int
    relative: float


def layer_outputs(model: onnx.ModelProto) -> list[str]:
    """The tensor that leaves each layer, in order; empty where node names say no layers.

    It is the last tensor of a layer's nodes that a node outside of the layer takes.
    """
    place: dict[str, int] = {}
    for node in model.graph.node:
        match = _LAYER.search(node.name)
        if match:
            place.update(dict.fromkeys(node.output, int(match.group(1))))
    last: dict[int, str] = {}
    for node in model.graph.node:
        match = _LAYER.search(node.name)
        number = int(match.group(1)) if match else -1
        for name in node.input:
            if name in place and place[name] != number and (number == -1 or number > place[name]):
                last[place[name]] = name
    return [last[layer] for layer in sorted(last)]


def _torch_states(artifact: Artifact) -> States:
    import torch

    model = checkpoint.load(artifact.path, catalog.task(artifact.task))

    def states(feed: Feed) -> list[np.ndarray]:
        arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in feed.items()}
        with torch.inference_mode():
            outputs = model(**arrays, return_dict=True, output_hidden_states=True)
        return [state.float().numpy() for state in outputs.hidden_states[1:]]

    return states


def _onnx_states(artifact: Artifact, folder: Path, threads: int | None) -> States:
    model = graph.load(artifact.file(graph.MODEL))
    names = layer_outputs(model)
    if not names:
        raise UserError(
            f"the graph of {artifact.path} does not say which node belongs to which layer: compare layers "
            "with the plain graph that export-onnx made"
        )
    with_outputs(model, names)
    graph.save(model, folder, external=True, check=False)
    infer = infer_with(open_session(folder / graph.MODEL, threads=threads))
    return lambda feed: [np.asarray(infer(feed)[name], dtype=np.float32) for name in names]


def compare_layers(
    reference: Artifact,
    candidate: Artifact,
    batches: Sequence[Batch],
    folder: Path,
    threads: int | None = None,
) -> list[LayerError]:
    """The relative error of every layer, over real positions of all batches.

    Args:
        reference: torch or ONNX.
        candidate: torch or ONNX, of the same depth.
        batches: of the same rows for both.
        folder: for copies of graphs with more outputs.
        threads: of the sessions.

    Raises:
        UserError: the depths differ, or a graph does not name its layers.
    """
    both = []
    for position, artifact in enumerate((reference, candidate)):
        if artifact.kind == "torch":
            both.append(_torch_states(artifact))
            continue
        subfolder = folder / str(position)
        subfolder.mkdir(parents=True, exist_ok=True)
        both.append(_onnx_states(artifact, subfolder, threads))
    errors: list[float] = []
    powers: list[float] = []
    for batch in batches:
        mask = batch.inputs.get(MASK)
        expected, actual = (states(batch.inputs) for states in both)
        if len(expected) != len(actual):
            raise UserError(
                f"{reference.path} has {len(expected)} layers and {candidate.path} has {len(actual)}: layers "
                "can be compared between models of one depth"
            )
        errors = errors or [0.0] * len(expected)
        powers = powers or [0.0] * len(expected)
        for layer, (a, b) in enumerate(zip(expected, actual, strict=True)):
            left, right = real_values(a, mask).astype(np.float64), real_values(b, mask)
            errors[layer] += float(((left - right) ** 2).sum())
            powers[layer] += float((left**2).sum())
    return [
        LayerError(layer + 1, float(np.sqrt(error / max(power, 1e-30))))
        for layer, (error, power) in enumerate(zip(errors, powers, strict=True))
    ]


def first_diverging(errors: Sequence[LayerError], above: float) -> int | None:
    """The first layer whose relative error is above a limit; None where there is none."""
    return next((error.layer for error in errors if not error.relative <= above), None)
