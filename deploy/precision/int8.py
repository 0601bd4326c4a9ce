"""A graph prepared for eight bits: its products and convolutions, their ranges, how to quantize them.

Every set of products can be quantized and run, so that what a set costs can be measured; the float
weights lie once on disk for all of them, and those in eight bits are rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import onnx

from deploy.checking.outputs import Collected, collect
from deploy.graph import convolutions, products, taps, variants
from deploy.graph import nodes as graph
from deploy.precision import dynamic, observe, qdq, qdq_convolutions, ranges
from deploy.precision.eight_bits import EightBits
from deploy.precision.filters import Filters, tap_means
from deploy.precision.weights import Weights

if TYPE_CHECKING:
    from compress.tasks import Batch
    from deploy.encoder import Encoder
    from deploy.precision.ranges import Method


@dataclass(frozen=True)
class Style:
    """What is written where.

    Attributes:
        mode: ranges of activations at run time, or from calibration rows.
        numbers: the eight-bit format.
        method: of static ranges.
        percent: of the values that a percentile holds.
        rounding: of weights: each to the nearest, or so that errors make up for each other on real rows.
        attention: whether the products of attention take quantized inputs (static).
        residual: whether residual sums do (static).
        activation_scales: of activations at run time: one a tensor, or one a token.
    """

    mode: Literal["dynamic", "static"]
    numbers: EightBits
    method: Method
    percent: float
    rounding: Literal["nearest", "gptq"] = "nearest"
    attention: bool = False
    residual: bool = False
    activation_scales: dynamic.Scales = "tensor"


class Prepared:
    """One graph, with everything that quantizing any of its products needs.

    Attributes:
        base: the graph on disk.
        products: its weight products.
        convolutions: those that can become eight bits in this style.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        style: Style,
        encoder: Encoder,
        calibration: Sequence[Batch],
        folder: Path,
        threads: int,
    ) -> None:
        """Write the graph, and find the ranges where they are static.

        Args:
            model: a float graph with named nodes and its weights.
            style: what is written where.
            encoder: of the artifact.
            calibration: all rows that ranges and the rounding of weights are found on.
            folder: for the graph and its variants.
            threads: of the sessions.
        """
        self.products = products.find(model)
        # No runtime has a kernel for ranges at run time, or for FP8, that is faster than floats.
        integers = style.mode == "static" and style.numbers.kind != "e4m3"
        self.convolutions = convolutions.find(model) if integers else []
        # TensorRT, which takes signed activations, wants pairs on inputs alone, and floats for biases.
        self._outputs = style.numbers.kind == "u8"
        self._attention = products.attention(model) if style.attention else []
        every = {product.name for product in self.products}
        self._residuals = products.residuals(model, every) if style.residual else []
        self._shares = _shares(model)
        self.base = variants.Base(model, folder, threads)
        self._style, self._encoder, self._threads = style, encoder, threads
        self._calibration = calibration
        self._spans = self._ranges(model) if style.mode == "static" else {}

    def watched(self, tensors: Sequence[str]) -> observe.Infer:
        """A session that gives inner tensors."""
        return taps.open_watched(self.base.model, self.base.folder, tensors, self._threads)

    @property
    def inputs(self) -> list[str]:
        """The input of every product, each once."""
        return list(dict.fromkeys(product.input for product in self.products))

    @cached_property
    def _weights(self) -> Weights:
        """Every weight in eight bits, as soon as one is asked for."""
        moments = None
        if self._style.rounding == "gptq":
            moments = observe.second_moments(
                self.watched(self.inputs), self._calibration, self.inputs, "second moments of activations"
            )
        index = graph.Index(self.base.model, self.base.folder)
        return Weights(self.products, index, self._style.numbers, moments)

    @property
    def candidates(self) -> list[products.WeightProduct | convolutions.Convolution]:
        """What can become eight bits: weight products, then convolutions."""
        return [*self.products, *self.convolutions]

    @cached_property
    def filters(self) -> Filters:
        """Every convolution in eight bits, its bias corrected for the rounding."""
        model = self.base.model
        index = graph.Index(model, self.base.folder)
        makers = {node.name: node for node in model.graph.node}
        empty = {
            convolution.name: (
                convolution.input,
                tap_means(makers[convolution.name], index.shape(convolution.weight)),
            )
            for convolution in self.convolutions
        }
        tensors = list(dict.fromkeys(tensor for tensor, _ in empty.values()))
        means = observe.tap_means(self.watched(tensors), self._calibration, empty, "means of convolutions")
        scales = {}
        if self._outputs:
            for tensor in tensors:
                span = self._spans[convolutions.source(index, tensor, self._spans.keys())]
                scales[tensor] = float(self._style.numbers.activation(span.low, span.high)[0])
        return Filters(self.convolutions, index, self._style.numbers, means, scales)

    def _ranges(self, model: onnx.ModelProto) -> dict[str, qdq.Range]:
        """The range of each tensor that may get a pair, pads left out; shares span 0 to 1 as they are."""
        operand_names = [name for operand in (*self._attention, *self._residuals) for name in operand.tensors]
        flow = convolutions.flow(model, self.convolutions, outputs=self._outputs)
        every = dict.fromkeys((*self.inputs, *operand_names, *flow.quantized))
        tensors = [name for name in every if name not in self._shares]
        spans = {name: qdq.Range(0.0, 1.0) for name in operand_names if name in self._shares}
        style, infer, batches = self._style, self.watched(tensors), self._calibration
        if style.method == "minmax":
            extremes = observe.extremes(infer, batches, tensors, "ranges of activations")
            return spans | {name: qdq.Range(span.low, span.high) for name, span in extremes.items()}
        counted = observe.histograms(infer, batches, tensors, "ranges of activations")
        return spans | {
            name: qdq.Range(*ranges.choose(histogram, style.method, style.percent, style.numbers.symmetric))
            for name, histogram in counted.items()
        }

    def quantize(self, model: onnx.ModelProto, names: frozenset[str]) -> None:
        """Quantize the named products of a copy of the graph, in place."""
        style = self._style
        if style.mode == "dynamic":
            dynamic.quantize(model, names, self._weights, style.activation_scales)
            return
        residuals = products.residuals(model, names) if style.residual else []
        operands = [*self._attention, *residuals]
        qdq.quantize(
            model, names, self._spans, numbers=style.numbers, weights=self._weights, operands=operands
        )
        if self.convolutions:
            qdq_convolutions.quantize(
                model,
                names,
                self._spans,
                numbers=style.numbers,
                filters=self.filters,
                outputs=self._outputs,
            )

    def outputs(self, batches: Sequence[Batch], names: frozenset[str] | None) -> Collected:
        """Outputs with the named products in INT8; of the float graph for None."""
        infer = self.base.open(None if names is None else partial(self.quantize, names=names))
        return collect(infer, batches, self._encoder.task, self._encoder.head)


def _shares(model: onnx.ModelProto) -> set[str]:
    """The outputs of Softmax, also behind nodes that only pass them on."""
    names: set[str] = set()
    for node in model.graph.node:
        passes = node.op_type in ("Cast", "Identity") and node.input[0] in names
        if node.op_type == "Softmax" or passes:
            names.add(node.output[0])
    return names
