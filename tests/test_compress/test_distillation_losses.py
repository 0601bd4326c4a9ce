"""Distillation's losses, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from compress.distillation.losses import hidden_mse, kl_loss, relation_heads, relation_loss

KL_HALF = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # KL((3/4, 1/4) || (1/2, 1/2))


def test_kl_of_a_softmax_by_hand() -> None:
    """Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2; mean over rows."""
    teacher = torch.tensor([[math.log(3.0), 0.0], [1.0, 1.0]])
    student = torch.zeros(2, 2)
    assert float(kl_loss(student, teacher, "softmax")) == pytest.approx(KL_HALF / 2)
    assert float(kl_loss(teacher, teacher, "softmax")) == pytest.approx(0, abs=1e-7)


def test_the_temperature_softens_and_keeps_the_size_of_gradients() -> None:
    """At temperature 2 the teacher's odds 9 become 3, and the KL is multiplied by 4."""
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    assert float(kl_loss(torch.zeros(1, 2), teacher, "softmax", 2.0)) == pytest.approx(4 * KL_HALF)


def test_kl_of_sigmoids_by_hand() -> None:
    """Each label is a coin: 3/4 against 1/2 as above, 0 where both agree, also far out."""
    teacher = torch.tensor([[math.log(3.0), 60.0, -60.0]])
    student = torch.tensor([[0.0, 60.0, -60.0]])
    assert float(kl_loss(student, teacher, "sigmoid")) == pytest.approx(KL_HALF / 3, abs=1e-6)


def test_numbers_are_compared_by_squared_error() -> None:
    """Regression: (1 - 3)^2, whatever the temperature."""
    assert float(kl_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]), "identity", 5.0)) == 4.0


def test_only_positions_that_count_enter_the_kl() -> None:
    """Padding may hold anything."""
    teacher = torch.tensor([[[math.log(3.0), 0.0], [1e4, 0.0]]])
    student = torch.tensor([[[0.0, 0.0], [0.0, 1e4]]])
    counts = torch.tensor([[True, False]])
    assert float(kl_loss(student, teacher, "softmax", 1.0, counts)) == pytest.approx(KL_HALF)


def test_no_gradient_reaches_the_teacher() -> None:
    """Every loss takes the teacher's side as a constant."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    losses: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
        lambda s, t: kl_loss(s, t, "softmax"),
        lambda s, t: kl_loss(s, t, "sigmoid"),
        lambda s, t: kl_loss(s, t, "identity"),
        lambda s, t: hidden_mse(s, t, mask),
        lambda s, t: relation_loss(s, t, mask, 2),
    ]
    for loss in losses:
        student = torch.randn(1, 3, 4, requires_grad=True)
        teacher = torch.randn(1, 3, 4, requires_grad=True)
        loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.abs().sum() > 0


def test_hidden_states_are_compared_over_real_tokens() -> None:
    """Two real tokens with differences (1, 0) and (2, 2): 9/4; padding does not count."""
    student = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert float(hidden_mse(student, torch.zeros(1, 3, 2), mask)) == pytest.approx(9 / 4)


def test_relations_by_hand() -> None:
    """One head of size 1: teacher states 1, 0 give rows (e, 1)/(e + 1) and (1, 1)/2, student rows are even.

    A third, padded token changes nothing.
    """
    teacher = torch.tensor([[[1.0], [0.0], [7.0]]])
    student = torch.tensor([[[0.0], [0.0], [-3.0]]])
    mask = torch.tensor([[True, True, False]])
    high, low = math.e / (math.e + 1), 1 / (math.e + 1)
    expected = (high * math.log(2 * high) + low * math.log(2 * low)) / 2
    assert float(relation_loss(student, teacher, mask, 1)) == pytest.approx(expected)


def test_relations_need_no_equal_widths() -> None:
    """Widths 4 and 8 with two heads: scores are divided by the root of the head size of each side."""
    student = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    # Each head of the wide side holds the narrow one's twice: the same products times 2 / sqrt(2).
    wide = torch.cat([student[..., :2]] * 2 + [student[..., 2:]] * 2, dim=-1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    scaled = student * 2**0.25
    assert float(relation_loss(scaled, wide, mask, 2)) == pytest.approx(0, abs=1e-6)
    assert float(relation_loss(student, wide, mask, 2)) > 1e-4


def test_relation_heads_divide_both_widths() -> None:
    """The largest common divisor up to what is wanted."""
    assert relation_heads(384, 768, 48) == 48
    assert relation_heads(312, 768, 48) == 24
    assert relation_heads(30, 7, 48) == 1
