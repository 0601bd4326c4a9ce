"""Which transformers class a configuration means for a task; code of a folder's own is never run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import catalog, fence, log
from compress.articles import with_article
from compress.errors import ModelError
from compress.model import attention_type, fields
from compress.reading import files, json_values
from compress.tasks import _embedding as embedding
from compress.tasks import _setfit as setfit

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.tasks import Task

CONFIG = "config.json"

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

_FP32_BYTES = 4

# Classes without a task's head: what fine-tuning starts from.
_HEADLESS = (
    "AutoModel",
    "AutoModelForPreTraining",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMaskedImageModeling",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForCTC",
)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``config.json``; of sentence-transformers also what its modules say.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    file = folder / CONFIG
    modular = embedding.configuration(folder)
    if modular is not None:
        if setfit.is_folder(folder):
            modular[embedding.CLASSIFIER] = {"origin": "SetFit"}
        fields.check(modular, str(folder))
        return modular
    if not files.exists(file, error=ModelError):
        raise ModelError(
            f"{folder} holds no model (no {CONFIG}): give a Hugging Face model folder with {CONFIG} "
            "and model.safetensors, or an artifact that paredown wrote"
        )
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the model folder again")
    fields.check(content, str(file))
    return content


def parse_config(content: Mapping[str, Any], place: str) -> PretrainedConfig:
    """The transformers configuration of a ``config.json``.

    Args:
        content: the dictionary, with ``model_type``.
        place: what an error calls it.

    Raises:
        ModelError: transformers does not know the type, or refuses a value.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    fields.check(content, place)
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        named_type = f"the type '{model_type}'" if model_type else "no model_type"
        code_note = (
            " It brings Python code of its own, which paredown never runs." if "auto_map" in content else ""
        )
        if not model_type and "pretrained_cfg" in content:
            raise ModelError(
                f"{place} is a model of timm, a library whose models paredown does not take: convert it to a "
                "class of transformers"
            )
        raise ModelError(
            f"{place}: the configuration names {named_type}, which this version of transformers does not "
            f"know.{code_note} Use a model of an architecture that transformers has."
        )
    values = {k: v for k, v in content.items() if k not in {*_NOT_THE_MODEL, "model_type"}}
    with fence.reading(f"{place}: transformers refuses the configuration", "correct config.json"):
        return AutoConfig.for_model(model_type, **values)


def describe_config(model: PreTrainedModel) -> dict[str, Any]:
    """The whole configuration of a model, defaults included, as ``config.json`` holds it.

    It depends on the model alone: no path, no version, no switches of one call.
    """
    content = model.config.to_dict()
    for name in _NOT_THE_MODEL:
        content.pop(name, None)
    content["architectures"] = [_public_name(model)]
    content["dtype"] = "float32"
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def _public_name(model: PreTrainedModel) -> str:
    """The class that others build of the configuration: the base model's where a task has one of its own."""
    import transformers

    name = type(model).__name__
    return name if hasattr(transformers, name) else type(model.base_model).__name__


def without_marks(content: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """A configuration without the fields by which models of other tasks are told."""
    rivals = [catalog.task(name) for name in catalog.names("task") if name != task.NAME]
    configuration = dict(content)
    # A mark may stand in front of another one: what makes a vector, and the classifier that takes it.
    while marks := {rival.is_made_for(configuration) for rival in rivals} & configuration.keys():
        configuration = {name: value for name, value in configuration.items() if name not in marks}
    return configuration


def takes_any_model(task: Task) -> bool:
    """Whether a task is made of a model without a head, which every base model is."""
    return task.MODEL in _HEADLESS


def marked_task(content: Mapping[str, Any]) -> str | None:
    """The task that a configuration itself names by a field, which is said; None where it names none."""
    named = content.get("architectures") or []
    for name in catalog.names("task"):
        task = catalog.task(name)
        field = (
            task.is_made_for(content) if not named or named[0] in class_names(*autos(content, task)) else None
        )
        if field is not None:
            log.once(
                "the configuration has %s: the model is taken as one for %s (--task says another)",
                field,
                name,
            )
            return name
    return None


def autos(content: Mapping[str, Any], task: Task) -> tuple[str, ...]:
    """The auto classes of transformers whose classes a configuration of a task may name.

    An encoder is one of those where a field of the configuration says what stands behind it.
    """
    return (task.MODEL,) if task.is_made_for(content) is None else (task.MODEL, "AutoModel")


def model_class(config: PretrainedConfig, task: Task) -> type[PreTrainedModel]:
    """The transformers class that a configuration has for a task.

    Raises:
        ModelError: the architecture does not exist for the task.
    """
    import transformers

    chosen_by_task = task.model_class(config)
    if chosen_by_task is not None:
        return chosen_by_task
    mapping = getattr(transformers, task.MODEL)._model_mapping
    if type(config) not in mapping:
        raise ModelError(
            f"A model of type '{config.model_type}' cannot do {task_name(task)}: "
            f"transformers has no {task.MODEL} for it. Choose another model or task."
        )
    classes = mapping[type(config)]
    chosen: type[PreTrainedModel] = classes[0] if isinstance(classes, tuple | list) else classes
    return chosen


def build(config: PretrainedConfig, task: Task, attention: str) -> PreTrainedModel:
    """A model of a configuration: FP32, on the CPU, with whatever weights the build gives.

    Args:
        config: left as it is.
        task: names the class.
        attention: ``eager`` is taken in place of ``sdpa`` where the class knows no other.

    Raises:
        ModelError: transformers cannot build it.
    """
    import torch

    cls = model_class(config, task)
    # DeBERTa-v2 and some others raise at construction when asked for what they do not have.
    supported = attention != "sdpa" or cls._supports_sdpa
    with fence.reading(
        f"transformers cannot build {with_article(cls.__name__)} from the configuration", "correct its fields"
    ):
        model: PreTrainedModel = cls._from_config(
            copy.deepcopy(config),
            dtype=torch.float32,
            attn_implementation=attention if supported else "eager",
        )
    attention_type.keep(model)
    return model


def check_memory(config: PretrainedConfig, task: Task) -> None:
    """Refuse weights that the machine has no room for, before room is taken for any.

    Raises:
        ModelError: there are more of them than fit, or transformers cannot build the model.
    """
    import psutil
    import torch

    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(config, task, "eager").parameters())
    room = psutil.virtual_memory().total
    if count * _FP32_BYTES > room:
        raise ModelError(
            f"the architecture has {count:,} weights, {count * _FP32_BYTES / 2**30:,.0f} GiB in FP32, and "
            f"this machine has {room / 2**30:,.0f} GiB of memory: give a smaller one"
        )


def class_names(*autos: str) -> set[str]:
    """The names of all classes that some transformers auto classes can build; none is imported."""
    import transformers

    names: set[str] = set()
    for auto in autos:
        for entry in getattr(transformers, auto)._model_mapping._model_mapping.values():
            names |= {entry} if isinstance(entry, str) else set(entry)
    return names


def is_headless(content: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of a model without a task's head, such as ``BertModel``."""
    named = content.get("architectures") or []
    return not named or named[0] in class_names(*_HEADLESS)


def check_task(content: Mapping[str, Any], task: Task, place: str, *, headless: bool = False) -> None:
    """Compare a configuration's ``architectures`` with the classes of a task.

    Args:
        content: of ``config.json``.
        task: the task module.
        place: what an error calls the model.
        headless: whether a model without a task's head will do.

    Raises:
        ModelError: the first architecture is not one of the task's.
    """
    named = content.get("architectures") or []
    if not named or named[0] in class_names(*autos(content, task)) or (headless and is_headless(content)):
        return
    from compress.model import identity

    raise ModelError(
        f"{place} is {identity.describe(Path(place), content)}, which is no model for {task_name(task)} "
        f"({task.MODEL}): give the task that the model was made for, or a model of this one"
    )


def infer_task(folder: Path) -> str:
    """The task of a model folder: what its configuration says, else by optimum's TasksManager from its class.

    Raises:
        ModelError: the model has no task's head, or a task that is not in the catalog.
    """
    import transformers
    from optimum.exporters.tasks import TasksManager

    content = read_config(folder)
    marked = marked_task(content)
    if marked is not None:
        return marked
    if is_headless(content):
        raise ModelError(no_head(folder, content))
    tasks, named = catalog.names("task"), content["architectures"][0]
    if not hasattr(transformers, named):
        raise ModelError(
            f"{folder} is of the class {named}, which transformers does not have: say which task it is for, "
            f"one of {', '.join(tasks)}"
        )
    try:
        inferred = TasksManager.infer_task_from_model(getattr(transformers, named))
    except ValueError:
        inferred = "unknown"
    inferred = catalog.canonical(TasksManager.map_from_synonym(inferred))
    if inferred not in tasks:
        # optimum knows one class of an architecture where transformers has several (DeiT, LeViT).
        candidates = [
            name for name in tasks if _is_by_class(name) and named in class_names(catalog.task(name).MODEL)
        ]
        if len(candidates) == 1:
            return candidates[0]
        from compress.model import identity

        raise ModelError(
            f"{folder} is {identity.describe(folder, content)} (task '{inferred}'), which paredown does not "
            f"offer; it has: {', '.join(tasks)}"
        )
    return inferred


def _is_by_class(name: str) -> bool:
    """Whether the class of a model is all that says that it is for a task."""
    from compress.tasks import Task

    task = catalog.task(name)
    return task.BY_CLASS or task.is_made_for is Task.is_made_for


def no_head(folder: Path, content: Mapping[str, Any]) -> str:
    """The sentence about a model whose configuration names no task's head."""
    from compress.model import identity

    tasks = ", ".join(catalog.names("task"))
    if identity.is_timm(content):
        return (
            f"{folder} is {identity.describe(folder, content)}, a library whose models paredown does not "
            f"take: convert it to a class of transformers (it has: {tasks})"
        )
    return (
        f"{folder} is {identity.describe(folder, content)}: say with --task which task it is for, or shall "
        f"be fine-tuned for, one of {tasks}"
    )


def task_name(task: Task) -> str:
    """The name of a task module as recipes write it."""
    return task.NAME
