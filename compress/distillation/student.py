"""A shallower student cut out of a teacher: which layers to keep.

every-other       spread over the depth, the last layer always kept (XTC's skip)
drop-top          the lowest layers (Sajjad et al. 2023)
block-influence   the layers that change the hidden states most: BI = 1 - E cos(h_in, h_out)
                  (Men et al. 2024, ShortGPT)
search            every subset, the one whose outputs are nearest to the teacher's (KL) on the
                  calibration rows before any training
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Literal

import torch

from compress.articles import a_type
from compress.errors import ModelError, RecipeError
from compress.model import checkpoint
from compress.model.layers import Stack, describe_outputs, find_stack, first_is_fixed, shorten

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Rule = Literal["auto", "search", "every-other", "drop-top", "block-influence"]
SEARCH_LIMIT = 100

# Where configurations keep the depths of their stages.
_STAGES = ("depths", "depth")


def every_other(layers: int, keep: int) -> tuple[int, ...]:
    """``keep`` of ``layers`` indices spread evenly, the last one among them: 6, 3 -> 1, 3, 5."""
    return tuple(round((i + 1) * layers / keep) - 1 for i in range(keep))


def drop_top(keep: int) -> tuple[int, ...]:
    """The lowest layers."""
    return tuple(range(keep))


def by_influence(influence: Sequence[float], keep: int) -> tuple[int, ...]:
    """The layers of the largest influence, in the order of the model; ties go to the lower layer."""
    ranked = sorted(range(len(influence)), key=lambda i: (-influence[i], i))
    return tuple(sorted(ranked[:keep]))


def block_influence(hidden_states: Sequence[torch.Tensor], mask: torch.Tensor | None) -> list[float]:
    """1 - mean cosine between what enters and what leaves each layer, over real tokens.

    Args:
        hidden_states: the embeddings' output and every layer's, each [batch, length, width].
        mask: boolean [batch, length] of real tokens; None when all are.
    """
    values = []
    for before, after in pairwise(hidden_states):
        cosine = torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
        values.append(1 - float((cosine if mask is None else cosine[mask]).mean()))
    return values


def subsets(layers: int, keep: int) -> list[tuple[int, ...]]:
    """Every way to keep ``keep`` of ``layers``, in lexicographic order."""
    return list(combinations(range(layers), keep))


def uniform_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher layer (1-based) that each student layer imitates: g(m) = m N / M (Jiao et al. 2020)."""
    return tuple(max(1, index + 1) for index in every_other(teacher_layers, student_layers))


def check_keep(layers: int, keep: int) -> None:
    """Refuse a depth that is no shortening.

    Raises:
        RecipeError: it is not between 1 and one less than the teacher's.
    """
    if not 1 <= keep < layers:
        raise RecipeError(
            f"distill: a student of {keep} layers was asked for and the teacher has {layers}: "
            f"allowed are 1 to {layers - 1}"
        )


def check_choice(layers: int, chosen: Sequence[int]) -> tuple[int, ...]:
    """An explicit choice of layers, counted from 0 and rising.

    Raises:
        RecipeError: an index is not a layer of the teacher, or they do not rise.
    """
    check_keep(layers, len(chosen))
    if list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= layers:
        raise RecipeError(
            f"distill: the layers {list(chosen)} were asked for; allowed are rising numbers from 0 to "
            f"{layers - 1}, such as {list(every_other(layers, len(chosen)))}"
        )
    return tuple(chosen)


def stack_of(model: PreTrainedModel) -> Stack:
    """The layers of a model as distillation takes them: one list, each as wide as the next.

    Raises:
        ModelError: it has no such list.
    """
    remedy = (
        "Distill its answers alone into a smaller model of its own: 'student: FOLDER' with "
        "'hidden_weight: 0' and 'relation_weight: 0' (a base model gets the teacher's labels)"
    )
    for name in _STAGES:
        stages = getattr(model.config, name, None)
        if isinstance(stages, list | tuple):
            raise ModelError(
                f"{a_type(model)} is built in {len(stages)} stages ({name} {list(stages)} in its config), "
                f"each of its own width: it has no layers to choose or to compare one by one. {remedy}"
            )
    try:
        return find_stack(model)
    except ModelError as cause:
        raise ModelError(f"{str(cause).removesuffix('.')}. {remedy}") from cause


def depth_of(model: PreTrainedModel) -> int:
    """How many hidden states a model gives after its layers: as often as it runs one, where all share it.

    Raises:
        ModelError: they are not of one width.
    """
    if getattr(model.config, "num_hidden_groups", None) is not None:  # ALBERT
        return int(model.config.num_hidden_layers)
    return len(stack_of(model))


def keeping_first(rule: Callable[[int, int], tuple[int, ...]], layers: int, keep: int) -> tuple[int, ...]:
    """A rule's choice with layer 0 in it: the rule chooses among the others."""
    if keep == 1:
        return (0,)
    return (0, *(index + 1 for index in rule(layers - 1, keep - 1)))


@contextmanager
def only(model: PreTrainedModel, chosen: Sequence[int]) -> Iterator[None]:
    """The model with some of its layers, for as long as the context lasts."""
    stack = stack_of(model)
    everything = list(stack.layers)
    before = shorten(model.config, len(stack), chosen)
    stack.replace([everything[i] for i in chosen])
    try:
        yield
    finally:
        stack.replace(everything)
        for name, value in before.items():
            setattr(model.config, name, value)


def search(
    teacher: PreTrainedModel, keep: int, distance: Callable[[PreTrainedModel], float]
) -> list[tuple[tuple[int, ...], float]]:
    """Every subset of layers with its distance from the whole teacher, nearest first.

    Args:
        teacher: in eval mode; left as it was.
        keep: layers a subset.
        distance: model -> how far its outputs are from the teacher's own.
    """
    stack = stack_of(teacher)
    scored = []
    fixed = first_is_fixed(stack.layers)
    for chosen in subsets(len(stack), keep):
        if fixed and chosen[0] != 0:
            continue
        with only(teacher, chosen):
            scored.append((chosen, distance(teacher)))
    # A subset that computes no finite outputs comes last.
    return sorted(scored, key=lambda entry: (not math.isfinite(entry[1]), entry[1], entry[0]))


def cut(teacher: PreTrainedModel, chosen: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with some of its layers; its config says so, lists by layer included.

    It is built anew from that config, so that it computes now what it will compute when it is loaded: a
    layer may take more from its number than its weights (GPT-2's ``scale_attn_by_inverse_layer_idx``).

    Args:
        teacher: left as it was.
        chosen: layers to keep, counted from 0.

    Raises:
        ModelError: layer 0 must stay and is not among them, or the config builds other layers than these.
    """
    student = copy.deepcopy(teacher)
    stack = stack_of(student)
    if chosen[0] != 0 and first_is_fixed(stack.layers):
        raise ModelError(
            f"the first layer of {a_type(teacher)} is built unlike the others and must stay: "
            f"choose layers that begin with 0, not {list(chosen)}"
        )
    layers = list(stack.layers)
    shorten(student.config, len(stack), chosen)
    describe_outputs(student.config)
    stack.replace([layers[i] for i in chosen])
    try:
        return checkpoint.rebuild(student)
    except ValueError as cause:
        raise ModelError(
            f"the layers {list(chosen)} of {a_type(teacher)} do not fit where its configuration "
            f"would put them ({cause}): choose others, or give a student of its own"
        ) from cause
