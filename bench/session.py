"""One bench run: open a lane for every candidate, let each probe measure them together, make a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.lanes import cuts
from bench.lanes.lane import LaneSpec, cpu_threads, open_lanes
from bench.machine import conditions, devices
from bench.probes import Probe, Subject
from bench.probes.size import weights_bytes
from bench.record.model import Candidate, Conditions, Counts, Data, Measurement, Report, Setting
from bench.record.portable import portable
from bench.verdicts import choice, extension, judge
from compress import catalog, environment, log
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, NothingToMeasure, UserError
from compress.model import checkpoint, limit
from compress.recipe import BenchConfig, DataConfig, Named, validate
from deploy import content
from deploy.opening import RUNTIMES

if TYPE_CHECKING:
    from compress.tasks import Head, Task
    from deploy.truncation import Truncation

_NOT_OPTIONS = {
    "self": "leave it out",
    "artifact": "the candidate is its artifact, so give NAME=PATH for another",
    "device": "give --device, for all candidates",
    "threads": "give --threads, for all candidates",
}
Rows = DataConfig | Sequence[dict[str, Any]]


@dataclass(frozen=True)
class CandidateSpec:
    """What to measure.

    Attributes:
        name: unique; the stage's in a run, the folder's otherwise.
        path: of a sealed artifact.
        runtime: name in the catalog, or ``module:Class``; by the artifact's kind when None.
        options: of the runtime.
    """

    name: str
    path: Path
    runtime: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def check(bench: BenchConfig) -> None:
    """Refuse a bench configuration whose probes or runtimes do not exist, before anything runs.

    Raises:
        UserError: an unknown name, or options that do not fit; the message lists what is allowed.
    """
    probes = [name for name, _, _ in _probes(bench)]
    if bench.ship and "latency" not in probes:
        raise UserError(
            f"bench.ship lets the fastest of {', '.join(bench.ship)} ship, and latency is not measured: add "
            f"the probe latency to {', '.join(probes)}"
        )
    for kind, runtime in bench.runtimes.items():
        if kind not in RUNTIMES:
            raise UserError(f"bench.runtimes: unknown kind '{kind}'. Known: {', '.join(RUNTIMES)}.")
        catalog.path("runtime", runtime)  # a module of one's own is for Python alone: words import nothing


def default_probes() -> list[str]:
    """The probes that run when none are named."""
    return [name for name in catalog.names("probe") if catalog.probe(name).DEFAULT]


def _probes(bench: BenchConfig) -> list[tuple[str, Probe, Any]]:
    """The probes to run with their options; those that need untouched processes first."""
    entries = bench.probes or tuple(Named(name=name) for name in default_probes())
    prepared = []
    for entry in entries:
        module = catalog.probe(entry.name)
        options = validate(module.Config, entry.options, f"probe '{entry.name}'")
        if not bench.texts:
            options = options.model_copy(update=dict.fromkeys(module.LISTS, 0))
        prepared.append((catalog.canonical(entry.name), module, options))
    return sorted(prepared, key=lambda probe: not probe[1].FRESH)


def _specs(candidates: Sequence[CandidateSpec], bench: BenchConfig, device: str) -> list[LaneSpec]:
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not candidates:
        raise UserError("there is nothing to measure: name at least one model or artifact")
    if twice:
        raise UserError(f"two candidates are called {', '.join(twice)}: write NAME=PATH to tell them apart")
    if bench.baseline is not None and bench.baseline not in names:
        raise UserError(f"the baseline '{bench.baseline}' is not among the candidates: {', '.join(names)}")
    specs = []
    for candidate in candidates:
        artifact = Artifact.open(candidate.path)
        content.check(artifact)
        checkpoint.require_head(artifact)
        runtime = candidate.runtime or bench.runtimes.get(artifact.kind) or RUNTIMES[artifact.kind]
        if ":" not in runtime:
            catalog.path("runtime", runtime)
        check_options(candidate.name, candidate.options)
        specs.append(
            LaneSpec(
                name=candidate.name,
                artifact=artifact,
                runtime=runtime,
                device=device,
                threads=cpu_threads(bench.threads),
                options=dict(candidate.options),
            )
        )
    return specs


def check_options(name: str, options: dict[str, Any]) -> None:
    """Refuse options of a runtime that are settings of the measurement.

    Raises:
        UserError: one that the candidate gets by another way; the message says by which.
    """
    for option in options:
        if option in _NOT_OPTIONS:
            raise UserError(
                f"candidate '{name}': '{option}' is no option of a runtime: {_NOT_OPTIONS[option]}"
            )


def _common_head(specs: Sequence[LaneSpec], task: Task, baseline: str) -> Head:
    """The baseline's head, refused where a candidate's task or labels are others."""
    by_name = {spec.name: spec for spec in specs}
    base = by_name[baseline].artifact
    head: Head = task.head_of(checkpoint.read_config(base.path))
    for spec in specs:
        if spec.artifact.task != base.task:
            raise UserError(
                f"candidate '{spec.name}' is for {spec.artifact.task} and the baseline '{baseline}' for "
                f"{base.task}: they cannot be compared"
            )
        candidate_head: Head = task.head_of(checkpoint.read_config(spec.artifact.path))
        # A vector may be shorter than the baseline's: it is scored by itself, on the same rows.
        if replace(candidate_head, size=None) != replace(head, size=None):
            raise UserError(
                f"candidate '{spec.name}' has the labels {', '.join(candidate_head.labels)} "
                f"({candidate_head.problem}) and the baseline '{baseline}' {', '.join(head.labels)} "
                f"({head.problem}): they cannot be compared"
            )
    return head


def _rows(rows: Rows, task: Task, seed: int, head: Head) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Evaluation rows, aligned to the head, and what the report says of them."""
    if isinstance(rows, DataConfig):
        from compress import data  # rows that were given need none of it

        decided: dict[str, Any] = {}
        aligned = data.evaluation(rows, task, seed, head, beside=True, facts=decided)
        return list(aligned), {
            **decided,
            **rows.model_dump(mode="json", exclude_defaults=True),
            "fingerprint": data.fingerprint(rows, seed, "evaluation"),
            "rows": len(aligned),
        }
    if not rows:
        raise DataError("there are no evaluation rows: measuring needs at least one")
    return list(rows), {"source": "given rows", "rows": len(rows)}


def _selection(rows: Rows, task: Task, seed: int, head: Head) -> Callable[[], Any] | None:
    """What reads the selection rows, once one asks for them; None where rows were given as they are."""
    if not isinstance(rows, DataConfig):
        return None

    def read() -> Any:
        from compress import data

        return data.load(rows, task, seed).training.for_head(task, head).selection

    return cache(read)


def _describe(
    spec: LaneSpec, head: Head, provenance: dict[str, str], cut: Truncation | None = None
) -> Candidate:
    manifest = spec.artifact.manifest
    return Candidate(
        name=spec.name,
        artifact=spec.artifact.id,
        kind=spec.artifact.kind,
        stage=manifest.stage,
        runtime=spec.runtime,
        runtime_options=spec.options,
        device=spec.device,
        threads=spec.threads,
        provenance=provenance,
        lineage=tuple(step.stage for step in manifest.lineage),
        truncation=cut,
        labels=checkpoint.label_names(spec.artifact, head),
        pads=limit.read_padding(spec.artifact.path),
    )


def _sketch(
    specs: Sequence[LaneSpec], head: Head, baseline: str, rows: dict[str, Any], machine: dict[str, str]
) -> Report:
    """What is known of the report before anything is measured."""
    return Report(
        title="",
        task=specs[0].artifact.task,
        candidates=tuple(_describe(spec, head, {}) for spec in specs),
        baseline=baseline,
        measurements=(),
        data=Data(**rows),
        environment=machine,
        config=Setting(),
        seed=0,
        created="",
    )


def _checked(probe: str, measurements: list[Measurement]) -> list[Measurement]:
    for measurement in measurements:
        if not math.isfinite(measurement.value):
            raise UserError(
                f"the probe '{probe}' found {measurement.metric} = {measurement.value} for candidate "
                f"'{measurement.candidate}': the model does not give finite figures on these rows; "
                "check it with 'paredown compare'"
            )
    return measurements


def measure(
    candidates: Sequence[CandidateSpec],
    data: Rows,
    bench: BenchConfig | None = None,
    *,
    seed: int = 0,
    gates: Sequence[Named] = (),
    title: str | None = None,
    recipe: dict[str, Any] | None = None,
    more_minutes: float = extension.MINUTES,
    inconclusive: Counts | None = None,
) -> Report:
    """Measure candidates side by side, and judge them where gates are given.

    Args:
        candidates: in the order of the report; the last one is what ships.
        data: where the evaluation rows are, or aligned rows themselves.
        bench: what to measure; the defaults when None.
        seed: of shuffles and resamples.
        gates: what the result is held to; what they look at is measured even where ``bench`` does not say so.
        title: of the report.
        recipe: recorded in the report.
        more_minutes: for measuring more where a gate's verdict is inconclusive.
        inconclusive: what such a verdict counts as in the end, for the report to say.

    Raises:
        UserError: a candidate that cannot be opened or compared, or a process that died; it is named.
    """
    prepared = judge.prepare(gates)
    bench = judge.widen(bench or BenchConfig(), prepared)
    check(bench)
    device = environment.resolve_device(bench.device)
    specs = _specs(candidates, bench, device)
    baseline = bench.baseline or specs[0].name
    judge.check_candidates(prepared, [spec.name for spec in specs])
    weights = {spec.name: weights_bytes(spec.artifact) for spec in specs}
    watch = devices.watch(specs, weights, device, shared=bench.shared)
    machine = {**environment.describe(), **watch.identity()}
    judge.ready(prepared, machine)
    task = catalog.task(specs[0].artifact.task)
    head = _common_head(specs, task, baseline)
    rows, facts = _rows(data, task, seed, head)
    order = tuple(facts.pop("label_order", ()))
    if prepared and not bench.ship:  # which candidate ships is not known yet where it is chosen
        judge.comparable(prepared, _sketch(specs, head, baseline, facts, machine))
    subject = Subject(
        task=task,
        rows=rows,
        head=head,
        bench=bench,
        baseline=baseline,
        seed=seed,
        selection=_selection(data, task, seed, head),
    )
    folder = Path.cwd()
    before = conditions.read()
    absent: dict[str, str] = {}
    probes = _probes(bench)
    with open_lanes(specs) as lanes:
        cut = cuts.count(lanes, subject)
        described = tuple(
            _describe(lane.spec, head, lane.opened.provenance, cut.get(lane.name)) for lane in lanes
        )

        def assemble(measurements: Sequence[Measurement]) -> Report:
            report = Report(
                title=title or f"{specs[-1].name} against {baseline}",
                task=specs[0].artifact.task,
                candidates=described,
                baseline=baseline,
                measurements=tuple(measurements),
                inconclusive=inconclusive,
                data=portable(facts, folder),
                label_order=order,
                facts=portable({spec.name: spec.artifact.manifest.facts for spec in specs}, folder),
                environment=machine,
                device=watch.record(),
                conditions=Conditions(before=before, after=conditions.read(), not_measured=absent),
                config=portable(bench.model_dump(mode="json"), folder),
                recipe=portable(recipe, folder),
                seed=seed,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            return choice.arrange(report, bench.ship)

        measurements: list[Measurement] = []
        refusals: list[NothingToMeasure] = []
        seconds: dict[str, float] = {}
        for name, module, options in probes:
            reason = module.unavailable()
            if reason is not None:
                log.warning("%s is not measured: %s", name, reason)
                absent[name] = reason
                continue
            log.detail("probe: %s", name)
            started = time.perf_counter()
            try:
                measurements += _checked(name, module.measure(lanes, subject, options))
            except NothingToMeasure as refusal:
                # The figures of the other probes may be the fruit of an hour: they stand, this one is missed.
                log.warning("%s is not measured: %s", name, refusal)
                absent[name] = str(refusal)
                refusals.append(refusal)
            seconds[name] = time.perf_counter() - started
        if refusals and not measurements:
            raise refusals[0]
        if prepared:
            measurements = extension.settle(
                lanes, subject, probes, prepared, assemble, measurements, more_minutes, seconds
            )
        report = assemble(measurements)
    return judge.judge(report, prepared) if prepared else report
