"""What an ONNX artifact says of its graph beside the graph itself: ``graph.json``.

A runtime reads it before it opens anything, so that a graph which cannot run somewhere is refused
with a sentence instead of a kernel's error message.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import ArtifactError
from compress.model.positions import OFFSET_POSITIONS
from compress.reading import files

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import ExportSpec

FILE = "graph.json"
MODEL = "model.onnx"

Size = Annotated[int, Field(ge=1, lt=2**31)]
Axis = Annotated[int, Field(ge=0, lt=8)]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]


class GraphFacts(BaseModel):
    """Facts of one ONNX graph.

    Attributes:
        precision: of the weight products; what is ``int8`` or ``fp8`` has float parts too.
        rest: of everything else.
        target: ``any``, or the runtime that the graph was made for.
        opset: of the default domain.
        exporter: ``torchscript`` or ``dynamo``.
        fused: whether it holds operators of ONNX Runtime's own domain (fused ones, lookups of packed rows).
        limits: input -> {axis: largest size}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    precision: Precision
    rest: Literal["fp32", "fp16", "bf16"] = "fp32"
    target: Literal["any", "cpu", "tensorrt"] = "any"
    opset: Annotated[int, Field(ge=1, le=10_000)]
    exporter: Literal["torchscript", "dynamo"]
    fused: bool = False
    limits: dict[str, dict[Axis, Size]] = {}


def write(folder: Path, facts: GraphFacts) -> None:
    """Write ``graph.json``."""
    (folder / FILE).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(artifact: Artifact) -> GraphFacts:
    """The facts of an ONNX artifact.

    Raises:
        ArtifactError: the artifact has no ``graph.json``, or one that says something else.
    """
    return read_file(artifact.file(FILE))


def read_file(path: Path) -> GraphFacts:
    """The facts in a file.

    Raises:
        ArtifactError: it says something else; the message names the first field.
    """
    try:
        return GraphFacts.model_validate_json(files.read_bytes(path, error=ArtifactError))
    except ValidationError as cause:
        first = cause.errors()[0]
        raise ArtifactError(
            f"{path} is damaged or of another version of paredown "
            f"({'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}): export the model again"
        ) from cause


def positions(config: Mapping[str, Any]) -> int | None:
    """How many positions a model's table has room for, or None where it has none."""
    size = config.get("max_position_embeddings")
    # XLNet says -1: its positions are relative and have no table.
    if not isinstance(size, int) or size < 1 or config.get("position_biased_input") is False:
        return None
    if config.get("model_type") in OFFSET_POSITIONS:
        return int(size) - int(config.get("pad_token_id") or 0) - 1
    return int(size)


def limits(
    config: Mapping[str, Any],
    spec: ExportSpec,
    max_batch: int | None = None,
    max_length: int | None = None,
) -> dict[str, dict[int, int]]:
    """The largest size of each free axis of each input, where there is one.

    Args:
        config: ``config.json``.
        spec: names and free axes of the inputs.
        max_batch: rows at once, where the export was given a limit.
        max_length: tokens, where the export was given a limit below the position table's.
    """
    lengths = [size for size in (positions(config), max_length) if size is not None]
    bounds: dict[str, dict[int, int]] = {}
    for name, axes in spec.inputs.items():
        sizes: dict[int, int] = {}
        for axis, symbol in axes.items():
            if axis == 0 and max_batch is not None:
                sizes[axis] = max_batch
            elif symbol == spec.length_axis and lengths:
                sizes[axis] = min(lengths)
        if sizes:
            bounds[name] = sizes
    return bounds
