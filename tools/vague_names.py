"""How many assigned names say nothing of what they hold: a participle, a pronoun, a question word.

``python -m tools.vague_names`` shows the share of each tree and its budget, ``python -m tools.vague_names
PATH ...`` each place. The budgets are in ``pyproject.toml`` under ``tool.vague-names``, and only fall.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = frozenset(
    {
        "asked",
        "done",
        "each",
        "foo",
        "found",
        "given",
        "got",
        "held",
        "here",
        "how",
        "it",
        "kept",
        "known",
        "made",
        "obj",
        "one",
        "ones",
        "other",
        "others",
        "own",
        "res",
        "rest",
        "ret",
        "said",
        "seen",
        "shown",
        "some",
        "stuff",
        "taken",
        "temp",
        "that",
        "them",
        "there",
        "thing",
        "things",
        "this",
        "tmp",
        "told",
        "took",
        "val",
        "wanted",
        "what",
        "when",
        "where",
        "which",
        "whole",
        "whose",
        "why",
    }
)
"""Words that fit any value, so that they name none."""


@dataclass(frozen=True)
class Place:
    """An assigned name.

    Attributes:
        file: that assigns it.
        line: counted from 1.
        name: as written.
    """

    file: Path
    line: int
    name: str

    @property
    def vague(self) -> bool:
        """Whether the name fits any value."""
        return self.name.strip("_") in WORDS


def names(file: Path) -> Iterator[Place]:
    """Every name that a file assigns: variables, loop variables, fields and parameters."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Place(file, node.lineno, node.id)
        elif isinstance(node, ast.arg):
            yield Place(file, node.lineno, node.arg)


def tree(path: Path) -> list[Place]:
    """The names of a file, or of all Python files under a folder."""
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [place for file in files for place in names(file)]


def share(places: list[Place]) -> float:
    """The percentage of names that are vague."""
    return 100 * sum(place.vague for place in places) / len(places) if places else 0.0


def budgets(root: Path) -> dict[str, float]:
    """Tree -> the percentage of vague names that it may have, as ``pyproject.toml`` says."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return {str(path): float(budget) for path, budget in settings["tool"]["vague-names"].items()}


def main(arguments: list[str]) -> None:
    """Print shares and budgets, or the places of what is named."""
    for path in arguments:
        sys.stdout.writelines(f"{at.file}:{at.line}: {at.name}\n" for at in tree(Path(path)) if at.vague)
    for path, budget in () if arguments else budgets(Path()).items():
        line = f"{path:10} {share(tree(Path(path))):5.2f} % of its assigned names, {budget:g} % at most"
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
