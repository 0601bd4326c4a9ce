"""The words that travel through bench: Candidate, Measurement, Report, Verdict.

Frozen pydantic models, so that a report written by one version is read, or refused, by another. Their numbers
and switches are taken as they are: a text or ``true`` is no figure. What a verdict or a table hangs on is a
field; notes are words for people, and nothing reads them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from bench.record.finding import Kept
from bench.record.gpu import Gpu, UnknownGpu
from bench.record.interval import Interval
from compress.label_names import LabelNames
from compress.strict import Strict
from deploy.truncation import Truncation

__all__ = [
    "SCHEMA",
    "Better",
    "Candidate",
    "Conditions",
    "Counts",
    "Data",
    "Flags",
    "Interval",
    "Measurement",
    "Report",
    "Setting",
    "Status",
    "Verdict",
]

SCHEMA: Literal[2] = 2
Better = Literal["lower", "higher"]
Status = Literal["pass", "fail", "inconclusive", "anomalous"]
Counts = Literal["pass", "fail"]


class Paired(Strict):
    """How two models differ on the same rows, where each row is right or wrong.

    Attributes:
        rows: compared.
        worse: rows that only the baseline gets right.
        better: rows that only the candidate gets right.
        p_value: of McNemar's exact test: could the difference be chance.
    """

    rows: int
    worse: int
    better: int
    p_value: float


class Candidate(Strict):
    """One thing that was measured: an artifact in a runtime.

    Attributes:
        name: unique in the report; the stage's name in a run, the folder's otherwise.
        artifact: content id.
        kind: of artifact.
        stage: that made it.
        runtime: that ran it, with its options.
        device: where.
        threads: CPU threads.
        provenance: what really ran, from ``Runner.provenance``.
        lineage: stage names, oldest first.
        truncation: what its length limit did to the evaluation rows; None where rows have no length.
        labels: how its outputs got their names.
        pads: whether rows of several lengths share a batch; False where padding moves its answers.
    """

    name: str
    artifact: str
    kind: str
    stage: str
    runtime: str
    runtime_options: dict[str, Any] = Field(default={})
    device: str
    threads: int
    provenance: dict[str, str]
    lineage: tuple[str, ...]
    truncation: Truncation | None = None
    labels: LabelNames = LabelNames()
    pads: bool = True


class Flags(Strict):
    """What is known of the run behind a figure, for whatever judges or shows it; all is well by default.

    Attributes:
        host_bound: the GPU waited for the host.
        unstable: its runs differ more among themselves than those of a steady machine.
        saturated: requests came faster than they were served.
        whole_device: it is memory of a whole device, other processes included: it has no ratio and judges
            nothing.
        spoiled: why it counts for nothing, in words; None where it counts.
    """

    host_bound: bool = False
    unstable: bool = False
    saturated: bool = False
    whole_device: bool = False
    spoiled: str | None = None

    def __or__(self, flags: Flags) -> Flags:
        """What is known of two figures that are compared, or of one that both runs are in."""
        return Flags(**{name: value or getattr(flags, name) for name, value in self})

    @property
    def raised(self) -> tuple[str, ...]:
        """The names of those that are not as they should be."""
        return tuple(name for name, value in self if value)

    @property
    def notes(self) -> tuple[str, ...]:
        """The words for what no probe has words of its own for."""
        return () if self.spoiled is None else (f"spoiled: {self.spoiled}",)


class Measurement(Strict):
    """One figure of one candidate.

    Attributes:
        probe: that yielded it.
        candidate: its name.
        metric: such as ``latency_p50_ms``, ``accuracy``, ``size_bytes``; the unit is in ``unit``.
        value: the figure.
        unit: such as ``ms``, ``bytes``, ``share``, ``count``, ``per_s``.
        better: which direction is good.
        interval: of the value, where the sample supports one.
        ratio: to the baseline in the same run, where it makes sense.
        ratio_interval: of the ratio (for metrics: of the difference, see ``difference``).
        difference: to the baseline on the same rows, for metrics.
        difference_interval: paired.
        conditions: such as ``{"batch_size": 1, "length": "data"}``.
        samples: raw samples, where there are any.
        rounds: that the samples came in, one after the other, where they came in rounds.
        paired: the rows behind ``difference``, for metrics of rows that are right or wrong.
        right: which rows are right, as a bitmap (``bench.statistics.paired.pack``), so that later reports can
            be paired.
        blind: the same metric of the best answer that is the same for every row (always the commonest class),
            for a task's main metric.
        disturbed: share of the timed seconds in which other processes kept the candidate from a CPU.
        flags: what is known of the run behind it, for verdicts and tables.
        notes: anything that a reader must know, in words.
        finding: what stands behind the figure, for a person to read, where the probe found more than that.
    """

    probe: str
    candidate: str
    metric: str
    value: float
    unit: str
    better: Better
    interval: Interval | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    conditions: dict[str, int | str] = Field(default={})
    samples: tuple[float, ...] = ()
    rounds: int | None = None
    paired: Paired | None = None
    right: str | None = None
    blind: float | None = None
    disturbed: float | None = None
    flags: Flags = Flags()
    notes: tuple[str, ...] = ()
    finding: Kept | None = None


class Verdict(Strict):
    """What a gate says.

    Attributes:
        gate: its name.
        candidate: that was judged.
        status: pass, fail, inconclusive or anomalous.
        metric: that was looked at.
        value: found, in the limit's unit; None when the measurement is missing.
        interval: of the value.
        limit: as written, such as ``0.6x``.
        reason: one sentence.
    """

    gate: str
    candidate: str
    status: Status
    metric: str
    value: float | None
    interval: Interval | None
    limit: str
    reason: str


class _Open(Strict):
    """A part of which something is read, and the rest is shown as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Data(_Open):
    """The evaluation rows; beside these what the section ``data`` said, and what reading it decided.

    Attributes:
        source: where they are; None where files were named one by one.
        fingerprint: of the rows; None where they were given as they are.
        rows: how many; None where nobody counted.
    """

    source: str | None = None
    fingerprint: str | None = None
    rows: int | None = Field(default=None, ge=0)


class Setting(_Open):
    """The configuration of a run as it was, whose options may since have changed.

    Attributes:
        rounds: in which the candidates took turns; None where it does not say.
        runs: of each in a round.
        allow_chance: whether gates judge beside a baseline at chance.
    """

    rounds: int | None = Field(default=None, ge=1)
    runs: int | None = Field(default=None, ge=1)
    allow_chance: bool = False


class Conditions(Strict):
    """The machine while it measured: what is looked at, by name, in words.

    Attributes:
        before: load, governor, temperature and the like before measuring.
        after: the same after it.
        not_measured: probes that could not be measured here, each with the reason.
    """

    before: dict[str, str] = Field(default={})
    after: dict[str, str] = Field(default={})
    not_measured: dict[str, str] = Field(default={})


class Report(Strict):
    """Everything that one bench run found.

    Attributes:
        candidates: in the order in which they were given.
        baseline: name of the candidate that ratios refer to.
        measurements: of all probes.
        verdicts: of the gates, empty when none were asked.
        inconclusive: what an inconclusive verdict was told to count as; nothing was said when None.
        data: the evaluation rows.
        label_order: which of their labels was taken for which of the head's, where their order alone told.
        facts: candidate name -> what the stages recorded (parity, sensitivity, control run, ...); open, since
            stages from elsewhere record what they like. What a gate reads of it, ``coherence`` checks.
        environment: machine and versions, by name.
        device: the GPU, its state before and after, and who else used it; None on a CPU.
        conditions: state of the machine, and what could not be measured on it.
        choice: why the last candidate ships, where several could.
        config: the bench configuration as it was.
        recipe: the recipe that was run, where there was one.
        created: ISO 8601, UTC.
    """

    schema_version: Literal[2] = SCHEMA
    title: str
    task: str
    candidates: tuple[Candidate, ...]
    baseline: str
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = ()
    inconclusive: Counts | None = None
    data: Data
    label_order: tuple[str, ...] = ()
    facts: dict[str, dict[str, Any]] = Field(default={})
    environment: dict[str, str]
    device: Gpu | UnknownGpu | None = None
    conditions: Conditions = Conditions()
    choice: str | None = None
    config: Setting
    recipe: dict[str, Any] | None = None
    seed: int
    created: str

    def find(self, candidate: str, metric: str, /, **conditions: int | str) -> Measurement | None:
        """The measurement of a candidate's metric, or None; conditions narrow it down."""
        for measurement in self.measurements:
            if (measurement.candidate, measurement.metric) == (candidate, metric) and conditions.items() <= (
                measurement.conditions.items()
            ):
                return measurement
        return None
