"""What a finding is: what stands behind the figures of a probe, and all that is said and shown of it.

A finding is a module in this folder, whose name is the ``kind`` of its model. A report holds the model; the
terminal, Markdown and the page show every finding by the names below, and know none of them. How it is found
is in the module as well, for the probe that measures it.
"""

from __future__ import annotations

from typing import Any, Protocol

from bench.display.parts import Card, Highlight, Listing, Table
from bench.record.finding import Finding as Model
from compress.contract import optional


class Finding(Protocol):
    """The names that a finding's module defines.

    Attributes:
        MODEL: of what a report holds, with the module's name as its ``kind``.
        TITLE: of its section.
        RANK: lower ones come first.
    """

    MODEL: type[Model]
    TITLE: str
    RANK: int = 100

    @staticmethod
    def sentences(finding: Any) -> list[str]:
        """What was found, for a person."""
        ...

    @staticmethod
    @optional
    def headline(finding: Any) -> str | None:
        """What happened to the answers, in a clause, where it says that."""
        return None

    @staticmethod
    @optional
    def tables(finding: Any) -> list[Table]:
        """Every figure of it."""
        return []

    @staticmethod
    @optional
    def brief(finding: Any) -> Table | None:
        """The figures that a report about more has room for, the worst first; its title leads to them."""
        return None

    @staticmethod
    @optional
    def plots(finding: Any) -> list[tuple[str, str]]:
        """Title and SVG of each plot."""
        return []

    @staticmethod
    @optional
    def listings(finding: Any) -> list[Listing]:
        """Rows of the data, for a person to read."""
        return []

    @staticmethod
    @optional
    def highlight(finding: Any) -> Highlight | None:
        """What the first screen of the page shows."""
        return None

    @staticmethod
    @optional
    def cards(finding: Any) -> list[Card]:
        """Figures of the first screen, where it has room."""
        return []

    @staticmethod
    @optional
    def steps(finding: Any) -> dict[str, str]:
        """Column -> cell of the table that has a row for each candidate of a report."""
        return {}

    @staticmethod
    @optional
    def notes(finding: Any) -> list[str]:
        """What a reader must know."""
        return []
