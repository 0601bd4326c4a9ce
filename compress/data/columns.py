"""From the columns of a file to the roles of a task: which column is which, and whether cells fit."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compress.data.sources import Source
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files, json_values
from compress.tasks import Column
from compress.tasks import _answer_texts as answer_texts
from compress.tasks import _audio as audio
from compress.tasks import _choices as choices
from compress.tasks import _heads as heads
from compress.tasks import _images as images

_LONGEST_NAME = 1000
_ID = re.compile("[0-9]{1,9}")


def find(
    roles: Mapping[str, Column], columns: Sequence[str], named: Mapping[str, str], place: str
) -> dict[str, str]:
    """Role -> column: the named one, the one that bears the role's name, or the only alias.

    Raises:
        DataError: a role that does not exist, a column that is not there, a required one that is
            missing, or several that could be meant; the columns that there are get listed.
    """
    listing = ", ".join(columns) or "none"
    for role, column in named.items():
        if role not in roles:
            raise DataError(f"data.columns names the role '{role}'; this task has {', '.join(roles)}")
        if column not in columns:
            raise DataError(
                f"{place} has no column '{column}' (asked for as {role}).{like((column,), columns)} "
                f"It has: {listing}"
            )
    free = [column for column in columns if column not in named.values()]
    by_role: dict[str, str] = {}
    for role, spec in roles.items():
        if role in named:
            by_role[role] = named[role]
            continue
        fitting = _fitting((role, *spec.aliases), free)
        if len(fitting) > 1:
            raise DataError(
                f"{place}: the column for {role} could be {' or '.join(fitting)}; name it with "
                f"--column {role}=NAME (in a recipe: data.columns.{role}). The columns are: {listing}"
            )
        if not fitting and spec.required:
            raise DataError(
                f"{place} has no column for {role} ({', '.join((role, *spec.aliases))})."
                f"{like((role, *spec.aliases), free)} Name it with --column {role}=NAME (in a recipe: "
                f"data.columns.{role}). The columns are: {listing}"
            )
        if fitting:
            by_role[role] = fitting[0]
    return by_role


def _fitting(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns that a role may mean: that of its own name, else aliases, however they are written."""
    if names[0] in columns:
        return [names[0]]
    exact = [alias for alias in names if alias in columns]
    if exact:
        return exact
    folded = [column for column in columns if _folded(column) == names[0]]
    return folded or [column for column in columns if _folded(column) in names]


def _folded(name: str) -> str:
    return name.strip().casefold()


def like(names: Sequence[str], columns: Sequence[str]) -> str:
    """A question that names the column that is nearest to one of these names; empty where none is near."""
    by_folded = {_folded(column): column for column in columns}
    for name in names:
        near = difflib.get_close_matches(_folded(name), by_folded, n=1, cutoff=0.75)
        if near:
            return f" Did you mean '{by_folded[near[0]]}'?"
    return ""


def kind(cell: Any) -> str:
    """What a cell is, in words."""
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    names |= {dict: "an object", str: "text", bytes: "bytes"}
    return names.get(type(cell), type(cell).__name__)


def _tokens(cell: Any) -> list[str] | None:
    if isinstance(cell, str) and cell.startswith("["):  # a list inside a csv cell
        try:
            cell = json_values.parse(cell, "a cell", constants=True, error=DataError)
        except DataError:
            return None
    if isinstance(cell, list | tuple) and cell and all(isinstance(word, str) for word in cell):
        return list(cell)
    return None


def _image(cell: Any, source: Source, split: str) -> Any:
    import numpy as np

    if isinstance(cell, str):
        return source.image(cell, split)
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
        return cell["bytes"]
    if isinstance(cell, dict) and isinstance(cell.get("path"), str):
        return source.image(cell["path"], split)
    if isinstance(cell, bytes | images.ImageFile):
        return cell
    if isinstance(cell, list | np.ndarray):
        try:
            pixels = np.asarray(cell, dtype=np.float64)
        except (ValueError, TypeError):
            return None
        in_range = pixels.ndim in {2, 3} and pixels.size and ((pixels >= 0) & (pixels <= 255)).all()
        return np.rint(pixels).astype(np.uint8) if in_range else None
    return None


def read(
    table: Table, roles: Mapping[str, Column], by_role: Mapping[str, str], source: Source, split: str
) -> list[dict[str, Any]]:
    """Rows keyed by role, with cells checked; label cells stay as they are written.

    Raises:
        DataError: a cell that does not fit its role; file and row are named.
    """
    rows: list[dict[str, Any]] = [{} for _ in table.rows]
    for role, column in by_role.items():
        holds = roles[role].holds
        cells = [row.get(column) for row in table.rows]
        if holds == "answers":
            cells = _beside(table, column)
        if holds == "label":
            _check_labels(cells, table, column)
            cells = _labels(cells)
        for i, cell in enumerate(cells):
            rows[i][role] = _fit(cell, holds, table, i, column, source, split)
    _refuse_blanks(rows, table, roles, by_role)
    _check_answers(rows, table, roles, by_role)
    _pick_choices(rows, table, roles, by_role)
    _compare_lengths(rows, table, by_role, {roles[role].holds: role for role in by_role})
    return rows


def _compare_lengths(
    rows: Sequence[Mapping[str, Any]], table: Table, names: Mapping[str, str], by_kind: Mapping[str, str]
) -> None:
    """Refuse a row whose tags are not as many as its words."""
    if not {"tokens", "tags"} <= by_kind.keys():
        return
    words, tags = by_kind["tokens"], by_kind["tags"]
    for i, row in enumerate(rows):
        if isinstance(row[tags], list) and len(row[tags]) != len(row[words]):
            raise DataError(
                f"{table.place(i)}: {len(row[words])} words in '{names[words]}' and {len(row[tags])} tags in "
                f"'{names[tags]}': there must be a tag for each word"
            )


def _refuse_blanks(
    rows: Sequence[Mapping[str, Any]],
    table: Table,
    roles: Mapping[str, Column],
    by_role: Mapping[str, str],
) -> None:
    """Refuse a text with nothing in it where the task cannot do without."""
    for role, column in by_role.items():
        if roles[role].holds != "text" or roles[role].blank:
            continue
        for i, row in enumerate(rows):
            if not row[role].strip():
                raise DataError(
                    f"{table.place(i)}: the column '{column}' is empty here, and a row needs its {role}: "
                    "give it one, or leave the row out"
                )


def _beside(table: Table, column: str) -> list[Any]:
    """Cells of answers; texts alone are joined with the column of their places, where the table has one."""
    names = ("answer_start", "answer_starts", "answers.answer_start", f"{column}_start")
    starts = next((name for name in names if name in table.columns and name != column), None)
    cells = [row.get(column) for row in table.rows]
    if starts is None:
        return cells
    return [
        {"text": _tags(cell), "answer_start": _tags(row.get(starts))}
        if cell is not None and answer_texts.spans(cell) in (None, ())
        else cell
        for cell, row in zip(cells, table.rows, strict=True)
    ]


def _check_answers(
    rows: Sequence[Mapping[str, Any]],
    table: Table,
    roles: Mapping[str, Column],
    by_role: Mapping[str, str],
) -> None:
    """Refuse answers that are none, or that do not stand where they say that they do."""
    for role, column in by_role.items():
        context = roles[role].of
        if roles[role].holds != "answers" or context is None:
            continue
        for i, row in enumerate(rows):
            if row[role] is None:
                continue
            spans = answer_texts.spans(row[role])
            if spans is None:
                raise DataError(
                    f"{table.place(i)}: the column '{column}' must hold answers with their first characters, "
                    f"like {answer_texts.FORM} (empty lists: no answer), or texts beside a column "
                    f"answer_start; found {str(row[role])[:60]!r}"
                )
            wrong = answer_texts.misplaced(spans, row[context])
            if wrong is not None:
                raise DataError(f"{table.place(i)}: {wrong}")


def _pick_choices(
    rows: Sequence[dict[str, Any]],
    table: Table,
    roles: Mapping[str, Column],
    by_role: Mapping[str, str],
) -> None:
    """Put the number of the right choice where a cell says it in another way; refuse what means none."""
    for role, column in by_role.items():
        among = roles[role].of
        if roles[role].holds != "choice" or among is None:
            continue
        for i, row in enumerate(rows):
            label = row[role]
            row[role] = None
            if not choices.known(label):
                continue
            row[role] = choices.picked(label, table.rows[i][by_role[among]])
            if row[role] is None:
                raise DataError(
                    f"{table.place(i)}: the column '{column}' says {str(label)[:60]!r}, which is none of the "
                    f"{len(row[among])} choices in '{by_role[among]}': give the number of one, from 0, its "
                    "text, or its letter"
                )


def _fit(cell: Any, holds: str, table: Table, i: int, column: str, source: Source, split: str) -> Any:
    if holds in ("label", "answers", "choice"):
        return cell
    if holds == "texts":
        texts = choices.texts(cell)
        if texts is None:
            raise DataError(
                f"{table.place(i)}: the column '{column}' must hold a list of at least two texts, such as "
                f"{choices.FORM}; found {str(cell)[:60]!r}"
            )
        return texts
    if holds == "text":
        if isinstance(cell, str):
            return cell
        raise DataError(
            f"{table.place(i)}: the column '{column}' must hold text, and this cell is {kind(cell)}"
        )
    if holds == "tokens":
        words = _tokens(cell)
        if words is None:
            raise DataError(
                f"{table.place(i)}: the column '{column}' must hold a list of words, and this cell is "
                f"{'an empty list' if cell == [] else kind(cell)}"
            )
        return words
    if holds == "tags":
        return _tags(cell)
    if holds == "key":
        if isinstance(cell, str | int) and not isinstance(cell, bool):
            return str(cell)
        raise DataError(
            f"{table.place(i)}: the column '{column}' says which rows belong together, and must hold a text "
            f"or a whole number in every row; this cell is {kind(cell)}"
        )
    if holds == "audio":
        return _sound(cell, table, i, column, source, split)
    image = _image(cell, source, split)
    if image is None:
        raise DataError(
            f"{table.place(i)}: the column '{column}' must hold an image (a path relative to the data, also "
            f"inside a zip beside it, encoded bytes, or pixels from 0 to 255); found {str(cell)[:60]!r}"
        )
    return image


def _sound(cell: Any, table: Table, i: int, column: str, source: Source, split: str) -> Any:
    """A cell as a sound, whose header was read: what is no sound is named with its row."""
    path = cell.get("path") if isinstance(cell, dict) and not isinstance(cell.get("bytes"), bytes) else cell
    file = source.image(path, split) if isinstance(path, str) else None
    sound = audio.from_cell(cell) if file is None else replace(file, noun="sound")
    if sound is None:
        raise DataError(
            f"{table.place(i)}: the column '{column}' must hold a sound (a path relative to the data, also "
            'inside a zip beside it, encoded bytes, or {"array": samples, "sampling_rate": Hz}); found '
            f"{str(cell)[:60]!r}"
        )
    try:
        audio.shape(sound)
    except DataError as cause:
        raise DataError(f"{table.place(i)}: {cause}") from cause
    return sound


def _tags(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith("["):
        try:
            return json_values.parse(cell, "a cell", constants=True, error=DataError)
        except DataError:
            return cell
    return list(cell) if isinstance(cell, tuple) else cell


def _check_mixed(cells: Sequence[Any], table: Table, column: str) -> None:
    """Refuse a column in which some labels are names and others numbers: ids and names would be confused."""
    named = [i for i, cell in enumerate(cells) if isinstance(cell, str) and heads.number(cell) is None]
    numbered = [i for i, cell in enumerate(cells) if type(cell) is int]
    if named and numbered:
        raise DataError(
            f"{table.place(named[0])}: the column '{column}' holds the name "
            f"'{files.shown(cells[named[0]])}' here and the number {cells[numbered[0]]} in "
            f"{table.place(numbered[0])}: write all labels as names, or all as ids"
        )
    for i in named:
        if len(cells[i]) > _LONGEST_NAME and not cells[i].startswith("["):
            raise DataError(
                f"{table.place(i)}: the column '{column}' holds a label of {len(cells[i]):,} characters, and "
                f"{_LONGEST_NAME:,} are the most"
            )


def _check_labels(cells: Sequence[Any], table: Table, column: str) -> None:
    """Refuse label cells that no head could give: dates, bytes, objects, infinity, names beside numbers."""
    _check_mixed(cells, table, column)
    for i, cell in enumerate(cells):
        parts = cell if isinstance(cell, list | tuple) else (cell,)
        for part in parts:
            infinite = isinstance(part, float) and math.isinf(part)
            if infinite or not isinstance(part, str | int | float | None):
                raise DataError(
                    f"{table.place(i)}: the column '{column}' must hold labels (names, ids or numbers), and "
                    f"this cell holds {'infinity' if infinite else kind(part)}"
                )


def _labels(cells: list[Any]) -> list[Any]:
    """Label cells; text that is all numbers (as csv has it) as numbers, a column of -1 as no labels."""
    cells = [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]
    present = [cell for cell in cells if cell is not None]
    if present and all(isinstance(cell, str) for cell in present):
        for convert in (heads.whole, heads.number):
            if all(convert(cell) is not None for cell in present):
                cells = [None if cell is None else convert(cell) for cell in cells]
                break
        else:
            if all(cell.startswith("[") for cell in present):
                cells = [None if cell is None else _tags(cell) for cell in cells]
    # The public GLUE files mark rows without labels with -1.
    if present and all(type(cell) is int and cell == -1 for cell in cells if cell is not None):
        return [None] * len(cells)
    return cells


def label_names(content: Any, column: str, role: str) -> tuple[str, ...] | None:
    """Label names by id from the content of a ``labels.json``; None where it is about other columns.

    A list of names, ``{"0": name}``, ``{name: 0}``, or lists under the columns' names.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(content, dict) and any(isinstance(value, list) for value in content.values()):
        keys = (column, role, f"{column}s", f"{role}s")
        content = next((content[key] for key in keys if key in content), None)
        if content is None:
            return None
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        names = content
    elif isinstance(content, dict) and all(
        _ID.fullmatch(key) and isinstance(v, str) for key, v in content.items()
    ):
        names = [content.get(str(i)) for i in range(len(content))]
    elif isinstance(content, dict) and all(type(value) is int for value in content.values()):
        by_id = {value: name for name, value in content.items()}
        names = [by_id.get(i) for i in range(len(content))]
    else:
        names = [None]
    if not names or None in names or len(set(names)) < len(names):
        raise DataError(
            "labels.json must be a list of different label names by id, or map ids from 0 to names, or "
            "names to ids"
        )
    return tuple(names)
