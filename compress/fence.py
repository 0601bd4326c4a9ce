"""The edge where transformers reads a folder that somebody gave: what it raises there is about the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compress.errors import ModelError, UserError


@contextmanager
def reading(where: str, remedy: str) -> Iterator[None]:
    """Turn what a library raises while it reads input into one sentence.

    Only calls into transformers belong inside, never code of ours, whose faults keep their traceback.

    Args:
        where: what could not be read, with its folder: the sentence starts with it.
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
        raise _refusal(where, cause, remedy) from cause
    except BaseException as cause:
        if type(cause).__name__ != "PanicException":  # of Rust, where tokenizers meets what it never expects
            raise
        raise _refusal(where, cause, remedy) from cause


def _refusal(where: str, cause: BaseException, remedy: str) -> ModelError:
    reason = " ".join(str(cause).split())[:300] or type(cause).__name__
    return ModelError(f"{where} ({type(cause).__name__}: {reason}): {remedy}")
