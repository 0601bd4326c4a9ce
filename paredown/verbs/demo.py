"""The verb demo: the shipped recipe of that name, offline."""

from __future__ import annotations

from pathlib import Path

from paredown.verbs import _options
from paredown.verbs._outcome import finish


def demo(
    out: _options.RunFolder = Path("runs/demo"),
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Run the shipped recipe 'demo': train, shrink and bench a small image classifier, offline.

    Exit 0 unless a gate failed: what a busy machine leaves open is said and is no failure of the demo.
    """
    from compress import recipe
    from paredown import workflow

    finish(workflow.run(recipe.read("demo"), out, _options.store(store)), as_json, shows=True)
