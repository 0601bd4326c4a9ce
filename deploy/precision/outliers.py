"""Outlier channels of activations, scaled down exactly before INT8.

In BERT-like encoders one channel of a LayerNorm's output, or one neuron of a GELU's, is four times
larger than all others, at every token. A single scale for the tensor then leaves two bits less for
everything else. As in SmoothQuant (Xiao et al. 2023, eq. 3) ``x @ W = (x / s) @ (s W)``, here with
``s`` above 1 for the outlier channels only: the limit is a quantile of the channels' peaks, so that
weights grow in few rows. A LayerNorm feeds the residual sum too, so that the division is a Mul of its
own in front of the product, a few microseconds at batch 1; products that would gain little get none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products

QUANTILE = 0.98
LEAST_GAIN = 2.0


def factors(peaks: np.ndarray, quantile: float = QUANTILE) -> np.ndarray:
    """``s`` of each channel, float32, 1 or more.

    Args:
        peaks: largest absolute value of each channel, [channels].
        quantile: of the peaks, above which a channel is an outlier.
    """
    limit = float(np.quantile(peaks, quantile, method="lower"))
    if limit <= 0:
        return np.ones_like(peaks, dtype=np.float32)
    return np.maximum(peaks / limit, 1.0).astype(np.float32)


def gain(peaks: np.ndarray, scales: np.ndarray) -> float:
    """How much smaller the largest value becomes."""
    after = float((peaks / scales).max(initial=0.0))
    return float(peaks.max(initial=0.0)) / after if after > 0 else 1.0


def tame(model: onnx.ModelProto, peaks: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Divide outlier channels of products' inputs and multiply the weights' rows, in place.

    Args:
        model: a float graph with named nodes and its weights.
        peaks: input tensor of a product -> largest absolute value of each channel on real rows.
        names: of the products that may be touched.

    Returns:
        Input tensor -> how much smaller its range is now.
    """
    index = graph.Index(model)
    sharing: dict[str, list[products.WeightProduct]] = defaultdict(list)
    for product in products.find(model):
        if product.name in names and product.input in peaks:
            sharing[product.input].append(product)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    before: dict[str, onnx.NodeProto] = {}
    renamed: dict[str, str] = {}
    gains: dict[str, float] = {}
    for tensor, members in sharing.items():
        scales = factors(peaks[tensor])
        gained = gain(peaks[tensor], scales)
        nodes = {product.name for product in members}
        exclusive = all({n.name for n in index.takers[product.weight]} <= nodes for product in members)
        if (
            gained < LEAST_GAIN
            or not exclusive
            or any(product.weight not in constants for product in members)
        ):
            continue
        first = members[0].name
        inverse = numpy_helper.from_array((1 / scales).astype(np.float32), f"{first}_divisors")
        model.graph.initializer.append(inverse)
        before[first] = helper.make_node("Mul", [tensor, inverse.name], [f"{first}_tamed"], f"{first}_tame")
        renamed.update(dict.fromkeys(nodes, f"{first}_tamed"))
        for weight, transposed in {product.weight: product.transposed for product in members}.items():
            array = index.array(weight)
            grown = array * (scales[None, :] if transposed else scales[:, None])
            constants[weight].CopyFrom(numpy_helper.from_array(grown.astype(np.float32), weight))
        gains[tensor] = gained
    rewritten: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in before:
            rewritten.append(before[node.name])
        if node.name in renamed:
            node.input[0] = renamed[node.name]
        rewritten.append(node)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    return gains
