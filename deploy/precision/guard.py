"""The overflow guard: which nodes hold values that FP16 cannot, seen on real rows in FP32.

FP16 ends at 65,504. A node whose inputs or outputs come within a factor of eight of it on
calibration rows is kept in FP32, and so is one with a constant that FP16 cannot hold, or a single
number that it would round to nothing (an epsilon). Rows should pass in batches of one length, so that
no position is padding and no mask constant shows up as a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from deploy.graph import nodes as graph
from deploy.precision.eight_bits import FP16_LARGEST, FP16_SMALLEST_NORMAL
from deploy.precision.half import MASKED

if TYPE_CHECKING:
    from deploy.precision.ranges import Extremes

MARGIN = 8.0


def overflowing(
    model: onnx.ModelProto, extremes: Mapping[str, Extremes], limit: float = FP16_LARGEST / MARGIN
) -> dict[str, str]:
    """Nodes that must stay in FP32, with the reason.

    Args:
        model: the float graph with named nodes and its weights.
        extremes: tensor -> extremes on real rows.
        limit: largest absolute value that is safe.
    """
    peaks = {name: max(abs(span.low), abs(span.high)) for name, span in extremes.items() if span.count}
    vanishing: dict[str, float] = {}
    for name, tensor in graph.Index(model).constants.items():
        if tensor.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(tensor)
        peaks[name] = float(np.abs(array[array != MASKED]).max(initial=0.0))
        if array.size == 1 and array.item() != 0 and np.float16(array.item()) == 0:
            vanishing[name] = array.item()
    reasons: dict[str, str] = {}
    for node in model.graph.node:
        for name in (*node.input, *node.output):
            peak = peaks.get(name, 0.0)
            if not peak <= limit:  # a NaN is no safe value either
                reasons[node.name] = f"|{name}| reaches {peak:.4g}, FP16 is safe up to {limit:.4g}"
                break
            if name in vanishing:
                reasons[node.name] = f"{name} is {vanishing[name]:.3g}, which FP16 rounds to 0"
                break
    return reasons


def lost_scales(model: onnx.ModelProto) -> dict[str, str]:
    """Q/DQ nodes whose scales FP16 would round away, with the reason."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    reasons: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in constants:
            continue
        smallest = float(np.abs(numpy_helper.to_array(constants[node.input[1]])).min(initial=1.0))
        if smallest < FP16_SMALLEST_NORMAL:
            reasons[node.name] = f"a scale of {smallest:.3g} is below FP16's smallest normal number"
    return reasons
