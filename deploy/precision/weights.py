"""The weights of a graph in eight bits, made once and added to every rewritten copy of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from compress import log
from deploy.graph import nodes as graph
from deploy.graph.products import WeightProduct
from deploy.precision.eight_bits import EightBits

_SUFFIXES = ("_q", "_scale", "_zero")


class Weights:
    """Eight-bit values, scales and zero points of weights, by the weight's name."""

    def __init__(
        self,
        products: Sequence[WeightProduct],
        index: graph.Index,
        numbers: EightBits,
        moments: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Round the weight of every product.

        Args:
            products: of the graph.
            index: of the graph, with its weights.
            numbers: the eight-bit format.
            moments: input tensor of a product -> second moments of its channels, [in, in], where the
                roundings of a weight are to make up for each other; None rounds to the nearest.
        """
        takers: dict[str, list[WeightProduct]] = defaultdict(list)
        for product in products:
            takers[product.weight].append(product)
        self._made: dict[str, tuple[np.ndarray, ...]] = {}
        with log.progress("rounding of weights", len(takers)) as bar:
            for name, members in takers.items():
                array = index.array(name)
                inputs = sorted({product.input for product in members})
                total = None if moments is None else np.sum([moments[tensor] for tensor in inputs], axis=0)
                self._made[name] = numbers.weight(array.T if members[0].transposed else array, total)
                bar.advance()

    def add(self, model: onnx.ModelProto, name: str) -> None:
        """Add ``NAME_q`` [in, out], ``NAME_scale`` [out] and ``NAME_zero`` [out] as initializers."""
        for suffix, array in zip(_SUFFIXES, self._made[name], strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array, f"{name}{suffix}"))
