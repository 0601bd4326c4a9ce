"""Predictions from any artifact: rows in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from compress import catalog, tasks
from compress.errors import DataError
from compress.model import checkpoint
from compress.reading import utf8
from compress.tasks import _audio as audio
from compress.tasks import _choices as choices
from deploy import content, rehearsal
from deploy.encoder import Encoder
from deploy.opening import runner
from deploy.truncation import Truncation

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Batch, Column, Prediction, Task

Given = str | Sequence[Any] | Mapping[str, Any]


class Predictor:
    """An artifact open for predictions; use it as a context manager, or call ``close``."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        runtime: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        """Open it.

        Args:
            artifact: sealed and verified.
            runtime: name in the catalog; the kind's own when None.
            device: ``cpu``, ``cuda`` or ``cuda:N``; the artifact's own when None.
            threads: CPU threads; all CPUs when None.
            options: of the runtime.

        Raises:
            ModelError: the model's head was never trained.
        """
        checkpoint.require_head(artifact)
        self._runner = runner(artifact, runtime, device, threads, **options)
        content.check(artifact)
        self._encoder = Encoder.open(artifact.path, catalog.task(artifact.task))
        self._roles = None if self.apart else made_with(artifact, self._encoder.task)
        self._answered = self._cut = 0
        self._problem_type = checkpoint.read_config(artifact.path).get("problem_type")
        self._runner.__enter__()

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of the model."""
        self._runner.__exit__(None, None, None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names by id; empty for a regression."""
        return self._encoder.head.labels

    @property
    def unit(self) -> Literal["probability", "value", "logit", "score"]:
        """What the numbers of an answer are.

        ``probability`` of a label; ``value`` of a regression; ``logit``, the raw output of a model of one
        output whose configuration does not say that it is a regression (a reranker, say, whose own library
        puts it through a sigmoid); ``score``, such an output after the activation that a model that ranks
        names.
        """
        if self._encoder.head.problem == "ranking":
            return "logit" if self._encoder.head.activation == "identity" else "score"
        if self._encoder.head.problem != "regression":
            return "probability"
        return "logit" if self._problem_type is None else "value"

    @property
    def apart(self) -> bool:
        """Whether each text of a row is answered by itself, so that a row may have one or two."""
        return self._encoder.head.answer == "vector"

    @property
    def roles(self) -> tuple[str, ...] | None:
        """What each row must have: the roles of the rows that the model was made with; None: not known."""
        return self._roles

    @property
    def may_have(self) -> tuple[str, ...]:
        """The roles that a row of the task may have, in the order in which texts are given."""
        task = self._encoder.task
        return tasks.inputs(task.COLUMNS, task.LABEL)

    @property
    def must_have(self) -> tuple[str, ...]:
        """The roles without which the task has no row."""
        return tuple(role for role in self.may_have if self._encoder.task.COLUMNS[role].required)

    def of_arguments(self, texts: Sequence[str]) -> Given:
        """A row of texts in the order of the roles; a role that holds several takes all that are left."""
        columns = self._encoder.task.COLUMNS
        several = next((i for i, role in enumerate(self.may_have) if columns[role].holds == "texts"), None)
        if several is not None and len(texts) > several:
            return (*texts[:several], tuple(texts[several:]))
        return texts[0] if len(texts) == 1 else tuple(texts)

    def provenance(self) -> dict[str, str]:
        """What really runs."""
        return self._runner.provenance()

    @property
    def truncation(self) -> Truncation:
        """How many of the rows that were answered so far were cut, to which limit."""
        encoder = self._encoder
        return Truncation(
            rows=self._answered,
            cut=self._cut,
            limit=encoder.max_length,
            unit=encoder.task.UNIT,
            whose=encoder.whose,
        )

    def predict(self, rows: Sequence[Given], batch_size: int = 16) -> list[Prediction]:
        """One prediction a row, in order; ``truncated`` says of each whether its row was cut.

        Args:
            rows: texts, pairs of texts as tuples, or mappings from role to cell.
            batch_size: rows at once.

        Raises:
            DataError: a row that is none of it, or a pair for a model of single texts, or the other way
                round; the message names it.
        """
        return list(self.stream(rows, batch_size))

    def stream(self, rows: Iterable[Given], batch_size: int = 16) -> Iterator[Prediction]:
        """Predictions of rows as they come, so many at once."""
        count = 0
        source = iter(rows)
        task = self._encoder.task
        while chunk := list(islice(source, batch_size)):
            clean = [as_row(row, task.COLUMNS, task.LABEL, count + i + 1) for i, row in enumerate(chunk)]
            if self._roles is not None:
                for i, row in enumerate(clean):
                    check_roles(row, self._roles, count + i + 1)
            count += len(chunk)
            for group in _uniform(clean):
                yield from self._answer(group, batch_size)

    def _answer(self, rows: Sequence[dict[str, Any]], batch_size: int) -> list[Prediction]:
        """Predictions of rows that may share a batch, in order."""
        encoder = self._encoder
        pieces = encoder.pieces(rows)
        count = len(pieces.rows)
        together = encoder.pads and count <= batch_size
        by_piece: dict[int, Prediction] = {}
        cut = np.zeros(len(rows), dtype=bool)
        for picks in [list(range(count))] if together else encoder.together(pieces.rows, batch_size):
            batch = encoder.batch([pieces.rows[i] for i in picks])
            by_piece.update(zip(picks, self._decode(batch), strict=True))
            if batch.truncated is not None:
                cut[pieces.owner[picks][batch.truncated]] = True
        in_order = [by_piece[i] for i in range(count)]
        predictions: list[Prediction] = encoder.task.joined(in_order, pieces, encoder.head)
        self._answered += len(predictions)
        self._cut += int(cut.sum())
        return [
            replace(prediction, truncated=True) if is_cut else prediction
            for prediction, is_cut in zip(predictions, cut, strict=True)
        ]

    def _decode(self, batch: Batch) -> list[Prediction]:
        """Predictions of what was encoded."""
        results = self._runner.infer(batch.inputs)
        names, head = self._encoder.spec.outputs, self._encoder.head
        rows = len(next(iter(batch.inputs.values())))
        rehearsal.check_outputs(results, self._encoder.links, head, rows, self._runner.artifact.path)
        outputs = {name: np.asarray(results[name], dtype=np.float32) for name in names}
        predictions: list[Prediction] = self._encoder.task.decode(outputs, batch, head)
        return predictions


def made_with(artifact: Artifact, task: Task) -> tuple[str, ...] | None:
    """The roles of the rows that an artifact, or one that it comes from, was made with, without the label.

    None where its manifest says nothing, as with a model that came from elsewhere and met no data here.
    """
    manifest = artifact.manifest
    columns = (manifest.facts.get("data") or {}).get("columns") or manifest.origin.data_columns
    if not columns:
        return None
    return tuple(role for role in tasks.inputs(task.COLUMNS, task.LABEL) if role in columns)


def check_roles(row: Mapping[str, Any], roles: Sequence[str], number: int) -> None:
    """Refuse a pair for a model of single texts, and a single text for a model of pairs.

    Args:
        row: by role.
        roles: that the model's own rows have.
        number: of the row, for the message, from 1.

    Raises:
        DataError: the row has other roles; the message says which, and how several rows are given.
    """
    if set(row) == set(roles):
        return
    missing = [role for role in roles if role not in row]
    if missing:
        mend = f"give {' and '.join(missing)} too"
    else:
        extra = [role for role in row if role not in roles]
        mend = (
            f"leave {' and '.join(extra)} out; several texts are several rows "
            '(on the command line: --file ROWS.jsonl, one {"text": ...} a line)'
        )
    raise DataError(
        f"row {number} has {' and '.join(row)}, but the model was made with rows of "
        f"{' and '.join(roles)}: {mend}"
    )


def _uniform(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of neighboring rows with the same roles: a batch has pairs, or has none."""
    group: list[dict[str, Any]] = []
    for row in rows:
        if group and row.keys() != group[0].keys():
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def as_row(row: Given, columns: Mapping[str, Column], label: str, number: int) -> dict[str, Any]:
    """A row by role, checked.

    Args:
        row: a cell of the first role, several cells in the order of the roles, or a mapping from
            role (or another name that public data sets use for it) to cell.
        columns: of the task.
        label: the role that is not an input.
        number: of the row, for the message, from 1.

    Raises:
        DataError: a role is missing, or a cell is not what the role holds.
    """
    roles = tasks.inputs(columns, label)
    first = columns[roles[0]].holds
    if isinstance(row, Mapping):
        cells = {}
        for role in roles:
            names = [name for name in (role, *columns[role].aliases) if row.get(name) is not None]
            if names:
                cells[role] = row[names[0]]
    elif isinstance(row, str) or first in ("tokens", "image", "audio"):
        cells = {roles[0]: row}
    elif isinstance(row, Sequence) and len(row) <= len(roles):
        cells = dict(zip(roles, row, strict=False))
    else:
        raise DataError(
            f"row {number} is {type(row).__name__}; give a text, a tuple of at most {len(roles)} cells "
            f"({', '.join(roles)}), or a mapping with these keys"
        )
    for role in roles:
        if columns[role].required and role not in cells:
            if isinstance(row, Mapping) and role in row:
                raise DataError(f"row {number}: '{role}' is null; give a value")
            has = ", ".join(map(str, row)) if isinstance(row, Mapping) else ""
            raise DataError(f"row {number} has no '{role}' (it has: {has or 'nothing'}); give one")
    for role, cell in cells.items():
        if not columns[role].blank and isinstance(cell, str) and not cell.strip():
            raise DataError(f"row {number}: '{role}' is empty; give it a text")
    return {role: _cell(cell, columns[role].holds, role, number) for role, cell in cells.items()}


def _cell(cell: Any, holds: str, role: str, number: int) -> Any:
    if holds == "text" and not isinstance(cell, str):
        raise DataError(f"row {number}: '{role}' is {type(cell).__name__} ({cell!r:.40}); it must be a text")
    if holds == "texts":
        texts = choices.texts(cell)
        if texts is None:
            raise DataError(
                f"row {number}: '{role}' is {cell!r:.60}; it must be a list of at least two texts, such as "
                f"{choices.FORM}"
            )
        cell = texts
    for text in (cell,) if isinstance(cell, str) else cell if holds in ("texts", "tokens") and cell else ():
        if isinstance(text, str) and utf8.joined(text) is None:
            raise DataError(f"row {number}: '{role}' holds half of a surrogate pair, which is no character")
    if holds == "tokens":
        words = cell.split() if isinstance(cell, str) else cell
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise DataError(f"row {number}: '{role}' must be a text or a list of words")
        if not words:
            raise DataError(f"row {number}: '{role}' has no word in it")
        return list(words)
    if holds == "audio":
        sound = Path(cell) if isinstance(cell, str) else audio.from_cell(cell)
        if sound is None:
            raise DataError(
                f"row {number}: '{role}' is {type(cell).__name__} ({cell!r:.40}); it must be the path of a "
                'sound file, its bytes, or {"array": samples, "sampling_rate": Hz}'
            )
        return sound
    return cell
