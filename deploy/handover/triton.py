"""A Triton model repository's configuration, ``config.pbtxt``.

Triton counts the batch itself: where ``max_batch_size`` is above 0, ``dims`` leave it out. Tokenization
is the client's; inputs are the graph's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

Backend = Literal["onnxruntime", "tensorrt"]
FILES: dict[Backend, str] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}

_TYPES = {
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.BOOL: "TYPE_BOOL",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.INT8: "TYPE_INT8",
}


@dataclass(frozen=True)
class Port:
    """One input or output of a served model.

    Attributes:
        name: as the graph names it.
        type: Triton's name of it.
        dims: without the batch; -1 for a free axis.
    """

    name: str
    type: str
    dims: tuple[int, ...]


def ports(values: Sequence[onnx.ValueInfoProto]) -> list[Port]:
    """Inputs or outputs of a graph."""
    return [
        Port(
            value.name,
            _TYPES[value.type.tensor_type.elem_type],
            tuple(
                int(size.dim_value) if size.HasField("dim_value") else -1
                for size in value.type.tensor_type.shape.dim[1:]
            ),
        )
        for value in values
    ]


def config(
    name: str,
    backend: Backend,
    inputs: Sequence[Port] = (),
    outputs: Sequence[Port] = (),
    *,
    max_batch: int,
    profiles: int = 0,
) -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: of the model; the folder's.
        backend: that serves it.
        inputs: of the graph; none for an engine, which Triton asks itself: TensorRT 8 makes INT32 of INT64.
        outputs: of the graph; none for an engine.
        max_batch: rows that Triton may join into one request to the model.
        profiles: how many the engine has; all of them are served.
    """
    lines = [
        f'name: "{name}"',
        f'backend: "{backend}"',
        f'default_model_filename: "{FILES[backend]}"',
        f"max_batch_size: {max_batch}",
    ]
    for kind, ends in (("input", inputs), ("output", outputs)):
        for port in ends:
            # A scalar a row has no axis left, and Triton wants one: it is reshaped to nothing.
            dims = ", ".join(map(str, port.dims)) or "1"
            shape = "" if port.dims else " reshape { shape: [ ] }"
            lines.append(f'{kind} {{ name: "{port.name}" data_type: {port.type} dims: [ {dims} ]{shape} }}')
    numbers = ", ".join(f'"{number}"' for number in range(profiles))
    group = f"kind: KIND_GPU profile: [ {numbers} ]" if backend == "tensorrt" else "kind: KIND_AUTO"
    lines += [f"instance_group {{ count: 1 {group} }}", "dynamic_batching { }"]
    return "\n".join(lines) + "\n"
