"""Findings in sentences: shared by the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.record.findings import (
    Attribution,
    Calibration,
    ChallengeSet,
    Divergence,
    Fairness,
    Flips,
    Gap,
    Robustness,
    Row,
    Slice,
    Slices,
)
from bench.report.damage.figures import between, chance, change, figure, share, slice_name
from bench.report.damage.view import Damage

LEVEL = 0.05
_NAMED = 4
CHANGE_WORDS = {
    "harmful": "right before, wrong now",
    "beneficial": "wrong before, right now",
    "other": "changed",
    "none": "same answer",
}


def flips(found: Flips) -> str:
    """What flipped."""
    changed = found.harmful + found.beneficial + found.other
    sure = "more than chance explains" if found.p_value < LEVEL else "no more than chance explains"
    if found.tolerance is not None:
        return (
            f"{found.harmful} of {found.rows} numbers are further from the truth than before and "
            f"{found.beneficial} are nearer (by more than {found.tolerance:.3g}); that balance is {sure} "
            f"(exact p {chance(found.p_value)}). Mean absolute error: {found.error_before:.4g} before, "
            f"{found.error_after:.4g} now (difference {between(found.error_interval, 'error')})."
        )
    said = (
        f"{changed} of {found.rows} answers changed. {found.harmful} were right and are wrong now "
        f"({share(found.harmful / found.rows)}, 95 % interval {share(found.harmful_interval.low)} to "
        f"{share(found.harmful_interval.high)}), {found.beneficial} were wrong and are right now"
        + (f", {found.other} are wrong in another way" if found.other else "")
        + "."
    )
    if changed:
        said += f" That balance is {sure} (McNemar's exact p {chance(found.p_value)})."
    if found.parts is not None:
        parts = found.parts
        said += (
            f" Of {parts.total} {parts.name}, {parts.harmful} went wrong and {parts.beneficial} were mended."
        )
    return said


def verdict(one: Slice, found: Slices) -> str:
    """Whether a slice's change stands after correction for many looks."""
    return "beyond chance" if any(one is each for each in certain(found)) else "may be chance"


def answers(row: Row) -> str:
    """What became of a row's answer, short enough for one line."""
    said = f"{row.before} to {row.after}"
    if row.truth is not None and row.truth not in (row.before, row.after):
        said += f", true is {row.truth}"
    if row.truth_before is not None and row.truth_after is not None:
        said += f"; sure of the truth: {share(row.truth_before, 0)} to {share(row.truth_after, 0)}"
    return said


def certain(found: Slices) -> list[Slice]:
    """Slices that changed for the worse beyond chance, after Holm's correction."""
    return [one for one in found.slices if one.holm < LEVEL and _worse(one.difference, found.better)]


def slices(found: Slices) -> str:
    """What the slices say."""
    worst = found.slices[0]
    sure = certain(found)
    said = (
        f"{found.metric} on all rows: {figure(found.before, found.unit)} before, "
        f"{figure(found.after, found.unit)} now. Of {len(found.slices)} slices the worst change is "
        f"{change(worst.difference, found.unit)} in '{slice_name(worst)}' ({worst.rows} rows, 95 % interval "
        f"{between(worst.interval, found.unit)}). "
    )
    if sure:
        listed = ", ".join(f"'{slice_name(one)}'" for one in sure[:_NAMED])
        more = f" and {len(sure) - _NAMED} more" if len(sure) > _NAMED else ""
        return said + (
            f"Worse beyond chance after correcting for {len(found.slices)} looks (Holm): {listed}{more}."
        )
    return said + f"After correcting for {len(found.slices)} looks (Holm), no slice is worse beyond chance."


def calibration(found: Calibration) -> str:
    """What became of confidence."""
    mean = [
        sum(one.confidence * one.count for one in side.bins) / found.decisions
        - sum(one.right * one.count for one in side.bins) / found.decisions
        for side in (found.before, found.after)
    ]
    manner = "too sure of itself" if mean[1] > 0 else "not sure enough of itself"
    said = (
        f"On average confidence is off by {share(found.before.ece)} before and {share(found.after.ece)} now "
        f"(change {change(found.after.ece - found.before.ece)}"
    )
    interval = found.changes.get("ece")
    said += f", 95 % interval {between(interval)})" if interval else ")"
    said += f"; on the whole the candidate is {manner} by {share(abs(mean[1]))}. "
    if found.temperature_after is None or found.scaled_after is None:
        return said
    said += (
        f"At the temperature that {found.selection_rows} selection rows ask for "
        f"({found.temperature_after:.2f}; original: {found.temperature_before:.2f}) the candidate is off by "
        f"{share(found.scaled_after.ece)}. "
    )
    if found.scaled_after.ece < found.after.ece:
        return said + "'paredown calibrate' folds that into the model and changes no answer."
    return said + "That is no help here, as happens where the model was trained on the selection rows, too."


def divergence(found: Divergence) -> str:
    """How far distributions moved."""
    return (
        f"The candidate's probabilities are {found.mean:.3g} nats a row from the original's on average, and "
        f"{found.p99:.3g} or more on one row in a hundred (largest: {found.largest:.3g}). This says that "
        "answers moved, not whether they became worse."
    )


def _worse(difference: float, better: Literal["lower", "higher"]) -> bool:
    """Whether a difference, candidate less original, is a loss."""
    return difference < 0 if better == "higher" else difference > 0


def worst_slice(found: Slices) -> str:
    """The slice that lost most, in a few words; that none did, where none did."""
    worst = found.slices[0]
    if not _worse(worst.difference, found.better):
        return "none lost"
    return f"{change(worst.difference, found.unit)} ({slice_name(worst)})"


def robustness(found: Robustness) -> str:
    """What changed texts do."""
    labeled = [one for one in found.changes if one.extra is not None]
    if not labeled:
        return (
            f"{found.rows} rows were changed in {len(found.changes)} ways; both models are compared on them."
        )
    worst = labeled[0]
    unit = found.unit
    if not _worse(worst.extra or 0.0, found.better):
        return (
            f"{found.rows} rows were changed in {len(found.changes)} ways. None of the {len(labeled)} that "
            "keep the label costs the candidate more than it costs the original."
        )
    return (
        f"{found.rows} rows were changed in {len(found.changes)} ways. The worst is '{worst.name}' "
        f"({worst.what}): the original goes from {figure(worst.clean_before, unit)} to "
        f"{figure(worst.before, unit)}, the candidate from {figure(worst.clean_after, unit)} to "
        f"{figure(worst.after, unit)}, which is {change(worst.extra, unit)} beyond the original's loss "
        f"(95 % interval {between(worst.interval, unit)})."
    )


def challenge(one: ChallengeSet) -> str:
    """How a set went."""
    what = {"labeled": "rows", "pairs": "pairs (all of a pair right)", "checklist": "cases"}[one.layout]
    whole = one.whole
    said = (
        f"{one.name}: of {whole.cases} {what} the original passes {share(whole.before)}, the candidate "
        f"{share(whole.after)} ({change(whole.difference)}, 95 % interval {between(whole.interval)}; "
        f"{whole.harmful} lost, {whole.beneficial} won)."
    )
    worse = [test for test in one.tests if test.p_value * len(one.tests) < LEVEL and test.difference < 0]
    if worse:
        listed = ", ".join(f"'{test.name}' ({change(test.difference)})" for test in worse[:5])
        said += f" Worse beyond chance (Bonferroni): {listed}."
    return said


def gap(one: Gap) -> str:
    """How a gap went."""
    interval = (
        f" (change {change(one.difference, one.unit)}, 95 % interval {between(one.interval, one.unit)})"
    )
    if one.of == "score":
        return (
            f"{one.source}: in {one.swapped} sentences that differ in the group alone, the probability of "
            f"'{one.answer}' ranges over {share(one.before)} before and {share(one.after)} now{interval}; "
            f"the answer itself depends on the group in {share(one.turned_before)} before, "
            f"{share(one.turned_after)} now."
        )
    what = f"equalized odds ({one.answer})" if one.of == "equalized odds" else one.answer
    return (
        f"{one.source}: {what} differs between groups by up to {figure(one.before, one.unit)} before "
        f"and {figure(one.after, one.unit)} now{interval}."
    )


def sentences(damage: Damage) -> list[tuple[str, str]]:
    """Every section's title with its sentence, in the order of the page."""
    found: list[tuple[str, str]] = []
    if damage.flips:
        found.append(("Answers that changed", flips(damage.flips)))
    if damage.slices:
        found.append(("Where it changed", slices(damage.slices)))
    if damage.challenge:
        found += [("Challenge sets", challenge(one)) for one in damage.challenge.sets]
    if damage.robustness:
        found.append(("Changed texts", robustness(damage.robustness)))
    if damage.calibration:
        found.append(("Confidence", calibration(damage.calibration)))
    if damage.fairness:
        found += [("Groups", gap(one)) for one in damage.fairness.gaps]
    if damage.divergence:
        found.append(("Probabilities", divergence(damage.divergence)))
    return found


def headline(damage: Damage) -> str:
    """What happened, in one line."""
    if damage.flips is None:
        return f"{damage.candidate} against {damage.original}"
    found = damage.flips
    lost = f"{found.harmful} of {found.rows} answers went from right to wrong"
    if found.tolerance is not None:
        lost = f"{found.harmful} of {found.rows} numbers moved away from the truth"
    won = f"{found.beneficial} the other way"
    sure = (
        "more lost than chance explains"
        if found.p_value < LEVEL and found.harmful > found.beneficial
        else ("no more lost than chance explains" if found.harmful > found.beneficial else "no net loss")
    )
    return f"{damage.candidate} against {damage.original}: {lost}, {won} ({sure})"


@dataclass(frozen=True)
class Card:
    """One figure of the first screen: what it is, the figure, and more of it."""

    title: str
    value: str
    detail: str


def cards(damage: Damage) -> list[Card]:
    """The first screen's figures."""
    found = []
    if damage.score is not None and damage.score.difference is not None:
        unit, interval = damage.score.unit, damage.score.difference_interval
        found.append(
            Card(
                f"Change in {damage.score.metric}",
                change(damage.score.difference, unit),
                f"{figure(damage.score.value - damage.score.difference, unit)} to "
                f"{figure(damage.score.value, unit)}"
                + (f"; 95 % interval {between(interval, unit)}" if interval else ""),
            )
        )
    if damage.flips is not None:
        flipped = damage.flips
        found.append(
            Card(
                "Right before, wrong now" if flipped.tolerance is None else "Further from the truth",
                str(flipped.harmful),
                f"of {flipped.rows} rows; {flipped.beneficial} the other way; p {chance(flipped.p_value)}",
            )
        )
    if damage.slices is not None:
        worst = damage.slices.slices[0]
        found.append(
            Card(
                "Worst slice",
                change(worst.difference, damage.slices.unit),
                f"{slice_name(worst)} ({worst.rows} rows); for all slices at once "
                f"{between(worst.simultaneous, damage.slices.unit)}",
            )
        )
    if damage.calibration is not None:
        before, after = damage.calibration.before.ece, damage.calibration.after.ece
        found.append(Card("Calibration error", share(after), f"{share(before)} before"))
    if damage.challenge is not None:
        lost = min(damage.challenge.sets, key=lambda one: one.whole.difference)
        found.append(
            Card(
                "Worst challenge set",
                change(lost.whole.difference),
                f"{lost.name}: {share(lost.whole.before)} to {share(lost.whole.after)}",
            )
        )
    return found


@dataclass(frozen=True)
class Word:
    """A word with how strongly it is shown, from -1 (against the answer) to 1 (for it)."""

    text: str
    strength: float
    points: str

    @property
    def shade(self) -> int:
        """The strength as one of the style sheet's ten steps."""
        return round(10 * abs(self.strength))


def colored(attribution: Attribution) -> tuple[list[Word], list[Word]]:
    """The words for the original and for the candidate, on one scale."""
    top = max((abs(value) for value in (*attribution.before, *attribution.after)), default=0.0) or 1.0

    def words(values: Sequence[float]) -> list[Word]:
        return [
            Word(text, value / top, f"{100 * value + 0.0:+.1f} points")
            for text, value in zip(attribution.words, values, strict=True)
        ]

    return words(attribution.before), words(attribution.after)


def notes(damage: Damage) -> list[str]:
    """What a reader must know: of every section, and what was not looked at."""
    found: list[str] = []
    for section in (damage.flips, damage.slices, damage.calibration, damage.robustness, damage.fairness):
        found += section.notes if section is not None else ()
    for one in damage.challenge.sets if damage.challenge else ():
        found += [f"{one.name}: {note}" for note in one.notes]
    smalls = [(damage.slices.small, damage.slices.min_rows)] if damage.slices else []
    for small, least in smalls:
        if small:
            listed = ", ".join(f"{one.family}: {one.name} ({one.rows})" for one in small[:12])
            more = f" and {len(small) - 12} more" if len(small) > 12 else ""
            found.append(f"too few rows to judge (fewer than {least}): {listed}{more}")
    fair: Fairness | None = damage.fairness
    if fair is not None and fair.small:
        listed = ", ".join(f"{one.name} ({one.rows})" for one in fair.small[:12])
        found.append(f"groups with too few rows to judge: {listed}")
    found += [f"{probe} is not measured: {reason}" for probe, reason in damage.refused]
    if damage.missing:
        found.append(f"not looked at: {', '.join(damage.missing)}")
    return found
