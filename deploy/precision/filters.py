"""The weights of convolutions in eight bits, and their biases corrected for what rounding does on average.

Rounding moves a filter by ``e = W~ - W``, and what the convolution gives by ``e * x``, whose expectation over
real inputs is no zero, most of all in depthwise filters of nine weights. It is taken off the bias (Nagel et
al. 2019, "Data-free quantization through weight equalization and bias correction", eq. 16 and 17):

    E[y~] = E[y] + e * E[x],    b~ = b - e * E[x]

with ``E[x]`` measured on calibration rows, for every tap of the kernel by itself: at the borders a tap sees
zeros. Pure, on arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as combinations

import numpy as np
import onnx
from onnx import numpy_helper

from deploy.graph import nodes as graph
from deploy.graph.convolutions import Convolution, window
from deploy.precision.eight_bits import EightBits

# Biases are integers of 32 bits in units of (input scale * weight scale): one bit stays free for the sum.
_LARGEST_BIAS = 2.0**30


@dataclass
class TapMeans:
    """The mean of what every tap of a kernel sees, over rows and positions of the output.

    Attributes:
        kernel: its size along each axis.
        before: pads before each axis.
        after: pads after it.
        strides: of the output.
        dilations: between taps.
        sums: float64 [in, *kernel], None before the first batch.
        count: positions of the output so far.
    """

    kernel: tuple[int, ...]
    before: Sequence[int]
    after: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    sums: np.ndarray | None = None
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Take inputs [rows, in, *size]."""
        if not len(values):
            return
        widths = [(0, 0), *zip(self.before, self.after, strict=True)]
        padded = np.pad(values.mean(axis=0, dtype=np.float64), widths)
        sizes = [
            (size - dilation * (taps - 1) - 1) // stride + 1
            for size, taps, stride, dilation in zip(
                padded.shape[1:], self.kernel, self.strides, self.dilations, strict=True
            )
        ]
        positions = int(np.prod(sizes))
        means = np.empty((padded.shape[0], *self.kernel))
        for tap in combinations(*(range(taps) for taps in self.kernel)):
            window_slices = (
                slice(None),
                *(
                    slice(at * dilation, at * dilation + stride * (size - 1) + 1, stride)
                    for at, dilation, stride, size in zip(
                        tap, self.dilations, self.strides, sizes, strict=True
                    )
                ),
            )
            place: tuple[slice | int, ...] = (slice(None), *tap)
            means[place] = padded[window_slices].reshape(len(padded), -1).mean(axis=1)
        weight = len(values) * positions
        self.sums = means * weight if self.sums is None else self.sums + means * weight
        self.count += weight

    @property
    def means(self) -> np.ndarray:
        """``E[x]`` of each tap, float64 [in, *kernel]."""
        if self.sums is None:
            return np.zeros((1, *self.kernel))
        return self.sums / self.count


def tap_means(node: onnx.NodeProto, shape: Sequence[int]) -> TapMeans:
    """An empty mean of a Conv whose weight has that shape."""
    kernel = tuple(shape[2:])
    return TapMeans(kernel, *window(node, kernel))


def expected_error(error: np.ndarray, means: np.ndarray, groups: int) -> np.ndarray:
    """``e * E[x]``: how far each output channel moves on average, float64 [out].

    Args:
        error: of the weight, [out, in / groups, *kernel].
        means: of each tap's inputs, [in, *kernel].
        groups: of the convolution.
    """
    grouped = error.reshape(groups, len(error) // groups, -1).astype(np.float64)
    return np.einsum("goi,gi->go", grouped, means.reshape(groups, -1)).reshape(-1)


@dataclass(frozen=True)
class _Filter:
    values: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    bias: np.ndarray | None


class Filters:
    """Eight-bit weights and corrected biases of convolutions, by the convolution's name.

    Attributes:
        shifts: convolution -> the largest mean error of an output channel that its bias makes up for.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        index: graph.Index,
        numbers: EightBits,
        means: Mapping[str, TapMeans],
        input_scales: Mapping[str, float],
    ) -> None:
        """Round the weight of every convolution, and correct its bias.

        Args:
            convolutions: of the graph.
            index: of the graph, with its weights.
            numbers: the eight-bit format.
            means: convolution -> the means of its inputs.
            input_scales: input tensor -> the scale of its pair, for biases in 32 bits; empty where biases
                stay float.
        """
        self._input_scales = input_scales
        self._filters: dict[str, _Filter] = {}
        self.shifts: dict[str, float] = {}
        for convolution in convolutions:
            weight = index.array(convolution.weight).astype(np.float32)
            bias = None if convolution.bias is None else index.array(convolution.bias).astype(np.float64)
            scale = input_scales.get(convolution.input)
            least = None if bias is None or scale is None else np.abs(bias) / (scale * _LARGEST_BIAS)
            values, scales, zeros = numbers.filters(weight, least)
            shape = (-1, *(1,) * (weight.ndim - 1))
            error = values.astype(np.float64) * scales.reshape(shape) - weight
            shift = expected_error(error, means[convolution.name].means, convolution.groups)
            if bias is not None or shift.any():
                bias = (0.0 if bias is None else bias) - shift
            self.shifts[convolution.name] = float(np.abs(shift).max(initial=0.0))
            self._filters[convolution.name] = _Filter(values, scales, zeros, bias)

    def add(self, model: onnx.ModelProto, convolution: Convolution) -> tuple[list[onnx.NodeProto], list[str]]:
        """Add what a convolution reads as initializers.

        Returns:
            The nodes that make floats of it, and the names of weight and bias (where there is one).
        """
        eight, name = self._filters[convolution.name], convolution.name
        weight, bias = f"{convolution.output}_weight", f"{convolution.output}_corrected"
        nodes = [_dequantized(model, weight, f"{name}_weight", eight.values, eight.scales, eight.zeros)]
        if eight.bias is None:
            return nodes, [weight]
        scale = self._input_scales.get(convolution.input)
        if scale is None:
            model.graph.initializer.append(numpy_helper.from_array(eight.bias.astype(np.float32), bias))
            return nodes, [weight, bias]
        scales = (eight.scales.astype(np.float64) * scale).astype(np.float32)
        integers = np.clip(np.rint(eight.bias / scales), -(2**31), 2**31 - 1).astype(np.int32)
        nodes.append(_dequantized(model, bias, f"{name}_bias", integers, scales, np.zeros_like(integers)))
        return nodes, [weight, bias]


def _dequantized(
    model: onnx.ModelProto,
    output: str,
    name: str,
    values: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
) -> onnx.NodeProto:
    inputs = [f"{output}_{suffix}" for suffix in ("q", "scale", "zero")]
    for tensor, array in zip(inputs, (values, scales, zeros), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, tensor))
    return onnx.helper.make_node("DequantizeLinear", inputs, [output], f"{name}_DequantizeLinear", axis=0)
