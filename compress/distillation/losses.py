"""What a student is held to: the teacher's outputs, hidden states and attention relations.

    logits      t^2 KL(softmax(z_T / t) || softmax(z_S / t))                  Hinton et al. 2015, eq. 2-4
    hidden      mean over real tokens and dimensions of (h_S - h_T)^2         Jiao et al. 2020, eq. 9
    relations   mean over heads and real tokens of KL(R_T || R_S),
                R_x = softmax(x x^T / sqrt(d_r)) for x = Q, K, V              Wang et al. 2021, eq. 6-8
    vectors     |v_T - v_S|^2 / |v_T|^2, for unit vectors 2 (1 - cos)
    likeness    mean over a batch's pairs of (cos_S - cos_T)^2                Park et al. 2019, as cosines

Pure functions on tensors. Gradients flow into whatever the student argument came from; teacher
arguments are constants.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    log_softmax,
    logsigmoid,
    mse_loss,
    normalize,
)

from compress.tasks import Link
from compress.tasks._decisions import ABSENT


def kept_at(positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values of the positions that count at their places, [batch, length]; 0 elsewhere.

    Args:
        positions: boolean [batch, length].
        values: row by row, one for each position that counts; any shape.
    """
    blank = torch.zeros(positions.shape, dtype=values.dtype, device=values.device)
    return blank.masked_scatter(positions, values)


def kl_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    link: Link,
    temperature: float = 1.0,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """How far the student's outputs are from the teacher's, a scalar, 0 when they are equal.

    Args:
        student: outputs before the link, [batch, classes], [batch, length, classes] or [batch, length].
        teacher: the same shape.
        link: ``softmax``: KL over the last axis. ``sigmoid``: mean over labels of the Bernoulli KL.
            ``identity``: mean squared error, without temperature; of vectors as a share of the teacher's
            squared length, so that 1 is as wrong as answering zero, whatever their size.
            ``positions``: KL over the positions that count.
        temperature: divides both sides before the link; the result is multiplied by its square, so
            that gradients keep their size.
        positions: boolean [batch, length]: the outputs that count; None when all do.
    """
    student, teacher = student.float(), teacher.detach().float()
    if positions is not None and link == "positions":
        student, teacher = (side.masked_fill(~positions, ABSENT) for side in (student, teacher))
    elif positions is not None:
        student, teacher = student[positions], teacher[positions]
    if link == "identity":
        apart = mse_loss(student, teacher)
        return apart if teacher.shape[-1] == 1 else apart / teacher.square().mean().clamp_min(1e-12)
    student, teacher = student / temperature, teacher / temperature
    if link in ("softmax", "positions"):
        target = log_softmax(teacher, dim=-1)
        apart = (target.exp() * (target - log_softmax(student, dim=-1))).sum(dim=-1)
    else:
        target = teacher.sigmoid()
        entropy = -(target * logsigmoid(teacher) + (1 - target) * logsigmoid(-teacher))
        apart = binary_cross_entropy_with_logits(student, target, reduction="none") - entropy
    return apart.mean() * temperature**2


def hidden_mse(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared difference of hidden states over real tokens and dimensions, a scalar.

    Args:
        student: [batch, length, width], or [tokens, width] with no mask.
        teacher: the same shape.
        mask: boolean [batch, length], true for real tokens; None when all are.
    """
    student, teacher = student.float(), teacher.detach().float()
    if mask is not None:
        student, teacher = student[mask], teacher[mask]
    return mse_loss(student, teacher)


def log_relations(states: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """Logarithm of R = softmax(x x^T / sqrt(d_r)) over real tokens, [batch, heads, length, length].

    Args:
        states: queries, keys or values of all heads side by side, [batch, length, width].
        mask: boolean [batch, length], true for real tokens; others get no probability.
        heads: how many relation heads the width is split into; it need not be the model's own number.
    """
    batch, length, width = states.shape
    split = states.float().view(batch, length, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(width // heads)
    return log_softmax(scores.masked_fill(~mask[:, None, None, :], float("-inf")), dim=-1)


def relation_loss(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, heads: int
) -> torch.Tensor:
    """KL(R_T || R_S) averaged over relation heads and real query tokens, a scalar.

    Args:
        student: queries, keys or values [batch, length, width of the student].
        teacher: the same of the teacher [batch, length, width of the teacher].
        mask: boolean [batch, length], true for real tokens.
        heads: relation heads; divides both widths.
    """
    target = log_relations(teacher.detach(), mask, heads)
    ours = log_relations(student, mask, heads)
    # A padded key has log-probability -inf on both sides: its term is 0 and must not become NaN.
    real = mask[:, None, None, :]
    difference = target.masked_fill(~real, 0) - ours.masked_fill(~real, 0)
    apart = (target.exp() * difference).sum(dim=-1)
    return apart.transpose(1, 2)[mask].mean()


def likeness_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """How far the cosines between the vectors of a batch are from the teacher's, a scalar; 0 for one vector.

    Args:
        student: [batch, size of the student].
        teacher: [batch, size of the teacher].
    """
    ours, theirs = normalize(student.float(), dim=-1), normalize(teacher.detach().float(), dim=-1)
    apart = (ours @ ours.T - theirs @ theirs.T).square()
    count = len(apart)
    return apart.sum() / max(1, count * (count - 1))  # the diagonal is 0 on both sides


def relation_heads(student_width: int, teacher_width: int, most: int) -> int:
    """The largest number of heads, at most ``most``, that divides both widths."""
    common = math.gcd(student_width, teacher_width)
    return max(n for n in range(1, min(most, common) + 1) if common % n == 0)
