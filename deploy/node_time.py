"""The time of one node of a graph, or of one layer of an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeTime:
    """One operator that a runtime ran.

    Attributes:
        name: of the node or layer.
        op: its kind, such as ``MatMulInteger``.
        provider: that ran it.
        precision: of its products or data: ``int8``, ``fp16``, ``bf16``, ``fp32``, ``other``, or ``unknown``
            where the runtime does not show what is inside.
        product: whether it multiplies matrices, which is what precision is for.
        microseconds: over all runs.
    """

    name: str
    op: str
    provider: str
    precision: str
    product: bool
    microseconds: float
