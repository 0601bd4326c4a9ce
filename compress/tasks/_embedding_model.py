"""The model of an embedder: an encoder, and behind it what makes one vector of a text, in one class.

The encoder stands under its own ``base_model_prefix``, so that pruning, distillation and ``AutoModel`` find
it where they find it in every other model. What follows it is what the configuration describes
(``_embedding``). Poolings are those of sentence-transformers 6. Each is written with sums over the length
alone, which every runtime has: no index is gathered that a quantizer or a GPU would stumble over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

from compress.errors import ModelError
from compress.tasks._embedding import Dense, Truncation, described, width

_LOWEST = -6e4  # below every hidden state, and a number in FP16 too
_ONE = 1.0


def first_real(mask: torch.Tensor) -> torch.Tensor:
    """1 at the first real position of each row and 0 elsewhere, [batch, length] like the mask."""
    places = torch.arange(mask.shape[1], 0, -1, device=mask.device)[None]
    counted = places * mask
    return (counted == counted.amax(dim=1, keepdim=True)).to(mask.dtype) * mask


def last_real(mask: torch.Tensor) -> torch.Tensor:
    """1 at the last real position of each row and 0 elsewhere, [batch, length] like the mask."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)[None]
    counted = places * mask
    return (counted == counted.amax(dim=1, keepdim=True)).to(mask.dtype) * mask


def _picked(states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return (states * at[..., None].to(states.dtype)).sum(dim=1)


def _cls(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _picked(states, first_real(mask))


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _picked(states, last_real(mask))


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=_ONE)


def _root(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=_ONE).sqrt()


def _max(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask[..., None] != 0, states, _LOWEST).amax(dim=1)


def _weighted(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean with weights that grow from 1 at the first real position.

    They are divided by the batch's length, which changes no mean and keeps their sum a number of FP16.
    """
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)[None]
    before = (places * first_real(mask)).sum(dim=1, keepdim=True) - 1
    weights = ((places - before) * mask)[..., None].to(states.dtype) / mask.shape[1]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=_ONE / mask.shape[1])


POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _cls,
    "mean": _mean,
    "max": _max,
    "mean_sqrt_len_tokens": _root,
    "weightedmean": _weighted,
    "lasttoken": _last,
}


@dataclass
class Output(ModelOutput):
    """What an embedder gives.

    Attributes:
        embedding: [batch, size].
        hidden_states: of the encoder, where they were asked for.
        attentions: of the encoder, where they were asked for.
    """

    embedding: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class _Embedder:
    """What the class of every architecture shares; its other base is that architecture's own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # PreTrainedModel follows in the order of bases
        model: Any = self
        encoder = encoder_class(type(config))
        poolers = "add_pooling_layer" in inspect.signature(encoder).parameters
        options = {"add_pooling_layer": False} if poolers else {}
        setattr(model, model.base_model_prefix, encoder(config, **options))
        self.description = described(config)
        self.description.size(width(config))
        model.dense = nn.ModuleDict(
            {
                str(number): nn.Linear(part.in_features, part.out_features, bias=part.bias)
                for number, part in enumerate(self.description.after)
                if isinstance(part, Dense)
            }
        )
        self._add_head(config)
        model.post_init()

    def _add_head(self, config: Any) -> None:
        """What stands behind the vector: nothing."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> Output:
        """Vectors of texts.

        Args:
            input_ids: [batch, length]; or [batch, length, texts] for rows of several texts each.
            attention_mask: of the same shape; all ones when None.
            inputs: what else the encoder takes.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        tensors = {"input_ids": input_ids, "attention_mask": attention_mask}
        switches = {name: value for name, value in inputs.items() if not isinstance(value, torch.Tensor)}
        tensors |= {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        texts = input_ids.shape[2] if input_ids.ndim == 3 else None
        if texts is not None:
            tensors = {name: _one_below_another(value) for name, value in tensors.items()}
        switches.pop("return_dict", None)
        model: Any = self
        states = getattr(model, model.base_model_prefix)(**tensors, **switches)
        vectors = self._vectors(states[0], tensors["attention_mask"])
        if texts is not None:
            vectors = vectors.reshape(-1, texts, vectors.shape[-1])
        return Output(
            embedding=vectors,
            hidden_states=getattr(states, "hidden_states", None),
            attentions=getattr(states, "attentions", None),
        )

    def _vectors(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        model: Any = self
        pooled = [POOLINGS[mode](states, mask) for mode in self.description.pooling]
        vectors = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)
        for number, part in enumerate(self.description.after):
            if isinstance(part, Dense):
                vectors = getattr(nn, part.activation)()(model.dense[str(number)](vectors))
            elif isinstance(part, Truncation):
                vectors = vectors[..., : part.dimensions]
            else:
                vectors = functional.normalize(vectors, p=2.0, dim=-1)
        return vectors


class _Classifier(_Embedder):
    """An embedder with a linear layer behind its vector, as SetFit has it.

    Attributes:
        BEHIND_BODY: what makes the vector, and stays where the classifier is replaced.
    """

    BEHIND_BODY = ("dense",)

    def _add_head(self, config: Any) -> None:
        model: Any = self
        model.classifier = nn.Linear(self.description.size(width(config)), config.num_labels)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **inputs: Any
    ) -> SequenceClassifierOutput:
        """Logits of texts; arguments are those of the embedder."""
        output = super().forward(input_ids, attention_mask, **inputs)
        model: Any = self
        return SequenceClassifierOutput(
            logits=model.classifier(output.embedding),
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )


def _one_below_another(tensor: torch.Tensor) -> torch.Tensor:
    """[batch, length, texts] as [batch * texts, length]."""
    turned = tensor.transpose(1, 2)
    return turned.reshape(-1, turned.shape[-1])


def encoder_class(config_class: type) -> type[Any]:
    """The class of transformers that is a configuration's encoder.

    Raises:
        ModelError: there is none.
    """
    for auto in ("AutoModelForTextEncoding", "AutoModel"):
        mapping = getattr(transformers, auto)._model_mapping
        if config_class in mapping:
            classes = mapping[config_class]
            chosen: type[Any] = classes[0] if isinstance(classes, tuple | list) else classes
            return chosen
    kind = getattr(config_class, "model_type", config_class.__name__)
    raise ModelError(
        f"A model of type '{kind}' has no encoder in transformers: choose another model or task."
    )


def model_class(config_class: type) -> type[transformers.PreTrainedModel]:
    """The embedder of an architecture, such as ``BertForTextEmbedding``.

    Raises:
        ModelError: the architecture has no encoder of texts.
    """
    return _derived(config_class, _Embedder, "ForTextEmbedding")


def classifier_class(config_class: type) -> type[transformers.PreTrainedModel]:
    """The embedder of an architecture with a classifier, such as ``BertForEmbeddingClassification``.

    Raises:
        ModelError: the architecture has no encoder of texts.
    """
    return _derived(config_class, _Classifier, "ForEmbeddingClassification")


@cache
def _derived(config_class: type, head: type[_Embedder], suffix: str) -> type[transformers.PreTrainedModel]:
    encoder = encoder_class(config_class)
    lineage: list[Any] = [
        part for part in encoder.__mro__[1:] if issubclass(part, transformers.PreTrainedModel)
    ]
    base = next(part for part in lineage if part.base_model_prefix)
    name = f"{encoder.__name__.removesuffix('Model').removesuffix('Encoder')}{suffix}"
    derived: type[transformers.PreTrainedModel] = type(name, (head, base), {"__doc__": head.__doc__})
    return derived
