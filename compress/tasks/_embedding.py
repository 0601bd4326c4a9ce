"""What an embedder is made of, as ``config.json`` describes it and as a sentence-transformers folder does.

The field ``text_embedding`` of ``config.json`` describes what makes a vector of the encoder's states::

    {"pooling": ["mean"],
     "after": [{"in_features": 384, "out_features": 128, "bias": true, "activation": "Tanh"},
               {"dimensions": 64}, "normalize"],
     "prompts": {"text": "query: ", "text_pair": "passage: "},
     "max_length": 256, "lowercase": false}

A folder of sentence-transformers says the same in ``modules.json`` and a folder for each module. Nothing of
it is run: modules are read by name, and weights of dense layers from safetensors alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from compress.errors import ModelError
from compress.reading import files, json_values
from compress.recipe import explain
from compress.strict import Strict

FIELD = "text_embedding"
CLASSIFIER = "embedding_classifier"
"""The field of ``config.json`` that says that a classifier stands behind the vector, and who wrote it."""
Mode = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
Activation = Literal["Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU"]
MODES: tuple[Mode, ...] = get_args(Mode)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
MODULES = "modules.json"
OLD_POOLINGS: dict[str, Mode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How folders before sentence-transformers 6 name a pooling."""
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class Dense(Strict):
    """A linear layer behind the pooling.

    Attributes:
        in_features: numbers that it takes.
        out_features: numbers that it gives.
        bias: whether it has one.
        activation: what its output goes through, by its name in ``torch.nn``.
    """

    in_features: int = Field(ge=1, le=2**20)
    out_features: int = Field(ge=1, le=2**20)
    bias: bool = True
    activation: Activation = "Tanh"


class Truncation(Strict):
    """The first numbers of a vector, which is all of it that stays (Kusupati et al. 2022, "Matryoshka").

    Attributes:
        dimensions: how many; a vector that has no more stays as it is.
    """

    dimensions: int = Field(ge=1, le=2**20)


Part = Dense | Truncation | Literal["normalize"]


class Description(Strict):
    """What makes a vector of an encoder's states.

    Attributes:
        pooling: how the states of a text become one; several stand side by side.
        after: what follows, in order.
        prompts: role of a text in its row -> what is put before it.
        max_length: tokens that a text is cut to, where the folder says so.
        lowercase: whether texts are written in lower case first.
    """

    pooling: tuple[Mode, ...] = Field(min_length=1, max_length=len(MODES))
    after: tuple[Part, ...] = ()
    prompts: dict[Literal["text", "text_pair"], str] = Field(default={})
    max_length: int | None = Field(default=None, ge=1, lt=2**31)
    lowercase: bool = False

    def size(self, width: int) -> int:
        """Numbers of a vector.

        Args:
            width: of the encoder's states.

        Raises:
            ModelError: a dense layer does not fit what stands before it.
        """
        size = width * len(self.pooling)
        for number, part in enumerate(self.after, start=1):
            if isinstance(part, Truncation):
                size = min(size, part.dimensions)
            if not isinstance(part, Dense):
                continue
            if part.in_features != size:
                raise ModelError(
                    f"part {number} behind the pooling is a dense layer of {part.in_features} inputs, and "
                    f"what stands before it gives {size} numbers ({', '.join(self.pooling)} of states "
                    f"{width} wide): the folder's modules are not of one model, get it again"
                )
            size = part.out_features
        return size

    @property
    def unit(self) -> bool:
        """Whether vectors have the length 1."""
        return bool(self.after) and self.after[-1] == "normalize"

    def truncated(self, dimensions: int) -> Description:
        """The same with vectors of so many numbers, which have the length 1 where they have it now."""
        # What is normalized once more need not be before: the shorter vector keeps its direction.
        before, last = (self.after[:-1], self.after[-1:]) if self.unit else (self.after, ())
        return self.model_copy(update={"after": (*before, Truncation(dimensions=dimensions), *last)})

    def written(self) -> dict[str, Any]:
        """As ``config.json`` holds it."""
        content: dict[str, Any] = json.loads(self.model_dump_json())
        return content


PLAIN = Description(pooling=("mean",))
"""What an encoder gets that comes without a word about pooling, which ``load`` says."""


def described(config: Any) -> Description:
    """The description in a configuration: its own, or a mean where it says nothing.

    Args:
        config: of transformers, or the content of a ``config.json``.

    Raises:
        ModelError: it does not hold together.
    """
    content = config.get(FIELD) if isinstance(config, Mapping) else getattr(config, FIELD, None)
    if content is None:
        return PLAIN
    try:
        return Description.model_validate_json(json.dumps(content))
    except ValidationError as cause:
        raise ModelError(
            f"{explain(cause, f'{FIELD} in config.json')}: get the model folder again"
        ) from cause


def width(config: Any) -> int:
    """How wide the states of a configuration's encoder are.

    Raises:
        ModelError: it does not say.
    """
    get = config.get if isinstance(config, Mapping) else lambda name: getattr(config, name, None)
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        size = get(name)
        if isinstance(size, int):
            return size
    raise ModelError(
        f"a model of type '{get('model_type')}' does not say how wide its states are (no hidden_size in its "
        "config.json): take another encoder"
    )


def dense_name(number: int) -> str:
    """What the weights of the part with that number behind the pooling begin with."""
    return f"dense.{number}."


@dataclass(frozen=True)
class Modules:
    """What a folder of sentence-transformers holds.

    Attributes:
        encoder: the folder in it that holds the encoder with its tokenizer; often itself.
        description: of what follows the encoder.
        dense: number of a part behind the pooling -> file with its weights.
        prompts: name -> what is put before a text.
        default: the name of the prompt that every text gets; None for none.
    """

    encoder: Path
    description: Description
    dense: dict[int, Path] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    default: str | None = None


def is_modular(folder: Path) -> bool:
    """Whether a folder is one of sentence-transformers; one that paredown wrote describes itself."""
    if not files.is_file(folder / MODULES, error=ModelError):
        return False
    config = folder / CONFIG
    if not files.is_file(config, error=ModelError):
        return True
    content = json_values.read(config, error=ModelError)
    return isinstance(content, dict) and FIELD not in content


def encoder_folder(folder: Path) -> Path:
    """The folder that holds the encoder of a model: itself, or a part of a sentence-transformers folder.

    Raises:
        ModelError: its modules are none that paredown knows.
    """
    return modules(folder).encoder if is_modular(folder) else folder


def configuration(folder: Path) -> dict[str, Any] | None:
    """The ``config.json`` of a sentence-transformers folder's encoder with the description of what follows.

    None where the folder is none of sentence-transformers, or its encoder has no ``config.json``.

    Raises:
        ModelError: its modules are none that paredown knows.
    """
    if not is_modular(folder):
        return None
    parts = modules(folder)
    file = parts.encoder / CONFIG
    if not files.exists(file, error=ModelError):
        raise ModelError(
            f"{folder}: {MODULES} names the encoder in {parts.encoder}, where no {CONFIG} is: {_AGAIN}"
        )
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: {_AGAIN}")
    if parts.dense:
        parts.description.size(width(content))
    return {**content, FIELD: parts.description.written()}


def modules(folder: Path) -> Modules:
    """The modules of a sentence-transformers folder.

    Raises:
        ModelError: one of them is none that paredown knows, or they do not follow each other in a way that
            gives one vector; the message names it, and what is allowed.
    """
    listed = _listed(folder)
    kinds = [_kind(entry, folder) for entry in listed]
    if kinds[0] != "Transformer" or kinds[1:2] != ["Pooling"] or kinds[2:].count("Pooling"):
        raise ModelError(
            f"{folder / MODULES} lists {', '.join(kinds)}: an embedder is a Transformer, then a Pooling, "
            "then any "
            "number of Dense and Normalize"
        )
    folders = places(folder)
    after: list[Part] = []
    dense: dict[int, Path] = {}
    for kind, place in zip(kinds[2:], folders[2:], strict=True):
        if kind == "Dense":
            dense[len(after)] = _dense_weights(place)
            after.append(_dense(place))
        else:
            after.append("normalize")
    settings = json_object(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    default = settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(
            f"{folder / 'config_sentence_transformers.json'}: prompts is no table of texts: {_AGAIN}"
        )
    if default is not None and default not in prompts:
        raise ModelError(
            f"{folder / 'config_sentence_transformers.json'}: default_prompt_name is '{default}', which is "
            "none of "
            f"its prompts ({', '.join(prompts) or 'it has none'}): correct it"
        )
    limits = _encoder_limits(folders[0])
    text = prompts[default] if default is not None else ""
    pooling, with_prompt = _pooling(folders[1])
    if text and not with_prompt:
        raise _without_prompt(folder)
    try:
        if settings.get("truncate_dim") is not None:
            # As the library does it: behind everything else, and not normalized again.
            after.append(Truncation(dimensions=settings["truncate_dim"]))
        description = Description(
            pooling=pooling,
            after=tuple(after),
            prompts={"text": text, "text_pair": text} if text else {},
            max_length=limits.get("max_seq_length"),
            lowercase=bool(limits.get("do_lower_case", False)),
        )
    except ValidationError as cause:
        raise ModelError(f"{explain(cause, str(folder))}: {_AGAIN}") from cause
    return Modules(folders[0], description, dense, prompts if with_prompt else {}, default)


def places(folder: Path) -> list[Path]:
    """The folders of the modules of a sentence-transformers folder, whatever they are.

    Raises:
        ModelError: ``modules.json`` is damaged, or leads out of the folder.
    """
    return [_place(entry, folder) for entry in _listed(folder)]


def _listed(folder: Path) -> list[dict[str, Any]]:
    listed = json_values.read(folder / MODULES, error=ModelError)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed) or not listed:
        raise ModelError(f"{folder / MODULES} is no list of modules: {_AGAIN}")
    return listed


_AGAIN = "get the model folder again"
_KNOWN = ("Transformer", "Pooling", "Dense", "Normalize")


def _without_prompt(folder: Path) -> ModelError:
    return ModelError(
        f"{folder} pools its texts without their prompt (include_prompt: false), which paredown does not "
        "do: leave "
        "the prompt out, or take another model"
    )


def _kind(entry: Mapping[str, Any], folder: Path) -> str:
    """The name of a module's class."""
    named = entry.get("type")
    home, _, kind = named.rpartition(".") if isinstance(named, str) else ("", "", "")
    if home.partition(".")[0] != "sentence_transformers" or kind not in _KNOWN:
        raise ModelError(
            f"{folder / MODULES} names the module {str(named)[:80]}, which paredown does not have: it takes "
            f"{', '.join(_KNOWN)} of sentence-transformers, and runs no code of a folder's own"
        )
    return kind


def _place(entry: Mapping[str, Any], folder: Path) -> Path:
    """The folder of a module, inside of the model's."""
    path = entry.get("path", "")
    if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise ModelError(f"{folder / MODULES}: the path {str(path)[:80]!r} leads out of the folder: {_AGAIN}")
    return folder / path


def json_object(file: Path) -> dict[str, Any]:
    """A JSON file that need not be there."""
    if not files.exists(file, error=ModelError):
        return {}
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: {_AGAIN}")
    return content


def _encoder_limits(place: Path) -> dict[str, Any]:
    """What ``sentence_bert_config.json`` says; older folders name it by their architecture."""
    names = sorted(
        place.glob("sentence_*_config.json"), key=lambda file: file.name != "sentence_bert_config.json"
    )
    return json_object(names[0]) if names else {}


def _pooling(place: Path) -> tuple[tuple[Mode, ...], bool]:
    """The poolings that a module names, and whether prompts are pooled too."""
    content = json_object(place / CONFIG)
    named = content.get("pooling_mode")
    if named is None:
        named = [mode for key, mode in OLD_POOLINGS.items() if content.get(key) is True] or ["mean"]
    modes = [named] if isinstance(named, str) else named
    if not isinstance(modes, list) or not modes or any(mode not in MODES for mode in modes):
        raise ModelError(
            f"{place / CONFIG}: the pooling is {str(named)[:80]}, allowed is one or several of "
            f"{', '.join(MODES)}"
        )
    return tuple(modes), content.get("include_prompt", True) is not False


def _dense(place: Path) -> Dense:
    """The dense layer that a module's configuration describes."""
    content = json_object(place / CONFIG)
    if content.get("use_residual") or any(
        content.get(key) not in (None, "sentence_embedding")
        for key in ("module_input_name", "module_output_name")
    ):
        raise ModelError(
            f"{place / CONFIG}: a dense layer that adds its input, or works on something else than the "
            "text's "
            "vector, is none that paredown has: take another model"
        )
    activation = str(content.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if activation.partition(".")[0] != "torch" or activation.rpartition(".")[2] not in ACTIVATIONS:
        raise ModelError(
            f"{place / CONFIG}: activation_function is {activation[:80]}, allowed is one of torch.nn: "
            f"{', '.join(ACTIVATIONS)}"
        )
    values = {name: content[name] for name in ("in_features", "out_features", "bias") if name in content}
    try:
        return Dense.model_validate({**values, "activation": activation.rpartition(".")[2]})
    except ValidationError as cause:
        raise ModelError(f"{explain(cause, str(place / CONFIG))}: {_AGAIN}") from cause


def _dense_weights(place: Path) -> Path:
    """The file with the weights of a dense layer."""
    file = place / WEIGHTS
    if files.exists(file, error=ModelError):
        return file
    if files.exists(place / "pytorch_model.bin", error=ModelError):
        raise ModelError(
            f"{place} holds its weights as pytorch_model.bin, a format that can run code when it is opened; "
            "paredown "
            "reads safetensors only. Where you trust the file, write it anew with sentence-transformers: "
            f"SentenceTransformer('{place.parent}').save_pretrained('NEW')"
        )
    raise ModelError(f"{place} holds no weights (no {WEIGHTS}): {_AGAIN}")
