"""The constants that a graph's output is proportional to: the last product's weights and what is added."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from compress.errors import UserError
from deploy.graph.nodes import Index, drop_unused

_PASSING = frozenset({"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16})


def scale(model: onnx.ModelProto, output: str, factor: float) -> list[str]:
    """Multiply an output by a factor, in place, through the constants of the last product.

    Every constant gets a scaled copy that the last nodes take, so that one that serves elsewhere stays.

    Args:
        model: the graph with its weights.
        output: name of the output.
        factor: to multiply by.

    Returns:
        Names of the constants that were scaled.

    Raises:
        UserError: the output does not come from one float product with constant weights.
    """
    index = Index(model)
    slots: list[tuple[onnx.NodeProto, int]] = []
    name = output
    while True:
        node = index.maker.get(name)
        if node is None:
            raise _refusal(output, "it is computed by nothing")
        constant = [
            place for place, operand in enumerate(node.input) if operand and _is_float(index, operand)
        ]
        if node.op_type in _PASSING:
            name = node.input[0]
        elif node.op_type == "Add" and len(constant) == 1:
            slots.append((node, constant[0]))
            name = node.input[1 - constant[0]]
        elif node.op_type in ("Gemm", "MatMul") and 1 in constant:
            slots += [(node, place) for place in constant]
            if len(node.input) > 2 and node.input[2] and 2 not in constant:
                raise _refusal(output, "what is added to the last product is computed")
            break
        else:
            raise _refusal(output, f"it ends in {node.op_type}, whose weights are not float constants")
    scaled = []
    for number, (node, place) in enumerate(slots):
        old = node.input[place]
        array = index.array(old)
        new = np.asarray(array.astype(np.float64) * factor).astype(array.dtype)
        scaled_name = f"{old}_scaled_{number}"
        model.graph.initializer.append(numpy_helper.from_array(new, scaled_name))
        node.input[place] = scaled_name
        scaled.append(old)
    drop_unused(model)
    return scaled


def _is_float(index: Index, name: str) -> bool:
    constant = index.constants.get(name)
    return constant is not None and constant.data_type in _FLOATS


def _refusal(output: str, reason: str) -> UserError:
    return UserError(
        f"a temperature cannot be folded into the output '{output}' of this graph: {reason}. Calibrate the "
        "model before it is quantized, or quantize with head: false"
    )
