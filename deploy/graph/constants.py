"""Constants as initializers of their own: what only renames, retypes or turns a constant is folded.

Exporters write ``Identity(weight)`` where layers share a weight (ALBERT; onnxruntime issue 10340), and
may put a Cast, a Transpose or a Constant node in its place. Whoever looks for "a product with a constant
matrix" then finds none: such a product is not quantized, not merged, not made half. Here they become
initializers once, so that no later step has to know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.graph import nodes as graph

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})


def load(path: Path) -> onnx.ModelProto:
    """A graph with its weights, its constants folded: one that was exported earlier may have them hidden."""
    model = graph.load(path)
    fold(model)
    return model


def fold(model: onnx.ModelProto) -> int:
    """Fold Identity, Cast and Transpose of float constants, and lift constant matrices, in place.

    Exact. Equal results share one initializer: a weight that twelve layers read through twelve Transposes
    is stored once. Branches and loops read the new names too. A graph without such nodes stays as it is.

    Returns:
        How many nodes are gone.
    """
    folding = _Folding(model)
    for node in model.graph.node:
        folding.visit(node)
    if folding.gone:
        remaining = [node for node in model.graph.node if node.output[0] not in folding.gone]
        for node in remaining:
            _rename(node, folding.gone)
        del model.graph.node[:]
        model.graph.node.extend(remaining)
        graph.drop_unused(model)
    return len(folding.gone)


class _Folding:
    """One walk over a graph in its order.

    Attributes:
        gone: output of a node that is not needed any more -> the initializer that stands for it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.gone: dict[str, str] = {}
        self._graph = model.graph
        self._outputs = {output.name for output in model.graph.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made: dict[tuple[str, str], str] = {}
        self._names = {*self._constants, *(name for node in model.graph.node for name in node.output)}

    def visit(self, node: onnx.NodeProto) -> None:
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1 or node.output[0] in self._outputs:
            return
        if node.op_type == "Constant":
            self._lift(node)
        elif node.op_type in ("Identity", "Cast", "Transpose"):
            source = self.gone.get(node.input[0], node.input[0])
            constant = self._constants.get(source)
            if constant is not None and constant.data_type in _FLOATS:
                self._evaluate(node, source, constant)

    def _lift(self, node: onnx.NodeProto) -> None:
        """A float matrix in a Constant node; vectors and numbers are left where exporters put them."""
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if tensor is not None and tensor.data_type in _FLOATS and len(tensor.dims) >= 2:
            lifted = TensorProto()
            lifted.CopyFrom(tensor)
            lifted.name = node.output[0]
            self._add(lifted)
            self.gone[node.output[0]] = node.output[0]

    def _evaluate(self, node: onnx.NodeProto, source: str, constant: TensorProto) -> None:
        if node.op_type == "Identity":
            self.gone[node.output[0]] = source
        elif node.op_type == "Cast":
            to = int(graph.attribute(node, "to", 0))
            if to == constant.data_type:
                self.gone[node.output[0]] = source
            elif to in _FLOATS:
                self.gone[node.output[0]] = self._computed(source, f"cast{to}", _cast(to))
        else:
            axes = next(
                (list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None
            )
            axes = list(reversed(range(len(constant.dims)))) if axes is None else axes
            if axes == sorted(axes):
                self.gone[node.output[0]] = source
            else:
                name = "transposed" + "".join(map(str, axes))
                self.gone[node.output[0]] = self._computed(source, name, _turn(axes))

    def _computed(self, source: str, suffix: str, compute: Callable[[np.ndarray], np.ndarray]) -> str:
        """The initializer that a computation on a constant gives, made once."""
        key = (source, suffix)
        if key not in self._made:
            name = f"{source}_{suffix}"
            while name in self._names:
                name += "_"
            array = compute(numpy_helper.to_array(self._constants[source]))
            self._add(numpy_helper.from_array(array, name))
            self._made[key] = name
        return self._made[key]

    def _add(self, tensor: TensorProto) -> None:
        self._graph.initializer.append(tensor)
        self._constants[tensor.name] = self._graph.initializer[-1]
        self._names.add(tensor.name)


def _cast(to: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(helper.tensor_dtype_to_np_dtype(to))


def _turn(axes: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.ascontiguousarray(array.transpose(axes))


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Let a node, and the graphs in it, read the new names."""
    for place, name in enumerate(node.input):
        if name in names:
            node.input[place] = names[name]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for part in inner.node:
                _rename(part, names)
            for output in inner.output:
                if output.name in names:  # a branch gives out a constant of the outer graph by its name
                    inner.node.append(
                        helper.make_node("Identity", [names[output.name]], [output.name], output.name)
                    )
