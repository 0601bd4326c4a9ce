"""What a gate is: it turns a report into a verdict and measures nothing.

A gate is a module in this folder. What is missing in the report fails, with a list of what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

    from bench.record import Report, Verdict


class Gate(Protocol):
    """The names that a gate module defines.

    Attributes:
        Config: its limit (a string with its unit) and what it looks at.
    """

    Config: type[BaseModel]

    @staticmethod
    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """The verdict on one candidate; ratios refer to ``report.baseline``."""
        ...
