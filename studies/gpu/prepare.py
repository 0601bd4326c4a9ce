"""On the CPU machine: everything that a GPU machine needs and cannot make, in one small folder.

The fine-tuned model goes through paredown's own stages to FP32, FP16 and INT8 graphs; its evaluation rows
are encoded, with the FP32 graph's logits as reference. The models of the plan, of which only times
are taken, go through the same stages with random weights, which are not carried: they are drawn
again. INT8 comes in two spellings, for strongly typed networks (FP16 around the integers, opset 19) and
for TensorRT 8.6 (FP32 scales, opset 17). Nothing is calibrated on evaluation rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from compress import catalog, data, environment
from compress.artifacts.store import Store
from compress.errors import UserError
from compress.pipeline import building
from compress.recipe import DataConfig, Recipe
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.precision import half
from deploy.session import infer_with, open_session
from studies.gpu import artifacts, packing
from studies.gpu.plan import Plan, Sizes

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

TRAINED = "sst2"
MOST_BYTES = 60 << 20
_TASK = "text-classification"
_INT8: dict[str, Any] = {"mode": "static", "target": "tensorrt"}
# Random weights have no sensitive products and no outliers: only the shape of the graph matters.
_INT8_RANDOM: dict[str, Any] = {**_INT8, "ranges": "minmax", "tame": False, "keep_float": "none", "rows": 8}
_SEED = 0


def prepare(model: Path, source: Path, out: Path, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the folder.

    Args:
        model: folder of a fine-tuned text classifier.
        source: folder of its data.
        out: empty or absent.
        plan: whose models are prepared for timing.
        say: takes a line of progress.

    Returns:
        The manifest.

    Raises:
        UserError: the folder is in use, the model is none, or the result is too large to be carried.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another --out, or empty it")
    (out / "graphs").mkdir(parents=True, exist_ok=True)
    store = packing.Store()
    graphs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="acceptance-") as scratch:
        say(f"{model.name}: FP32, FP16 and INT8 graphs")
        built = _build(model, source, Store(Path(scratch) / TRAINED), {}, _INT8)
        graphs |= _pack(TRAINED, built, out, store)
        say("encoding the evaluation rows")
        described = _rows(built["fp32"], source, out / artifacts.ROWS)
        for name, sizes in plan.models.items():
            say(f"{name}: graphs with random weights")
            folder = _random(sizes, model, Path(scratch) / f"{name}-model")
            kept = Store(Path(scratch) / name)
            made = _build(folder, source, kept, {"rows": 8}, _INT8_RANDOM)
            graphs |= _pack(name, made, out, None)
            shutil.rmtree(Path(scratch) / name, ignore_errors=True)
    np.savez_compressed(out / artifacts.TENSORS, **store.arrays)  # type: ignore[arg-type]
    files = _inventory(out)
    manifest: dict[str, Any] = {
        "schema": artifacts.SCHEMA,
        "graphs": graphs,
        "rows": described,
        "origin": {"model": model.name, "weights_sha256": _digest(model), "data": source.name},
        "plan": plan.name,
        "environment": environment.describe(),
        "files": files,
    }
    (out / artifacts.MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    size = sum(entry["bytes"] for entry in files.values())
    say(f"{out}: {size / 2**20:.1f} MiB in {len(files)} files")
    if size > MOST_BYTES:
        raise UserError(
            f"{out} is {size / 2**20:.1f} MiB and at most {MOST_BYTES >> 20} MiB can be carried: "
            "take a smaller model"
        )
    artifacts.read(out)
    return manifest


def _build(
    model: Path, source: Path, store: Store, half_: dict[str, Any], int8: dict[str, Any]
) -> dict[str, Artifact]:
    """The model's graphs, through the stages that users run."""

    def recipe(*stages: dict[str, Any]) -> Recipe:
        return Recipe.model_validate(
            {
                "model": str(model),
                "task": _TASK,
                "data": DataConfig(source=str(source)),
                "seed": _SEED,
                "stages": stages,
            }
        )

    export: dict[str, Any] = {"export-onnx": {}}
    (*_, fp32, fp16) = building.run(recipe(export, {"half-precision": half_}), store)
    chain = (export, {"quantize-onnx": int8}, {"half-precision": half_})
    (*_, weak, typed) = building.run(recipe(*chain), store)
    named = {"fp32": fp32, "fp16": fp16, "int8-weak": weak, "int8-typed": typed}
    return {name: built.artifact for name, built in named.items()}


def _pack(model: str, built: dict[str, Artifact], out: Path, store: packing.Store | None) -> dict[str, Any]:
    """The four graphs without their weights, and their entries in the manifest."""
    entries = {}
    for name, artifact in built.items():
        whole = graph.load(artifact.file(graph_facts.MODEL))
        dequantized = packing.weaken(whole) if name == "int8-weak" else None
        if name in ("fp32", "int8-weak"):
            # Where the builder makes halves of FP32 by itself, a mask of FP32's lowest number is -inf.
            half.bound_masks(whole)
        weights = packing.strip(whole, store, dequantized)
        file = Path("graphs") / f"{model}-{name}.onnx"
        onnx.save_model(whole, str(out / file))
        precision, _, typing = name.partition("-")
        entries[f"{model}-{name}"] = {
            "file": file.as_posix(),
            "model": model,
            "precision": precision,
            "typing": typing or {"fp32": "any", "fp16": "typed"}[precision],
            "opset": graph.opset(whole),
            "artifact": artifact.id,
            "weights": weights,
        }
    return entries


def _random(sizes: Sizes, model: Path, folder: Path) -> Path:
    """A classifier of some sizes with random weights, and the trained model's tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(_SEED)
    made = BertForSequenceClassification(
        BertConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.hidden,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.ffn,
            max_position_embeddings=sizes.positions,
            problem_type="single_label_classification",
            id2label={int(key): name for key, name in config["id2label"].items()},
            label2id=config["label2id"],
        )
    )
    made.save_pretrained(folder)
    for file in model.glob("*token*"):
        shutil.copyfile(file, folder / file.name)
    for file in model.glob("vocab*"):
        shutil.copyfile(file, folder / file.name)
    return folder


def _rows(artifact: Artifact, source: Path, path: Path) -> dict[str, Any]:
    """Encode the evaluation rows and what the FP32 graph says of them."""
    task = catalog.load("task", _TASK)
    encoder = Encoder.open(artifact.path, task)
    rows = data.evaluation(DataConfig(source=str(source)), task, _SEED, encoder.head)
    batch = encoder.batch(rows, labelled=True)
    if batch.labels is None or batch.labels.ndim != 1 or batch.labels.dtype.kind != "i":
        raise UserError(f"the evaluation rows of {source} have no class labels")
    inputs = {name: array.astype(np.int32) for name, array in batch.inputs.items()}
    inputs.setdefault("token_type_ids", np.zeros_like(inputs["input_ids"]))
    infer = infer_with(open_session(artifact.file(graph_facts.MODEL)))
    found = []
    for at in range(0, len(rows), 32):
        (logits,) = infer({n: batch.inputs[n][at : at + 32] for n in encoder.spec.inputs}).values()
        found.append(logits.astype(np.float32))
    stored = {**inputs, "labels": batch.labels, "reference": np.concatenate(found)}
    np.savez_compressed(path, **stored)  # type: ignore[arg-type]
    return {
        "model": TRAINED,
        "rows": len(rows),
        "tokens": int(inputs["input_ids"].shape[1]),
        "truncated": 0 if batch.truncated is None else int(batch.truncated.sum()),
        "vocabulary": int(encoder.config["vocab_size"]),
        "reference": "the FP32 graph in ONNX Runtime on the CPU",
    }


def _digest(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def _inventory(out: Path) -> dict[str, dict[str, Any]]:
    return {
        file.relative_to(out).as_posix(): {"sha256": artifacts.sha256(file), "bytes": file.stat().st_size}
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }
