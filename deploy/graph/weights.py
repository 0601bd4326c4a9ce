"""How much the numbers of an ONNX graph weigh."""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from deploy.graph import facts as graph_facts

_BITS = {"FLOAT": 32, "FLOAT16": 16, "BFLOAT16": 16, "DOUBLE": 64, "INT64": 64, "INT32": 32, "BOOL": 8}


def initializer_bytes(folder: Path) -> int:
    """Bytes of the initializers of ``model.onnx``, whether they lie in it or beside it."""
    model = onnx.load(folder / graph_facts.MODEL, load_external_data=False)
    bits = sum(
        math.prod(tensor.dims) * _BITS.get(onnx.TensorProto.DataType.Name(tensor.data_type), 8)
        for tensor in model.graph.initializer
    )
    return bits // 8
