"""Shape arithmetic out of the graph: a Reshape whose target is the input's own axes needs no computing.

Exporters write ``Reshape(x, Concat(Unsqueeze(Gather(Shape(..)))...))`` where ``[0, 0, 12, 32]`` says the
same (0 copies an axis). In a six-layer encoder that is a quarter of all nodes, and at batch 1 a node
costs more than the arithmetic in it.

What a target is made of is found by looking: the graph runs at a few sizes that share no value, and
an axis that has the input's size at the same place every time copies it, one that never changes is a
constant, and one other axis may be left to be computed (-1). The caller checks parity afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import variants
from deploy.graph.taps import open_watched

if TYPE_CHECKING:
    from compress.tasks import ExportSpec
    from deploy.checking.parity import Feed


def sizes(longest: int | None, extent: int | None = None) -> list[tuple[int, int | None]]:
    """(batch, length) of the runs to look at; they share no value. Empty where lengths are too short.

    Args:
        longest: that the graph takes; None for any.
        extent: of a real row where a few positions are none to the model: a stack of convolutions needs
            thousands of samples. None for texts, of which any length will do.
    """
    if extent is not None:
        short = extent if longest is None else min(extent, longest * 7 // 13)
        return [(2, short), (3, short * 11 // 7 + 1), (5, short * 13 // 7)]
    if longest is None or longest >= 13:
        return [(2, 7), (3, 11), (5, 13)]
    return [(2, 3), (4, 5), (6, 7)] if longest >= 7 else []


def resized(feed: Feed, spec: ExportSpec, batch: int, length: int | None) -> Feed:
    """A feed of another size, by repeating and cutting; only its shapes matter.

    Args:
        feed: of real rows.
        spec: says which axis is which.
        batch: rows to give.
        length: tokens to give, where the spec has a length axis.
    """
    arrays = {}
    for name, axes in spec.inputs.items():
        shape = list(feed[name].shape)
        for axis, symbol in axes.items():
            if axis == 0:
                shape[0] = batch
            elif symbol == spec.length_axis and length is not None:
                shape[axis] = length
        arrays[name] = np.resize(feed[name], shape)
    return arrays


def target(inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[int] | None:
    """The constant target of a Reshape, or None where its sizes say that there is none.

    Args:
        inputs: shape of the input, one a run.
        targets: target as computed, one a run (with -1 already resolved).

    Returns:
        Axes as Reshape takes them: 0 copies, -1 computes (once at most).
    """
    if len({len(shape) for shape in targets}) != 1 or len({len(shape) for shape in inputs}) != 1:
        return None
    axes: list[int] = []
    for axis in range(len(targets[0])):
        sizes = [shape[axis] for shape in targets]
        if axis < len(inputs[0]) and sizes == [shape[axis] for shape in inputs] and len(set(sizes)) > 1:
            axes.append(0)
        elif len(set(sizes)) == 1:
            axes.append(int(sizes[0]))
        else:
            axes.append(-1)
    return axes if axes.count(-1) <= 1 else None


def fold(model: onnx.ModelProto, feeds: Sequence[Feed], folder: Path, threads: int) -> int:
    """Give Reshape nodes constant targets and drop what computed them, in place.

    Args:
        model: a graph with named nodes and its weights.
        feeds: at least two, of sizes that share no value.
        folder: for the weights while the graph is watched.
        threads: of the session.

    Returns:
        How many Reshape nodes have a constant target now that had none.
    """
    index = graph.Index(model)
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "Reshape"
        and node.input[1] not in index.constants
        and graph.attribute(node, "allowzero", 0) == 0
    ]
    if not nodes or len(feeds) < 2:
        return 0
    base = variants.Base(model, folder, threads)
    watched = [name for node in nodes for name in (node.input[0], node.output[0])]
    infer = open_watched(base.model, folder, list(dict.fromkeys(watched)), threads)
    shapes: list[dict[str, tuple[int, ...]]] = []
    for feed in feeds:
        outputs = infer(feed)
        shapes.append({name: np.shape(outputs[name]) for name in watched})
    folded = 0
    for node in nodes:
        axes = target([run[node.input[0]] for run in shapes], [run[node.output[0]] for run in shapes])
        if axes is None:
            continue
        name = f"{node.output[0]}_shape"
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(axes, np.int64), name))
        node.input[1] = name
        folded += 1
    graph.drop_dead(model)
    return folded
