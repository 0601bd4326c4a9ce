"""Which precisions an engine can have from which graph, and the command that helps where it cannot.

Where networks are typed, precision lives in the graph: TensorRT computes what the types say. TensorRT 8
takes an FP32 graph and flags that let its builder choose (INT8 with the graph's Q/DQ pairs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploy.tensorrt.gpu import at_least

if TYPE_CHECKING:
    from deploy.tensorrt.capabilities import Capabilities
    from deploy.tensorrt.passport import Precision

HALVES = ("fp16", "bf16")

# Tensor cores of each precision: Ampere has TF32 and BF16, Ada and Hopper E4M3.
_FROM = {"tf32": "8.0", "bf16": "8.0", "fp8": "8.9"}


def refuse(
    wanted: Precision | None, held: str, target: str, can: Capabilities, where: Mapping[str, str]
) -> str | None:
    """Why a graph of one precision cannot become an engine of another, with the command that helps.

    Args:
        wanted: that was asked for; None: as the graph is typed.
        held: of the graph.
        target: that the graph was quantized for.
        can: of the TensorRT.
        where: what to build for -> its compute capability.
    """
    if held == "int8" and target != "tensorrt":
        return (
            "its INT8 is for CPUs (unsigned or dynamic ranges), and TensorRT takes symmetric static ones: "
            "paredown quantize ONNX --precision int8 --mode static --target tensorrt"
        )
    if not can.strongly_typed:
        if held not in ("fp32", "int8"):
            return (
                f"it is {held.upper()}, and {can.name} has no typed networks: build the FP32 graph with "
                "--precision fp16, and its builder chooses"
            )
        if wanted in ("bf16", "fp8") and wanted not in can.precision_flags:
            return f"{can.name} has no {wanted.upper()}: use fp16, or int8"
        if wanted == "fp8":
            return f"{can.name} has no typed networks, which FP8 needs: use fp16, or int8"
    if wanted in ("int8", "fp8") and wanted != held:
        more = " --mode static --target tensorrt" if wanted == "int8" else ""
        return (
            f"{wanted.upper()} was asked for and the graph is {held.upper()}: quantized types live in the "
            f"graph; make it first with paredown quantize ONNX --precision {wanted}{more}"
        )
    if wanted in ("fp32", "tf32") and held != "fp32":
        return f"{wanted.upper()} was asked for and the graph is {held.upper()}: build what export-onnx made"
    if wanted in HALVES and held in HALVES and wanted != held:
        return (
            f"{wanted.upper()} was asked for and the graph is {held.upper()}: build what export-onnx made "
            f"with --precision {wanted}"
        )
    for one in (wanted or held, held):
        needed = _FROM.get(one, "0.0")
        for name, capability in where.items():
            if not at_least(capability, needed):
                return (
                    f"{one.upper()} needs compute capability {needed} or later, and {name} was asked for, "
                    f"which has {capability}: use fp16, or int8"
                )
    return None


def flags(wanted: Precision | None, held: str, can: Capabilities) -> frozenset[str]:
    """Precisions that the builder may choose: none where the graph's types decide."""
    if can.strongly_typed:
        return frozenset()
    given = {wanted} if wanted in HALVES else set()
    if held == "int8":
        given |= {"int8", "fp16"}  # what is not INT8 is faster as a half, and attention fuses
    return frozenset(given & can.precision_flags)
