"""Artifacts whose checksums fit and whose content does not: a good one, changed, and sealed anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact

Change = Callable[[Path], None]


def sealed_anew(source: Artifact, folder: Path, change: Change) -> Path:
    """A copy of an artifact, changed, with checksums and seal that fit again."""
    shutil.copytree(source.path, folder)
    change(folder)
    files = artifacts.inventory(folder)
    artifacts.write_manifest(folder, source.manifest.model_copy(update={"files": files}))
    return folder


def written(name: str, content: str | bytes) -> Change:
    """A file with another content."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def field(name: str, **values: Any) -> Change:
    """A JSON file with other fields."""

    def change(folder: Path) -> None:
        tree = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**tree, **values}))

    return change


def cut(name: str, share: float) -> Change:
    """A file of which only the beginning is left."""

    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def removed(name: str) -> Change:
    """A file that is not there."""
    return lambda folder: (folder / name).unlink()


def graph(edit: Callable[[onnx.ModelProto], Any]) -> Change:
    """A graph that was edited."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        edit(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return change


def external(location: str, **entries: int | str) -> Change:
    """The largest initializer lies in another file."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda initializer: len(initializer.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))

    return graph(edit)


def chained(*changes: Change) -> Change:
    """Several changes, in order."""

    def change(folder: Path) -> None:
        for step in changes:
            step(folder)

    return change


def small_graph(
    nodes: list[onnx.NodeProto], initializers: list[TensorProto] | None = None, **ends: Any
) -> Change:
    """A graph of a few nodes with the ends of the tiny classifier, or others."""
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = ends.get("inputs") or [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names
    ]
    outputs = ends.get("outputs") or [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    ]

    def change(folder: Path) -> None:
        proto = helper.make_graph(nodes, "g", inputs, outputs, initializers or [])
        model = helper.make_model(
            proto, opset_imports=[helper.make_opsetid("", 17), *ends.get("domains", [])], ir_version=8
        )
        model.functions.extend(ends.get("functions", []))
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return change


def _constant(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def _tail() -> list[onnx.NodeProto]:
    """From ``x`` (float, batch x sequence) to logits of two numbers."""
    return [
        helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=1),
        helper.make_node("Concat", ["sum", "sum"], ["logits"], axis=1),
    ]


ONE = _constant("one", np.array([1], dtype=np.int64))
CAST = helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT)


summing = small_graph([CAST, *_tail()], [ONE])
"""A good graph that gives the sum of a row's ids twice."""


def _function(name: str, calls: str) -> onnx.FunctionProto:
    return helper.make_function(
        "own", name, ["a"], ["b"], [helper.make_node(calls, ["a"], ["b"], domain="own")],
        [helper.make_opsetid("own", 1)],
    )  # fmt: skip


def _doubling(levels: int) -> list[onnx.FunctionProto]:
    """Functions each of which calls the next one twice."""
    custom, standard = helper.make_opsetid("own", 1), helper.make_opsetid("", 17)
    functions = []
    for level in range(levels):
        call = {"domain": "own"} if level + 1 < levels else {}
        name = f"F{level + 1}" if call else "Neg"
        nodes = [helper.make_node(name, [a], [b], **call) for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, [custom, standard]))
    return functions


def _many(count: int) -> Change:
    """A chain of nodes that pass on what they get."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        node = helper.make_node("Identity", ["logits"], ["out"]).SerializeToString()
        # As bytes: the field of a graph's nodes is number 1, and the graph's in a model is number 7.
        more = onnx.ModelProto()
        more.graph.ParseFromString((b"\x0a" + bytes([len(node)]) + node) * count)
        model.MergeFrom(more)
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return change


def _placed_twice(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for place in ("../outside.data", "config.json"):
        tensor.external_data.add(key="location", value=place)


def _rename(old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            if value.name == old:
                value.name = new
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new

    return edit


def _elem_type(side: str, kind: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        getattr(model.graph, side)[0].type.tensor_type.elem_type = kind

    return edit


def _dims(*dims: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return edit


def _bytes_of(old: bytes, new: bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.onnx"
        path.write_bytes(path.read_bytes().replace(old, new))

    return change


def _fixed(axis: int, size: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        for value in model.graph.input:
            value.type.tensor_type.shape.dim[axis].dim_value = size

    return edit


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return edit


def _from_nowhere(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.input).input[0] = "nowhere"


def _last_first(model: onnx.ModelProto) -> None:
    nodes = [*model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _subgraph(location: str) -> Change:
    """An If whose branch holds a tensor that lies in another file."""
    far = helper.make_tensor("far", TensorProto.FLOAT, [1, 2], b"\0" * 8, raw=True)
    far.ClearField("raw_data")
    far.data_location = TensorProto.EXTERNAL
    far.external_data.add(key="location", value=location)
    out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 2])
    branch = helper.make_graph([helper.make_node("Constant", [], ["inner"], value=far)], "b", [], [out])
    yes = _constant("yes", np.array(True))
    node = helper.make_node("If", ["yes"], ["picked"], then_branch=branch, else_branch=branch)
    nodes = [CAST, *_tail()[:1], node, helper.make_node("Add", ["picked", "sum"], ["logits"])]
    return small_graph(nodes, [ONE, yes])


def _loop(trips: int) -> Change:
    """A Loop that goes on as long as it may: its condition is always true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["held"], ["kept"])],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, ["batch", "sequence"]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["batch", "sequence"]),
        ],
    )
    first = helper.make_node("Cast", ["input_ids"], ["begun"], to=TensorProto.FLOAT)
    loop = helper.make_node("Loop", ["trips", "yes", "begun"], ["x"], "endless", body=body)
    held = [ONE, _constant("trips", np.array(trips, np.int64)), _constant("yes", np.array(True))]
    return small_graph([first, loop, *_tail()], held)


def _beside(folder: Path) -> None:
    (folder / "weights.data").write_bytes(b"\0" * 16)


def _data_beside(folder: Path) -> None:
    (folder / "model.onnx.data").write_bytes(b"\0" * 8192)


def _inside_too(model: onnx.ModelProto) -> None:
    tensor = max(model.graph.initializer, key=lambda initializer: len(initializer.raw_data))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx.data")


def _two_in_one_place(model: onnx.ModelProto) -> None:
    large = sorted(model.graph.initializer, key=lambda initializer: len(initializer.raw_data))[-2:]
    for tensor in large:
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "model.onnx.data", "offset": "0", "length": str(length)}.items():
            tensor.external_data.add(key=key, value=value)


def _weight(make: Callable[[Any], Any], name: str = "onnx::MatMul") -> Change:
    """The first initializer whose name has a part, with other numbers."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(initializer for initializer in model.graph.initializer if name in initializer.name)
        tensor.CopyFrom(numpy_helper.from_array(make(numpy_helper.to_array(tensor)), tensor.name))

    return graph(edit)


def _set_attribute(operator: str, name: str, value: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == operator)
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.i = value

    return edit


GRAPHS: dict[str, Change] = {
    "empty": written("model.onnx", b""),
    "text": written("model.onnx", "hello"),
    "zeros": written("model.onnx", b"\0" * 512),
    "safetensors": written("model.onnx", b"\x10\0\0\0\0\0\0\0{}              "),
    "random": written("model.onnx", np.random.default_rng(0).bytes(4096)),
    **{f"cut {share}": cut("model.onnx", share) for share in (0.01, 0.5, 0.9, 0.999)},
    "missing": removed("model.onnx"),
    "no graph": graph(lambda model: model.ClearField("graph")),
    "no nodes": graph(lambda model: model.graph.ClearField("node")),
    "no opset": graph(lambda model: model.ClearField("opset_import")),
    "opset 9999": graph(_opset(9999)),
    "opset 0": graph(_opset(0)),
    "opset -1": graph(_opset(-1)),
    "opset 1": chained(graph(_opset(1)), field("graph.json", opset=1)),
    "opset 29": chained(graph(_opset(29)), field("graph.json", opset=29)),
    "opset twice": graph(lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx", 3))),
    "opset 9999 of the runtime": graph(
        lambda model: model.opset_import.append(helper.make_opsetid("com.microsoft", 9999))
    ),
    "an operator that is no text": _bytes_of(b"MatMul", b"MatM\xff\xff"),
    "one batch size only": graph(_fixed(0, 7)),
    "one length only": graph(_fixed(1, 3)),
    "ir 9999": graph(lambda model: setattr(model, "ir_version", 9999)),
    "ir 0": graph(lambda model: setattr(model, "ir_version", 0)),
    "foreign operator": graph(lambda model: setattr(model.graph.node[3], "op_type", "Nonsense")),
    "custom domain": graph(lambda model: setattr(model.graph.node[3], "domain", "my.own")),
    "unknown in com.microsoft": graph(lambda model: setattr(model.graph.node[3], "domain", "com.microsoft")),
    "custom with opset": small_graph(
        [helper.make_node("Magic", ["input_ids"], ["logits"], domain="evil")],
        domains=[helper.make_opsetid("evil", 1)],
    ),
    "functions in a circle": small_graph(
        [helper.make_node("A", ["input_ids"], ["logits"], domain="own")],
        domains=[helper.make_opsetid("own", 1)],
        functions=[_function("A", "B"), _function("B", "A")],
    ),
    "a function of itself": small_graph(
        [helper.make_node("A", ["input_ids"], ["logits"], domain="own")],
        domains=[helper.make_opsetid("own", 1)],
        functions=[_function("A", "A")],
    ),
    "functions that double": small_graph(
        [helper.make_node("F0", ["input_ids"], ["logits"], domain="own")],
        domains=[helper.make_opsetid("own", 1)],
        functions=_doubling(40),
    ),
    "compiled elsewhere": small_graph(
        [
            helper.make_node(
                "EPContext", ["input_ids"], ["logits"], domain="com.microsoft",
                ep_cache_context="../engine.bin", embed_mode=0, main_context=1,
            )
        ],
        domains=[helper.make_opsetid("com.microsoft", 1)],
    ),
    "a million nodes": _many(1_000_000),
    "external twice": graph(_placed_twice),
    "cyclic": small_graph(
        [
            CAST,
            helper.make_node("Add", ["x", "back"], ["forth"]),
            helper.make_node("Neg", ["forth"], ["back"]),
            helper.make_node("ReduceSum", ["forth", "one"], ["sum"], keepdims=1),
            helper.make_node("Concat", ["sum", "sum"], ["logits"], axis=1),
        ],
        [ONE],
    ),
    "last first": graph(_last_first),
    "an output made twice": graph(lambda model: model.graph.node.append(model.graph.node[-1])),
    "an input of nothing": graph(_from_nowhere),
    "renamed input": graph(_rename("input_ids", "ids")),
    "renamed output": graph(_rename("logits", "scores")),
    "an input more": graph(
        lambda model: model.graph.input.append(
            helper.make_tensor_value_info("more", TensorProto.INT64, ["batch", "sequence"])
        )
    ),
    "an input less": small_graph(
        [CAST, *_tail()],
        [ONE],
        inputs=[helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
    ),
    "string input": graph(_elem_type("input", TensorProto.STRING)),
    "float input": graph(_elem_type("input", TensorProto.FLOAT)),
    "undefined input": graph(_elem_type("input", 0)),
    "type 99": graph(_elem_type("input", 99)),
    "string output": graph(_elem_type("output", TensorProto.STRING)),
    "int output": graph(_elem_type("output", TensorProto.INT64)),
    "a sequence as input": small_graph(
        [helper.make_node("ConcatFromSequence", ["input_ids"], ["logits"], axis=0)],
        inputs=[
            helper.make_tensor_sequence_value_info("input_ids", TensorProto.FLOAT, None),
            *(
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
                for name in ("token_type_ids", "attention_mask")
            ),
        ],
    ),
    "input of one axis": graph(
        lambda model: model.graph.input[0].type.tensor_type.shape.dim.pop()
    ),
    "input without a shape": graph(
        lambda model: model.graph.input[0].type.tensor_type.ClearField("shape")
    ),
    "other number of labels": graph(
        lambda model: setattr(model.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 5)
    ),
    "dims larger than the data": graph(_dims(1000, 1000)),
    "dims of a planet": graph(_dims(2**40, 2**40)),
    "negative dims": graph(_dims(-1, 32)),
    "no dims": graph(_dims()),
    "tensor of type 99": graph(lambda model: setattr(model.graph.initializer[0], "data_type", 99)),
    "tensor without a type": graph(lambda model: setattr(model.graph.initializer[0], "data_type", 0)),
    "tensor without data": graph(lambda model: model.graph.initializer[0].ClearField("raw_data")),
    "filled with a terabyte": small_graph(
        [
            CAST,
            helper.make_node("ConstantOfShape", ["vast"], ["bomb"]),
            helper.make_node("ReduceSum", ["bomb"], ["scalar"], keepdims=0),
            helper.make_node("Add", ["x", "scalar"], ["y"]),
            helper.make_node("ReduceSum", ["y", "one"], ["sum"], keepdims=1),
            helper.make_node("Concat", ["sum", "sum"], ["logits"], axis=1),
        ],
        [ONE, _constant("vast", np.array([2**20, 2**20], dtype=np.int64))],
    ),
    "external above": external("../outside.data"),
    "external absolute": external("/etc/passwd"),
    "external device": external("/dev/zero"),
    "external missing": external("nowhere.data"),
    "external without a place": external(""),
    "external the folder": external("."),
    "external around": external("sub/../../outside.data"),
    "external the manifest": external("manifest.json"),
    "external backslash": external("..\\outside.data"),
    "external too short": chained(_beside, external("weights.data")),
    "external beyond the end": chained(_beside, external("weights.data", offset=2**40)),
    "external negative": chained(_beside, external("weights.data", offset=-8)),
    "external of no number": chained(_beside, external("weights.data", length="many")),
    "external in another file": external("config.json"),
    "external of an unknown key": chained(_beside, external("weights.data", basepath="/etc")),
    "external and inside": chained(_data_beside, graph(_inside_too)),
    "external longer than its tensors": chained(
        _data_beside, external("model.onnx.data"), written("model.onnx.data", b"\0" * 2**20)
    ),
    "two in one place": chained(_data_beside, graph(_two_in_one_place)),
    "a weight of whole numbers": _weight(lambda a: a.astype(np.int64)),
    "a weight of truths": _weight(lambda a: a > 0),
    "a weight too narrow": _weight(lambda a: np.ascontiguousarray(a[:, :16])),
    "a weight of NaN": _weight(lambda a: a * np.float32(np.nan)),
    "a weight of infinity": _weight(lambda a: a + np.float32(np.inf)),
    "cast to type 99": graph(_set_attribute("Cast", "to", 99)),
    "an axis that is none": graph(_set_attribute("Gather", "axis", 7)),
    "a table of ten rows": _weight(lambda a: a[:10], "word_embeddings.weight"),
    "a classifier of three rows": chained(
        _weight(lambda a: np.concatenate([a, a[:1]]), "classifier.weight"),
        _weight(lambda a: np.concatenate([a, a[:1]]), "classifier.bias"),
    ),
    "an output of one batch size": graph(
        lambda model: setattr(model.graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 7)
    ),
    "an output listed twice": graph(lambda model: model.graph.output.append(model.graph.output[0])),
    "a constant for an input": graph(
        lambda model: model.graph.initializer.append(_constant("input_ids", np.zeros((1, 3), np.int64)))
    ),
    "random numbers": small_graph(
        [
            CAST,
            *_tail()[:1],
            helper.make_node("Concat", ["sum", "sum"], ["twice"], axis=1),
            helper.make_node("RandomNormalLike", ["twice"], ["logits"]),
        ],
        [ONE],
    ),
    "a dropout that is on": small_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["whole"], to=TensorProto.FLOAT),
            helper.make_node("Dropout", ["whole", "half", "yes"], ["x"]),
            *_tail(),
        ],
        [ONE, _constant("half", np.float32(0.5)), _constant("yes", np.array(True))],
    ),
    "a loop without an end": _loop(2**62),
    "code beside it": written("evil.py", "print()"),
    "a pickle beside it": written("evil.pkl", b"\x80\x04."),
    "a library beside it": written("lib.so", b"\x7fELF"),
    "another graph beside it": written("second.onnx", b"graph"),
    "weights beside it": written("model.safetensors", b"weights"),
    "data of no tensor": written("model.onnx.data", b"\0" * 64),
    "a hidden file": written(".hidden", "x"),
    "a name of two lines": written("a\nb", "x"),
    "external in a subgraph": _subgraph("../outside.data"),
    "external device in a subgraph": _subgraph("/dev/zero"),
}  # fmt: skip

# What only a run shows: sentences too where the graph is run, and whole for whoever only copies it.
RUNS: dict[str, Change] = {
    "a table too small": small_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["x"]),
            *_tail(),
        ],
        [ONE, _constant("table", np.zeros(2, dtype=np.float32))],
    ),
    "shapes that do not meet": small_graph(
        [
            CAST,
            helper.make_node("Reshape", ["x", "odd"], ["y"]),
            helper.make_node("ReduceSum", ["y", "one"], ["sum"], keepdims=1),
            helper.make_node("Concat", ["sum", "sum"], ["logits"], axis=1),
        ],
        [ONE, _constant("odd", np.array([977, -1], dtype=np.int64))],
    ),
    "three numbers a row": small_graph(
        [
            CAST,
            helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=1),
            helper.make_node("Concat", ["sum", "sum", "sum"], ["logits"], axis=1),
        ],
        [ONE],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "many"])],
    ),
    "types that do not meet": small_graph(
        [helper.make_node("Add", ["input_ids", "number"], ["x"]), *_tail()],
        [ONE, _constant("number", np.float32(1))],
    ),
}

_JSON = ("", "{}", "[]", "null", "3", '"text"', "{", "[" * 100_000, "\xff\xfe", "NaN")


def _tokens(edit: Callable[[dict[str, int]], Any]) -> Change:
    """A tokenizer with another vocabulary."""

    def change(folder: Path) -> None:
        tree = json.loads((folder / "tokenizer.json").read_text())
        edit(tree["model"]["vocab"])
        (folder / "tokenizer.json").write_text(json.dumps(tree))

    return change


def _labels(*names: Any) -> dict[str, Any]:
    table = {str(i): name for i, name in enumerate(names)}
    return {"id2label": table, "label2id": {str(name): int(i) for i, name in table.items()}}


SIDECARS: dict[str, Change] = {
    "three labels": field("config.json", **_labels("a", "b", "c")),
    "one label": field("config.json", **_labels("a")),
    "labels of one name": field("config.json", **_labels("a", "a")),
    "labels of no name": field("config.json", **_labels("", "b")),
    "labels of numbers": field("config.json", **_labels(5, 6)),
    "a label of null": field("config.json", **_labels(None, "b")),
    "an empty id2label": field("config.json", id2label={}),
    "label2id the other way round": field("config.json", label2id={"positive": 0, "negative": 1}),
    "label2id of other names": field("config.json", label2id={"x": 0, "y": 1}),
    "num_labels of its own": field("config.json", num_labels=5),
    "another model_type": field("config.json", model_type="gpt2"),
    "a model_type of images": field("config.json", model_type="vit"),
    "another task's class": field("config.json", architectures=["BertForTokenClassification"]),
    "a class without a head": field("config.json", architectures=["BertForMaskedLM"]),
    "a smaller vocabulary": field("config.json", vocab_size=10),
    "a larger vocabulary": field("config.json", vocab_size=1000),
    "fewer positions": field("config.json", max_position_embeddings=8),
    "limits of two lengths": field(
        "graph.json", limits={"input_ids": {"1": 64}, "attention_mask": {"1": 16}}
    ),
    "a token beyond the table": _tokens(lambda vocabulary: vocabulary.update(good=29)),
    "a token far beyond the table": _tokens(lambda vocabulary: vocabulary.update(good=2**31)),
    **{f"graph.json {text[:8]!r}": written("graph.json", text) for text in _JSON},
    "graph.json missing": removed("graph.json"),
    "graph.json not UTF-8": written("graph.json", b"\xff\xfe{}"),
    **{
        f"graph.json {name}={value!r:.20}": field("graph.json", **{name: value})
        for name, value in (
            ("precision", "fp7"),
            ("precision", None),
            ("precision", 8),
            ("opset", "17"),
            ("opset", 9999),
            ("opset", None),
            ("exporter", 5),
            ("exporter", "mine\n# another heading"),
            ("limits", []),
            ("limits", None),
            ("limits", {"input_ids": 5}),
            ("limits", {"input_ids": {"1": "long"}}),
            ("limits", {"input_ids": {"1": -5}}),
            ("limits", {"input_ids": {"1": 0}}),
            ("limits", {"input_ids": {"7": 64}}),
            ("limits", {"input_ids": {"1": 10**30}}),
            ("limits", {"nothing": {"1": 64}}),
            ("fused", "perhaps"),
            ("target", "moon"),
            ("extra", 1),
        )
    },
    **{
        f"encoding.json {text[:8]!r}": written("encoding.json", text)
        for text in _JSON
        if text
    },
    "encoding.json empty": written("encoding.json", ""),
    "encoding.json not UTF-8": written("encoding.json", b"\xff\xfe{}"),
    **{
        f"encoding.json {value!r:.20}": written("encoding.json", json.dumps({"max_length": value}))
        for value in ("64", -1, 0, 1.5, True, [64], {"a": 1}, 10**30)
    },
    "config.json empty": written("config.json", ""),
    "config.json a list": written("config.json", "[]"),
    "config.json missing": removed("config.json"),
}  # fmt: skip


def _weights(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """Weights that were edited."""

    def change(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        edit(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


_QUERY = "bert.encoder.layer.0.attention.self.query.weight"

TORCH: dict[str, Change] = {
    "weights of NaN": _weights(lambda w: w.update({_QUERY: w[_QUERY] * np.float32(np.nan)})),
    "weights of infinity": _weights(lambda w: w.update({_QUERY: w[_QUERY] + np.float32(np.inf)})),
    "weights of whole numbers": _weights(lambda w: w.update({_QUERY: w[_QUERY].astype(np.int64)})),
    "weights of another shape": _weights(lambda w: w.update({_QUERY: w[_QUERY][:16].copy()})),
    "a weight missing": _weights(lambda w: w.pop(_QUERY)),
    "a weight more": _weights(lambda w: w.update(evil=np.zeros(3, np.float32))),
    "a layer more": field("config.json", num_hidden_layers=9),
    "code beside them": written("modeling.py", "print()"),
    "a pickle beside them": written("pytorch_model.bin", b"\x80\x04."),
    "a graph beside them": written("model.onnx", b"graph"),
    "an index beside them": written("model.safetensors.index.json", '{"weight_map": {"a": "../x"}}'),
    "a tokenizer of another model": _tokens(
        lambda vocabulary: vocabulary.update({word: at + 1000 for word, at in vocabulary.items()})
    ),
    "weights empty": written("model.safetensors", b""),
    "weights text": written("model.safetensors", "hello, this is no tensor"),
    "weights cut": cut("model.safetensors", 0.5),
    "weights header only": cut("model.safetensors", 0.01),
    "weights missing": removed("model.safetensors"),
    "weights of nothing": written("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    "weights of 2**60 bytes": written("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
    "config.json a list": written("config.json", "[]"),
    **{
        f"shapes.json {number}": written("shapes.json", text)
        for number, text in enumerate(
            (
            "",
            "[]",
            "null",
            "[" * 100_000,
            '{"schema_version": 1}',
            '{"schema_version": 1, "parameters": [], "attributes": {}}',
            '{"schema_version": 1, "parameters": {"classifier.weight": 5}, "attributes": {}}',
            '{"schema_version": 1, "parameters": {"classifier.weight": [1e9, 2]}, "attributes": {}}',
            '{"schema_version": 1, "parameters": {"classifier.weight": [4000000000, 4000000000]}, '
            '"attributes": {}}',
            '{"schema_version": 1, "parameters": {}, "attributes": {"classifier": {"in_features": []}}}',
            '{"schema_version": 1, "parameters": {}, "attributes": {"classifier": {"in_features": -1}}}',
        ))
    },
    "encoding.json a list": written("encoding.json", "[]"),
}  # fmt: skip


def linked(folder: Path, name: str) -> None:
    """Replace a file by a link to a copy of it outside."""
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir(exist_ok=True)
    (folder / name).replace(outside / Path(name).name)
    (folder / name).symlink_to(outside / Path(name).name)
