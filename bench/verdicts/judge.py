"""Gates over a report: from limits to verdicts to an exit code. Nothing is measured here.

A recipe's ``gates:`` and a ``budget.yaml`` are the same list of ``name: {options}`` entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record.model import Counts, Report, Verdict
from bench.verdicts import chance
from compress import catalog, log
from compress.errors import ExitCode, RecipeError
from compress.recipe import BenchConfig, Named, NamedEntry, load_yaml, validate
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.gates import Gate


@dataclass(frozen=True)
class Prepared:
    """A gate whose name and options hold together."""

    name: str
    module: Gate
    config: Any

    def looks_at(self) -> str | None:
        """The probe whose figures it reads, where its options choose it or its module names it."""
        probe: str | None = getattr(self.config, "probe", self.module.PROBE)
        return probe


class _Budget(Strict):
    gates: tuple[NamedEntry, ...]


def load_budget(path: Path) -> tuple[Named, ...]:
    """The gates of a budget file: a YAML list of entries such as ``size: {at_most: 25MB}``.

    Raises:
        RecipeError: it cannot be read, is no such list, or names a gate or option that does not exist.
    """
    tree = load_yaml(path)
    if not isinstance(tree, list) or not tree:
        raise RecipeError(f"{path}: a budget is a list of entries such as '- size: {{at_most: 25MB}}'")
    gates: tuple[Named, ...] = validate(_Budget, {"gates": tree}, str(path)).gates
    prepare(gates)
    return gates


def prepare(gates: Sequence[Named]) -> list[Prepared]:
    """Check the names and options of gates.

    Raises:
        UserError: a name that does not exist, or an option that does not fit.
    """
    prepared = []
    for entry in gates:
        module = catalog.gate(entry.name)
        name = catalog.canonical(entry.name)
        prepared.append(Prepared(name, module, validate(module.Config, entry.options, f"gate '{name}'")))
    return prepared


check = prepare


def check_candidates(gates: Iterable[Prepared], names: Collection[str]) -> None:
    """Refuse gates on candidates that do not exist.

    Raises:
        RecipeError: it names one that is not among ``names``.
    """
    for gate in gates:
        candidate = gate.config.candidate
        if candidate is not None and candidate not in names:
            raise RecipeError(
                f"gate '{gate.name}' names the candidate '{candidate}'; there are: {', '.join(names)}"
            )


def ready(gates: Iterable[Prepared], environment: Mapping[str, str]) -> None:
    """Let gates that need more than the report refuse, or say what they lack, before anything is measured.

    Args:
        gates: that will judge.
        environment: that the report will record.

    Raises:
        UserError: what such a gate needs is not there.
    """
    open_: dict[str, list[str]] = {}
    for gate in gates:
        lack = gate.module.ready(gate.config, environment)
        if lack is not None:
            open_.setdefault(lack, []).append(gate.name)
    for lack, names in open_.items():
        log.warning(
            "%s will be inconclusive, and all else is judged: %s", " and ".join(dict.fromkeys(names)), lack
        )


def comparable(gates: Iterable[Prepared], sketch: Report) -> None:
    """Let gates that compare with another report refuse before anything is measured.

    Args:
        gates: that will judge.
        sketch: what is known of the report already: machine, rows and candidates, and no measurement.

    Raises:
        UserError: the two would not be comparable.
    """
    for gate in gates:
        gate.module.comparable(sketch, gate.config.candidate or sketch.candidates[-1].name, gate.config)


def widen(bench: BenchConfig, gates: Sequence[Prepared]) -> BenchConfig:
    """A bench configuration that measures what the gates look at, too."""
    probes = list(bench.probes)
    sizes, lengths = list(bench.batch_sizes), list(bench.lengths)
    for gate in gates:
        needed = gate.looks_at()
        if needed is not None and not probes and not catalog.probe(needed).DEFAULT:
            every = catalog.names("probe")
            probes = [Named(name=name) for name in every if catalog.probe(name).DEFAULT]
        if (
            probes
            and needed is not None
            and needed not in {catalog.canonical(probe.name) for probe in probes}
        ):
            probes.append(Named(name=needed))
        point = getattr(gate.config, "at", None)
        if point is not None:
            sizes += [point.batch_size] if point.batch_size not in sizes else []
            lengths += [point.length] if point.length not in lengths else []
    update = {"probes": tuple(probes), "batch_sizes": tuple(sizes), "lengths": tuple(lengths)}
    return bench.model_copy(update=update)


def judge(report: Report, gates: Sequence[Named] | Sequence[Prepared]) -> Report:
    """The report with the verdicts of some gates in place of those that it had.

    A gate judges the last candidate, the one that ships, unless it names another. Where the baseline is at
    chance, a verdict that says so follows theirs.

    Raises:
        UserError: a gate, option or candidate that does not exist.
    """
    prepared = [gate if isinstance(gate, Prepared) else prepare([gate])[0] for gate in gates]
    names = [candidate.name for candidate in report.candidates]
    check_candidates(prepared, names)
    verdicts: list[Verdict] = []
    for gate in prepared:
        verdict: Verdict = gate.module.check(report, gate.config.candidate or names[-1], gate.config)
        verdicts.append(verdict)
    at_chance = chance.verdict(report)
    if verdicts and at_chance is not None:
        verdicts.append(at_chance)
    return report.model_copy(update={"verdicts": tuple(verdicts)})


def exit_code(verdicts: Iterable[Verdict], inconclusive: Counts | None = None) -> ExitCode:
    """What the process says: a failed gate first, then an anomaly, then what stayed open.

    Args:
        verdicts: of the gates.
        inconclusive: what an inconclusive verdict counts as; a code of its own when None.
    """
    statuses = {verdict.status for verdict in verdicts}
    if inconclusive is not None and "inconclusive" in statuses:
        statuses = (statuses - {"inconclusive"}) | {inconclusive}
    for status, code in (
        ("fail", ExitCode.GATE_FAILED),
        ("anomalous", ExitCode.ANOMALOUS),
        ("inconclusive", ExitCode.INCONCLUSIVE),
    ):
        if status in statuses:
            return code
    return ExitCode.OK
