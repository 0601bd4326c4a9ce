"""How long each layer of an engine takes, by TensorRT's own profiler (``IProfiler``).

The profiler times by events around every layer, which takes the layers apart in time: shares hold, sums
are above an unprofiled run. What a layer computes in is not in it; that is in the passport.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from deploy.node_time import NodeTime
from deploy.tensorrt.passport import Passport

# TensorRT 8 to 11 and Myelin name their kernels for matrix products in these ways.
_MULTIPLIES = re.compile(r"gemm|gemv|matmul|matrix_?multiply|conv(?!er)", re.IGNORECASE)
# Layers that only move data; they carry the name of the product that they move it for.
_MOVES = re.compile(r"reformat|noop|copynode", re.IGNORECASE)


def create(trt: Any) -> Any:
    """An ``IProfiler`` that adds up milliseconds by layer in ``milliseconds``.

    Args:
        trt: the TensorRT module.
    """

    class LayerTimes(trt.IProfiler):
        """Called by an execution context after each run."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.milliseconds: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.milliseconds[layer_name] = self.milliseconds.get(layer_name, 0.0) + ms

    return LayerTimes()


def nodes(milliseconds: Mapping[str, float], passport: Passport) -> list[NodeTime]:
    """What ran, layer by layer, with what the passport knows of each.

    A layer whose inside is not shown, or that the passport does not know, has the precision ``unknown``;
    one of the latter counts as a product unless its name says that it only moves data, since what may
    have run in another precision must not be left out of the time of products.

    Args:
        milliseconds: by layer name, over all runs.
        passport: of the engine, with its layers.
    """
    layers = {layer.name: layer for layer in passport.layers or ()}
    times = []
    for name, elapsed in milliseconds.items():
        layer = layers.get(name)
        if layer is None:
            moves = _MOVES.search(name) is not None
            kind, precision, product = "layer not in the passport", "unknown", not moves
        else:
            kind = layer.type or "layer"
            precision = "unknown" if layer.opaque else layer.precision
            multiplies = _MULTIPLIES.search(layer.type) is not None or layer.fused_attention
            named = any(node in passport.products for node in layer.nodes)
            product = _MOVES.search(f"{layer.type} {name}") is None and (multiplies or named)
        times.append(
            NodeTime(
                name=name,
                op=kind,
                provider=passport.flavor,
                precision=precision,
                product=product,
                microseconds=elapsed * 1000,
            )
        )
    return times
