"""Which version of ONNX Runtime a graph needs: operators of its own domain that came late."""

from __future__ import annotations

from typing import Final

import onnx

from compress import environment

DOMAIN: Final = "com.microsoft"
# Operator -> the first version with a kernel for CPUs.
FIRST: Final = {"GatherPacked": "1.32"}


def needed(model: onnx.ModelProto) -> str | None:
    """The version that a graph needs at least; None where any that paredown supports will do.

    The graph may be loaded without its weights.
    """
    versions = {FIRST[node.op_type] for node in model.graph.node if node.op_type in FIRST}
    return max(versions, key=parts, default=None)


def missing(operator: str) -> str | None:
    """Why the installed ONNX Runtime lacks an operator of ``FIRST``, and what to do; None where it has it."""
    name = environment.onnxruntime_distribution()
    first = FIRST[operator]
    if name is None or parts(environment.version(name) or "0") < parts(first):
        present = f"{name} {environment.version(name)}" if name else "none"
        return (
            f"ONNX Runtime has {operator} from {first} on, and installed is {present}: "
            f"pip install '{name or 'onnxruntime'}>={first}'"
        )
    return None


def parts(version: str) -> tuple[int, ...]:
    """The numbers of a version that come before anything else: ``1.32.0`` is (1, 32, 0)."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
