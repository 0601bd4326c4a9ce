"""How much of a graph's multiplying became eight bits: products counted, and weighed by their MACs.

What counts is every product of the float graph, whether a quantizer would find it or not: a weight that
hides behind a node is a product that stays float, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from deploy.graph import nodes as graph
from deploy.graph import taps

if TYPE_CHECKING:
    from deploy.checking.parity import Feed
    from deploy.graph.variants import Base

_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
_LISTED = 3
MOST = 0.5


@dataclass(frozen=True)
class Load:
    """One product of a graph.

    Attributes:
        name: of the node.
        op: its operator.
        macs: multiplications with an addition, for one row.
        weighted: whether one side is no function of the inputs.
    """

    name: str
    op: str
    macs: int
    weighted: bool


@dataclass(frozen=True)
class Coverage:
    """What became eight bits.

    Attributes:
        products: products with weights.
        eight_bit: those of them in eight bits.
        macs_share: of the MACs of all products, attention's own among them, in eight bits.
        float_products: name of a product with weights that stayed float -> why.
    """

    products: int
    eight_bit: int
    macs_share: float
    float_products: dict[str, str]

    def __str__(self) -> str:
        """In words."""
        sentence = (
            f"{self.eight_bit} of {self.products} weight products became eight bits "
            f"({100 * self.macs_share:.1f} % of the MACs of all products)"
        )
        if not self.float_products:
            return sentence
        listed = [f"{name} ({reason})" for name, reason in list(self.float_products.items())[:_LISTED]]
        more = len(self.float_products) - len(listed)
        return f"{sentence}; float: {', '.join(listed)}" + (f" and {more} more" if more else "")

    def as_json(self) -> dict[str, Any]:
        """As a manifest records it."""
        return asdict(self)


def weigh(base: Base, feed: Feed, threads: int) -> list[Load]:
    """The products of a graph with the MACs that one row costs.

    Args:
        base: the float graph on disk, before products were merged.
        feed: of one row.
        threads: of the session.
    """
    index = graph.Index(base.model)
    nodes = [node for node in base.model.graph.node if node.op_type in _PRODUCTS]
    computed = _computed(base.model)
    watched = [
        name for node in nodes for name in (*node.input[:2], node.output[0]) if name in index.maker and name
    ]
    watched = [name for name in dict.fromkeys(watched) if name not in index.constants]
    infer = taps.open_watched(base.model, base.folder, watched, threads)
    shapes = {name: np.shape(array) for name, array in infer(feed).items()}
    shapes |= {name: index.shape(name) for node in nodes for name in node.input if name in index.constants}
    shapes |= {name: np.shape(array) for name, array in feed.items()}
    return [
        Load(node.name, node.op_type, _macs(node, shapes), not computed.issuperset(node.input[:2]))
        for node in nodes
    ]


def _computed(model: onnx.ModelProto) -> set[str]:
    """The tensors that are functions of the graph's inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    names = {port.name for port in model.graph.input} - constants
    for node in model.graph.node:
        if graph.read_by(node) & names:
            names.update(node.output)
    return names


def _macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    shape, second = shapes[node.output[0]], shapes[node.input[1]]
    if node.op_type == "Conv":
        return prod(shape) * prod(second[1:])
    transposed = node.op_type == "Gemm" and graph.attribute(node, "transB", 0) == 1
    return prod(shape) * (second[1] if transposed else second[-2] if len(second) > 1 else second[0])


def cover(
    loads: Sequence[Load],
    chosen: Sequence[str],
    float_reasons: Mapping[str, str],
    merged: Sequence[tuple[str, ...]],
    two_sided: Sequence[str] = (),
    convolutions: str = "its weight is no constant of the graph",
) -> Coverage:
    """Count what became eight bits.

    Args:
        loads: of the graph before its products were merged.
        chosen: names of the products in eight bits, merged ones by their new name.
        float_reasons: name of a product that was left float -> why.
        merged: groups of products that became one, which is named after the first of a group.
        two_sided: products of two computed sides that take eight bits.
        convolutions: why one stayed float that no quantizer looked at.
    """
    members = {f"{group[0]}_merged": group for group in merged}
    eight = {name for product in chosen for name in members.get(product, (product,))}
    reasons = {
        name: reason for product, reason in float_reasons.items() for name in members.get(product, (product,))
    }
    weighted = [load for load in loads if load.weighted]
    total = sum(load.macs for load in loads)
    covered = sum(load.macs for load in loads if load.name in eight or load.name in two_sided)
    left = {
        load.name: reasons.get(load.name, _why(load, convolutions))
        for load in weighted
        if load.name not in eight
    }
    return Coverage(len(weighted), len(weighted) - len(left), covered / total if total else 0.0, left)


def _why(load: Load, convolutions: str) -> str:
    return convolutions if load.op == "Conv" else "its weight is no constant matrix of the graph"


def convolved(loads: Sequence[Load]) -> float:
    """The share of all MACs that convolutions with weights cost, 0 to 1."""
    total = sum(load.macs for load in loads)
    return sum(load.macs for load in loads if load.op == "Conv" and load.weighted) / total if total else 0.0
