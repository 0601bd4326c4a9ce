"""An embedder's graph as a folder that sentence-transformers loads: ``backend="onnx"``.

The graph gives a text's vector, pooled and normalized, and the library expects states to pool. So the vector
is handed over as the state of one only position, which the library's pooling then takes as it is: what it
returns is what the graph computed, in whatever precision.

onnx/model.onnx                   the graph, its output as ``last_hidden_state`` [batch, 1, size]
modules.json, 1_Pooling/          an encoder, and a pooling that takes the first position
sentence_bert_config.json         the token limit
config_sentence_transformers.json prompts
config.json, tokenizer files      as in the artifact
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from compress.tasks import _embedding as embedding
from deploy.encoder import carry
from deploy.graph import facts as graph_facts

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.encoder import Encoder

FOLDER = "sentence-transformers"
STATES = "last_hidden_state"
_AXES = "last_hidden_state_axes"
_QUERY, _DOCUMENT = "query", "document"


def write(artifact: Artifact, encoder: Encoder, folder: Path) -> None:
    """Write the folder.

    Args:
        artifact: a graph that makes vectors.
        encoder: of the artifact.
        folder: that does not exist yet.
    """
    (folder / "onnx").mkdir(parents=True)
    (folder / "1_Pooling").mkdir()
    carry(artifact.path, folder)
    (name,) = encoder.spec.outputs
    model = onnx.load(str(artifact.file(graph_facts.MODEL)))
    _as_states(model, name)
    onnx.save(model, str(folder / "onnx" / "model.onnx"))
    description = embedding.described(encoder.config)
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": encoder.head.size} | {
        key: mode == "cls" for key, mode in embedding.OLD_POOLINGS.items()
    }
    contents: dict[str, Any] = {
        embedding.MODULES: modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {
            "max_seq_length": encoder.max_length,
            "do_lower_case": description.lowercase,
        },
        "config_sentence_transformers.json": {**_prompts(description), "similarity_fn_name": "cosine"},
    }
    for path, content in contents.items():
        (folder / path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _prompts(description: embedding.Description) -> dict[str, Any]:
    """The prompts by the names that the library has for queries and documents."""
    query, document = (description.prompts.get(role, "") for role in ("text", "text_pair"))
    default = _QUERY if query and query == document else None
    return {"prompts": {_QUERY: query, _DOCUMENT: document}, "default_prompt_name": default}


def _as_states(model: onnx.ModelProto, name: str) -> None:
    """Make an output [batch, size] of a graph the states [batch, 1, size] of one position, in place."""
    output = next(port for port in model.graph.output if port.name == name)
    kind = output.type.tensor_type.elem_type
    batch, size = (dimension for dimension in output.type.tensor_type.shape.dim)
    shape = [batch.dim_param or batch.dim_value or None, 1, size.dim_value or size.dim_param or None]
    model.graph.initializer.append(helper.make_tensor(_AXES, TensorProto.INT64, [1], [1]))
    model.graph.node.append(helper.make_node("Unsqueeze", [name, _AXES], [STATES], name=STATES))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(STATES, kind, shape))
