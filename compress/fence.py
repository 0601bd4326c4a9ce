"""The edge where transformers reads a folder that somebody gave, and where its models' own code is run.

What it raises there is about the folder or the model, whatever class it is of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from compress.errors import ModelError, UserError

_ROOT = Path(__file__).resolve().parent.parent
_OURS = tuple(f"{_ROOT / package}/" for package in ("compress", "deploy", "bench", "paredown"))


@contextmanager
def reading(subject: str, remedy: str) -> Iterator[None]:
    """Turn what a library raises while it reads input into one sentence.

    Only calls into transformers belong inside, never code of ours, whose faults keep their traceback.

    Args:
        subject: what could not be read, with its folder: the sentence starts with it.
        remedy: what to do next.

    Raises:
        ModelError: the library refused what it read.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    # transformers has no error of its own for wrong fields, and tokenizers raises plain Exception.
    except Exception as cause:
        raise _refusal(subject, cause, remedy) from cause
    except BaseException as cause:
        if not is_panic(cause):
            raise
        raise _refusal(subject, cause, remedy) from cause


@contextmanager
def running(refusal: Callable[[Exception], ModelError]) -> Iterator[None]:
    """Turn what a model's code raises into one sentence, where code of ours is called by it or calls it.

    What is raised in a line of ours is a fault of ours and keeps its traceback; so does what the system says
    of a disk or of memory.

    Args:
        refusal: the sentence about what was raised.

    Raises:
        ModelError: as ``refusal`` gives it.
    """
    try:
        yield
    except (UserError, MemoryError, OSError):
        raise
    # A model's forward may raise anything, and exporters have a dozen classes that share no base.
    except Exception as cause:
        if is_ours(cause):
            raise
        raise refusal(cause) from cause


def is_panic(cause: BaseException) -> bool:
    """Whether an error is of Rust, where a library such as tokenizers meets what it never expects."""
    return type(cause).__name__ == "PanicException"


def is_ours(problem: BaseException) -> bool:
    """Whether an error, or what it was raised from, was raised in a line of paredown."""
    chain: set[int] = set()
    cause: BaseException | None = problem
    while cause is not None and id(cause) not in chain:
        chain.add(id(cause))
        file = _innermost(cause.__traceback__)
        if file is not None and file.startswith(_OURS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _innermost(trace: TracebackType | None) -> str | None:
    """The file whose line raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename if trace is not None else None


def _refusal(subject: str, cause: BaseException, remedy: str) -> ModelError:
    reason = " ".join(str(cause).split())[:300] or type(cause).__name__
    return ModelError(f"{subject} ({type(cause).__name__}: {reason}): {remedy}")
