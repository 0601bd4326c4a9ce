"""The seal of a JSON file: a checksum over everything else in it.

It shows that a file was edited by hand or damaged. It is no signature, since whoever can write the file can
also compute it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compress import log
from compress.artifacts.artifact import digest_text
from compress.errors import UserError

FIELD = "checksum"


def broken(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without its seal."""
    return {key: value for key, value in tree.items() if key != FIELD}


def checksum(tree: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON tree without its seal, in the one form that its content has."""
    return digest_text(json.dumps(broken(tree), sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def sealed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with its seal, last."""
    return {**broken(tree), FIELD: checksum(tree)}


def check(tree: Mapping[str, Any], place: str, *, must_be_sealed: bool) -> None:
    """Compare a report's seal with its content; the absence of one is said.

    Args:
        tree: of the file.
        place: where it comes from, for messages.
        must_be_sealed: refuse a tree without a seal, as whoever judges by it or hands it on must: without
            that, taking the checksum out would be all that an edit needs.

    Raises:
        UserError: it was changed after it was written, or lacks the seal that it must have.
    """
    seal = tree.get(FIELD)
    if seal is None and must_be_sealed:
        raise UserError(
            f"{place} has no checksum, and nothing shows whether its figures are those that were measured: "
            "measure again with this version's 'paredown bench --json', and give the file that it writes"
        )
    if seal is None:
        log.warning(
            "%s has no checksum: nothing shows whether its figures are those that were measured", place
        )
    elif seal != checksum(tree):
        raise UserError(
            f"{place} was changed after it was written (its checksum does not fit): measure again with "
            "'paredown bench', and give the file that it writes"
        )
