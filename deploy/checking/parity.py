"""Whether two models compute the same: the same feeds to both, the largest difference of each case.

Cases are made from real rows: other shapes than the one that was traced, and three kinds of
attention mask. A graph that took the mask's length for the mask (ONNX Runtime's default fusion for
BERT does) agrees under right padding and is wrong under the other two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compress.errors import ParityError

MASK = "attention_mask"
Feed = dict[str, np.ndarray]
Infer = Callable[[Feed], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One feed to compare on.

    Attributes:
        name: what is special about it, with its shape.
        feed: input name -> array.
    """

    name: str
    feed: Feed


@dataclass(frozen=True)
class Difference:
    """How far two models are apart on one output of one case.

    Attributes:
        case: its name.
        output: the output's name.
        largest: of the absolute differences.
        mean: of the absolute differences.
        scale: largest absolute value of the reference.
        allowed: what ``largest`` may be.
    """

    case: str
    output: str
    largest: float
    mean: float
    scale: float
    allowed: float


@dataclass(frozen=True)
class Tolerance:
    """How far apart is still the same: ``absolute + relative * scale`` of the reference's output.

    Attributes:
        absolute: at any scale.
        relative: what the option ``tolerance`` says.
        most: that the option may say.
    """

    absolute: float
    relative: float
    most: float = 1e-2

    def allowed(self, scale: float) -> float:
        """The largest difference at a scale."""
        return self.absolute + self.relative * scale


# FP32 against FP32 differs by the order of additions: 1e-7 to 1e-5 was seen over 13 families.
FP32 = Tolerance(absolute=2e-5, relative=5e-5)
# 11 bits and 8 bits of mantissa, through some tens of layers.
FP16 = Tolerance(absolute=5e-3, relative=1e-2, most=0.5)
BF16 = Tolerance(absolute=5e-2, relative=8e-2, most=0.5)


def pad_left(feed: Mapping[str, np.ndarray]) -> Feed:
    """The same rows with their padding in front: every [batch, length] input rolled by the pads."""
    pads = (feed[MASK] == 0).sum(axis=1)
    moved: Feed = {}
    for name, array in feed.items():
        if array.shape[:2] == feed[MASK].shape:
            rows = [np.roll(row, int(shift), axis=0) for row, shift in zip(array, pads, strict=True)]
            moved[name] = np.stack(rows)
        else:
            moved[name] = array
    return moved


def punch_holes(feed: Mapping[str, np.ndarray], seed: int, share: float = 0.25) -> Feed:
    """The same rows with some real positions masked out; the first position of a row stays."""
    generator = np.random.default_rng(seed)
    mask = feed[MASK].copy()
    holes = generator.random(mask.shape) < share
    holes[:, 0] = False
    middle = mask.shape[1] // 2
    holes[:, middle] |= middle > 0
    mask[holes] = 0
    return {**feed, MASK: mask}


def _take(feed: Mapping[str, np.ndarray], rows: slice) -> Feed:
    return {name: array[rows] for name, array in feed.items()}


def _shape(feed: Mapping[str, np.ndarray]) -> str:
    return "x".join(str(size) for size in next(iter(feed.values())).shape)


def spread(lengths: Sequence[int] | np.ndarray | None, count: int, rows: int) -> list[int]:
    """Indices of ``count`` rows from the shortest to the longest, evenly over the ranks."""
    order = np.arange(rows) if lengths is None else np.argsort(np.asarray(lengths), kind="stable")
    picks = np.linspace(0, rows - 1, num=min(count, rows)).round().astype(int)
    return [int(order[i]) for i in dict.fromkeys(picks.tolist())]


def cases(
    rows: Sequence[Mapping[str, Any]],
    lengths: np.ndarray | None,
    encode: Callable[[Sequence[Mapping[str, Any]]], Feed],
    seed: int,
) -> list[Case]:
    """Feeds from real rows: batch 1 (shortest, middle, longest), a mixed batch, three kinds of mask.

    Args:
        rows: real rows.
        lengths: tokens of each row; None where rows have no length.
        encode: rows to inputs, padded to the longest of them.
        seed: of the holes.
    """
    picks = spread(lengths, 8, len(rows))
    batch = encode([rows[i] for i in picks])
    singles = dict.fromkeys((picks[0], picks[len(picks) // 2], picks[-1]))
    feeds = [encode([rows[i]]) for i in singles]
    variants = [Case(f"one row {_shape(feed)}", feed) for feed in feeds]
    if MASK not in batch:
        variants.append(Case(f"batch {_shape(batch)}", batch))
        return variants
    variants.append(Case(f"right-padded {_shape(batch)}", batch))
    variants.append(Case(f"left-padded {_shape(batch)}", pad_left(batch)))
    variants.append(Case(f"holed mask {_shape(batch)}", punch_holes(batch, seed)))
    small = encode([rows[i] for i in picks[:3]])
    variants.append(Case(f"left-padded, holed {_shape(small)}", punch_holes(pad_left(small), seed + 1)))
    longest = _take(feeds[-1], slice(0, 1))
    variants.append(Case(f"one row, holed mask {_shape(longest)}", punch_holes(longest, seed + 2)))
    return variants


def difference(
    case: Case, output: str, reference: np.ndarray, candidate: np.ndarray, tolerance: Tolerance
) -> Difference:
    """The difference of one output, over the positions that are not masked out.

    Raises:
        ParityError: the shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ParityError(
            f"output '{output}' has shape {candidate.shape} and the source gives {reference.shape} "
            f"({case.name}): the conversion changed the graph"
        )
    expected, actual = reference.astype(np.float64), candidate.astype(np.float64)
    mask = case.feed.get(MASK)
    if mask is not None and expected.ndim >= 3 and expected.shape[:2] == mask.shape:
        expected, actual = expected[mask != 0], actual[mask != 0]
    gap = np.abs(expected - actual)
    scale = float(np.abs(expected).max(initial=0.0))
    largest = float(gap.max(initial=0.0)) if np.isfinite(actual).all() else float("inf")
    mean = float(gap.mean()) if gap.size and np.isfinite(largest) else largest
    return Difference(case.name, output, largest, mean, scale, tolerance.allowed(scale))


def check(
    reference: Infer, candidate: Infer, on: Sequence[Case], tolerance: Tolerance, label: str
) -> list[Difference]:
    """Compare two models on every case.

    Args:
        reference: the source.
        candidate: what was made from it.
        on: the cases.
        tolerance: how far apart they may be.
        label: the candidate in words, for the message.

    Raises:
        ParityError: a case is further apart; the message names the worst one and its figures.
    """
    differences = []
    for case in on:
        expected, actual = reference(case.feed), candidate(case.feed)
        for name, array in expected.items():
            if name not in actual:
                raise ParityError(f"{label} has no output '{name}'; it has {', '.join(actual)}")
            differences.append(difference(case, name, array, np.asarray(actual[name]), tolerance))
    worst = max(differences, key=lambda gap: gap.largest / gap.allowed)
    if worst.largest > worst.allowed:
        raise ParityError(
            f"{label} does not compute what its source computes: output '{worst.output}' is off by "
            f"{worst.largest:.3g} at values up to {worst.scale:.3g} ({worst.case}; allowed: "
            f"{worst.allowed:.3g}). {_way_out(differences, tolerance)}. Nothing was sealed."
        )
    return differences


def _way_out(differences: Sequence[Difference], tolerance: Tolerance) -> str:
    """What the option ``tolerance`` would have to be for every case to pass."""
    needed = 0.0
    for gap in differences:
        over = gap.largest - tolerance.absolute
        if over > 0:
            needed = max(needed, over / gap.scale if gap.scale else float("inf"))
    if not np.isfinite(needed):
        return f"No tolerance lets that pass (it is {tolerance.relative:g} of the largest output)"
    exponent = math.floor(math.log10(needed)) - 1
    rounded = math.ceil(needed / 10.0**exponent) * 10.0**exponent  # up, to two digits
    text = f"The option tolerance is {tolerance.relative:g} of the largest output, and {rounded:.2g} would "
    if rounded > tolerance.most:
        return f"{text}be needed, more than the {tolerance.most:g} that it may be"
    return (
        f"{text}let it pass (--set tolerance={rounded:.2g}): raise it only where that does not matter to you"
    )


def summary(differences: Sequence[Difference]) -> dict[str, Any]:
    """What a manifest records: the worst case and one line a case."""
    worst = max(differences, key=lambda gap: gap.largest / gap.allowed)
    return {"worst": asdict(worst), "cases": [asdict(gap) for gap in differences]}
