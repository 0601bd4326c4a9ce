"""Adapters (LoRA and its kin): merged into the weights of their base model, in FP32, and checked.

An adapter folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Merging computes
``W + scale * B A`` once (Hu et al. 2021, section 4.1), after which the model is a plain one again. The
merged model is compared with the unmerged one on real rows before anything is kept. Methods that add
tokens or layers instead of changing weights (prefix and prompt tuning) cannot be merged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import environment, fence
from compress.errors import ModelError
from compress.model import body, hub, patterns, weight_files
from compress.model.architecture import build
from compress.model.hub import Snapshot
from compress.reading import files, json_values

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.tasks import Task

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TOLERANCE = 1e-4
MERGEABLE = ("LORA", "LOHA", "LOKR", "IA3")
_TASKS = {"SEQ_CLS": "text-classification", "TOKEN_CLS": "token-classification"}
_PREFIX = "base_model.model."
_KINDS: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", dict: "a table"}
_NAMES = ("peft_type", "base_model_name_or_path", "revision", "task_type")


@dataclass(frozen=True)
class Adapter:
    """What an adapter folder says of itself.

    Attributes:
        folder: where it is.
        method: peft's name of the method, such as ``LORA``.
        base: the base model that it names; None where it names none.
        revision: of the base.
        task: the catalog's name of the task that it names, or None.
        content: of its ``adapter_config.json``.
    """

    folder: Path
    method: str
    base: str | None
    revision: str | None
    task: str | None
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """How far the merged model is from the unmerged one.

    Attributes:
        max_abs_difference: over all outputs.
        limit: what was allowed: ``1e-4``, times the largest number of them where that is above one.
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
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the adapter again")
    for name in _NAMES:
        if content.get(name) is not None and not isinstance(content[name], str):
            raise _wrong(file, name, content[name], "a name")
    method = str(content.get("peft_type")).upper()
    if method not in MERGEABLE:
        raise ModelError(
            f"the adapter {folder} uses {method.lower().replace('_', ' ')}, which cannot be merged into the "
            f"weights; paredown merges {', '.join(MERGEABLE)}"
        )
    if files.exists(folder / WEIGHTS, error=ModelError):
        _check_weights(folder / WEIGHTS)
    else:
        pickles = hub.pickles(folder)
        reason = (
            f"holds {', '.join(pickles)}, which can run code when opened" if pickles else "holds no weights"
        )
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
        content=content,
    )


def _check_weights(file: Path) -> None:
    """Refuse a file of weights that is damaged, or that holds whole numbers.

    Raises:
        ModelError: the tensor is named.
    """
    for name, entry in weight_files.table(file).items():
        if not entry.floating:
            raise ModelError(
                f"{file}: {name} holds numbers of the type {entry.dtype}, and an adapter's are "
                "floating-point numbers: get the adapter again"
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


def count_labels(adapter: Adapter, config: PretrainedConfig, task: Task) -> int | None:
    """How many outputs the head has that an adapter carries; None where it carries none.

    Args:
        adapter: its weights are looked at.
        config: of the base model.
        task: names the class, and so which weights are the head's.
    """
    plain = build(config, task, "eager")
    base = f"{body.name(plain)}."
    outside = {n: t for n, t in plain.state_dict().items() if not n.startswith(base)}
    last = [n for n, t in outside.items() if t.ndim and t.shape[0] == config.num_labels]
    entries = weight_files.table(adapter.folder / WEIGHTS)
    sizes = {
        entry.shape[0]
        for name, entry in entries.items()
        if entry.shape and name.removeprefix(_PREFIX) in last
    }
    if len(sizes) > 1:
        raise ModelError(f"the adapter {adapter.folder} carries heads of different sizes: {sorted(sizes)}")
    return sizes.pop() if sizes else None


def merge(
    model: PreTrainedModel, adapter: Adapter, inputs: dict[str, torch.Tensor], outputs: Sequence[str]
) -> tuple[PreTrainedModel, Check]:
    """The base model with the adapter merged in, and how far it is from the unmerged one.

    Args:
        model: the base, FP32; it is changed.
        adapter: as ``read`` gave it.
        inputs: the model's arguments for some rows, to compare on.
        outputs: of the model, that are compared.

    Raises:
        ModelError: the adapter does not fit the base, or merging changes what the model computes.
        MissingPiece: peft is not installed.
    """
    peft = environment.require("peft", purpose="to merge an adapter")
    import torch

    _check_options(adapter, peft)
    weights = weight_files.read_file(adapter.folder / WEIGHTS)
    adapted = _adapted(model, weights)
    patterns.check(adapter.folder / CONFIG, adapter.content, [name for name, _ in adapted.named_modules()])
    damaged = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor.float()).all())]
    if damaged:
        raise ModelError(
            f"the adapter {adapter.folder} holds NaN or infinity in {damaged[0]}: its training diverged, or "
            "the file is damaged; get or train it again"
        )

    mismatch = f"the adapter {adapter.folder} does not fit the base model ({type(model).__name__})"
    remedy = "give the base that it was trained on"
    with fence.reading(mismatch, remedy):
        wrapped = peft.PeftModel.from_pretrained(adapted, adapter.folder, torch_device="cpu")
    # Without save_embedding_layers=False peft may ask the hub for the base's vocabulary. Embeddings that were
    # trained whole are then in the file under the model's own names.
    expected = set(peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    adapter_names, model_names = set(weights), set(wrapped.state_dict())
    odd = sorted((expected - adapter_names) | (adapter_names - expected - model_names))
    if odd:
        raise ModelError(f"{mismatch}: {len(odd)} weights are on one side only, such as {odd[0]}. {remedy}")
    model.eval()
    with fence.reading(f"the adapter {adapter.folder} cannot be merged", remedy), torch.no_grad():
        before = _answers(model, inputs, outputs)  # peft put its layers into the model itself
        merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
        if adapted is not model:
            setattr(model, body.name(model), merged)
            merged = model
        after = _answers(merged.eval(), inputs, outputs)
    difference = max(float((b - a).abs().max()) for a, b in zip(after, before, strict=True))
    limit = TOLERANCE * max(1.0, *(float(tensor.abs().max()) for tensor in before))
    if not difference < limit:
        raise ModelError(
            f"merging the adapter {adapter.folder} changes the outputs by {difference:.2g} "
            f"(allowed: {limit:.2g}): its weights are too large for FP32, or damaged"
        )
    rows = len(next(iter(inputs.values())))
    return merged, Check(max_abs_difference=difference, limit=limit, rows=rows)


def _adapted(model: PreTrainedModel, weights: Mapping[str, Any]) -> PreTrainedModel:
    """What an adapter was trained on: the model, or its body alone, by the names of the adapter's weights.

    An embedder's is of the plain encoder, which here stands inside the model that makes vectors.
    """
    outer = {name for name, _ in model.named_children()}
    inner: PreTrainedModel | None = getattr(model, body.name(model), None)
    first = {name.removeprefix(_PREFIX).partition(".")[0] for name in weights}
    if inner is None or first & outer or not first <= {name for name, _ in inner.named_children()}:
        return model
    return inner


def _check_options(adapter: Adapter, peft: Any) -> None:
    """Refuse options of a wrong type, which peft takes as they are and stumbles over, or reads as a switch.

    Raises:
        ModelError: the option is named, with what it holds and what is allowed.
    """
    file = adapter.folder / CONFIG
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[adapter.method]
    for field in dataclasses.fields(config):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        kind = type(default) if type(default) in _KINDS and "Literal" not in str(field.type) else None
        value = adapter.content.get(field.name, default)
        if kind is not None and value is not None and not _is_kind(value, kind):
            raise _wrong(file, field.name, value, _KINDS[kind])
    if adapter.content.get("megatron_config") is not None:
        raise ModelError(
            f"{file}: megatron_config asks for a library to be imported, which paredown does for no model: "
            "save the adapter without it"
        )
    if adapter.method == "LORA":
        _check_rank(adapter)


def _answers(model: Any, inputs: dict[str, torch.Tensor], outputs: Sequence[str]) -> list[torch.Tensor]:
    """Every output, row by row: without a padding id, a model that reads its last token takes one alone."""
    answers = []
    for row in range(len(next(iter(inputs.values())))):
        row_outputs = model(**{name: values[row : row + 1] for name, values in inputs.items()})
        answers += [row_outputs[name] for name in outputs]
    return answers


def _check_rank(adapter: Adapter) -> None:
    """Refuse a rank that no weight of the file has, before room is taken for it."""
    table = weight_files.table(adapter.folder / WEIGHTS)
    largest = max(max(entry.shape, default=0) for entry in table.values())
    ranks = {"r": adapter.content.get("r", 1), **(adapter.content.get("rank_pattern") or {})}
    for name, rank in ranks.items():
        if not _is_kind(rank, int) or not 1 <= rank <= largest:
            raise _wrong(adapter.folder / CONFIG, name, rank, f"a rank that its weights have, 1 to {largest}")


def _is_kind(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind in (int, float) else isinstance(value, kind)


def _wrong(file: Path, name: str, value: Any, allowed: str) -> ModelError:
    return ModelError(f"{file}: {name} is {value!r:.60}, allowed is {allowed}: get the adapter again")
