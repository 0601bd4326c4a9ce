"""The free axes of a graph by the names that profiles use, their limits, and the lengths of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.tensorrt import profiles

if TYPE_CHECKING:
    import onnx

    from deploy.encoder import Encoder
    from deploy.graph.facts import GraphFacts


def free(model: onnx.ModelProto, encoder: Encoder) -> tuple[dict[str, list[int | str]], list[str]]:
    """Every input's shape with a name for each free axis, and those names, the batch first."""
    inputs: dict[str, list[int | str]] = {}
    names: list[str] = []
    constants = {tensor.name for tensor in model.graph.initializer}
    for port in model.graph.input:
        if port.name in constants:
            continue
        symbols = encoder.spec.inputs.get(port.name, {})
        sizes: list[int | str] = []
        for axis, size in enumerate(port.type.tensor_type.shape.dim):
            if size.HasField("dim_value"):
                sizes.append(int(size.dim_value))
                continue
            symbol = symbols.get(axis) or size.dim_param or f"axis{axis}"
            name = profiles.LENGTH if symbol == encoder.spec.length_axis else symbol
            sizes.append(name)
            if name not in names:
                names.append(name)
        inputs[port.name] = sizes
    return inputs, sorted(names, key=lambda name: name != profiles.BATCH)


def lengths(encoder: Encoder, rows: Sequence[Any]) -> list[int] | None:
    """Tokens of each row as the model gets them; None without rows."""
    if not rows:
        return None
    counts = encoder.lengths(encoder.pieces(rows).rows)
    if counts is None:
        return None
    longest = encoder.max_length
    return [int(count) for count in (counts if longest is None else np.minimum(counts, longest))]


def limits(encoder: Encoder, facts: GraphFacts) -> dict[str, int]:
    """Name of a free axis -> its largest size in the export."""
    largest: dict[str, int] = {}
    for name, sizes in facts.limits.items():
        for axis, size in sizes.items():
            symbol = encoder.spec.inputs.get(name, {}).get(axis, "")
            key = profiles.LENGTH if symbol == encoder.spec.length_axis else symbol
            largest[key] = min(size, largest.get(key, size))
    if encoder.max_length is not None:
        largest[profiles.LENGTH] = min(encoder.max_length, largest.get(profiles.LENGTH, encoder.max_length))
    return largest
