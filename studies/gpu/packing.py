"""Graphs without their large tensors, and how each of those tensors comes about again.

The other half of ``artifacts``: what is written here is what ``artifacts.array_of`` understands. Tensors that
several graphs share are stored once. Runs on the CPU machine only (it needs onnx).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from compress.errors import UserError
from studies.gpu import artifacts

# Smaller tensors stay in the graph's own file.
LARGE_BYTES = 4096
_ALIGNMENT = 4096
_WEAK_OPSET = 17


@dataclass
class Store:
    """Tensors by content."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, array: np.ndarray) -> str:
        """Keep an array; its key, the same for the same bytes."""
        whole = np.ascontiguousarray(array)
        digest = hashlib.sha256(f"{whole.dtype} {whole.shape} ".encode() + whole.tobytes()).hexdigest()
        key = f"t{digest[:20]}"
        self.arrays[key] = whole
        return key


def weaken(model: onnx.ModelProto) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Make an INT8 graph one that TensorRT 8.6 takes: opset 17, and weights that are FP32 before their Q.

    The integers of a weight become ``integers * scale`` in front of a QuantizeLinear with the same
    scale, which gives the same integers back.

    Returns:
        Name of the new FP32 weight -> its integers, scale and axis.

    Raises:
        UserError: an operator of the graph does not exist at opset 17.
    """
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, _WEAK_OPSET)
    initial = {one.name: one for one in model.graph.initializer}
    weights: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
    nodes = []
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            kept = [one for one in node.attribute if one.name in ("axis", "to")]
            del node.attribute[:]
            node.attribute.extend(kept)
        source = initial.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if source is not None and source.data_type == TensorProto.INT8:
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            scale = numpy_helper.to_array(initial[node.input[1]])
            name = f"{source.name}_float"
            weights[name] = (numpy_helper.to_array(source), scale, axis)
            nodes.append(
                onnx.helper.make_node(
                    "QuantizeLinear", [name, *node.input[1:]], [source.name], f"{node.name}_Q", axis=axis
                )
            )
            model.graph.initializer.remove(source)
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    for name, (integers, scale, axis) in weights.items():
        made = artifacts.dequantize(integers, scale, axis)
        model.graph.initializer.append(numpy_helper.from_array(made, name))
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as cause:
        raise UserError(f"the INT8 graph does not fit opset {_WEAK_OPSET}: {cause}") from cause
    return weights


def strip(
    model: onnx.ModelProto,
    store: Store | None,
    dequantized: dict[str, tuple[np.ndarray, np.ndarray, int]] | None = None,
) -> dict[str, Any]:
    """Move a graph's large tensors out, in place.

    Args:
        model: with its weights.
        store: takes real weights; None: weights are drawn again, by their mean and deviation.
        dequantized: weights of ``weaken`` that are stored as integers.

    Returns:
        ``bytes sha256 tensors`` for the manifest; the checksum is None for drawn weights.
    """
    entries: list[dict[str, Any]] = []
    digest, end = hashlib.sha256(), 0
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.nbytes < LARGE_BYTES:
            continue
        offset = -(-end // _ALIGNMENT) * _ALIGNMENT
        entry, written = _entry(tensor.name, array, store, dequantized or {})
        entries.append({**entry, "shape": list(array.shape), "offset": offset})
        if store is not None:
            digest.update(b"\0" * (offset - end) + np.ascontiguousarray(written).tobytes())
        end = offset + array.nbytes
        _point(tensor, offset, array.nbytes)
    return {"bytes": end, "sha256": digest.hexdigest() if store is not None else None, "tensors": entries}


def _entry(
    name: str,
    array: np.ndarray,
    store: Store | None,
    dequantized: dict[str, tuple[np.ndarray, np.ndarray, int]],
) -> tuple[dict[str, Any], np.ndarray]:
    if store is None:
        if array.dtype == np.int8:
            return {"how": "integers"}, array
        if array.dtype.kind != "f":
            raise UserError(f"'{name}' is {array.dtype}: only float and INT8 weights are drawn again")
        wide = array.astype(np.float32)
        drawn = {"mean": float(wide.mean()), "std": float(wide.std()), "dtype": array.dtype.name}
        return {"how": "normal", **drawn}, array
    if name in dequantized:
        integers, scale, axis = dequantized[name]
        keys = {"key": store.add(integers), "scale": store.add(scale), "axis": axis}
        return {"how": "dequantized", **keys}, artifacts.dequantize(integers, scale, axis)
    if array.dtype == np.float32:
        half = array.astype(np.float16)
        if not np.isfinite(half).all():
            raise UserError(f"'{name}' has weights above FP16's largest number")
        return {"how": "widened", "key": store.add(half)}, half.astype(np.float32)
    return {"how": "stored", "key": store.add(array)}, array


def _point(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    shape, kind, name = list(tensor.dims), tensor.data_type, tensor.name
    tensor.Clear()
    tensor.dims.extend(shape)
    tensor.data_type, tensor.name = kind, name
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", artifacts.WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
