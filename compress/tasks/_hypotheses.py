"""Hypotheses of candidate labels: what a model of inference is asked about a text, and which output says yes.

Labels and template stand in ``config.json`` under ``zero_shot``, where ``load`` writes them, so that every
stage, every runtime and ``predict`` ask the same. A tokenizer carries them beside its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.errors import ModelError
from compress.tasks import _heads as heads

FIELD = "zero_shot"
TEMPLATE = "This example is {}."


@dataclass(frozen=True)
class Hypotheses:
    """What is asked.

    Attributes:
        labels: candidates, in the order of answers; empty where nobody said which.
        template: of a hypothesis; ``{}`` is where the label stands.
        outputs: how many the model has.
        entailment: the output that says that the hypothesis follows from the text.
        contradiction: the output that says that it does not.
    """

    labels: tuple[str, ...]
    template: str
    outputs: int
    entailment: int
    contradiction: int

    def texts(self) -> list[str]:
        """One hypothesis a candidate; before there are any, the template itself."""
        return [self.template.replace("{}", label) for label in self.labels] or [self.template]


def read(config: Mapping[str, Any]) -> Hypotheses:
    """What a ``config.json`` says.

    Raises:
        ModelError: no output is called entailment, or the field is not of this form.
    """
    outputs = heads.names_of(config)
    folded = [name.strip().casefold() for name in outputs]
    entailment = next((i for i, name in enumerate(folded) if name.startswith("entail")), None)
    if entailment is None or len(outputs) < 2:
        raise ModelError(
            f"the outputs of this model are {heads.listed(outputs)}, and zero-shot-classification asks a "
            "model of natural language inference, one of whose outputs is called entailment: take such a "
            "model, or name its outputs in id2label of its config.json"
        )
    # As the pipeline of transformers has it, where names do not tell.
    usual = len(outputs) - 1 if entailment == 0 else 0
    against = next((i for i, name in enumerate(folded) if name.startswith(("contra", "not"))), usual)
    field = config.get(FIELD)
    if field is None:
        return Hypotheses((), TEMPLATE, len(outputs), entailment, against)
    labels: Any = field.get("labels") if isinstance(field, Mapping) else None
    template: Any = field.get("template") if isinstance(field, Mapping) else None
    if not _are_labels(labels) or not isinstance(template, str):
        raise ModelError(
            f"{FIELD} in config.json is {str(field)[:80]}, and it must hold 'labels', a list of at least two "
            "different texts, and 'template', a text: load the model again"
        )
    check(labels, template)
    return Hypotheses(tuple(labels), template, len(outputs), entailment, against)


def written(labels: Sequence[str], template: str) -> dict[str, Any]:
    """Labels and template as ``config.json`` has them.

    Raises:
        ModelError: they cannot be asked.
    """
    check(labels, template)
    return {"labels": list(labels), "template": template}


def check(labels: Sequence[str], template: str) -> None:
    """Refuse what makes no hypotheses.

    Raises:
        ModelError: fewer than two labels, one twice, a number, a blank, or a template without one place.
    """
    if template.count("{}") != 1 or template.replace("{}", "").strip("{} ") == "":
        raise ModelError(
            f"the template is {template!r}, and it must be a text with {{}} once, where the label goes, such "
            f"as {TEMPLATE!r}"
        )
    if not _are_labels(labels):
        raise ModelError(
            f"the candidate labels are {heads.listed(labels) or 'none'}: give at least two different ones, "
            "none blank"
        )
    numbers = [label for label in labels if heads.whole(label) is not None]
    if numbers:
        raise ModelError(
            f"the candidate labels {heads.listed(numbers)} are no words, of which a hypothesis is made: "
            "name them in a labels.json beside the data, in data.labels, or in a recipe's "
            "'load: {labels: [...]}'"
        )


def _are_labels(labels: Any) -> bool:
    return (
        isinstance(labels, list | tuple)
        and len(labels) > 1
        and all(isinstance(label, str) and label.strip() for label in labels)
        and len({label.strip() for label in labels}) == len(labels)
    )
