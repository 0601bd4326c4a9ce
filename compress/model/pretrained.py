"""A model out of a Hugging Face folder, with every weight on both sides accounted for.

Nothing of the folder is ever executed: pickles are refused and Python files ignored. Whether the head is
the folder's own is decided by its weights: one whose weights are all missing is initialized, seeded, and
reported as fresh, and only such a head takes the labels of the data. Any other missing weight is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import fence, log
from compress.articles import with_article
from compress.artifacts import artifact
from compress.artifacts.artifact import Artifact
from compress.errors import ModelError
from compress.model import architecture, body, checkpoint, hub, identity, weight_files
from compress.model.weight_files import INDEX, WEIGHTS
from compress.reading import files
from compress.tasks import _embedding as embedding
from compress.tasks import _setfit as setfit

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.tasks import Head, Task

_NUMBERED = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class Pretrained:
    """A model out of a folder.

    Attributes:
        model: FP32, on the CPU, in eval mode.
        fresh: whether its head has new weights.
        unused: names of weights in the folder that the model does not have.
    """

    model: PreTrainedModel
    fresh: bool
    unused: tuple[str, ...]


def load(
    folder: Path,
    task: Task,
    head: Head | None,
    seed: int,
    *,
    ignore_remote_code: bool = False,
    fields: Mapping[str, Any] | None = None,
) -> Pretrained:
    """The folder's model for a task.

    Args:
        folder: of ``save_pretrained`` or ``checkpoint.save``.
        task: names the class.
        head: what a missing head shall predict; the configuration's own labels when None. A head that the
            folder has keeps its own.
        seed: of a missing head.
        ignore_remote_code: whether to take transformers' own class for a model that brings code.
        fields: of the configuration, in place of what the folder says (see ``Task.fields``).

    Raises:
        ModelError: no model, another task, pickles only, or weights that do not fit the configuration.
    """
    content = inspect(folder, task, ignore_remote_code=ignore_remote_code) | dict(fields or {})
    if (folder / checkpoint.SHAPES).is_file():
        return Pretrained(model=checkpoint.load(folder, task), fresh=False, unused=())
    config = architecture.parse_config(content, str(folder))
    lacking = identity.lacks_head(folder, content, task)
    if lacking and head is not None:
        task.configure(config, head)
    model, info = _from_pretrained(folder, config, task, seed)
    if _account(model, info, folder, headless=lacking or architecture.is_headless(content)):
        return Pretrained(model=model.eval(), fresh=True, unused=())
    unused = tuple(sorted(info["unexpected_keys"]))
    if unused:
        log.warning(
            "%s: weights that a %s does not use: %s", folder, type(model).__name__, ", ".join(unused[:8])
        )
    return Pretrained(model=model.eval(), fresh=False, unused=unused)


def inspect(folder: Path, task: Task, *, ignore_remote_code: bool = False) -> dict[str, Any]:
    """The folder's ``config.json``, after everything was checked that needs no weights.

    Raises:
        ModelError: no model, another task, pickles only, or code of its own.
        ArtifactError: the folder is a sealed artifact and was changed.
    """
    if artifact.is_sealed(folder):
        Artifact.open(folder)
    content = architecture.without_marks(architecture.read_config(folder), task)
    if "auto_map" in content and not ignore_remote_code:
        raise ModelError(
            f"{folder} brings Python code of its own (auto_map in config.json), which paredown never runs. "
            f"If transformers' own class for '{content.get('model_type')}' computes the same, say so with "
            "'load: {ignore_remote_code: true}'; else use another model."
        )
    _check_weights(folder)
    if embedding.CLASSIFIER in content and setfit.is_folder(folder):
        content = setfit.configuration(folder, content, weight_files.classifier(folder))
    architecture.check_task(content, task, str(folder), headless=True)
    architecture.model_class(architecture.parse_config(content, str(folder)), task)
    return content


def _check_weights(folder: Path) -> None:
    place = embedding.encoder_folder(folder)
    present = (files.exists(place / name, error=ModelError) for name in (WEIGHTS, INDEX))
    if any(present):
        weight_files.contents(folder)
        return
    pickles = hub.pickles(place)
    if pickles:
        raise ModelError(
            f"{folder} holds its weights as {', '.join(pickles)}, a format that can run code when it is "
            "opened; paredown reads safetensors only. Where you trust the file, convert it once with the "
            f"model's Auto class: AutoModel….from_pretrained('{folder}').save_pretrained('NEW')."
        )
    raise ModelError(
        f"{folder} holds no weights (no {WEIGHTS}, no {INDEX}): get the whole model "
        "folder; a hub model without safetensors has to be converted first"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own loading report off the terminal; ours names what matters."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _from_pretrained(
    folder: Path, config: PretrainedConfig, task: Task, seed: int
) -> tuple[PreTrainedModel, dict[str, Any]]:
    import torch

    cls = architecture.model_class(config, task)
    remedy = "get the whole model folder again; config.json and weights must be of the same model"
    with (
        fence.reading(f"{folder} cannot be loaded as {with_article(cls.__name__)}", remedy),
        _quiet(),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        model, info = cls.from_pretrained(
            embedding.encoder_folder(folder),
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa" if cls._supports_sdpa else "eager",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are refused below, each by its name
            output_loading_info=True,
        )
    beside = weight_files.beside(folder)
    if beside:
        weight_files.check_fit(
            beside, model.state_dict(), "", cls.__name__, "the folder's modules are not of one model"
        )
        tensors = weight_files.read_beside(folder)
        model.load_state_dict(tensors, strict=False)
        info["missing_keys"] = set(info["missing_keys"]) - tensors.keys()
        info["unexpected_keys"] = set(info["unexpected_keys"]) | (tensors.keys() - model.state_dict().keys())
    return model, info


def _account(model: PreTrainedModel, info: dict[str, Any], folder: Path, *, headless: bool) -> bool:
    """Whether the head is new, after every weight on both sides is accounted for.

    Args:
        model: as loaded.
        info: of the loading: missing, unexpected and mismatched weights.
        folder: of the model.
        headless: whether the weights hold nothing of the task's head, or the configuration leaves that
            open.

    Raises:
        ModelError: weights of the base are missing, or left over, or of another shape.
    """
    from torch.nn import ModuleList

    if info["mismatched_keys"]:
        name, stored, expected = sorted(info["mismatched_keys"])[0]
        raise ModelError(
            f"{folder}: {name} has the shape {list(stored)} and its config.json asks for {list(expected)}: "
            "weights and configuration are not of the same model"
        )
    base = f"{body.name(model)}."
    missing = sorted(info["missing_keys"])
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    head_names = {name for name in model.state_dict() if not name.startswith(base)} - tied
    fresh = headless and bool(head_names) and head_names <= set(missing)
    # A pooler belongs to the head: language models are saved without one.
    lost = [n for n in missing if n.startswith(base) and "pooler" not in n] if fresh else missing
    if lost:
        raise ModelError(
            f"{folder}: weights are missing for {', '.join(lost[:4])}{' and more' if len(lost) > 4 else ''} "
            f"of the {type(model).__name__}: get the whole model folder"
        )
    patterns = {_NUMBERED.sub(".N.", name) for name in model.state_dict()}
    # A configuration that counts no layer at all leaves no name to compare with, only the empty list.
    stacks = ((name, module) for name, module in model.named_modules() if isinstance(module, ModuleList))
    empty = tuple(f"{name}." for name, stack in stacks if not len(stack))
    for name in sorted(info["unexpected_keys"]):
        full = name if name.startswith(base) else base + name
        numbered = (
            _NUMBERED.search(name)
            and {_NUMBERED.sub(".N.", candidate) for candidate in (name, full)} & patterns
        )
        if numbered or name.startswith(empty) or full.startswith(empty):
            raise ModelError(
                f"{folder}: the weights hold {name}, a layer that config.json does not count: weights and "
                "configuration are not of the same model"
            )
    return fresh
