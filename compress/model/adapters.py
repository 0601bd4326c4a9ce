"""Adapters (LoRA and its kin): merged into the weights of their base model, in FP32, and checked.

An adapter folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Merging computes
``W + scale * B A`` once (Hu et al. 2021, section 4.1), after which the model is a plain one again. The
merged model is compared with the unmerged one on real rows before anything is kept. Methods that add
tokens or layers instead of changing weights (prefix and prompt tuning) cannot be merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from compress import environment
from compress.errors import ModelError
from compress.model import hub
from compress.model.architecture import build
from compress.model.hub import Snapshot
from compress.reading import json_values

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TOLERANCE = 1e-4
MERGEABLE = ("LORA", "LOHA", "LOKR", "IA3")
_TASKS = {"SEQ_CLS": "text-classification", "TOKEN_CLS": "token-classification"}
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """What an adapter folder says of itself.

    Attributes:
        folder: where it is.
        method: peft's name of the method, such as ``LORA``.
        base: the base model that it names; None where it names none.
        revision: of the base.
        task: the catalog's name of the task that it names, or None.
    """

    folder: Path
    method: str
    base: str | None
    revision: str | None
    task: str | None


@dataclass(frozen=True)
class Check:
    """How far the merged model is from the unmerged one.

    Attributes:
        max_abs_difference: over all logits.
        limit: what was allowed: ``1e-4``, times the largest logit where that is above one.
        rows: how many rows were compared.
    """

    max_abs_difference: float
    limit: float
    rows: int


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter; a whole model beside it is refused, since either could be meant.

    Raises:
        ModelError: the folder holds both.
    """
    if not (folder / CONFIG).is_file():
        return False
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors*")):
        raise ModelError(
            f"{folder} holds an adapter ({CONFIG}) and a whole model (config.json with weights), and "
            f"transformers would apply the one to the other: move {CONFIG} and {WEIGHTS} into a folder of "
            "their own, and give 'adapter' beside 'model' where both are meant"
        )
    return True


def read(folder: Path) -> Adapter:
    """What an adapter folder says of itself.

    Raises:
        ModelError: it is damaged, holds no safetensors, or its method cannot be merged.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(f"{folder} holds no adapter (no {CONFIG}): give the folder that peft saved")
    try:
        content = json_values.read(file, error=ModelError)
        method = str(content["peft_type"]).upper()
    except (ValueError, KeyError, TypeError) as cause:
        raise ModelError(f"{file} is damaged: get the adapter again") from cause
    if method not in MERGEABLE:
        raise ModelError(
            f"the adapter {folder} uses {method.lower().replace('_', ' ')}, which cannot be merged into the "
            f"weights; paredown merges {', '.join(MERGEABLE)}"
        )
    if not (folder / WEIGHTS).is_file():
        found = hub.pickles(folder)
        reason = f"holds {', '.join(found)}, which can run code when opened" if found else "holds no weights"
        raise ModelError(
            f"the adapter {folder} {reason}: expected {WEIGHTS} (load it with peft where you trust it and "
            "save it again with save_pretrained)"
        )
    return Adapter(
        folder=folder,
        method=method,
        base=content.get("base_model_name_or_path") or None,
        revision=content.get("revision") or None,
        task=_TASKS.get(str(content.get("task_type"))),
    )


def find_base(adapter: Adapter) -> Snapshot:
    """The base model that an adapter names: a folder (also relative to the adapter's), or a hub id.

    Raises:
        ModelError: it names none, or the one that it names is not there.
    """
    if adapter.base is None:
        raise ModelError(
            f"the adapter {adapter.folder} names no base model: give the base as 'model' and this folder as "
            "'adapter'"
        )
    beside = adapter.folder / adapter.base
    if not Path(adapter.base).is_absolute() and beside.is_dir():
        return Snapshot(folder=beside, name=beside.resolve().name, revision=None)
    try:
        return hub.resolve(adapter.base, adapter.revision)
    except ModelError as cause:
        raise ModelError(
            f"the adapter {adapter.folder} is for the base model '{adapter.base}', which was not found "
            f"({cause}); give the base as 'model' and the adapter's folder as 'adapter'"
        ) from cause


def count_labels(adapter: Adapter, config: PretrainedConfig, task: ModuleType) -> int | None:
    """How many outputs the head has that an adapter carries; None where it carries none.

    Args:
        adapter: its weights are looked at.
        config: of the base model.
        task: names the class, and so which weights are the head's.
    """
    plain = build(config, task, "eager")
    base = f"{plain.base_model_prefix}."
    outside = {n: t for n, t in plain.state_dict().items() if not n.startswith(base)}
    last = [n for n, t in outside.items() if t.shape[0] == config.num_labels]
    found = {t.shape[0] for name, t in _weights(adapter).items() if name.removeprefix(_PREFIX) in last}
    if len(found) > 1:
        raise ModelError(f"the adapter {adapter.folder} carries heads of different sizes: {sorted(found)}")
    return found.pop() if found else None


def merge(
    model: PreTrainedModel, adapter: Adapter, inputs: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, Check]:
    """The base model with the adapter merged in, and how far it is from the unmerged one.

    Args:
        model: the base, FP32; it is changed.
        adapter: as ``read`` gave it.
        inputs: the model's arguments for some rows, to compare on.

    Raises:
        ModelError: the adapter does not fit the base, or merging changes what the model computes.
        MissingPiece: peft is not installed.
    """
    peft = environment.require("peft", purpose="to merge an adapter")
    import torch
    from safetensors import SafetensorError

    weights = _weights(adapter)
    damaged = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if damaged:
        raise ModelError(
            f"the adapter {adapter.folder} holds NaN or infinity in {damaged[0]}: its training diverged, or "
            "the file is damaged; get or train it again"
        )

    try:
        wrapped = peft.PeftModel.from_pretrained(model, adapter.folder, torch_device="cpu")
    except (RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as cause:
        reason = " ".join(str(cause).split())[:300]
        raise _mismatch(adapter, model, reason) from cause
    # Without save_embedding_layers=False peft may ask the hub for the base's vocabulary. Embeddings that were
    # trained whole are then in the file under the model's own names.
    expected = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    held, own = set(weights), set(wrapped.state_dict())
    odd = sorted((expected - held) | (held - expected - own))
    if odd:
        raise _mismatch(adapter, model, f"{len(odd)} weights are on one side only, such as {odd[0]}")
    wrapped.eval()
    before = _logits(wrapped, inputs)
    merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True).eval()
    after = _logits(merged, inputs)
    difference = float((after - before).abs().max())
    limit = TOLERANCE * max(1.0, float(before.abs().max()))
    if not difference < limit:
        raise ModelError(
            f"merging the adapter {adapter.folder} changes the logits by {difference:.2g} "
            f"(allowed: {limit:.2g}): its weights are too large for FP32, or damaged"
        )
    return merged, Check(max_abs_difference=difference, limit=limit, rows=int(before.shape[0]))


def _logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits row by row: without a padding id, a model that reads its last token takes one row at a time."""
    import torch

    rows = range(len(next(iter(inputs.values()))))
    with torch.no_grad():
        return torch.cat(
            [model(**{name: values[i : i + 1] for name, values in inputs.items()}).logits for i in rows]
        )


def _mismatch(adapter: Adapter, model: PreTrainedModel, reason: str) -> ModelError:
    return ModelError(
        f"the adapter {adapter.folder} does not fit the base model ({type(model).__name__}): {reason}. "
        "Give the base that it was trained on."
    )


def _weights(adapter: Adapter) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(adapter.folder / WEIGHTS))
    except SafetensorError as cause:
        raise ModelError(f"{adapter.folder / WEIGHTS} is damaged ({cause}): get the adapter again") from cause
