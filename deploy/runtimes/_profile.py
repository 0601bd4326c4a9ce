"""What ONNX Runtime really ran, read from its own profile: node, provider, precision, time.

A graph says what was asked for; the profile says which kernels ran after ONNX Runtime rewrote it. On the CPU
an FP16 graph runs its products in FP32 between casts, and an INT8 graph whose pattern is not recognized
stays in FP32: both answer correctly and are not what was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from deploy.node_time import NodeTime

# Products of matrices, by the precision that their name tells; None: by the type of their inputs.
_PRODUCTS: dict[str, str | None] = {
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "Einsum"), None),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention", "LSTM", "GRU"), None),
    **dict.fromkeys(
        ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger"), "int8"
    ),
    **dict.fromkeys(("QLinearMatMul", "QGemm", "QLinearConv", "QAttention", "DynamicQuantizeLSTM"), "int8"),
    **dict.fromkeys(("FusedMatMulInteger", "MatMulInteger16"), "int8"),
    "MatMulNBits": "int4",
}
_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64"}
_INTEGERS = frozenset({"int8", "uint8"})
_KERNEL = "_kernel_time"


def precision(op: str, inputs: Sequence[str]) -> str:
    """The precision of an operator, from its name and the types of its inputs.

    A quantizing or elementwise operator on 8-bit data counts as ``int8``, a lookup of packed rows (which are
    bytes) among them; one on no data of either kind (shapes, indices) is ``other``.
    """
    named = _PRODUCTS.get(op)
    if named is not None:
        return named
    if _INTEGERS & set(inputs) or op in {"DynamicQuantizeLinear", "QuantizeLinear"}:
        return "int8"
    return next((_TYPES[name] for name in inputs if name in _TYPES), "other")


def nodes(events: Sequence[Mapping[str, Any]]) -> list[NodeTime]:
    """One entry a node, by falling time: its median time, times how often it ran.

    The median leaves out the first run, in which memory is allocated and caches are cold.

    Args:
        events: of a profile, as ONNX Runtime writes it.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL):
            by_name.setdefault(event["name"].removesuffix(_KERNEL), []).append(event)
    times = []
    for name, runs in by_name.items():
        last = runs[-1]["args"]
        op = last["op_name"]
        types = [kind for tensor in last.get("input_type_shape", ()) for kind in tensor]
        times.append(
            NodeTime(
                name=name,
                op=op,
                provider=last["provider"],
                precision=precision(op, types),
                product=op in _PRODUCTS,
                microseconds=median(float(run["dur"]) for run in runs) * len(runs),
            )
        )
    return sorted(times, key=lambda node: -node.microseconds)


def read(path: Path) -> list[NodeTime]:
    """The nodes of a profile on disk."""
    return nodes(json.loads(path.read_text(encoding="utf-8")))
