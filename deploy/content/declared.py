"""Whether ``config.json`` and the tokenizer say what the model beside them is.

A label of another name, a class of another architecture or an id that no table has a row for would be
answered by a model that was never asked. Artifacts are written by paredown, so that their files agree to the
letter; model folders from elsewhere are read with more patience (``compress.model``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from compress.errors import ArtifactError
from compress.model import architecture, checkpoint, vocabulary
from deploy.graph import facts as graph_facts

if TYPE_CHECKING:
    from deploy.encoder import Encoder
    from deploy.graph.facts import GraphFacts

_TOKENS = "input_ids"
# What a table of tokens may be behind: its scales, or another precision.
_PASSES_ON = frozenset({"Identity", "Cast", "DequantizeLinear"})
_TABLES = {"Gather": (0, 1), "GatherPacked": (0, 1), "EmbedLayerNormalization": (2, 0)}


def check(folder: Path, encoder: Encoder) -> None:
    """Hold a configuration's class and labels, and the tokenizer's ids, against each other.

    Args:
        folder: of the artifact.
        encoder: of the artifact.

    Raises:
        ArtifactError: they contradict each other.
        ModelError: the class is of another task, or the tokenizer gives ids beyond the vocabulary.
    """
    place = str(folder / checkpoint.CONFIG)
    architecture.check_task(encoder.config, encoder.task, place)
    _check_class(encoder, place)
    _check_labels(encoder.config, place)
    size = encoder.config.get("vocab_size")
    if isinstance(size, int) and _TOKENS in encoder.spec.inputs:
        vocabulary.check_ids(encoder.processor, size, str(folder))


def check_graph(folder: Path, model: onnx.ModelProto, encoder: Encoder, facts: GraphFacts) -> None:
    """Hold a graph's table of tokens and its limits against the configuration.

    Raises:
        ArtifactError: the table has other rows than the configuration says, or a limit is beyond what the
            model has positions for, or another for each input.
        ModelError: the tokenizer gives ids beyond the table.
    """
    rows, size = _table_rows(model), encoder.config.get("vocab_size")
    if rows is not None and isinstance(size, int) and rows != size:
        raise ArtifactError(
            f"{folder / checkpoint.CONFIG}: vocab_size is {size}, and the table of tokens in "
            f"{graph_facts.MODEL} has {rows} rows: export the model again"
        )
    if rows is not None:
        vocabulary.check_ids(encoder.processor, rows, str(folder))
    lengths = {
        sizes[axis]
        for name, sizes in facts.limits.items()
        for axis, symbol in encoder.spec.inputs.get(name, {}).items()
        if symbol == encoder.spec.length_axis and axis in sizes
    }
    most = graph_facts.positions(encoder.config)
    if len(lengths) > 1 or (lengths and most is not None and max(lengths) > most):
        raise ArtifactError(
            f"{folder / graph_facts.FILE}: limits allows {', '.join(map(str, sorted(lengths)))} tokens, and "
            f"{checkpoint.CONFIG} has {most} positions for all inputs alike: export the model again"
        )


def _check_class(encoder: Encoder, place: str) -> None:
    """Refuse a class that transformers does not have for the model's type."""
    import transformers

    named = encoder.config.get("architectures")
    classes: list[str] = []
    for auto in architecture.autos(encoder.config, encoder.task):
        entry = getattr(transformers, auto)._model_mapping._model_mapping.get(
            encoder.config.get("model_type")
        )
        classes += [entry] if isinstance(entry, str) else entry or ()
    if named and named[0] not in classes:
        raise ArtifactError(
            f"{place}: architectures names {named[0][:80]}, and a model of type "
            f"'{encoder.config.get('model_type')}' is {' or '.join(classes) or 'of no class for this task'}: "
            "build the artifact again"
        )


def _check_labels(config: Mapping[str, Any], place: str) -> None:
    """Refuse labels that are no names, or whose two tables are not each other's reverse."""
    table, reverse, count = (config.get(name) for name in ("id2label", "label2id", "num_labels"))
    if table is None:
        return
    if not table or not all(isinstance(name, str) and name for name in table.values()):
        raise ArtifactError(
            f"{place}: id2label is {str(table)[:120]}, and a label is a name for each output: build the "
            "artifact again"
        )
    if reverse is not None and {name: int(number) for name, number in reverse.items()} != {
        name: int(number) for number, name in table.items()
    }:
        raise ArtifactError(
            f"{place}: label2id is not the reverse of id2label ({str(reverse)[:80]}, {str(table)[:80]}): "
            "build the artifact again"
        )
    if count is not None and count != len(table):
        raise ArtifactError(
            f"{place}: num_labels is {count}, and id2label has {len(table)}: build the artifact again"
        )


def _table_rows(model: onnx.ModelProto) -> int | None:
    """Rows of the table in which a graph looks its tokens up; None where it computes them otherwise."""
    makers = {name: node for node in model.graph.node for name in node.output}
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def origin(name: str) -> str:
        while name in makers and makers[name].op_type in _PASSES_ON:
            name = makers[name].input[0]
        return name

    for node in model.graph.node:
        places = _TABLES.get(node.op_type)
        if places is None or len(node.input) <= max(places):
            continue
        table, tokens = (origin(node.input[place]) for place in places)
        if tokens == _TOKENS and table in initializers and len(initializers[table].dims) == 2:
            return int(initializers[table].dims[0])
    return None
