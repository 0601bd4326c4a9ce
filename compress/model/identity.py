"""What a model folder is, in words: which head it has, and who wrote it.

Read from the folder's JSON files and the names of its weights alone: nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import catalog
from compress.articles import with_article
from compress.model import architecture, body, weight_files
from compress.model.shapes import SHAPES

if TYPE_CHECKING:
    from compress.tasks import Task

# Auto class of transformers -> what such a model does.
_HEADS = {
    "AutoModelForCausalLM": "a language model that continues texts",
    "AutoModelForMaskedLM": "a language model that fills in masked words",
    "AutoModelForSeq2SeqLM": "a model that turns a text into another",
    "AutoModelForQuestionAnswering": "a model that finds answers in a text",
    "AutoModelForMultipleChoice": "a model that picks one of several texts",
    "AutoModelForNextSentencePrediction": "a model that says whether two sentences follow each other",
    "AutoModelForCTC": "a speech recognizer",
    "AutoModelForSpeechSeq2Seq": "a speech recognizer",
    "AutoModelForAudioClassification": "an audio classifier",
    "AutoModelForObjectDetection": "an object detector",
    "AutoModelForSemanticSegmentation": "an image segmenter",
    "AutoModelForMaskedImageModeling": "an image model that fills in masked patches",
}


def describe(folder: Path, content: Mapping[str, Any]) -> str:
    """What a folder is, such as ``BertForMaskedLM, a language model that fills in masked words``.

    Args:
        folder: of the model.
        content: of its ``config.json``.
    """
    if (folder / "config_setfit.json").is_file() or (folder / "model_head.pkl").is_file():
        return "a SetFit model, a classifier on the vectors of an embedding model"
    if (folder / "modules.json").is_file():
        return "an embedding model of sentence-transformers"
    if is_timm(content):
        return "a model of timm"
    names = content.get("architectures")
    named = names[0] if isinstance(names, list) and names else None
    if not isinstance(named, str):
        return "a model whose config.json names no class"
    for auto, words in _HEADS.items():
        if named in architecture.class_names(auto):
            return f"{with_article(named)}, {words}"
    if named in architecture.class_names("AutoModel"):
        return f"{with_article(named)}, an encoder without a head for a task"
    return with_article(named)


def is_timm(content: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of a model of timm, which transformers cannot build."""
    return "model_type" not in content and "pretrained_cfg" in content


def refusal(folder: Path, content: Mapping[str, Any], task: Task) -> str:
    """The sentence about a model that cannot answer, since it has no trained head for a task.

    Args:
        folder: of the model.
        content: of its ``config.json``.
        task: that it was taken for.
    """
    name = architecture.task_name(task)
    command = f"paredown finetune {folder} --task {name} --data DATA --out MODEL"
    remedy = f"To make a model for {name} out of it: {command}"
    if not task.NEW_HEADS:
        remedy = f"A new one for {name} is not trained here: give a model that has one"
    return (
        f"{folder} is {describe(folder, content)}: it has no trained head for {name}, and with a new one its "
        f"answers would be chance. paredown has {', '.join(catalog.names('task'))}. {remedy}"
    )


def lacks_head(folder: Path, content: Mapping[str, Any], task: Task) -> bool:
    """Whether a folder's weights hold nothing of a task's head.

    The weights decide: ``architectures`` may be absent, or be copied from the base model. They are held
    against the configuration first, and nothing of them is loaded.

    Args:
        folder: of the model, with safetensors.
        content: of its ``config.json``.
        task: names the class, and so the head's weights.

    Raises:
        ModelError: the configuration or a weight file cannot be read, or a weight has another shape than
            the configuration asks for.
    """
    model = _skeleton(architecture.parse_config(content, str(folder)), task)
    weights = weight_files.contents(folder)
    if not (folder / SHAPES).is_file():
        base = f"{body.name(model)}."
        remedy = "weights and configuration are not of the same model"
        weight_files.check_fit(weights, model.state_dict(), base, type(model).__name__, remedy)
    head_names = _head_names(model)
    return bool(head_names) and not head_names & weights.keys()


def _skeleton(config: Any, task: Task) -> Any:
    """The model of a configuration without room for its weights."""
    import torch

    with torch.device("meta"):
        return architecture.build(config, task, "eager")


def _head_names(model: Any) -> frozenset[str]:
    """The names of the weights outside the base model; tied ones are left out, a file need not hold them."""
    base = f"{body.name(model)}."
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    return frozenset(name for name in model.state_dict() if not name.startswith(base) and name not in tied)
