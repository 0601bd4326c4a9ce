"""Up to which length a conversion computes what its source computes.

A traced graph is right at the lengths that were tried. Some models compute something else on long rows than
on short ones (BigBird takes full attention below some 700 tokens), and a trace keeps one of the two. So every
conversion is also run on a row as long as the artifact takes, with a short row padded beside it, and at a
length that no real row had. Where an export holds to some length only, that length becomes its limit.

Attention takes memory with the square of the length: above 1,024 tokens rows run one after another, and where
nobody asked for more, a graph is checked up to 4,096 tokens and takes no more. Of sounds it is 120 samples in
the place of a token: 7 and 30 seconds at 16 kHz, which models hear in steps of some 320 samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ParityError
from compress.model import length
from compress.tasks import _audio as audio
from deploy.checking import parity
from deploy.checking.parity import Case, Difference, Feed, Infer, Tolerance

if TYPE_CHECKING:
    from compress.tasks import Row
    from deploy.encoder import Encoder

LONGEST = 4096
_TOGETHER = 1024

Checker = Callable[[int], "Failure | None"]


@dataclass(frozen=True)
class Failure:
    """Why a conversion does not hold at a length.

    Attributes:
        tokens: of the longest row.
        words: what went wrong.
    """

    tokens: int
    words: str


@dataclass(frozen=True)
class Reach:
    """Up to which length a conversion holds.

    Attributes:
        tokens: of the longest row on which it was checked.
        checked: lengths that were tried and held, ascending.
        failure: at the shortest length that was tried and did not hold; None where all held.
    """

    tokens: int
    checked: tuple[int, ...]
    failure: Failure | None = None


def longest(encoder: Encoder) -> int:
    """The length up to which a graph is checked where nobody asked for more, in the unit of its task."""
    return length.scaled(LONGEST, encoder.task.UNIT)


def lengthened(encoder: Encoder, rows: Sequence[Row], tokens: int) -> Row:
    """A row of at least so many tokens, of real rows one after the other.

    Args:
        encoder: of the artifact.
        rows: real ones.
        tokens: wanted, specials included.
    """
    columns = encoder.task.COLUMNS
    long = ("text", "tokens", "audio")
    roles = [role for role in rows[0] if role in columns and columns[role].holds in long]
    pieces: list[Row] = []
    while True:
        pieces += rows
        joined: dict[str, Any] = {}
        for role in roles:
            cells = [row[role] for row in pieces if role in row]
            if columns[role].holds == "tokens":
                joined[role] = [word for cell in cells for word in cell]
            elif columns[role].holds == "audio":
                rate = encoder.processor.sampling_rate
                joined[role] = audio.Wave(np.concatenate([audio.read(cell, rate) for cell in cells]), rate)
            else:
                joined[role] = " ".join(cells)
        counted = encoder.lengths([joined])
        if counted is None or counted[0] >= tokens or len(pieces) > len(rows) * tokens:
            return joined


def cases(encoder: Encoder, rows: Sequence[Row], tokens: int) -> list[Case]:
    """A row of exactly so many tokens, and a short one padded to it; apart where side by side is large.

    Args:
        encoder: of the artifact.
        rows: real ones.
        tokens: of the long row; more than the short one has.
    """
    lengths = encoder.lengths(rows)
    shortest = rows[0] if lengths is None else rows[int(np.argmin(lengths))]
    long = lengthened(encoder, rows, tokens)
    batch = encoder.task.encode(
        [long, {role: shortest[role] for role in long}],
        encoder.processor,
        encoder.head,
        tokens,
        labelled=False,
    )
    feed: Feed = {name: batch.inputs[name] for name in encoder.spec.inputs}
    unit = encoder.task.UNIT
    if tokens <= length.scaled(_TOGETHER, unit):
        return [Case(f"a row of {tokens} {unit} beside a short one", feed)]
    apart = [{name: array[at : at + 1] for name, array in feed.items()} for at in (0, 1)]
    names = (f"a row of {tokens} {unit}", f"a short row padded to {tokens} {unit}")
    return [Case(name, row_feed) for name, row_feed in zip(names, apart, strict=True)]


def unseen(lengths: np.ndarray, top: int) -> int | None:
    """A length below the top that no row has, halfway between them and it; None where there is none."""
    occurring = set(np.minimum(lengths, top).tolist())
    begin = (int(np.minimum(lengths, top).max()) + top) // 2
    return next((n for n in [*range(begin, top), *range(begin, 3, -1)] if n not in occurring), None)


def tried(encoder: Encoder, rows: Sequence[Row], most: int) -> list[int]:
    """The lengths that a conversion is checked at: one that no row has, and the longest; none for images.

    Args:
        encoder: of the artifact.
        rows: real ones.
        most: tokens of the longest.
    """
    lengths = encoder.lengths(rows) if encoder.spec.length_axis is not None else None
    if lengths is None:
        return []
    between = unseen(lengths, most)
    return [most] if between is None else [between, most]


def all_cases(encoder: Encoder, rows: Sequence[Row], most: int | None = None) -> list[Case]:
    """The cases of every length that is tried, up to ``most`` tokens, by itself up to ``longest``."""
    most = most or longest(encoder)
    lengths = tried(encoder, rows, min(encoder.max_length or most, most))
    return [case for tokens in lengths for case in cases(encoder, rows, tokens)]


def checker(
    reference: Infer,
    candidate: Infer,
    encoder: Encoder,
    rows: Sequence[Row],
    tolerance: Tolerance,
    refusals: tuple[type[Exception], ...],
    differences: list[Difference],
) -> Checker:
    """A function from a length to what goes wrong there.

    Args:
        reference: the source.
        candidate: what was made from it.
        encoder: of both.
        rows: real ones.
        tolerance: how far apart they may be.
        refusals: what either raises where it does not run at a length.
        differences: gets the differences of the cases that held.
    """

    def check(tokens: int) -> Failure | None:
        for case in cases(encoder, rows, tokens):
            try:
                expected, actual = reference(case.feed), candidate(case.feed)
            except refusals as cause:
                first = str(cause).strip().splitlines() or [type(cause).__name__]
                return Failure(tokens, f"it does not run on {case.name}: {first[0]:.200}")
            gaps = [
                parity.difference(case, name, array, np.asarray(actual[name]), tolerance)
                for name, array in expected.items()
            ]
            worst = max(gaps, key=lambda gap: gap.largest / gap.allowed)
            if worst.largest > worst.allowed:
                return Failure(
                    tokens,
                    f"output '{worst.output}' is off by {worst.largest:.3g} at values up to "
                    f"{worst.scale:.3g} ({case.name}; allowed: {worst.allowed:.3g})",
                )
            differences.extend(gaps)
        return None

    return check


def reach(check: Checker, lengths: Sequence[int], base: int) -> Reach:
    """Up to which length a conversion holds.

    Args:
        check: what goes wrong at a length.
        lengths: to try, ascending.
        base: a length at which it holds, below them all or equal to the last.

    Raises:
        ParityError: it holds at one length and not at a shorter one, so that no limit would make it right.
    """
    passing: list[int] = []
    failure: Failure | None = None
    for tokens in lengths:
        failure = check(tokens)
        if failure is not None:
            break
        passing.append(tokens)
    if failure is None:
        return Reach(max([base, *passing]), tuple(passing))
    low = max([base, *passing])
    while failure.tokens - low > 1:
        middle = (low + failure.tokens) // 2
        below = check(middle)
        if below is None:
            low = middle
            passing.append(middle)
        else:
            failure = below
    if failure.tokens <= base:
        raise ParityError(
            "the exported graph does not compute what its source computes at lengths that no calibration "
            f"row has: {failure.words}, and it holds at {base} tokens. Nothing was sealed."
        )
    return Reach(low, tuple(sorted(passing)), failure)


def moved(reference: Infer, candidate: Infer, on: Sequence[Case], label: str) -> dict[str, Any] | None:
    """How far a quantized graph is from its float one on long rows; None where rows have no length.

    Args:
        reference: the float graph.
        candidate: the quantized one.
        on: cases of long rows.
        label: the candidate in words, for the message.

    Raises:
        ParityError: an output is no number.
    """
    gaps: list[dict[str, Any]] = []
    for case in on:
        expected: Mapping[str, np.ndarray] = reference(case.feed)
        actual = candidate(case.feed)
        for name, array in expected.items():
            gap = parity.difference(case, name, array, np.asarray(actual[name]), parity.FP32)
            if not np.isfinite(gap.largest):
                raise ParityError(
                    f"{label} gives numbers that are not finite on {case.name}: export it with a lower "
                    "max_length, or keep more in float. Nothing was sealed."
                )
            gaps.append({"case": case.name, "output": name, "largest": gap.largest, "scale": gap.scale})
    return {"cases": gaps} if gaps else None
