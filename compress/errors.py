"""What can go wrong on the user's side, and the exit codes of the command line.

A message says what was asked, what was found, what is allowed and what to do next. Everything
here is shown as one sentence without a traceback; any other exception is a bug of ours.
"""

import difflib
import enum
from collections.abc import Iterable

_SHOWN = 120  # characters of a name; what was given may be a whole file


class ExitCode(enum.IntEnum):
    """The process exit codes, the same for every command."""

    OK = 0
    BUG = 1
    INPUT = 2
    GATE_FAILED = 3
    INCONCLUSIVE = 4
    ANOMALOUS = 5


def first_line(cause: BaseException) -> str:
    """What a library said, on one line of bearable length."""
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return " ".join(lines[0].split())[:300]


class UserError(Exception):
    """A mistake in what was given: a file, an option, a recipe, a row."""


class RecipeError(UserError):
    """A recipe, a budget or an option that does not hold together."""


class DataError(UserError):
    """Rows or columns that cannot be used as they are."""


class NothingToMeasure(DataError):  # noqa: N818 - reads as the sentence that it is
    """What a probe can say nothing of, though others can: numbers have no confidence, for one."""


class ModelError(UserError):
    """A model folder that cannot be used as it is."""


class ArtifactError(UserError):
    """A sealed folder that is missing, incomplete or changed."""


class TrainingError(UserError):
    """Training that cannot go on (a loss that is not a number, say)."""


class ParityError(UserError):
    """A converted model that does not compute what its source computes."""


class MissingPiece(UserError):  # noqa: N818 - reads as the sentence that it is
    """An optional library that the asked-for step needs and that is not installed."""


class EntryError(UserError):
    """An entry of the catalog that cannot be imported, or that does not keep its contract."""


class UnknownName(UserError):  # noqa: N818 - reads as the sentence that it is
    """A name that no entry of the catalog bears."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        """Build the sentence, with the nearest known name where one is near."""
        names = sorted(choices)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        label = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        super().__init__(f"Unknown {kind} '{label}'.{hint} Known: {', '.join(names)}.")
