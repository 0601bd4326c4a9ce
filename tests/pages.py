"""The pages that users read (README and docs), cut into fenced blocks and code in running text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
FENCE: Final = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: after the fence.
        file: that the block is written to, where it names one.
        text: between the fences.
    """

    language: str
    file: str | None
    text: str


def navigation(entries: Any = None) -> Iterator[str]:
    """The pages of the site in its order, generated and borrowed ones too."""
    if entries is None:
        entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from navigation([inner] if isinstance(inner, str) else inner)


def pages() -> list[Path]:
    """README first, then what stands in ``docs``, in the order of the site."""
    return [ROOT / "README.md", *(DOCS / name for name in navigation() if (DOCS / name).is_file())]


def name(page: Path) -> str:
    """A page's path in the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(language, file or None, body) for language, file, body in FENCE.findall(text)]


def lines(block: Block) -> list[str]:
    """The commands of a block: lines that go on are joined, empty ones are left out."""
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def inline(page: Path) -> list[str]:
    """The code in running text, each on one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]
