"""The words that travel through bench: Candidate, Measurement, Report, Verdict.

Frozen pydantic models, so that a report written by one version is read, or refused, by another.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bench.record.finding import Kept
from bench.record.interval import Interval
from compress.label_names import LabelNames
from deploy.truncation import Truncation

__all__ = [
    "SCHEMA",
    "Better",
    "Candidate",
    "Counts",
    "Interval",
    "Measurement",
    "Report",
    "Status",
    "Verdict",
]

SCHEMA: Literal[1] = 1
Better = Literal["lower", "higher"]
Status = Literal["pass", "fail", "inconclusive", "anomalous"]
Counts = Literal["pass", "fail"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paired(_Frozen):
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


class Candidate(_Frozen):
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
    runtime_options: dict[str, Any] = {}
    device: str
    threads: int
    provenance: dict[str, str]
    lineage: tuple[str, ...]
    truncation: Truncation | None = None
    labels: LabelNames = LabelNames()
    pads: bool = True


class Measurement(_Frozen):
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
        be paired. blind: the same metric of the best answer that is the same for every row (always the
            commonest class), for a task's main metric.
        disturbed: share of the timed seconds in which other processes kept the candidate from a CPU.
        notes: anything that a reader must know (``unstable``, ...).
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
    conditions: dict[str, int | str] = {}
    samples: tuple[float, ...] = ()
    rounds: int | None = None
    paired: Paired | None = None
    right: str | None = None
    blind: float | None = None
    disturbed: float | None = None
    notes: tuple[str, ...] = ()
    finding: Kept | None = None


class Verdict(_Frozen):
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


class Report(_Frozen):
    """Everything that one bench run found.

    Attributes:
        candidates: in the order in which they were given.
        baseline: name of the candidate that ratios refer to.
        measurements: of all probes.
        verdicts: of the gates, empty when none were asked.
        inconclusive: what an inconclusive verdict was told to count as; nothing was said when None.
        data: evaluation rows: source, fingerprint, rows.
        label_order: which of their labels was taken for which of the head's, where their order alone told.
        facts: candidate name -> what the stages recorded (parity, sensitivity, control run, ...).
        environment: machine and versions.
        device: the GPU, its state before and after, and who else used it; None on a CPU.
        conditions: state of the machine ``before`` and ``after`` measuring (load, governor, temperature), and
            under ``not measured`` what this machine cannot measure, with the reason.
        choice: why the last candidate ships, where several could.
        config: the bench configuration.
        recipe: the recipe that was run, where there was one.
        created: ISO 8601, UTC.
    """

    schema_version: Literal[1] = SCHEMA
    title: str
    task: str
    candidates: tuple[Candidate, ...]
    baseline: str
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = ()
    inconclusive: Counts | None = None
    data: dict[str, Any]
    label_order: tuple[str, ...] = ()
    facts: dict[str, dict[str, Any]] = {}
    environment: dict[str, str]
    device: dict[str, Any] | None = None
    conditions: dict[str, dict[str, str]] = {}
    choice: str | None = None
    config: dict[str, Any]
    recipe: dict[str, Any] | None = None
    seed: int
    created: str

    def find(self, candidate: str, metric: str, **conditions: int | str) -> Measurement | None:
        """The measurement of a candidate's metric, or None; conditions narrow it down."""
        for found in self.measurements:
            if (found.candidate, found.metric) == (candidate, metric) and conditions.items() <= (
                found.conditions.items()
            ):
                return found
        return None
