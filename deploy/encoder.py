"""How the rows of an artifact become feeds: its task, processor, head and length limit in one place."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.model import checkpoint, padding
from compress.model import limit as limits
from compress.model.limit import Limit, Whose
from deploy.graph import facts as graph_facts

if TYPE_CHECKING:
    from compress.stage import Context
    from compress.tasks import Batch, ExportSpec, Head, Link, Pieces, Row, Task
    from deploy.checking.parity import Case, Feed


@dataclass(frozen=True)
class Encoder:
    """Rows to arrays, as one artifact wants them.

    Attributes:
        task: the task module.
        config: ``config.json``.
        processor: tokenizer or image processor.
        head: what the outputs mean.
        spec: names and free axes.
        max_length: tokens that a row is cut to; None where rows have no length, or nothing cuts them.
        whose: who set that limit; None where the folder does not say.
        pads: whether rows of several lengths may share a batch; where not, padding moves the answers.
    """

    task: Task
    config: dict[str, Any]
    processor: Any
    head: Head
    spec: ExportSpec
    max_length: int | None
    whose: Whose | None = None
    pads: bool = True

    @classmethod
    def open(
        cls, folder: Path, task: Task, max_length: int | None = None, *, derived: bool = False
    ) -> Encoder:
        """The encoder of a model folder.

        Args:
            folder: with ``config.json``, processor files, ``encoding.json`` and maybe ``graph.json``.
            task: the task module.
            max_length: a limit on top of the folder's own.
            derived: whether something is made of the model, so that the limit is the one for that.
        """
        config = checkpoint.read_config(folder)
        head = task.head_of(config)
        processor = task.load_processor(folder)
        spec = task.export_spec(config, processor, head)
        bounds = [
            limits.read_derived(folder) if derived else limits.read(folder),
            Limit(graph_facts.positions(config), "model"),
            Limit(max_length, "export"),
        ]
        extent = task.extent(processor)
        bounds.append(Limit(extent, "model"))
        facts = folder / graph_facts.FILE
        if facts.is_file():
            sizes = graph_facts.read_file(facts).limits
            bounds += [
                Limit(sizes.get(name, {}).get(axis), "export")
                for name, axes in spec.inputs.items()
                for axis, symbol in axes.items()
                if symbol == spec.length_axis
            ]
        has_length = spec.length_axis is not None or extent is not None
        applicable = [bound for bound in bounds if bound.tokens is not None and has_length]
        lowest = min(applicable, key=lambda bound: bound.tokens or 0, default=Limit(None))
        pads = limits.read_padding(folder)
        return cls(task, config, processor, head, spec, lowest.tokens, lowest.whose, pads)

    @property
    def links(self) -> dict[str, Link]:
        """Output name -> how its last axis is read."""
        by_output: dict[str, Link] = self.task.link(self.head)
        return by_output

    def pieces(self, rows: Sequence[Row]) -> Pieces:
        """What the model sees of rows; the other methods take these."""
        parts: Pieces = self.task.pieces(rows, self.processor, self.max_length)
        return parts

    def batch(self, rows: Sequence[Row], *, labelled: bool = False) -> Batch:
        """Encoded rows, padded to the longest of them."""
        encoded: Batch = self.task.encode(rows, self.processor, self.head, self.max_length, labelled=labelled)
        return encoded

    def feed(self, rows: Sequence[Row]) -> Feed:
        """The inputs of encoded rows, in the order of the graph."""
        inputs = self.batch(rows).inputs
        return {name: inputs[name] for name in self.spec.inputs}

    def lengths(self, rows: Sequence[Row]) -> np.ndarray | None:
        """Tokens of each piece before truncation; None where they have no length."""
        counts: np.ndarray | None = self.task.lengths(rows, self.processor)
        return counts

    def longest(self, rows: Sequence[Row]) -> np.ndarray | None:
        """Tokens of the longest piece of each row before truncation; None where they have no length."""
        pieces = self.pieces(rows)
        lengths = self.lengths(pieces.rows)
        if lengths is None or len(rows) == 0:
            return lengths
        starts = np.searchsorted(pieces.owner, np.arange(len(rows)))
        return np.asarray(np.maximum.reduceat(lengths, starts))

    def order(self, rows: Sequence[Row]) -> list[int]:
        """Indices of the rows from the shortest to the longest; as they are where rows have no length."""
        lengths = self.lengths(rows)
        if lengths is None:
            return list(range(len(rows)))
        return [int(i) for i in np.argsort(lengths, kind="stable")]

    def together(self, rows: Sequence[Row], size: int) -> list[list[int]]:
        """Indices of all rows by batch: those of like length, or of one length where none may be padded."""
        if not self.pads:
            return self._alike(rows, size)
        order = self.order(rows)
        return [order[at : at + size] for at in range(0, len(order), size)]

    def batches(self, rows: Sequence[Row], size: int = 16) -> list[Batch]:
        """All rows, those of like length together so that little is padding."""
        return [self.batch([rows[i] for i in picks]) for picks in self.together(rows, size)]

    def unpadded(self, rows: Sequence[Row], size: int = 16) -> list[Batch]:
        """All rows in batches of one length each, so that nothing is padded."""
        return [self.batch([rows[i] for i in picks]) for picks in self._alike(rows, size)]

    def _alike(self, rows: Sequence[Row], size: int) -> list[list[int]]:
        lengths = self.lengths(rows)
        if lengths is None:
            return [list(range(at, min(at + size, len(rows)))) for at in range(0, len(rows), size)]
        return padding.alike(lengths, self.max_length, size)

    def cases(self, rows: Sequence[Row], seed: int) -> list[Case]:
        """The feeds that a conversion is checked on."""
        from deploy.checking import parity

        return parity.cases(rows, self.lengths(rows), self.feed, seed)


def real_rows(ctx: Context, encoder: Encoder, purpose: str, at_least: int = 2) -> Sequence[Row]:
    """What a model sees of the calibration rows of a stage.

    Raises:
        DataError: there are too few.
    """
    rows: Sequence[Row] = ctx.data.calibration if ctx.data is not None else ()
    if len(rows) < at_least:
        raise DataError(
            f"{purpose} needs at least {at_least} training rows and found {len(rows)}: "
            "give --data (or data: in the recipe) with more rows"
        )
    return encoder.pieces(rows).rows


def carry(source: Path, out: Path) -> None:
    """Copy what makes a folder usable alone: ``config.json``, processor files, ``encoding.json``."""
    checkpoint.copy_sidecars(source, out)
    shutil.copyfile(source / checkpoint.CONFIG, out / checkpoint.CONFIG)
