"""The parts that reports and findings are shown by, the same for the terminal, Markdown and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.answers.shown import Row


@dataclass(frozen=True)
class Cell:
    """A text, and the interval behind it; empty where there is none."""

    text: str
    interval: str = ""

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.text} ({self.interval})" if self.interval else self.text


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: above it.
        header: of its columns.
        rows: the cells.
        left: how many columns from the left hold words; the rest are figures.
        remarks: whether the last column holds words too.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    left: int = 1
    remarks: bool = False

    def holds_words(self, place: int) -> bool:
        """Whether a column holds words, which stand at its left; figures stand at its right."""
        return place < self.left or (self.remarks and place == len(self.header) - 1)


def table(title: str, header: list[str], rows: list[list[str]]) -> Table:
    """A table of plain texts, of which the first column holds the names."""
    return Table(title, header, [list(map(Cell, row)) for row in rows])


@dataclass(frozen=True)
class Card:
    """One figure of the first screen.

    Attributes:
        title: what it is.
        value: the figure.
        interval: where it lies with 95 % confidence; empty where it has none.
        sure: what the interval allows to say, in a few words; empty without one.
        detail: before and after.
    """

    title: str
    value: str
    interval: str
    sure: str
    detail: str

    @property
    def words(self) -> str:
        """Everything but title and figure, in one line."""
        interval = f"95 % interval {self.interval}" if self.interval else ""
        return "; ".join(part for part in (interval, self.sure, self.detail) if part)


@dataclass(frozen=True)
class Listing:
    """Rows of the data for a person to read.

    Attributes:
        title: what they are.
        rows: the worst first.
        method: how the words of the first of them were weighed; empty where they were not.
    """

    title: str
    rows: tuple[Row, ...]
    method: str = ""


@dataclass(frozen=True)
class Mark:
    """A change that a first screen shows: in a figure, where, and more of it; ``won`` where it is no loss."""

    figure: str
    name: str
    detail: str
    won: bool


@dataclass(frozen=True)
class Highlight:
    """What a first screen shows of a finding: changes, or rows.

    Attributes:
        name: of it on the page.
        title: above it.
        marks: the worst first.
        rows: the worst first.
    """

    name: str
    title: str
    marks: tuple[Mark, ...] = ()
    rows: tuple[Row, ...] = ()
