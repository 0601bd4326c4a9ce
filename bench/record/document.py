"""A report as sealed JSON, and back: ``to_json`` writes what ``from_json`` and ``read`` check and give.

A report of schema 1 is read as well: its seal is checked as it was written, and its content lifted
(``bench.record.schema1``).
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.record import coherence, schema1
from bench.record.model import SCHEMA, Report
from compress.artifacts import seal
from compress.errors import UserError
from compress.reading import files, json_values, utf8

_GIVE = "give a file that 'paredown bench --json' wrote"


def sealed(report: Report) -> dict[str, Any]:
    """The report as a JSON tree with its seal."""
    return seal.sealed(json.loads(report.model_dump_json()))


def to_json(report: Report) -> str:
    """The report as sealed JSON text, which ``from_json`` reads back."""
    return json.dumps(sealed(report), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, source: str, *, must_be_sealed: bool = False) -> Report:
    """A report from its JSON text; the seal is checked, and its absence said.

    Args:
        text: the JSON.
        source: where it comes from, for messages.
        must_be_sealed: refuse a report without a seal, as whoever judges by it or keeps it must: without
            that, taking the checksum out would be all that an edit needs.

    Raises:
        UserError: it is no report, edited, damaged, of another version, or lacks the seal that it must have.
    """
    tree = json_values.parse(text, f"{source} is not a paredown report, or it is damaged")
    try:
        report = Report.model_validate(schema1.lifted(seal.broken(tree)) if isinstance(tree, dict) else tree)
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        if first["loc"] == ("schema_version",):
            raise UserError(
                f"{source} is a report of schema version {files.shown(str(first['input']))}; this paredown "
                f"reads versions {schema1.SCHEMA} and {SCHEMA}: measure again with 'paredown bench'"
            ) from cause
        at = f" at '{place}'" if place else ""
        raise UserError(
            f"{source} is not a paredown report, or it is damaged ({first['msg']}{at}): {_GIVE}"
        ) from cause
    seal.check(tree, source, must_be_sealed=must_be_sealed)
    coherence.check(report, source)
    return report


def read(path: Path, *, must_be_sealed: bool = False) -> Report:
    """A report from a JSON file.

    Args:
        path: of the file.
        must_be_sealed: as for ``from_json``.

    Raises:
        UserError: the file cannot be read, is no report of this version, or lacks the seal that it must have.
    """
    content = files.read_bytes(path, limit=utf8.LIMIT)
    text = utf8.decode(content, f"{files.shown(path)} is not a paredown report")
    return from_json(text, files.shown(path), must_be_sealed=must_be_sealed)


def write(path: Path, text: str) -> None:
    """Write a text so that it is there whole or not at all.

    Raises:
        UserError: there is no place to write it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as cause:
        raise UserError(f"{path} cannot be written: {cause.strerror}") from cause
    finally:
        with suppress(OSError):  # moved into place, or it may never have come to be
            temporary.unlink()
