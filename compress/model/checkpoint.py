"""PyTorch models on disk: ``config.json`` + ``model.safetensors`` + ``shapes.json``, no pickle.

A pruned model may have shapes that no configuration of its class expresses (layers of different
width, removed heads where the head size is ``hidden / heads``). Reloading builds the plain model,
gives it the shapes of ``shapes.json`` and loads the weights strictly. Where the configuration does
express the shapes there is no ``shapes.json``, and the folder loads with plain ``from_pretrained`` too.

The model is built on the CPU and not on the meta device, where buffers that are not saved
(``position_ids``) would stay without values. What is written depends on the model alone: no time, no
path, no version, sorted keys, so that equal models are equal bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.articles import with_article
from compress.artifacts.artifact import Artifact, is_sealed
from compress.errors import ModelError
from compress.label_names import LabelNames
from compress.model import architecture, attention_type, limit, links, shapes, weight_files
from compress.model.architecture import CONFIG, infer_task, read_config
from compress.model.limit import ENCODING
from compress.model.shapes import SHAPES
from compress.model.weight_files import WEIGHTS
from compress.tasks import Task
from compress.tasks import _heads as heads

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.tasks import Head

__all__ = [
    "CONFIG",
    "ENCODING",
    "SHAPES",
    "check_finite",
    "copy_sidecars",
    "has_fresh_head",
    "infer_task",
    "initialize",
    "label_names",
    "load",
    "load_teacher",
    "read_config",
    "read_max_length",
    "rebuild",
    "require_head",
    "require_order",
    "save",
    "sidecars",
]

# What a folder needs besides the model itself: to encode rows, to generate, to be passed on.
_SIDECARS = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "normalizer.json",
    "sentencepiece*.model",
    "spiece.model",
    "spm.model",
    "*.tiktoken",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.*",
    "generation_config.json",
    ENCODING,
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "COPYING*",
)
_NEVER = ("*.py", "*.pkl", "*.pickle", "*.pt", "*.pth", "*.bin", "*.ckpt", "*.onnx", "*.safetensors")


def load(folder: Path, task: Task, *, attention: str = "sdpa") -> PreTrainedModel:
    """A folder's model: FP32, on the CPU, in eval mode, every weight accounted for.

    Args:
        folder: holds ``config.json``, safetensors (one file or shards), perhaps ``shapes.json``.
        task: the task module; it names the class.
        attention: ``sdpa`` or ``eager``; ``eager`` is taken where the class knows no other.

    Raises:
        ModelError: there is no model, it is of another task, or names or shapes do not fit.
    """
    content = read_config(folder)
    architecture.check_task(content, task, str(folder))
    config = architecture.parse_config(content, str(folder))
    contents = weight_files.contents(folder)
    with _without_initialization():
        model = architecture.build(config, task, attention)
    if (folder / SHAPES).is_file():
        shapes.restore(model, folder / SHAPES)
    # A build without initialization ties nothing, and a resized embedding is a new parameter.
    model.tie_weights()
    remedy = f"the folder is not whole, or its {SHAPES} is missing"
    weight_files.check_fit(contents, model.state_dict(), "", type(model).__name__, remedy)
    _load_strictly(model, weight_files.read(folder), folder)
    check_finite(model, str(folder))
    return model.eval()


def save(model: PreTrainedModel, out: Path, *, source: Path | None) -> None:
    """Write ``config.json``, ``model.safetensors`` and, where it is needed, ``shapes.json``.

    Args:
        model: any device and precision; weights are written as FP32.
        out: an existing folder.
        source: the folder whose processor files and licenses come along; None for none.

    Raises:
        ValueError: the model's parameters are not those of its configuration (a removed layer, say,
            that the configuration still counts).
    """
    from safetensors.torch import save_file

    plain = _plain(model, "eager")
    deviations = shapes.deviations(model, plain)
    del plain
    if source is not None:
        copy_sidecars(source, out)
    _write_json(out / CONFIG, architecture.describe_config(model))
    if deviations is not None:
        _write_json(out / SHAPES, deviations)
    save_file(_own_tensors(model), out / WEIGHTS, metadata={"format": "pt"})


def rebuild(model: PreTrainedModel) -> PreTrainedModel:
    """What would come back from disk: a build of the model's configuration, with its shapes and weights.

    Raises:
        ValueError: the model's parameters are not those of its configuration.
    """
    built = _plain(model, model.config._attn_implementation)
    attention_type.keep(built)
    deviations = shapes.deviations(model, built)
    if deviations is not None:
        shapes.impose(built, shapes.Shapes.model_validate_json(json.dumps(deviations)))
    built.tie_weights()
    built.load_state_dict(model.state_dict())
    return built.eval()


def _plain(model: PreTrainedModel, attention: str) -> PreTrainedModel:
    """A build of a model's configuration as it would be read from disk, its weights not filled."""
    with _without_initialization():
        plain: PreTrainedModel = type(model)._from_config(
            type(model.config).from_dict(model.config.to_dict()),
            attn_implementation=attention,
            dtype=model.dtype,
        )
    return plain


def initialize(config: PretrainedConfig | Mapping[str, Any], task: Task, seed: int) -> PreTrainedModel:
    """A model with fresh seeded weights: FP32, on the CPU, in eval mode.

    Args:
        config: a transformers configuration, or its dictionary with ``model_type``.
        task: the task module; it names the class.
        seed: of the weights; the global generator is left as it was.

    Raises:
        ModelError: the architecture is unknown or does not exist for the task.
    """
    import torch

    parsed = architecture.parse_config(config, "the architecture") if isinstance(config, Mapping) else config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(parsed, task, "sdpa").eval()


def read_max_length(folder: Path) -> int | None:
    """The token limit that a folder's model is run with; None where there is none (see ``limit``)."""
    return limit.read(folder).tokens


def sidecars(folder: Path) -> list[Path]:
    """The files of a folder that travel with any form of its model, sorted.

    Processor files, ``encoding.json`` and licenses; never weights, configuration, manifest, graphs,
    pickles or Python files.

    Raises:
        ModelError: one is a link to a file that is not the model's.
    """
    found = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file()
        and any(fnmatch(file.name, pattern) for pattern in _SIDECARS)
        and not any(fnmatch(file.name, pattern) for pattern in _NEVER)
    ]
    for file in found:
        links.check(file)
    return found


def copy_sidecars(source: Path, out: Path) -> None:
    """Copy the files that travel with any form of a model (see ``sidecars``).

    Where the source has a token limit, the copy has the one of what is made of it, and its tokenizer's
    files are in line with that.
    """
    for file in sidecars(source):
        shutil.copyfile(file, out / file.name)
    if (source / ENCODING).is_file():
        limit.write(out, limit.read_derived(source))


def check_finite(model: torch.nn.Module, place: str) -> None:
    """Refuse weights that are not numbers.

    Raises:
        ModelError: a tensor holds NaN or an infinity; it is named, with how many.
    """
    import torch

    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ModelError(
                f"{place}: the weight {name} holds {bad} values of {tensor.numel()} that are no numbers "
                "(NaN or infinity): the model is damaged or its training diverged; get or train it again"
            )


def has_fresh_head(artifact: Artifact) -> bool:
    """Whether the task head was never trained, so that only ``finetune`` makes sense."""
    return artifact.manifest.facts.get("head") == "new"


def require_head(artifact: Artifact) -> None:
    """Refuse a model that cannot answer.

    Raises:
        ModelError: its head was never trained, and ``load`` was not told that this is meant; or the data's
            labels fit it in another order far better.
    """
    require_order(artifact)
    if has_fresh_head(artifact):
        name = artifact.manifest.origin.model or artifact.path
        raise ModelError(
            f"{name} has no trained head for {artifact.task}: its answers would be chance. Make one with "
            f"'paredown finetune MODEL --task {artifact.task} --data DATA --out TRAINED' and use that (to "
            "measure the speed of an architecture alone, a recipe may say 'load: {untrained: true}')"
        )


def label_names(artifact: Artifact, head: Head) -> LabelNames:
    """How the outputs of an artifact got their names.

    Args:
        artifact: its manifest says what later stages cannot see.
        head: of its model.
    """
    return artifact.manifest.origin.labels.model_copy(update={"unknown": heads.unnamed(head)})


def require_order(artifact: Artifact) -> None:
    """Refuse a head whose labels the data has in another order, as ``load`` found on the training rows.

    Raises:
        ModelError: the training rows fit another order far better.
    """
    order = artifact.manifest.facts.get("label_order")
    refusal = order.get("refusal") if isinstance(order, dict) else None
    if refusal is not None:
        raise ModelError(str(refusal))


def load_teacher(folder: Path, task: Task) -> PreTrainedModel:
    """The model of a folder that another one shall learn from.

    Raises:
        ModelError: it cannot be loaded, or its head was never trained.
    """
    if is_sealed(folder):
        require_head(Artifact.open(folder, verify=False))
    return load(folder, task)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _without_initialization() -> Iterator[None]:
    """Build a model without filling weights that are about to be overwritten."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        yield


def _load_strictly(model: PreTrainedModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Copy weights, whose shapes fit, into the model; tied names may be absent, nothing else may.

    Raises:
        ModelError: a name is missing or not known, or tied weights disagree.
    """
    import torch

    targets = model.state_dict()
    kind = type(model).__name__
    extra = sorted(weights.keys() - targets.keys())
    if extra:
        raise ModelError(f"{folder}: the weights hold {_some(extra)}, which {with_article(kind)} has not")
    owners: dict[int, str] = {}
    for name in sorted(weights):
        twin = owners.setdefault(targets[name].data_ptr(), name)
        if twin != name and not torch.equal(weights[twin], weights[name]):
            raise ModelError(f"{folder}: {twin} and {name} are one tied weight and have different values")
    missing = sorted(n for n, t in targets.items() if n not in weights and t.data_ptr() not in owners)
    if missing:
        raise ModelError(f"{folder}: weights are missing for {_some(missing)} of the {kind}")
    model.load_state_dict(dict(weights), strict=False)


def _some(names: list[str]) -> str:
    listing = ", ".join(names[:4])
    return f"{listing} and {len(names) - 4} more" if len(names) > 4 else listing


def _own_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What is saved: FP32 on the CPU, each tied weight once, under the name that is no tie's target."""
    import torch

    targets = set(getattr(model, "all_tied_weights_keys", None) or {})
    state = model.state_dict()
    names: dict[tuple[int, tuple[int, ...]], str] = {}
    for name in sorted(state, key=lambda n: (n in targets, n)):
        names.setdefault((state[name].data_ptr(), tuple(state[name].shape)), name)
    tensors = {}
    for name in names.values():
        tensor = state[name].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        tensors[name] = tensor.contiguous().clone()
    return tensors
