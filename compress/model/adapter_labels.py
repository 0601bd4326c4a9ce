"""The head that an adapter carries, and whose names its labels have: its own, its base's, or nobody's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from compress import log
from compress.label_names import Lender
from compress.model import architecture
from compress.tasks import Head, Task
from compress.tasks import _heads as heads


def head(outputs: int, folders: Iterable[tuple[Lender, Path]], task: Task) -> tuple[Head, Lender | None]:
    """The head of an adapter, and whose config.json names its labels; None where none does.

    The data's names are not taken: they may be in another order.

    Args:
        outputs: that the adapter's classifier has.
        folders: whose ``config.json`` may name them, the likelier first.
        task: of the model.
    """
    if outputs == 1:
        return Head("regression", ()), None
    for lender, folder in folders:
        if not (folder / architecture.CONFIG).is_file():
            continue
        content = architecture.read_config(folder)
        named: Head = task.head_of(content)
        if content.get("id2label") and len(named.labels) == outputs and not heads.unnamed(named):
            return named, lender
    return Head("single_label", tuple(f"LABEL_{i}" for i in range(outputs))), None


def say(folder: Path, named: Head, lender: Lender | None) -> None:
    """Tell whoever loads an adapter where the names of its labels come from."""
    if lender is None:
        log.warning(
            "the adapter %s names no labels, nor does its base: its %d outputs are called %s; name them in "
            "id2label of the base's config.json, or give data whose labels.json lists them in their order",
            folder,
            len(named.labels),
            heads.listed(named.labels),
        )
        return
    pairs = heads.listed([f"{i} = {label}" for i, label in enumerate(named.labels)])
    log.warning("the labels of the adapter %s are those of the %s: %s", folder, lender, pairs)
