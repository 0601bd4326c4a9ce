"""The rooms of the house as a table: the layers of import-linter, and what each room says of itself."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path


def layers(root: Path) -> list[list[str]]:
    """The modules of each layer that import-linter checks, the highest first."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [[module.strip() for module in layer.split("|")] for layer in contract["layers"]]


def file(root: Path, module: str) -> Path:
    """The file of a module, or of a package's ``__init__``."""
    place = root.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def summary(root: Path, module: str) -> str:
    """The first paragraph of a module's docstring, in one line of Markdown."""
    text = ast.get_docstring(ast.parse(file(root, module).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def table(root: Path) -> str:
    """A line for each room; rooms of one layer share a number and do not import each other."""
    rows = [
        f"| {number} | `{module}` | {summary(root, module)} |"
        for number, layer in enumerate(layers(root), start=1)
        for module in layer
    ]
    return "\n".join(["| layer | room | what it holds |", "| ---: | --- | --- |", *rows])
