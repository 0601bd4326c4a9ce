"""Optimization profiles: which sizes of batch and length an engine takes, and how it is tuned.

A profile is written ``batch=1:8:32,length=16:64:128``: the smallest size, the one that kernels are
tuned for, and the largest, for each free axis; ``batch=8`` is a fixed size. Several profiles cut the
lengths into buckets, each with kernels of its own. Rows shorter than a profile's smallest length are
padded up to it, which the attention mask makes exact; longer ones do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from compress.errors import RecipeError, UserError

_SIZE = re.compile("[0-9]{1,9}")  # a graph counts in 32 bits

BATCH = "batch"
LENGTH = "length"
# Lengths in steps that matrix kernels like; a profile of one more token would cost the same.
MULTIPLE = 8


class Range(BaseModel):
    """Sizes of one axis: the smallest, the one to tune for, and the largest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return str(self.opt) if self.min == self.max else f"{self.min}:{self.opt}:{self.max}"


Axes = dict[str, Range]


class Shapes(BaseModel):
    """Smallest, tuned-for and largest shape of one input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Profile(BaseModel):
    """One optimization profile of an engine.

    Attributes:
        axes: name of a free axis -> its sizes.
        inputs: name of an input -> its shapes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    axes: dict[str, Range]
    inputs: dict[str, Shapes]

    def __str__(self) -> str:
        return spell(self.axes)


@dataclass(frozen=True)
class Selected:
    """The profile that takes a feed.

    Attributes:
        index: of the profile.
        shapes: input -> the shape to run with: the feed's own, or padded up to the smallest.
    """

    index: int
    shapes: dict[str, tuple[int, ...]]


def parse(text: str) -> Axes:
    """The axes of one profile.

    Raises:
        RecipeError: it is not written AXIS=MIN:OPT:MAX, or the sizes do not rise.
    """
    axes: Axes = {}
    for part in text.split(","):
        name, equals, sizes = (piece.strip() for piece in part.partition("="))
        numbers = sizes.split(":")
        counts = len(numbers) in (1, 3) and all(_SIZE.fullmatch(number) for number in numbers)
        if not (name and equals and counts):
            raise RecipeError(
                f"the profile '{text}' has '{part.strip()}'; write AXIS=MIN:OPT:MAX or AXIS=SIZE for each "
                "axis, such as batch=1:8:32,length=16:64:128"
            )
        low, best, high = (int(number) for number in (numbers * 3 if len(numbers) == 1 else numbers))
        if not 1 <= low <= best <= high:
            raise RecipeError(
                f"the profile '{text}' has {name}={sizes}: sizes are 1 or more and rise from "
                "MIN over OPT to MAX"
            )
        if name in axes:
            raise RecipeError(f"the profile '{text}' names {name} twice")
        axes[name] = Range(min=low, opt=best, max=high)
    return axes


def spell(axes: Mapping[str, Range]) -> str:
    """A profile as ``parse`` takes it."""
    return ",".join(f"{name}={sizes}" for name, sizes in axes.items())


def complete(axes: Axes, free: Sequence[str], longest: int | None) -> Axes:
    """A given profile with every free axis of the graph, in the graph's order.

    Args:
        axes: as parsed.
        free: names of the free axes, the batch first.
        longest: the most tokens that the model takes, where it has a length.

    Raises:
        RecipeError: an axis that the graph does not have, or one that was left out.
    """
    unknown = sorted(axes.keys() - set(free))
    missing = [name for name in free if name not in axes]
    if unknown or missing:
        wrong = [f"the graph has no axis {', '.join(unknown)}"] if unknown else []
        wrong += [f"{', '.join(missing)} is missing"] if missing else []
        example = {name: Range(min=1, opt=8, max=32) for name in free}
        if longest is not None:
            axis_names = [name for name in free if name != BATCH]
            best = min(64, longest)
            example |= {name: Range(min=min(16, best), opt=best, max=longest) for name in axis_names}
        raise RecipeError(
            f"the profile '{spell(axes)}': {'; '.join(wrong)}. Free axes: {', '.join(free)}; "
            f"for example {spell(example)}"
        )
    return {name: axes[name] for name in free}


def boundaries(lengths: Sequence[int], buckets: int, multiple: int = MULTIPLE) -> list[int]:
    """Upper ends of the length buckets that waste the least padding, rising.

    Every row is padded to the end of its bucket; the ends are multiples of ``multiple`` and minimize
    the sum of padded lengths (exact, by dynamic programming over the possible ends).

    Args:
        lengths: of the rows, in tokens.
        buckets: at most so many; fewer where another would save nothing.
        multiple: of the ends.
    """
    if not len(lengths):
        return []
    steps = -(-np.asarray(lengths, dtype=np.int64) // multiple)
    ends, counts = np.unique(steps, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    size = len(ends)
    # cost[j]: padded length, in steps, of the rows up to end j; the last bucket of a choice ends at j.
    cost = np.array([ends[j] * below[j + 1] for j in range(size)])
    chosen: list[list[int]] = [[j] for j in range(size)]
    best = (int(cost[-1]), chosen[-1])
    for _ in range(1, buckets):
        following, paths = cost.copy(), list(chosen)
        for j in range(size):
            for i in range(j):
                candidate = cost[i] + ends[j] * (below[j + 1] - below[i + 1])
                if candidate < following[j]:
                    following[j], paths[j] = candidate, [*chosen[i], j]
        cost, chosen = following, paths
        if int(cost[-1]) < best[0]:
            best = (int(cost[-1]), chosen[-1])
    return [int(ends[j]) * multiple for j in best[1]]


def derive(lengths: Sequence[int] | None, longest: int | None, batch: Range, buckets: int) -> list[Axes]:
    """Profiles from the rows' own lengths, and one more for what the model takes beyond them.

    Args:
        lengths: tokens of each row after truncation; None where rows have no length.
        longest: the most tokens that the model takes; None where nothing bounds it.
        batch: sizes of the batch, the same in every profile.
        buckets: of the rows' lengths, at most.
    """
    if lengths is None:
        return [{BATCH: batch}]
    ends = boundaries(lengths, buckets)
    if longest is not None:
        ends = sorted({min(end, longest) for end in ends} | {longest})
    profiles: list[Axes] = []
    low = 1
    for end in ends:
        profiles.append({BATCH: batch, LENGTH: Range(min=low, opt=end, max=end)})
        low = end + 1
    return profiles


def shape(axes: Axes, inputs: Mapping[str, Sequence[int | str]]) -> Profile:
    """The profile with a shape for every input.

    Args:
        axes: every free axis.
        inputs: input -> its shape, a name for each free axis.
    """

    def at(bound: str, sizes: Sequence[int | str]) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else getattr(axes[size], bound) for size in sizes)

    return Profile(
        axes=axes,
        inputs={
            name: Shapes(min=at("min", sizes), opt=at("opt", sizes), max=at("max", sizes))
            for name, sizes in inputs.items()
        },
    )


def check_limits(profile_axes: Sequence[Axes], limits: Mapping[str, int]) -> None:
    """Refuse profiles beyond what the graph was exported for.

    Args:
        profile_axes: every profile.
        limits: axis -> its largest size, where there is one.

    Raises:
        RecipeError: with the axis, the limit and the export option that raises it.
    """
    for axes in profile_axes:
        for name, limit in limits.items():
            if name in axes and axes[name].max > limit:
                option = "--max-batch" if name == BATCH else "--max-length"
                raise RecipeError(
                    f"the profile '{spell(axes)}' goes up to {name} {axes[name].max}, and the graph takes at "
                    f"most {limit}: lower it, or export with a larger {option} where the model allows it"
                )


def check_lengths(profile_axes: Sequence[Axes], lengths: Sequence[int], unit: str = "tokens") -> None:
    """Refuse profiles that leave out rows of the data.

    Args:
        profile_axes: every profile.
        lengths: of each row after truncation.
        unit: that they are counted in, such as ``samples`` of sounds.

    Raises:
        RecipeError: some rows are longer than every profile; says how many and what would hold them.
    """
    largest = max(axes[LENGTH].max for axes in profile_axes)
    sizes = np.asarray(lengths)
    left = int((sizes > largest).sum())
    if left:
        longest = int(sizes.max())
        text = "; ".join(spell(axes) for axes in profile_axes)
        raise RecipeError(
            f"the profiles ({text}) leave out {left} of {len(sizes)} rows: rows have up to {longest} {unit}, "
            f"the profiles go up to {LENGTH} {largest}. Raise it to {longest} or more, or leave "
            "--profile out and profiles are made from the data's lengths"
        )


def select(profiles: Sequence[Profile], shapes: Mapping[str, Sequence[int]], remedy: str = "") -> Selected:
    """The profile for a feed: of those that hold it, the one with the least padding, then the smallest.

    Args:
        profiles: of the engine.
        shapes: input -> shape of the feed.
        remedy: the command that rebuilds the engine, for the message.

    Raises:
        UserError: the feed is larger than every profile on some axis; says which and what is allowed.
    """
    choices: list[tuple[int, int, int, dict[str, tuple[int, ...]]]] = []
    for index, profile in enumerate(profiles):
        padded: dict[str, tuple[int, ...]] = {}
        for name, bounds in profile.inputs.items():
            sizes = tuple(shapes[name])
            if len(sizes) != len(bounds.max) or any(a > b for a, b in zip(sizes, bounds.max, strict=True)):
                break
            padded[name] = tuple(max(a, b) for a, b in zip(sizes, bounds.min, strict=True))
        else:
            volume = sum(int(np.prod(sizes)) for sizes in padded.values())
            room = sum(int(np.prod(bounds.max)) for bounds in profile.inputs.values())
            choices.append((volume, room, index, padded))
    if not choices:
        raise UserError(outside(profiles, shapes, remedy))
    _, _, index, padded = min(choices, key=lambda choice: choice[:3])
    return Selected(index=index, shapes=padded)


def outside(profiles: Sequence[Profile], shapes: Mapping[str, Sequence[int]], remedy: str = "") -> str:
    """The sentence for a feed that no profile holds."""
    request = ", ".join(f"{name} {'x'.join(map(str, sizes))}" for name, sizes in shapes.items())
    allowed = " or ".join(f"'{profile}'" for profile in profiles)
    end = (
        f": {remedy} with a --profile that holds it"
        if remedy
        else ": build it again with a --profile that holds it"
    )
    return f"the feed ({request}) is outside every profile of the engine ({allowed}); send less at once{end}"
