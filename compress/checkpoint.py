"""PyTorch models on disk: ``config.json`` + ``model.safetensors`` + ``shapes.json``, no pickle.

A pruned model may have shapes that no configuration of its class expresses (layers of different
width, removed heads where the head size is ``hidden / heads``). ``shapes.json`` then lists every
parameter whose shape differs from a build of the plain configuration, and the integer attributes of
the modules above them. Reloading builds the plain model, gives those parameters their shapes and
attributes, and loads the weights strictly. Where the configuration does express the shapes there is
no ``shapes.json``, and the folder loads with plain ``from_pretrained`` too.

The model is built on the CPU and not on the meta device, where buffers that are not saved
(``position_ids``) would stay without values.

What is written depends on the model alone: no time, no path, no version, sorted keys.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.artifact import Artifact

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHAPES = "shapes.json"
ENCODING = "encoding.json"

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

# Where and when it was saved and how it is called: equal models would differ in bytes.
_NOT_THE_MODEL = (
    "_name_or_path",
    "_commit_hash",
    "transformers_version",
    "auto_map",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``config.json``.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise ModelError(
            f"{folder} holds no model (no {CONFIG}): give a Hugging Face model folder with {CONFIG} "
            f"and {WEIGHTS}, or an artifact that paredown wrote"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise ModelError(f"{file} is not valid JSON ({cause}): get the model folder again") from cause
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the model folder again")
    return content


def read_max_length(folder: Path) -> int | None:
    """The token limit that the model was trained or prepared with; None where there is none.

    Raises:
        ModelError: ``encoding.json`` is damaged.
    """
    file = folder / ENCODING
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))["max_length"]
    except (ValueError, KeyError, TypeError) as cause:
        raise ModelError(f'{file} should read {{"max_length": NUMBER or null}}: build it again') from cause
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ModelError(f"{file}: max_length is {value!r}, allowed is a positive number or null")
    return value


def write_max_length(folder: Path, max_length: int | None) -> None:
    """Write ``encoding.json``."""
    _write_json(folder / ENCODING, {"max_length": max_length})


def copy_sidecars(source: Path, out: Path) -> None:
    """Copy what travels with any form of a model: processor files, ``encoding.json``, licenses.

    Never weights, configuration, manifest, graphs, pickles or Python files.
    """
    for file in sorted(source.iterdir()):
        if not file.is_file() or any(fnmatch(file.name, pattern) for pattern in _NEVER):
            continue
        if any(fnmatch(file.name, pattern) for pattern in _SIDECARS):
            shutil.copyfile(file, out / file.name)


def model_class(config: PretrainedConfig, task: ModuleType) -> type[PreTrainedModel]:
    """The transformers class that a configuration has for a task.

    Raises:
        ModelError: the architecture does not exist for the task.
    """
    import transformers

    mapping = getattr(transformers, task.MODEL)._model_mapping  # noqa: SLF001 - no public lookup without a build
    if type(config) not in mapping:
        raise ModelError(
            f"A model of type '{config.model_type}' cannot do {_task_name(task)}: "
            f"transformers has no {task.MODEL} for it. Choose another model or task."
        )
    found = mapping[type(config)]
    chosen: type[PreTrainedModel] = found[0] if isinstance(found, tuple | list) else found
    return chosen


def initialize(config: PretrainedConfig | Mapping[str, Any], task: ModuleType, seed: int) -> PreTrainedModel:
    """A model with fresh seeded weights: FP32, on the CPU, in eval mode.

    Args:
        config: a transformers configuration, or its dictionary with ``model_type``.
        task: the task module; it names the class.
        seed: of the weights; the global generator is left as it was.

    Raises:
        ModelError: the architecture is unknown or does not exist for the task.
    """
    import torch

    parsed = parse_config(config, "the architecture") if isinstance(config, Mapping) else config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(parsed, task, "sdpa").eval()


def load(folder: Path, task: ModuleType, *, attention: str = "sdpa") -> PreTrainedModel:
    """A folder's model: FP32, on the CPU, in eval mode, every weight accounted for.

    Args:
        folder: holds ``config.json``, safetensors (one file or shards), perhaps ``shapes.json``.
        task: the task module; it names the class.
        attention: ``sdpa`` or ``eager``; ``eager`` is taken where the class knows no other.

    Raises:
        ModelError: there is no model, it is of another task, or names or shapes do not fit.
    """
    content = read_config(folder)
    check_task(content, task, str(folder))
    config = parse_config(content, str(folder))
    weights = read_weights(folder)
    with _without_initialization():
        model = _build(config, task, attention)
    shapes = folder / SHAPES
    if shapes.is_file():
        _resize(model, shapes)
    _load_strictly(model, weights, folder)
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

    if source is not None:
        copy_sidecars(source, out)
    _write_json(out / CONFIG, describe_config(model))
    deviations = _deviations(model)
    if deviations is not None:
        _write_json(out / SHAPES, deviations)
    save_file(_own_tensors(model), out / WEIGHTS, metadata={"format": "pt"})


def describe_config(model: PreTrainedModel) -> dict[str, Any]:
    """The whole configuration of a model, defaults included, as ``config.json`` holds it."""
    content = model.config.to_dict()
    for name in _NOT_THE_MODEL:
        content.pop(name, None)
    content["architectures"] = [type(model).__name__]
    content["dtype"] = "float32"
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def parse_config(content: Mapping[str, Any], where: str) -> PretrainedConfig:
    """The transformers configuration of a ``config.json``; code of the folder's own is never run.

    Raises:
        ModelError: transformers does not know the type, or refuses a value.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = content.get("model_type")
    if model_type not in CONFIG_MAPPING:
        found = f"the type '{model_type}'" if model_type else "no model_type"
        code = (
            " It brings Python code of its own, which paredown never runs."
            if "auto_map" in content
            else ""
        )
        raise ModelError(
            f"{where}: the configuration names {found}, which this version of transformers does not "
            f"know.{code} Use a model of an architecture that transformers has."
        )
    values = {k: v for k, v in content.items() if k not in {*_NOT_THE_MODEL, "model_type"}}
    try:
        return AutoConfig.for_model(model_type, **values)
    except (TypeError, ValueError, KeyError) as cause:
        raise ModelError(f"{where}: transformers refuses the configuration: {cause}") from cause


def check_task(content: Mapping[str, Any], task: ModuleType, where: str) -> None:
    """Compare a configuration's ``architectures`` with the classes of a task.

    Raises:
        ModelError: the first architecture is not one of the task's.
    """
    import transformers

    named = content.get("architectures") or []
    mapping = getattr(transformers, task.MODEL)._model_mapping._model_mapping  # noqa: SLF001 - the names alone
    known = {n for entry in mapping.values() for n in ([entry] if isinstance(entry, str) else entry)}
    if named and named[0] not in known:
        raise ModelError(
            f"{where} is a {named[0]}, which is no model for {_task_name(task)} ({task.MODEL}): "
            "give the task that the model was made for, or fine-tune it for this one"
        )


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's safetensors files, by name.

    Raises:
        ModelError: there are none, one cannot be read, or the index names a file that is not there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        try:
            weights.update(load_file(file))
        except SafetensorError as cause:
            raise ModelError(f"{file} is damaged ({cause}): get the model folder again") from cause
    return weights


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a folder's model: one, or the shards that the index lists.

    Raises:
        ModelError: there are none, or the index is damaged.
    """
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelError(f"{folder} holds no weights: expected {WEIGHTS}, or {INDEX} with its shards")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ModelError(f"{index} is damaged: get the model folder again") from cause
    for file in files:
        if file.parent != folder or not file.is_file():
            raise ModelError(f"{index} names {file.name}, which is not in {folder}: get the folder again")
    return files


def has_fresh_head(artifact: Artifact) -> bool:
    """Whether the task head was never trained, so that only ``finetune`` makes sense."""
    return artifact.manifest.facts.get("head") == "new"


# --- plumbing ----------------------------------------------------------------------------------


def _task_name(task: ModuleType) -> str:
    return task.__name__.rpartition(".")[2].replace("_", "-")


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def _without_initialization() -> Iterator[None]:
    """Build a model without filling weights that are about to be overwritten."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        yield


def _build(config: PretrainedConfig, task: ModuleType, attention: str) -> PreTrainedModel:
    import torch

    cls = model_class(config, task)
    # DeBERTa-v2 and some others raise at construction when asked for what they do not have.
    known = attention != "sdpa" or cls._supports_sdpa  # noqa: SLF001 - transformers asks the same way
    own = copy.deepcopy(config)
    try:
        model: PreTrainedModel = cls._from_config(  # noqa: SLF001 - what AutoModel.from_config calls
            own, dtype=torch.float32, attn_implementation=attention if known else "eager"
        )
    except (ValueError, TypeError, AttributeError, RuntimeError, ZeroDivisionError) as cause:
        raise ModelError(
            f"transformers cannot build a {cls.__name__} from this configuration: {cause}"
        ) from cause
    return model


def _parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and saved buffer by name; tied ones under each of their names."""
    return dict(model.state_dict())


def _integers(module: torch.nn.Module) -> dict[str, Any]:
    """The integer attributes of a module (widths, head counts), and tuples of integers."""

    def counts(value: object) -> bool:
        if isinstance(value, tuple):
            return bool(value) and all(counts(item) for item in value)
        return isinstance(value, int) and not isinstance(value, bool)

    # layer_idx says where a layer stood before others were removed; it is no shape.
    return {
        name: value
        for name, value in vars(module).items()
        if counts(value) and not name.startswith("_") and name != "layer_idx"
    }


def _deviations(model: PreTrainedModel) -> dict[str, Any] | None:
    """Shapes and integer attributes that differ from a plain build; None where no shape differs."""
    with _without_initialization():
        plain = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager")  # noqa: SLF001
    ours, theirs = _parameters(model), _parameters(plain)
    if ours.keys() != theirs.keys():
        odd = ", ".join(sorted(ours.keys() ^ theirs.keys())[:4])
        raise ValueError(f"the model's parameters are not those of its configuration: {odd}")
    shapes = {n: list(t.shape) for n, t in ours.items() if t.shape != theirs[n].shape}
    if not shapes:
        return None
    above = {name[:cut] for name in shapes for cut, char in enumerate(name) if char == "."}
    modules = dict(model.named_modules(remove_duplicate=False))
    attributes = {}
    for name, module in plain.named_modules(remove_duplicate=False):
        if name in above:
            before, now = _integers(module), _integers(modules[name])
            changed = {key: now[key] for key in before if key in now and now[key] != before[key]}
            if changed:
                attributes[name] = changed
    return {"schema_version": 1, "parameters": shapes, "attributes": attributes}


def _resize(model: PreTrainedModel, file: Path) -> None:
    """Give parameters and modules the shapes and attributes that ``shapes.json`` lists.

    Raises:
        ModelError: the file is damaged, or names what the model does not have.
    """
    import torch

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema_version"] != 1:
            raise ModelError(f"{file} is of another version of paredown: build it again")
        for name, shape in content["parameters"].items():
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            old = getattr(module, leaf)
            if old.dim() != len(shape) or not all(isinstance(n, int) and n > 0 for n in shape):
                raise ModelError(f"{file}: {name} cannot have the shape {shape}")
            new = torch.empty(shape, dtype=old.dtype)
            if isinstance(old, torch.nn.Parameter):
                setattr(module, leaf, torch.nn.Parameter(new, requires_grad=old.requires_grad))
            else:
                setattr(module, leaf, new)
        for name, changes in content["attributes"].items():
            module = model.get_submodule(name)
            known = _integers(module)
            for key, value in changes.items():
                setattr(module, key, tuple(value) if isinstance(known[key], tuple) else int(value))
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ModelError(f"{file} does not fit the model ({cause}): build it again") from cause
    # A resized embedding is a new parameter; whatever was tied to the old one has to follow.
    model.tie_weights()


def _load_strictly(model: PreTrainedModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Copy weights into the model; tied names may be absent, nothing else may.

    Raises:
        ModelError: a name is missing or not known, a shape differs, or tied weights disagree.
    """
    import torch

    targets = _parameters(model)
    extra = sorted(weights.keys() - targets.keys())
    if extra:
        raise ModelError(f"{folder}: the weights hold {_some(extra)}, which a {type(model).__name__} has not")
    held: dict[int, str] = {}
    for name in sorted(weights):
        if weights[name].shape != targets[name].shape:
            raise ModelError(
                f"{folder}: {name} has the shape {list(weights[name].shape)} and the configuration asks for "
                f"{list(targets[name].shape)}: the folder is not whole, or its {SHAPES} is missing"
            )
        twin = held.setdefault(targets[name].data_ptr(), name)
        if twin != name and not torch.equal(weights[twin], weights[name]):
            raise ModelError(f"{folder}: {twin} and {name} are one tied weight and have different values")
    missing = sorted(n for n, t in targets.items() if n not in weights and t.data_ptr() not in held)
    if missing:
        raise ModelError(f"{folder}: weights are missing for {_some(missing)} of the {type(model).__name__}")
    model.load_state_dict(dict(weights), strict=False)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _own_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What is saved: FP32 on the CPU, each tied weight once, under the name that is no tie's target."""
    import torch

    targets = set(getattr(model, "all_tied_weights_keys", None) or {})
    names: dict[tuple[int, tuple[int, ...]], str] = {}
    found = _parameters(model)
    for name in sorted(found, key=lambda n: (n in targets, n)):
        names.setdefault((found[name].data_ptr(), tuple(found[name].shape)), name)
    tensors = {}
    for name in names.values():
        tensor = found[name].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        tensors[name] = tensor.contiguous().clone()
    return tensors
