"""A teacher's outputs and inner states for every training row, computed once and kept on disk.

Outputs are always kept (FP32). States (hidden states, or queries, keys and values) are kept in FP16,
memory-mapped, where they fit the byte budget; else the teacher computes them in every step. The
folder can be filled in several tries: a killed one goes on after its last full chunk. What an earlier try
left is held against its checksums first: a byte that changed on the disk costs the time to compute it again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress import log
from compress.distillation.taps import Tap, Want, flatten
from compress.errors import TrainingError
from compress.model.layers import real_tokens
from compress.training.batching import EncodedRows, TorchBatch, to_torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks import Task

_META = "teacher.json"
_COUNTS = "counts.i64"
_STATES = "states.f16"
_FP16_MAX = 65504.0
_FLUSH_SECONDS = 20.0


@dataclass(frozen=True)
class TeacherBatch:
    """What the teacher says of a batch.

    Attributes:
        outputs: name -> [rows, classes], or [positions that count, classes], row by row; one class where an
            output has one number a position.
        states: [real tokens, sum of widths] row by row; None when none were wanted.
    """

    outputs: dict[str, torch.Tensor]
    states: torch.Tensor | None


@dataclass(frozen=True)
class Answer:
    """A teacher's forward pass over a batch, flattened row by row, with the parts of each row."""

    outputs: dict[str, torch.Tensor]
    states: torch.Tensor | None
    positions_a_row: np.ndarray
    tokens_a_row: np.ndarray


class Teacher:
    """A frozen model that answers batches."""

    def __init__(self, model: PreTrainedModel, task: Task, want: Want, bf16: bool) -> None:
        """Put the model into eval mode and find what is wanted of it."""
        self.model = model.eval()
        self.want = want
        self._task = task
        self._tap = Tap(model, want)
        self._bf16 = bf16

    def answer(self, batch: TorchBatch) -> Answer:
        """Outputs at the positions that count and states of real tokens, without gradients."""
        kind = next(iter(batch.inputs.values())).device.type
        with torch.no_grad(), torch.autocast(kind, dtype=torch.bfloat16, enabled=self._bf16):
            outputs, states = self._tap.run(self.model, batch.inputs)
        counts = self._task.positions(batch.arrays)
        counted_outputs = {name: outputs[name].float() for name in self._task.OUTPUTS}
        rows = len(batch)
        if counts is not None:
            at = torch.from_numpy(counts).to(next(iter(counted_outputs.values())).device)
            counted_outputs = {
                name: tensor[at].reshape(int(at.sum()), -1) for name, tensor in counted_outputs.items()
            }
        positions = np.ones(rows, dtype=np.int64) if counts is None else counts.sum(axis=1)
        tokens = np.zeros(rows, dtype=np.int64)
        flat = None
        if states:
            mask = real_tokens(batch.inputs, states[0].shape[1])
            flat = flatten(states, mask)
            tokens = (
                np.full(rows, states[0].shape[1]) if mask is None else mask.sum(dim=1).cpu().numpy()
            ).astype(np.int64)
        return Answer(outputs=counted_outputs, states=flat, positions_a_row=positions, tokens_a_row=tokens)


class _Ragged:
    """Rows of different length in one memory-mapped table [all entries, width]."""

    def __init__(self, file: Path, counts: np.ndarray, width: int, dtype: str) -> None:
        """Open a table whose row i has ``counts[i]`` entries."""
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._table = np.memmap(file, dtype=dtype, mode="r", shape=(int(self._ends[-1]), width))

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """The entries of some rows, one row after the other, FP32."""
        parts = [self._table[self._starts[row] : self._ends[row]] for row in rows]
        return torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False))


class _Noted(BaseModel):
    """What ``teacher.json`` says.

    Attributes:
        identity: of teacher and rows.
        done: chunks that are good.
        sizes: bytes of each file up to there.
        sums: SHA-256 of those bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity: str
    done: int = Field(ge=0)
    sizes: dict[str, Annotated[int, Field(ge=0)]]
    sums: dict[str, str]


class TeacherCache:
    """The teacher's answers for all rows. Call it with a batch.

    Tables are appended to in the order of ``plan``; ``teacher.json`` says how far they are good.
    """

    def __init__(
        self,
        teacher: Teacher,
        source: EncodedRows,
        plan: Sequence[np.ndarray],
        *,
        tokens: int | None,
        folder: Path,
        budget_bytes: int,
        device: str,
        description: str,
        fill: bool = True,
    ) -> None:
        """Fill the folder, or go on filling it.

        Args:
            teacher: on the device.
            source: the training rows.
            plan: batches that hold every row once; the tables are in its order.
            tokens: of all rows together; None where every row has the same number.
            folder: of this teacher and these rows alone.
            budget_bytes: states beyond it are not kept.
            device: where the teacher is.
            description: shown in the progress bar.
            fill: false for a process that reads what the main one wrote.

        Raises:
            TrainingError: the disk is full; the teacher's outputs are not finite.
        """
        self._teacher = teacher
        self._device = device
        self._folder = folder
        order = np.concatenate(list(plan))
        self._place = np.empty(len(order), dtype=np.int64)
        self._place[order] = np.arange(len(order))
        first = teacher.answer(to_torch(source.gather(plan[0]), plan[0], device))
        self._widths = {f"outputs.{name}.f32": t.shape[-1] for name, t in first.outputs.items()}
        if first.states is not None:
            everything = int(first.tokens_a_row[0]) * len(order) if tokens is None else tokens
            size = everything * first.states.shape[-1] * 2
            if size <= budget_bytes:
                self._widths[_STATES] = first.states.shape[-1]
            else:
                log.info(
                    "%s: the teacher's inner states would take %.1f GiB on disk, more than cache_gib: "
                    "they are computed in every step instead",
                    description,
                    size / 2**30,
                )
        try:
            if fill:
                self._fill(source, plan, description)
            self._tables = self._open()
        except OSError as cause:
            raise TrainingError(
                f"{description}: the teacher's outputs cannot be kept in {folder} ({cause.strerror}): make "
                "room on that disk, or lower cache_gib, and start the same command again"
            ) from cause

    @property
    def keeps_states(self) -> bool:
        """Whether states lie on disk."""
        return _STATES in self._widths

    def __call__(self, batch: TorchBatch) -> TeacherBatch:
        """What the teacher says of a batch: from disk, states computed where they are not kept."""
        rows = self._place[batch.rows]
        if self._teacher.want and not self.keeps_states:
            answer = self._teacher.answer(batch)
            return TeacherBatch(outputs=answer.outputs, states=answer.states)
        tensors = {name: table.take(rows).to(self._device) for name, table in self._tables.items()}
        states = tensors.pop(_STATES, None)
        outputs = {name.split(".")[1]: tensor for name, tensor in tensors.items()}
        return TeacherBatch(outputs=outputs, states=states)

    def _fill(self, source: EncodedRows, plan: Sequence[np.ndarray], description: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = _identity(self._teacher, plan, self._widths)
        files = [_COUNTS, *self._widths]
        done_batches, sizes, digests = self._good(identity, files, len(plan))
        with ExitStack() as stack, log.progress(f"{description}: teacher", len(plan)) as bar:
            streams = {}
            for name in files:
                if (self._folder / name).is_symlink():
                    (self._folder / name).unlink()
                stream = stack.enter_context((self._folder / name).open("ab"))
                stream.truncate(sizes[name])
                streams[name] = stream
            bar.advance(done_batches)
            noted = perf_counter()
            for number, rows in enumerate(plan[done_batches:], start=done_batches + 1):
                for name, chunk in self._chunk(source, rows, description).items():
                    streams[name].write(chunk)
                    digests[name].update(chunk)
                bar.advance()
                if number == len(plan) or perf_counter() - noted > _FLUSH_SECONDS:
                    for stream in streams.values():
                        stream.flush()
                        os.fsync(stream.fileno())
                    sizes = {name: stream.tell() for name, stream in streams.items()}
                    sums = {name: digest.hexdigest() for name, digest in digests.items()}
                    self._note(_Noted(identity=identity, done=number, sizes=sizes, sums=sums))
                    noted = perf_counter()

    def _chunk(self, source: EncodedRows, rows: np.ndarray, description: str) -> dict[str, bytes]:
        """What is appended to each file for some rows."""
        chunks: dict[str, bytes] = {}
        answer = self._teacher.answer(to_torch(source.gather(rows), rows, self._device))
        for name, tensor in answer.outputs.items():
            if not torch.isfinite(tensor).all():
                raise TrainingError(
                    f"{description}: the teacher's {name} are not finite for some training rows (among rows "
                    f"{rows.min() + 1} to {rows.max() + 1}): check the teacher with 'paredown bench' first"
                )
            chunks[f"outputs.{name}.f32"] = tensor.float().cpu().numpy().tobytes()
        if self.keeps_states and answer.states is not None:
            # FP16 ends at 65,504; the few channels that pass it in some networks are clipped.
            states = answer.states.clamp(-_FP16_MAX, _FP16_MAX).to(torch.float16)
            chunks[_STATES] = states.cpu().numpy().tobytes()
        counts = np.stack([answer.positions_a_row, answer.tokens_a_row], axis=1)
        chunks[_COUNTS] = counts.astype(np.int64).tobytes()
        return chunks

    def _good(
        self, identity: str, files: Sequence[str], chunks: int
    ) -> tuple[int, dict[str, int], dict[str, hashlib._Hash]]:
        """How many chunks of an earlier try are good, how long its files then are, and their checksums."""
        nothing = 0, dict.fromkeys(files, 0), {name: hashlib.sha256() for name in files}
        file = self._folder / _META
        if not file.is_file():
            return nothing
        try:
            noted = _Noted.model_validate_json(file.read_bytes())
        except ValidationError:
            log.warning("%s is damaged: the teacher's answers are computed again", file)
            return nothing
        if noted.identity != identity:
            return nothing
        digests = {name: _digest(self._folder / name, noted.sizes.get(name, 0)) for name in files}
        sums = {name: digest.hexdigest() for name, digest in digests.items()}
        if noted.done > chunks or noted.sizes.keys() != sums.keys() or noted.sums != sums:
            log.warning("the files in %s are damaged: the teacher's answers are computed again", self._folder)
            return nothing
        return noted.done, noted.sizes, digests

    def _note(self, noted: _Noted) -> None:
        temporary = self._folder / f".{_META}.tmp"
        temporary.write_text(noted.model_dump_json(), encoding="utf-8")
        temporary.replace(self._folder / _META)

    def _open(self) -> dict[str, _Ragged]:
        counts = np.fromfile(self._folder / _COUNTS, dtype=np.int64).reshape(-1, 2)
        return {
            name: _Ragged(
                self._folder / name,
                counts[:, 1 if name == _STATES else 0],
                width,
                "<f2" if name == _STATES else "<f4",
            )
            for name, width in self._widths.items()
        }


def _digest(file: Path, size: int) -> hashlib._Hash:
    """SHA-256 of a file's first bytes; of nothing where it is no plain file."""
    digest = hashlib.sha256()
    if file.is_symlink() or not file.is_file():
        return digest
    with file.open("rb") as stream:
        while size > 0 and (block := stream.read(min(size, 2**20))):
            digest.update(block)
            size -= len(block)
    return digest


def _identity(teacher: Teacher, plan: Sequence[np.ndarray], widths: dict[str, int]) -> str:
    """What must be the same for a folder to be of this teacher and these rows."""
    digest = hashlib.sha256(json.dumps([widths, teacher.want.hidden, teacher.want.relations]).encode())
    for rows in plan:
        digest.update(rows.astype(np.int64).tobytes())
    for name, tensor in teacher.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
