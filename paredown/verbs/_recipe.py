"""From a command's words to the recipe that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paredown.verbs import _options

if TYPE_CHECKING:
    from compress.recipe import Recipe


def chosen_recipe(
    reference: str,
    model: str | None,
    data: str | None,
    columns: list[str] | None,
    overrides: list[str] | None,
    seed: int | None,
    task: str | None = None,
    limit: int | None = None,
) -> Recipe:
    """A recipe with the command's own options over it."""
    from compress import recipe

    chosen = recipe.read(reference, overrides or ())
    changes: dict[str, Any] = {}
    if model is not None:
        changes["model"] = model
    if task is not None:
        changes["task"] = task
    if seed is not None:
        changes["seed"] = seed
    config = _options.data_config(data, columns, limit)
    if config is not None:
        base = chosen.data.model_dump(exclude_defaults=True) if chosen.data else {}
        changes["data"] = recipe.DataConfig(**{**base, **config.model_dump(exclude_defaults=True)})
    return chosen.model_copy(update=changes)
