"""The findings: what stands behind the figures of the damage probes, written with the report.

Every finding is one model of this file, told apart by ``kind``. Shares lie between 0 and 1, differences
are candidate minus original, intervals are paired.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bench.record.interval import Interval
from compress.strict import Strict

VERSION: Literal[1] = 1
Change = Literal["harmful", "beneficial", "other", "none"]


class Attribution(Strict):
    """How much each word speaks for an answer, for both models.

    Attributes:
        answer: that is explained: the original's.
        words: of the row, or runs of words where it is long.
        before: the original's probability of the answer less that without the word.
        after: the same of the candidate.
    """

    answer: str
    words: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


class Row(Strict):
    """A row for a person to read.

    Attributes:
        number: of the row among those that were measured, from 1.
        cells: role -> text.
        image: a small picture as a data URI, for rows that are images.
        truth: the label; None where it has none.
        before: what the original says.
        after: what the candidate says.
        change: whether that is harmful, beneficial, another change (both wrong), or none.
        truth_before: the original's probability of the truth, where there is one.
        truth_after: the candidate's.
        divergence: of the two distributions, in nats.
        attribution: of the row's words, where it was asked for.
    """

    number: int
    cells: dict[str, str]
    image: str | None = None
    truth: str | None = None
    before: str
    after: str
    change: Change
    truth_before: float | None = None
    truth_after: float | None = None
    divergence: float | None = None
    attribution: Attribution | None = None


class Parts(Strict):
    """Flips of the parts of an answer, such as entities, where a row has several.

    Attributes:
        name: of a part, in the plural.
        total: parts that are true or that a model named.
        harmful: that the original had right and the candidate has wrong.
        beneficial: the other way round.
    """

    name: str
    total: int
    harmful: int
    beneficial: int


class Matrix(Strict):
    """How often each answer of the original became each answer of the candidate.

    Attributes:
        labels: rows and columns alike.
        counts: [original][candidate].
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Flips(Strict):
    """Answers that changed.

    Attributes:
        rows: compared.
        harmful: right before, wrong after; for numbers: the error grew by more than ``tolerance``.
        beneficial: wrong before, right after.
        other: changed, and wrong both times.
        p_value: McNemar's exact test of harmful against beneficial.
        harmful_interval: Wilson's interval of the harmful share.
        tolerance: for numbers: the change that does not count.
        error_before: for numbers: mean absolute error of the original.
        error_after: of the candidate.
        error_interval: of the difference, paired.
        parts: of the answers, where a row has several.
        matrix: None where there are too many labels, or none.
        worst: harmful flips first, then other changes, then beneficial, each by divergence.
        divergent: the rows on which the two models differ most, flipped or not.
        left_out: flipped rows that are counted and not listed.
        attribution: how the words were weighed; None where they were not, with the reason in ``notes``.
        notes: what a reader must know.
    """

    kind: Literal["flips"] = "flips"
    schema_version: Literal[1] = VERSION
    rows: int
    harmful: int
    beneficial: int
    other: int
    p_value: float
    harmful_interval: Interval
    tolerance: float | None = None
    error_before: float | None = None
    error_after: float | None = None
    error_interval: Interval | None = None
    parts: Parts | None = None
    matrix: Matrix | None = None
    worst: tuple[Row, ...]
    divergent: tuple[Row, ...] = ()
    left_out: int = 0
    attribution: str | None = None
    notes: tuple[str, ...] = ()


class Slice(Strict):
    """One slice of the rows, before and after.

    Attributes:
        family: what it was cut by, such as ``label`` or ``length``.
        name: of the slice.
        rows: in it.
        before: the original's metric on them.
        after: the candidate's.
        difference: after less before.
        interval: of the difference, on its own.
        simultaneous: of the difference, wide enough to hold for all slices at once (Bonferroni).
        p_value: of no difference.
        holm: the same, corrected for the number of slices (any false find).
        bh: corrected by Benjamini and Hochberg (share of false finds).
    """

    family: str
    name: str
    rows: int
    before: float
    after: float
    difference: float
    interval: Interval | None = None
    simultaneous: Interval | None = None
    p_value: float
    holm: float
    bh: float


class Small(Strict):
    """A slice that has too few rows to be judged; or, where a family has many of them, how many it has."""

    family: str
    name: str
    rows: int


class Slices(Strict):
    """A metric in parts of the data.

    Attributes:
        metric: that is compared.
        unit: of the metric.
        better: which direction is good.
        before: the original's figure on all rows.
        after: the candidate's.
        slices: the worst change first.
        small: slices with fewer rows than ``min_rows``; not tested, not corrected for.
        min_rows: that a slice needs.
        notes: what a reader must know.
    """

    kind: Literal["slices"] = "slices"
    schema_version: Literal[1] = VERSION
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    before: float
    after: float
    slices: tuple[Slice, ...]
    small: tuple[Small, ...]
    min_rows: int
    notes: tuple[str, ...] = ()


class Bin(Strict):
    """Answers of like confidence: their mean confidence, how many of them were right, how many there are."""

    confidence: float
    right: float
    count: int


class Reliability(Strict):
    """How well confidence matches being right.

    Attributes:
        ece: expected calibration error over bins of equal mass.
        brier: mean squared error of the probabilities.
        nll: mean negative log likelihood of the truth, in nats.
        bins: by rising confidence.
    """

    ece: float
    brier: float
    nll: float
    bins: tuple[Bin, ...]


class Calibration(Strict):
    """Confidence before and after, as it is and with a fitted temperature.

    Attributes:
        decisions: that were counted: rows, labels of rows, or words.
        before: the original.
        after: the candidate.
        changes: ``ece``, ``brier``, ``nll`` -> paired interval of the difference.
        temperature_before: fitted for the original on ``selection_rows``; None where there are none.
        temperature_after: for the candidate.
        selection_rows: that temperatures were fitted on; no evaluation row is among them.
        scaled_before: the original at its temperature.
        scaled_after: the candidate at its temperature.
        scaled_changes: intervals of the differences of those.
        notes: what a reader must know.
    """

    kind: Literal["calibration"] = "calibration"
    schema_version: Literal[1] = VERSION
    decisions: int
    before: Reliability
    after: Reliability
    changes: dict[str, Interval]
    temperature_before: float | None = None
    temperature_after: float | None = None
    selection_rows: int = 0
    scaled_before: Reliability | None = None
    scaled_after: Reliability | None = None
    scaled_changes: dict[str, Interval] = Field(default={})
    notes: tuple[str, ...] = ()


class Divergence(Strict):
    """How far the candidate's distributions are from the original's, in nats a row.

    Attributes:
        rows: compared.
        mean: over rows, with its bootstrap interval.
        p99: exceeded by one row in a hundred.
        largest: of any row.
    """

    kind: Literal["divergence"] = "divergence"
    schema_version: Literal[1] = VERSION
    rows: int
    mean: float
    mean_interval: Interval | None
    p99: float
    largest: float


class Perturbation(Strict):
    """What one kind of change of the text does to both models.

    Attributes:
        name: of the change.
        what: it does, in words.
        rows: that it changed.
        keeps_label: whether the label stays what it is; else there is only agreement.
        clean_before: the original's metric on the same rows unchanged.
        clean_after: the candidate's.
        before: the original's metric on the changed rows.
        after: the candidate's.
        extra: what the candidate loses more than the original: its change less the original's; below
            zero is worse.
        interval: of ``extra``, paired.
        agreement: share of changed rows on which both give the same answer.
        reacted_before: share of rows whose answer the change turned, in the original.
        reacted_after: in the candidate.
        worst: rows that the original still has right and the candidate no longer; for a change that
            keeps no label, rows on which they part.
    """

    name: str
    what: str
    rows: int
    keeps_label: bool
    clean_before: float | None = None
    clean_after: float | None = None
    before: float | None = None
    after: float | None = None
    extra: float | None = None
    interval: Interval | None = None
    agreement: float
    reacted_before: float
    reacted_after: float
    worst: tuple[Row, ...] = ()


class Robustness(Strict):
    """Changed texts.

    Attributes:
        metric: that is compared.
        unit: of the metric.
        better: which direction is good.
        rows: of the sample that was changed.
        changes: the worst first.
        notes: what a reader must know.
    """

    kind: Literal["robustness"] = "robustness"
    schema_version: Literal[1] = VERSION
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    rows: int
    changes: tuple[Perturbation, ...]
    notes: tuple[str, ...] = ()


class Passed(Strict):
    """How many cases of a test both models pass.

    Attributes:
        name: of the test.
        cases: a row, a pair, or a group of rows that belong together.
        before: share that the original passes.
        after: the candidate.
        difference: after less before.
        interval: Tango's, paired.
        harmful: cases that only the original passes.
        beneficial: that only the candidate passes.
        p_value: McNemar's exact test.
    """

    name: str
    cases: int
    before: float
    after: float
    difference: float
    interval: Interval
    harmful: int
    beneficial: int
    p_value: float


class ChallengeSet(Strict):
    """One challenge set.

    Attributes:
        name: of the folder or file.
        layout: how it is made: ``labeled``, ``pairs`` or ``checklist``.
        whole: all cases.
        tests: parts of it, the worst change first.
        worst: failed by the candidate alone.
        notes: cases that were left out, and why.
    """

    name: str
    layout: Literal["labeled", "pairs", "checklist"]
    whole: Passed
    tests: tuple[Passed, ...] = ()
    worst: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


class Challenge(Strict):
    """Challenge sets of the user."""

    kind: Literal["challenge"] = "challenge"
    schema_version: Literal[1] = VERSION
    sets: tuple[ChallengeSet, ...]


class Group(Strict):
    """One group before and after.

    Attributes:
        name: of the group.
        rows: of it.
        before: the original's figure: the metric, the rate, or for ``score`` how far the probability of
            ``Gap.answer`` lies from the mean of the same sentence over all groups.
        after: the candidate's.
    """

    name: str
    rows: int
    before: float
    after: float


class Gap(Strict):
    """How far groups lie apart.

    Attributes:
        of: ``metric``, ``equalized odds`` (largest gap of any class's hit and false alarm rate) or
            ``score`` (mean probability, same sentence, other group).
        source: the column or the set that names the groups.
        answer: for ``score``: the class whose probability is compared; else the metric, or the rate.
        unit: of the figures.
        before: largest less smallest, original.
        after: candidate.
        difference: after less before.
        interval: of the difference, paired.
        groups: the figures of each.
        swapped: for ``score``: sentences that exist for several groups.
        turned_before: share of those whose answer depends on the group, original.
        turned_after: candidate.
    """

    of: Literal["metric", "equalized odds", "score"]
    source: str
    answer: str | None = None
    unit: str = "share"
    before: float
    after: float
    difference: float
    interval: Interval | None
    groups: tuple[Group, ...]
    swapped: int | None = None
    turned_before: float | None = None
    turned_after: float | None = None


class Fairness(Strict):
    """Gaps between groups.

    Attributes:
        gaps: each way to look.
        small: groups with too few rows to be judged.
        notes: what a reader must know.
    """

    kind: Literal["fairness"] = "fairness"
    schema_version: Literal[1] = VERSION
    gaps: tuple[Gap, ...]
    small: tuple[Small, ...] = ()
    notes: tuple[str, ...] = ()


Finding = Annotated[
    Flips | Slices | Calibration | Divergence | Robustness | Challenge | Fairness,
    Field(discriminator="kind"),
]
