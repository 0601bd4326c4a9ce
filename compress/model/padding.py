"""Whether a model answers a row alone as it answers it beside a longer one, with padding behind or before it.

Most models leave padding out by the attention mask. Some do not (Nyströmformer's landmarks and FNet's
transform run over it), and some count positions from the padding on (BERT or GPT-2 padded on the left).
The model itself says, on real rows; one whose answers move is never given a padded row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import fence, log
from compress.model import length, sample
from compress.model import limit as limits
from compress.tasks import _audio as audio

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.stage import Context
    from compress.tasks import Row, Task

# FP32 rounding in batches of another shape: 1e-7 to 1e-5 of the largest output was seen.
_ABSOLUTE, _RELATIVE = 2e-5, 1e-4
SENTENCE = (
    "its answers depend on how far a row is padded, so that paredown lets only rows of one length share a "
    "batch: whoever pads rows gets other answers"
)
_LONGEST = 256
_SHORT = 3
_HELD = {"text", "texts", "tokens", "audio"}
"""Cells that have a length."""


@dataclass(frozen=True)
class Effect:
    """How far padding moves a model's answers.

    Attributes:
        largest: difference of an output between a row alone and the same row padded.
        scale: largest absolute output of the rows alone.
        rows: that were padded.
    """

    largest: float
    scale: float
    rows: int

    @property
    def matters(self) -> bool:
        """Whether it is more than rounding; outputs that are no numbers are."""
        return not self.largest <= _ABSOLUTE + _RELATIVE * self.scale


def measure(
    model: PreTrainedModel, task: Task, processor: Any, rows: Sequence[Row], limit: int | None
) -> Effect | None:
    """How far padding moves the answers of a model; None where rows have no length.

    Args:
        model: on the CPU, in evaluation mode.
        task: encodes the rows.
        processor: of the model.
        rows: real ones; our own where there are none.
        limit: tokens that the model takes.

    Raises:
        ModelError: the model does not run.
    """
    import torch

    picked = _rows(task, processor, rows)
    if not picked:
        return None
    head = task.head_of(model.config.to_dict())
    links = task.link(head)
    most = length.scaled(_LONGEST, task.UNIT)
    longest = min(limit or most, most)

    def answers(batch: Sequence[Row]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        inputs = task.encode(batch, processor, head, longest, labelled=False).inputs
        feed = {name: torch.from_numpy(array) for name, array in inputs.items()}
        noun = "texts" if sample.has_texts(task) else "sounds"
        reason = f"the {type(model).__name__} does not run on {noun}"
        remedy = "its configuration, weights and tokenizer do not belong together"
        with fence.reading(reason, remedy), torch.inference_mode():
            outputs = model(**feed, return_dict=True)
            arrays = [outputs[name].float().numpy() for name in task.OUTPUTS]
        return arrays, inputs

    together, inputs = answers(picked)
    width = next(iter(inputs.values())).shape[1]
    mask = inputs.get("attention_mask")
    largest = scale = 0.0
    padded = 0
    for place, row in enumerate(picked):
        alone, unpadded = answers([row])
        tokens = next(iter(unpadded.values())).shape[1]
        padded += tokens < width
        left = processor.padding_side == "left" if mask is None else not mask[place, 0]
        for name, single, beside in zip(task.OUTPUTS, alone, together, strict=True):
            part = beside[place]
            if (part.ndim > 1 or links[name] == "positions") and part.shape[0] == width:
                part = part[width - tokens :] if left else part[:tokens]
            # NaN is never below a bound, and the largest of both keeps it.
            largest = float(np.fmax(largest, np.nan_to_num(np.abs(part - single[0]), nan=np.inf).max()))
            scale = float(np.fmax(scale, np.abs(single).max()))
    return Effect(largest, scale, padded)


def may_pad(
    model: PreTrainedModel, processor: Any, limit: int | None, ctx: Context, who: str = "model"
) -> bool:
    """Whether rows may be padded: measured on calibration rows, recorded and said where they may not.

    Args:
        model: on the CPU, in evaluation mode.
        processor: of the model.
        limit: tokens that the model takes.
        ctx: of the stage that brings the model in.
        who: the model is in that stage.
    """
    rows: Sequence[Row] = ()
    if ctx.data is not None and len(ctx.data.calibration):
        rows = ctx.data.calibration
    effect = measure(model, ctx.task, processor, rows, limit)
    if effect is None or not effect.matters:
        return True
    name = "padding" if who == "model" else f"{who}_padding"
    ctx.record(name, {"largest": effect.largest, "scale": effect.scale, "rows": effect.rows})
    log.warning(
        "The answers of this %s depend on how far a row is padded (by up to %.3g at values up to %.3g): only "
        "rows of one length share a batch, so that each is answered as it is alone.",
        who,
        effect.largest,
        effect.scale,
    )
    return False


def of_folder(
    folder: Path, model: PreTrainedModel, processor: Any, limit: int | None, ctx: Context, who: str
) -> bool:
    """Whether rows of a model may be padded: what its folder says, measured where it says nothing."""
    if (folder / limits.ENCODING).is_file():
        return in_training(folder, ctx)
    return may_pad(model, processor, limit, ctx, who)


def in_training(folder: Path, ctx: Context) -> bool:
    """Whether rows of an artifact's model may be padded in training; recorded and said where they may not."""
    if limits.read_padding(folder):
        return True
    ctx.record("batches", "of one length")
    log.warning(
        "The answers of this model depend on padding: it is trained and scored on batches of rows of one "
        "length, which are smaller than batch_size where few rows have the same length."
    )
    return False


def batches(
    lengths: np.ndarray | None, count: int, limit: int | None, size: int, *, pads: bool
) -> list[list[int]]:
    """Indices of rows in batches: in their order, or of one length each where none may be padded.

    Args:
        lengths: tokens of each row before truncation; None where rows have no length.
        count: how many rows there are.
        limit: that they are cut to.
        size: the most rows of a batch.
        pads: whether rows of several lengths may share a batch.
    """
    if not pads and lengths is not None:
        return alike(lengths, limit, size)
    return [list(range(at, min(at + size, count))) for at in range(0, count, size)]


def alike(lengths: np.ndarray, limit: int | None, size: int) -> list[list[int]]:
    """Indices of rows in batches of one length each, the short ones first, so that nothing is padded.

    Args:
        lengths: tokens of each row before truncation.
        limit: that they are cut to.
        size: the most rows of a batch.
    """
    cut_lengths = np.minimum(lengths, limit) if limit is not None else lengths
    order = [int(i) for i in np.argsort(cut_lengths, kind="stable")]
    chunks: list[list[int]] = []
    for _, same in groupby(order, key=lambda i: int(cut_lengths[i])):
        members = list(same)
        chunks += [members[at : at + size] for at in range(0, len(members), size)]
    return chunks


def _rows(task: Task, processor: Any, rows: Sequence[Row]) -> list[Row]:
    """The longest, the middle and the shortest row, and the beginning of that one."""
    holds = {role: column.holds for role, column in task.COLUMNS.items()}
    if not _HELD & set(holds.values()) or task.extent(processor) is not None:
        return []
    cells: list[Row] = [
        {role: cell for role, cell in row.items() if holds.get(role) in _HELD} for row in rows[:64]
    ]
    pieces = list(task.pieces(cells or sample.rows(task), processor, None).rows)
    lengths = task.lengths(pieces, processor)
    if lengths is None:
        return []
    order = np.argsort(lengths, kind="stable")
    shortest, middle, longest = (pieces[order[at]] for at in (0, len(order) // 2, -1))
    # A piece's other keys are of all that it holds.
    beginning = {
        role: _beginning(cell, holds[role], processor) for role, cell in shortest.items() if role in holds
    }
    return [longest, middle, shortest, beginning]


def _beginning(cell: Any, holds: str | None, processor: Any) -> Any:
    """The first words of a text or of a list of words; the first half of a sound."""
    if holds == "audio":
        wave = audio.read(cell, processor.sampling_rate)
        return audio.Wave(wave[: -(-len(wave) // 2)], processor.sampling_rate)
    if holds == "texts":
        return tuple(_beginning(text, "text", processor) for text in cell)
    return " ".join(cell.split()[:_SHORT]) or cell if isinstance(cell, str) else list(cell)[:_SHORT]
