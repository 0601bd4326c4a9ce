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
    choice: Precision | None, kind: str, target: str, can: Capabilities, targets: Mapping[str, str]
) -> str | None:
    """Why a graph of one precision cannot become an engine of another, with the command that helps.

    Args:
        choice: that was asked for; None: as the graph is typed.
        kind: of the graph.
        target: that the graph was quantized for.
        can: of the TensorRT.
        targets: what to build for -> its compute capability.
    """
    if kind == "int8" and target != "tensorrt":
        return (
            "its INT8 is for CPUs (unsigned or dynamic ranges), and TensorRT takes symmetric static ones: "
            "paredown quantize ONNX --precision int8 --mode static --target tensorrt"
        )
    if not can.strongly_typed:
        if kind not in ("fp32", "int8"):
            return (
                f"it is {kind.upper()}, and {can.name} has no typed networks: build the FP32 graph with "
                "--precision fp16, and its builder chooses"
            )
        if choice in ("bf16", "fp8") and choice not in can.precision_flags:
            return f"{can.name} has no {choice.upper()}: use fp16, or int8"
        if choice == "fp8":
            return f"{can.name} has no typed networks, which FP8 needs: use fp16, or int8"
    if choice in ("int8", "fp8") and choice != kind:
        more = " --mode static --target tensorrt" if choice == "int8" else ""
        return (
            f"{choice.upper()} was asked for and the graph is {kind.upper()}: quantized types live in the "
            f"graph; make it first with paredown quantize ONNX --precision {choice}{more}"
        )
    if choice in ("fp32", "tf32") and kind != "fp32":
        return f"{choice.upper()} was asked for and the graph is {kind.upper()}: build what export-onnx made"
    if choice in HALVES and kind in HALVES and choice != kind:
        return (
            f"{choice.upper()} was asked for and the graph is {kind.upper()}: build what export-onnx made "
            f"with --precision {choice}"
        )
    for level in (choice or kind, kind):
        needed = _FROM.get(level, "0.0")
        for name, capability in targets.items():
            if not at_least(capability, needed):
                return (
                    f"{level.upper()} needs compute capability {needed} or later, and {name} was asked for, "
                    f"which has {capability}: use fp16, or int8"
                )
    return None


def flags(choice: Precision | None, kind: str, can: Capabilities) -> frozenset[str]:
    """Precisions that the builder may choose: none where the graph's types decide."""
    if can.strongly_typed:
        return frozenset()
    names = {choice} if choice in HALVES else set()
    if kind == "int8":
        names |= {"int8", "fp16"}  # what is not INT8 is faster as a half, and attention fuses
    return frozenset(names & can.precision_flags)
