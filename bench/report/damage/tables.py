"""Findings as tables of texts: shared by the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence

from bench.record.findings import Challenge, Gap, Passed, Perturbation, Robustness, Slices
from bench.report.damage import words
from bench.report.damage.figures import between, chance, change, figure, share, slice_name
from bench.report.damage.view import Damage

SLICE_HEADER = ["slice", "rows", "before", "now", "change", "95 %", "p", "p (Holm)", "p (BH)"]
CHANGE_HEADER = ["change", "rows", "original", "candidate", "beyond the original", "95 %", "same answer"]
PASSED_HEADER = ["test", "cases", "before", "now", "change", "95 %", "lost", "won", "p"]
GROUP_HEADER = ["group", "rows", "before", "now"]
STEP_HEADER = ["against the original", "lost", "won", "worst slice", "calibration error"]


def slice_cells(found: Slices) -> list[list[str]]:
    """The table of slices; header: ``SLICE_HEADER``."""
    return [
        [
            slice_name(one),
            str(one.rows),
            figure(one.before, found.unit),
            figure(one.after, found.unit),
            change(one.difference, found.unit),
            between(one.interval, found.unit),
            chance(one.p_value),
            chance(one.holm),
            chance(one.bh),
        ]
        for one in found.slices
    ]


def change_cells(found: Robustness) -> list[list[str]]:
    """The table of changed texts; header: ``CHANGE_HEADER``."""

    def moved(one: Perturbation, clean: float | None, now: float | None, reacted: float) -> str:
        if now is None:
            return f"{share(reacted)} of answers turn"
        return f"{figure(clean, found.unit)} to {figure(now, found.unit)}"

    return [
        [
            one.name,
            str(one.rows),
            moved(one, one.clean_before, one.before, one.reacted_before),
            moved(one, one.clean_after, one.after, one.reacted_after),
            change(one.extra, found.unit),
            between(one.interval, found.unit),
            share(one.agreement),
        ]
        for one in found.changes
    ]


def passed_cells(tests: Sequence[Passed]) -> list[list[str]]:
    """The table of tests; header: ``PASSED_HEADER``."""
    return [
        [
            one.name,
            str(one.cases),
            share(one.before),
            share(one.after),
            change(one.difference),
            between(one.interval),
            str(one.harmful),
            str(one.beneficial),
            chance(one.p_value),
        ]
        for one in tests
    ]


def group_cells(one: Gap) -> list[list[str]]:
    """The table of groups; header: ``GROUP_HEADER``."""
    show = change if one.of == "score" else figure
    return [
        [each.name, str(each.rows), show(each.before, one.unit), show(each.after, one.unit)]
        for each in one.groups
    ]


def all_sets(found: Challenge) -> list[Passed]:
    """Every set as a whole."""
    return [one.whole for one in found.sets]


def step_cells(found: Sequence[Damage]) -> list[list[str]]:
    """A row a candidate; header: ``STEP_HEADER``. Empty for one alone, of which all else speaks."""
    if len(found) < 2:
        return []
    return [
        [
            one.candidate,
            str(one.flips.harmful) if one.flips else "-",
            str(one.flips.beneficial) if one.flips else "-",
            words.worst_slice(one.slices) if one.slices else "-",
            share(one.calibration.after.ece) if one.calibration else "-",
        ]
        for one in found
    ]
