"""The weight matrix products of a graph: what INT8 is about.

A weight product is a MatMul or Gemm with a constant matrix. The products of attention (scores times
values) have two computed sides and are none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import onnx

from compress.errors import UserError
from deploy.graph.nodes import Index, attribute

if TYPE_CHECKING:
    from deploy.graph.convolutions import Convolution


@dataclass(frozen=True)
class WeightProduct:
    """One product ``input @ weight``.

    Attributes:
        name: of the node.
        op: ``MatMul`` or ``Gemm``.
        input: the computed side.
        weight: the initializer.
        output: what the node makes.
        transposed: whether the weight is stored [out, in] (Gemm with transB).
        shape: of the weight as it is used, [in, out].
        head: whether an output of the graph depends on it through no other product.
    """

    name: str
    op: str
    input: str
    weight: str
    output: str
    transposed: bool
    shape: tuple[int, int]
    head: bool


def find(model: onnx.ModelProto) -> list[WeightProduct]:
    """Every weight product, in the order of the graph."""
    index = Index(model)
    plain = [node for node in model.graph.node if _is_product(node, index)]
    heads = _heads(index, {node.output[0] for node in plain})
    products = []
    for node in plain:
        transposed = node.op_type == "Gemm" and attribute(node, "transB", 0) == 1
        rows, columns = index.shape(node.input[1])
        products.append(
            WeightProduct(
                name=node.name,
                op=node.op_type,
                input=node.input[0],
                weight=node.input[1],
                output=node.output[0],
                transposed=transposed,
                shape=(columns, rows) if transposed else (rows, columns),
                head=node.output[0] in heads,
            )
        )
    return products


def separate(model: onnx.ModelProto) -> None:
    """Store a weight twice that is read as it is and transposed: it has one set of scales for each way."""
    products = find(model)
    plain = {product.weight for product in products if not product.transposed}
    both = {
        product.name: product.weight for product in products if product.transposed and product.weight in plain
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    copies: dict[str, str] = {}
    for node in model.graph.node:
        weight = both.get(node.name)
        if weight is None:
            continue
        if weight not in copies:
            copied = onnx.TensorProto()
            copied.CopyFrom(constants[weight])
            copied.name = copies[weight] = f"{weight}_by_rows"
            model.graph.initializer.append(copied)
        node.input[1] = copies[weight]


def _is_product(node: onnx.NodeProto, index: Index) -> bool:
    if node.op_type not in ("MatMul", "Gemm") or not index.is_float_constant(node.input[1]):
        return False
    if len(index.shape(node.input[1])) != 2 or node.input[0] in index.constants:
        return False
    if node.op_type == "MatMul":
        return True
    # Scaled or transposed on the left: no exporter writes it for a linear layer.
    plain = attribute(node, "alpha", 1) == 1 and attribute(node, "beta", 1) == 1
    return plain and attribute(node, "transA", 0) == 0


def _heads(index: Index, products: set[str]) -> set[str]:
    """Outputs of products from which a graph output is reached through no other product.

    Where one of them comes of another, the output stands on the residual stream itself, as an embedder's does
    that only pools its states: products of every layer reach it past the others, and none is a head.
    """
    heads = _above(index, index.outputs, products) & products
    below = (name for head in heads for name in index.maker[head].input if name)
    return set() if heads & _above(index, below, set()) else heads


def _above(index: Index, tensors: Iterable[str], stops: set[str]) -> set[str]:
    """The computed tensors that some tensors come of, themselves included; not what is above a stop."""
    visited: set[str] = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        if tensor in visited or tensor not in index.maker:
            continue
        visited.add(tensor)
        if tensor not in stops:
            waiting.extend(name for name in index.maker[tensor].input if name)
    return visited


@dataclass(frozen=True)
class Operands:
    """A node that is no weight product, and which of its inputs matter.

    Attributes:
        name: of the node.
        tensors: computed inputs, in the node's order.
    """

    name: str
    tensors: tuple[str, ...]


def attention(model: onnx.ModelProto) -> list[Operands]:
    """The products of attention: MatMuls of two computed tensors, in the order of the graph."""
    index = Index(model)
    return [
        Operands(node.name, tuple(node.input))
        for node in model.graph.node
        if node.op_type == "MatMul" and not index.constants.keys() & set(node.input)
    ]


def residuals(model: onnx.ModelProto, names: Set[str]) -> list[Operands]:
    """The residual sums that take the output of a named product, each with its other side.

    A residual sum adds two computed tensors, one of which is a weight product's output with its bias.
    """
    index = Index(model)
    outputs = {product.output for product in find(model) if product.name in names}
    biased = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Add" and outputs & set(node.input) and index.constants.keys() & set(node.input)
    }
    sums = []
    for node in model.graph.node:
        if node.op_type != "Add" or index.constants.keys() & set(node.input):
            continue
        operands = [name for name in node.input if name not in outputs | biased]
        if len(operands) == 1:
            sums.append(Operands(node.name, tuple(operands)))
    return sums


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a unique name; exporters may leave some without."""
    names = {node.name for node in model.graph.node if node.name}
    used: set[str] = set()
    for position, node in enumerate(model.graph.node):
        if node.name and node.name not in used:
            used.add(node.name)
            continue
        name = f"{node.op_type}_{position}"
        while name in names:
            name += "_"
        node.name = name
        names.add(name)
        used.add(name)


def matching(products: Sequence[WeightProduct | Convolution], patterns: Sequence[str]) -> set[str]:
    """Names of the products that any pattern names: the whole name, a part of it, or with wildcards.

    Raises:
        UserError: a pattern that names none; the message lists what there is.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        hits = {
            product.name for product in products if pattern in product.name or fnmatch(product.name, pattern)
        }
        if not hits:
            raise UserError(
                f"keep_float: no weight product's or convolution's name has '{pattern}' in it. "
                f"There are: {', '.join(product.name for product in products)}."
            )
        chosen |= hits
    return chosen
