"""What an engine really runs, read from the inspector's JSON of every TensorRT.

TensorRT 8 and 10 say of a layer's tensors ``"Format/Datatype": "Row major linear FP16"`` and list the
engine's own tensors under ``Bindings``; 11 splits the former into ``Format`` and ``DataType`` and calls
the latter ``I/O Tensors``. An engine without detailed profiling verbosity gives bare names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

# From the narrowest on: a layer computes in the narrowest type that it takes.
_NARROW = ("fp4", "int4", "fp8", "int8", "fp16", "bf16", "tf32", "fp32")
_WORDS = {
    **{name: name for name in _NARROW},
    "half": "fp16",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float": "fp32",
    "float32": "fp32",
    "e4m3": "fp8",
    "float8": "fp8",
    "fp8e4m3": "fp8",
}
_OTHER = "other"  # integers and booleans: indices, masks, shapes
# How Myelin and the kernels of older versions name fused attention.
_ATTENTION = re.compile(r"_mha|kgen_mha|fmha|flash_attention", re.IGNORECASE)
# Blocks whose inside the inspector does not show: their inputs say nothing of the products in them.
_OPAQUE = re.compile(r"ForeignNode", re.IGNORECASE)
_PROFILE = re.compile(r"\[profile (\d+)\]", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s+,;|(){}\[\]\x1e\x1f]+")


class Layer(BaseModel):
    """One layer of an engine.

    Attributes:
        name: as TensorRT calls it; fused layers join the names of what they hold.
        type: TensorRT's layer type; empty where the engine was built without details.
        precision: what it computes with: the narrowest floating or quantized type among its inputs;
            ``other`` for a layer on indices or masks alone, ``unknown`` where nothing is said.
        fused_attention: whether it is a fused attention kernel.
        opaque: whether it is a block whose inside is not shown.
        profile: number of the profile that it is for.
        nodes: words of its name and metadata, among them the names of the ONNX nodes that it holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    precision: str
    fused_attention: bool = False
    opaque: bool = False
    profile: int = 0
    nodes: tuple[str, ...] = ()


def read(text: str) -> tuple[Layer, ...]:
    """The layers in what ``EngineInspector.get_engine_information`` gives as JSON.

    Raises:
        ValueError: it is no inspector's JSON.
    """
    content = json.loads(text)
    listed = content.get("Layers") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the inspector's JSON has no list 'Layers'")
    return tuple(_layer(entry) for entry in listed)


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        entry = {"Name": entry}
    name, kind = str(entry.get("Name", "")), str(entry.get("LayerType", ""))
    words = " ".join(str(entry.get(key, "")) for key in ("Name", "Metadata"))
    text = " ".join(str(entry.get(key, "")) for key in ("Name", "LayerType", "TacticName"))
    profile = _PROFILE.search(name)
    return Layer(
        name=name,
        type=kind,
        precision=narrowest([precision_of(tensor) for tensor in entry.get("Inputs", [])]),
        fused_attention=_ATTENTION.search(text) is not None,
        opaque=_OPAQUE.search(name) is not None,
        profile=int(profile[1]) if profile else 0,
        nodes=tuple(dict.fromkeys(word for word in _SEPARATORS.split(words) if "/" in word or "_" in word)),
    )


def precision_of(tensor: Mapping[str, Any]) -> str:
    """The element type of a layer's input or output, whichever version wrote it."""
    datatype = tensor.get("DataType", tensor.get("Datatype", tensor.get("Format/Datatype", "")))
    for word in re.split(r"[^a-z0-9]+", str(datatype).lower()):
        if word in _WORDS:
            return _WORDS[word]
    return _OTHER if datatype else "unknown"


def narrowest(types: Sequence[str]) -> str:
    """The narrowest of some precisions; ``other`` or ``unknown`` where there is none."""
    for name in _NARROW:
        if name in types:
            return name
    return _OTHER if _OTHER in types else "unknown"


def count_fused_attention(layers: Sequence[Layer]) -> int:
    """Fused attention kernels, of the profile that has the fewest."""
    profiles = {layer.profile for layer in layers}
    return min(
        (sum(layer.fused_attention and layer.profile == p for layer in layers) for p in profiles), default=0
    )


def precisions(layers: Sequence[Layer]) -> dict[str, int]:
    """How many layers compute in each precision, the narrowest first."""
    counted = {
        name: sum(layer.precision == name for layer in layers) for name in (*_NARROW, _OTHER, "unknown")
    }
    return {name: count for name, count in counted.items() if count}


def findings(layers: Sequence[Layer], expected: Mapping[str, str], attention: int) -> tuple[str, ...]:
    """What differs from what the graph asks for, a sentence each.

    Args:
        layers: of the engine.
        expected: name of a weight product -> precision that it shall compute in.
        attention: attention blocks of the graph.
    """
    holders: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in layer.nodes:
            if node in expected:
                holders.setdefault(node, []).append(layer)
    sentences: list[str] = []
    hidden: dict[str, int] = {}
    for node, precision in expected.items():
        for layer in holders.get(node, []):
            if layer.opaque or layer.precision in ("unknown", _OTHER):
                hidden[precision] = hidden.get(precision, 0) + 1
            elif _NARROW.index(layer.precision) > _NARROW.index(precision):
                context = "" if layer.name == node else f" (in layer {layer.name})"
                sentences.append(
                    f"{precision.upper()} was asked for and {node}{context} ran in {layer.precision.upper()}"
                )
        if node not in holders:
            hidden[precision] = hidden.get(precision, 0) + 1
    sentences += [
        f"{count} products that were asked for in {precision.upper()} lie in blocks whose inside is not shown"
        for precision, count in hidden.items()
    ]
    fused = count_fused_attention(layers)
    if attention and fused < attention and not any(layer.opaque for layer in layers):
        sentences.append(f"{fused} of {attention} attention blocks run as one fused kernel")
    return tuple(dict.fromkeys(sentences))
