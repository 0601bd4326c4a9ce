"""What is known of the names of a head's labels: carried from stage to stage, and into reports and cards.

A name says which output means what. Where a model brings none, or its names are taken from elsewhere, or
the ids of the data mean them by their order alone, no figure can show a mistake: whoever reads an answer
must know.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Lender = Literal["adapter", "base"]

_MOST = 20


class LabelNames(BaseModel):
    """How the outputs of a model got their names.

    Attributes:
        unknown: nothing names them: they are called ``LABEL_0``, ``LABEL_1``, ...
        borrowed_from: of an adapter that brings no names: whose they are.
        by_order: which label of the data it was made with was taken for which of the head's, such as
            ``0 = negative``, where their order alone says so; empty where names do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unknown: StrictBool = False
    borrowed_from: Lender | None = None
    by_order: tuple[str, ...] = Field(default=(), max_length=100_000)

    def sentences(self) -> list[str]:
        """What whoever reads an answer must know of its label; empty where the names are the model's own."""
        remarks = []
        if self.unknown:
            remarks.append(
                "the labels have no names: LABEL_0, LABEL_1, … are the numbers of the outputs (name them in "
                "id2label of the model's config.json)"
            )
        if self.borrowed_from is not None:
            origin = "the adapter's config.json" if self.borrowed_from == "adapter" else "the adapter's base"
            remarks.append(f"the names of the labels are those of {origin}, in its order")
        if self.by_order:
            remarks.append(
                "the labels of the data that it was made with were taken by their order alone: "
                f"{listed(self.by_order)}"
            )
        return remarks


def listed(pairs: tuple[str, ...]) -> str:
    """Pairs for a sentence, cut after some."""
    more = f", and {len(pairs) - _MOST} more" if len(pairs) > _MOST else ""
    return ", ".join(pairs[:_MOST]) + more


def evaluation_order(pairs: tuple[str, ...]) -> list[str]:
    """The sentence about evaluation rows whose labels are matched by order; empty where names match."""
    if not pairs:
        return []
    return [
        "The data's labels were matched with the head's by their order alone, which no figure can check: "
        f"{listed(pairs)}"
    ]
