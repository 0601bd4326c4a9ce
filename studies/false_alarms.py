"""How often the product's own verdict is wrong: A/A and A/B comparisons with planted slowdowns.

``python -m studies.false_alarms --out studies/results/false_alarms.json`` compares a small ONNX model with
itself (A/A) and with itself made slower by 5, 10, 15 and 20 % (A/B), many times each: on the machine as it
is, and with one and two busy processes beside. Every comparison is what a user gets: lanes, interleaved
rounds, the gate ``latency: {p50_at_most: 1.05x}`` and measuring more while that is inconclusive, here for a
minute at most. Passes, fails, inconclusive and anomalous verdicts are counted apart, with Wilson's intervals,
and the power curve is drawn.

Two processes of the same program are not equally fast, by where their memory happens to lie; that is a bias
of the pair, which no number of rounds removes. So a pair of processes serves ``PAIR`` comparisons only, and
how many pairs a figure rests on is stated.

It can be stopped at any time: what was compared lies in a state file beside the output, and the same command
goes on, unless the code that measures and judges has changed. Use a machine at rest; its load is recorded
with every comparison.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bench.lanes.lane import Lane, LaneSpec, open_lanes
from bench.machine import conditions
from bench.probes import Subject, latency
from bench.record import document as reports
from bench.record.model import Candidate, Data, Measurement, Report, Setting
from bench.statistics import stats
from bench.verdicts import extension, judge
from compress import catalog, data, environment, log, recipe
from compress.artifacts.store import Store
from compress.errors import ExitCode, UserError
from compress.model import checkpoint
from compress.pipeline import building
from compress.recipe import BenchConfig, DataConfig, Named, StageEntry
from deploy.runtimes.ort import Runner as Plain

if TYPE_CHECKING:
    from compress.tasks import Task

SLOWDOWNS = (0, 5, 10, 15, 20)
BUSY = (0, 1, 2)
CONDITIONS = {0: "quiet", 1: "one busy process", 2: "two busy processes"}
TOLERANCE = "1.05x"
PAIR = 10
STATUSES = ("pass", "fail", "inconclusive", "anomalous")
_DATA = DataConfig(source="sklearn:digits")
_ROWS = 64
_MINUTES = 1.0
# It ends with whoever started it, however that ends: nothing may stay busy on the user's machine.
_SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""
_MEASURES = (
    *(
        f"bench/{room}/*.py"
        for room in ("lanes", "machine", "statistics", "probes", "gates", "verdicts", "record")
    ),
    "bench/*.py",
    "deploy/runtimes/*.py",
    "deploy/*.py",
)


class Slowed(Plain):
    """ONNX Runtime with planted extra work: a share of the CPU time that each run itself took."""

    @classmethod
    def name(cls) -> str:
        """As it is shown."""
        return "ort-slowed"

    def configure(self, *, percent: float = 0.0, **options: Any) -> None:
        """Take the share of extra work, in percent."""
        super().configure(**options)
        self._share = percent / 100

    def infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run, then compute on; by the CPU's clock, so that time without a CPU is no work done."""
        started = time.thread_time_ns()
        outputs = super().infer(feed)
        ended = time.thread_time_ns()
        until = ended + (ended - started) * self._share
        while time.thread_time_ns() < until:
            pass
        return outputs


def candidate_name(percent: int) -> str:
    """Of the candidate that is slower by so much."""
    return f"B+{percent}%"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes busy meanwhile."""
    started = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def model(store: Store | None = None) -> building.Built:
    """A small vision transformer with random weights, exported to ONNX; from the store where it is there."""
    architecture = recipe.read("demo").stages[0].options["architecture"]
    chain = recipe.Recipe(
        task="image-classification",
        data=_DATA,
        stages=(
            StageEntry(name="load", options={"architecture": architecture, "untrained": True}),
            StageEntry(name="export-onnx", options={}),
        ),
    )
    return building.run(chain, store)[-1]


def specs(built: building.Built, percent: int) -> list[LaneSpec]:
    """The baseline and the slowed candidate, one thread each, both in the same runner."""
    return [
        LaneSpec(
            name=name,
            artifact=built.artifact,
            runtime="studies.false_alarms:Slowed",
            threads=1,
            options={"percent": slowed},
        )
        for name, slowed in (("A", 0), (candidate_name(percent), percent))
    ]


def code() -> str:
    """Digest of what verdicts depend on: sources that measure and judge, machine and versions."""
    root = Path(__file__).resolve().parent.parent
    described = environment.describe()
    runs = {name: described.get(name) for name in ("cpu", "python", "numpy", "onnxruntime")}
    digest = hashlib.sha256(json.dumps(runs, sort_keys=True).encode())
    for path in sorted({path for pattern in _MEASURES for path in root.glob(pattern)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def described(lane: Lane) -> Candidate:
    """A lane as a report names it."""
    return Candidate(
        name=lane.name,
        artifact=lane.spec.artifact.id,
        kind=lane.spec.artifact.kind,
        stage=lane.spec.artifact.manifest.stage,
        runtime=lane.spec.runtime,
        runtime_options=lane.spec.options,
        device="cpu",
        threads=1,
        provenance=lane.opened.provenance,
        lineage=(),
    )


def remembering(task: Task) -> Task:
    """The task, encoding each row only once: the same rows are fed to every comparison."""
    encoded: dict[int, Any] = {}

    def encode(rows: Sequence[dict[str, Any]], *arguments: Any, **named: Any) -> Any:
        if len(rows) != 1:
            return task.encode(rows, *arguments, **named)
        if id(rows[0]) not in encoded:
            encoded[id(rows[0])] = task.encode(rows, *arguments, **named)
        return encoded[id(rows[0])]

    return cast("Task", SimpleNamespace(**{**vars(task), "encode": encode}))


def compare(lanes: Sequence[Lane], subject: Subject) -> Report:
    """One comparison as ``paredown bench --budget`` does it: measured, judged, measured more, judged."""
    gates = judge.prepare([Named(name="latency", options={"p50_at_most": TOLERANCE})])
    candidates = tuple(described(lane) for lane in lanes)

    def assemble(measurements: Sequence[Measurement]) -> Report:
        return Report(
            title="false alarms",
            task="image-classification",
            candidates=candidates,
            baseline=subject.baseline,
            measurements=tuple(measurements),
            data=Data(),
            environment={},
            config=Setting(**subject.bench.model_dump(mode="json")),
            seed=subject.seed,
            created="",
        )

    options = latency.Config()
    started = time.perf_counter()
    timings = latency.measure(lanes, subject, options)
    seconds = {"latency": time.perf_counter() - started}
    probes = [("latency", catalog.probe("latency"), options)]
    timings = extension.settle(lanes, subject, probes, gates, assemble, timings, _MINUTES, seconds)
    return judge.judge(assemble(timings), gates)


def row(
    report: Report, busy_processes: int, percent: int, number: int, seconds: float, digest: str
) -> dict[str, Any]:
    """One line of the state file."""
    (verdict,) = report.verdicts
    measurement = report.find(verdict.candidate, "latency_p50_ms")
    if measurement is None or measurement.ratio is None or measurement.ratio_interval is None:
        raise RuntimeError("a comparison gave no ratio")
    return {
        "busy": busy_processes,
        "percent": percent,
        "number": number,
        "pair": number // PAIR,
        "seed": report.seed,
        "code": digest,
        "status": verdict.status,
        "ratio": measurement.ratio,
        "low": measurement.ratio_interval.low,
        "high": measurement.ratio_interval.high,
        "p50_ms": measurement.value,
        "rounds": measurement.rounds,
        "disturbed": measurement.disturbed,
        "seconds": round(seconds, 3),
        "load": round(os.getloadavg()[0], 2),
    }


def todo(
    count: int, compared: Sequence[Mapping[str, Any]], seed: int
) -> list[tuple[int, int, tuple[int, ...]]]:
    """What is still to be compared by one pair of processes: (busy, percent, numbers).

    Condition after condition; the pairs of a condition in shuffled order.
    """
    have = {(line["busy"], line["percent"], line["number"]) for line in compared}
    left = []
    for processes in BUSY:
        pairs = [(percent, first) for percent in SLOWDOWNS for first in range(0, count, PAIR)]
        order = np.random.default_rng([seed, processes]).permutation(len(pairs))
        for percent, first in (pairs[int(i)] for i in order):
            numbers = range(first, min(first + PAIR, count))
            missing = tuple(number for number in numbers if (processes, percent, number) not in have)
            if missing:
                left.append((processes, percent, missing))
    return left


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Counts and shares with Wilson's intervals, a line for each condition and slowdown."""
    lines = []
    for processes in BUSY:
        for percent in SLOWDOWNS:
            mine = [row for row in rows if (row["busy"], row["percent"]) == (processes, percent)]
            if not mine:
                continue
            line: dict[str, Any] = {
                "condition": CONDITIONS[processes],
                "planted_percent": percent,
                "comparisons": len(mine),
                "pairs_of_processes": len({row["pair"] for row in mine}),
                "median_ratio": float(np.median([row["ratio"] for row in mine])),
                "median_rounds": float(np.median([row["rounds"] for row in mine])),
                "median_disturbed": float(np.median([row["disturbed"] for row in mine])),
                "median_load": float(np.median([row["load"] for row in mine])),
                "seconds": round(sum(row["seconds"] for row in mine), 1),
            }
            for status in STATUSES:
                count = sum(row["status"] == status for row in mine)
                interval = stats.wilson(count, len(mine))
                line[status] = {
                    "count": count,
                    "share": count / len(mine),
                    "low": interval.low,
                    "high": interval.high,
                    "pairs": len({row["pair"] for row in mine if row["status"] == status}),
                }
            lines.append(line)
    return lines


def goals(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each goal with what was found and whether it is met; None until all of it was measured."""
    quiet = CONDITIONS[0]
    most = max((line["comparisons"] for line in lines), default=0)
    lines = [line for line in lines if line["comparisons"] == most]
    at = {(line["condition"], line["planted_percent"]): line for line in lines}
    same = [line["fail"]["share"] for line in lines if line["planted_percent"] == 0]
    quiet_line = at.get((quiet, 10))
    loaded = [line for key, line in at.items() if key[0] != quiet and key[1] == 10]
    passes = sum(line["pass"]["count"] for line in loaded)
    return {
        "false failures at most 2 % in every condition": {
            "worst_share": max(same, default=None),
            "met": max(same) <= 0.02 if len(same) == len(BUSY) else None,
        },
        "at +10 % at least 95 % found when quiet": {
            "share": quiet_line["fail"]["share"] if quiet_line else None,
            "met": quiet_line["fail"]["share"] >= 0.95 if quiet_line else None,
        },
        "at +10 % never a pass under load": {
            "passes": passes if loaded else None,
            "met": passes == 0 if len(loaded) == len(BUSY) - 1 else None,
        },
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The goals and the shares of verdicts as Markdown.

    Args:
        result: what ``run`` wrote.
    """
    lines = {(line["condition"], line["planted_percent"]): line for line in result["results"]}
    planted = sorted({percent for _, percent in lines})
    most = max((line["comparisons"] for line in lines.values()), default=0)
    rows = [
        "| condition | " + " | ".join(f"+{percent} %" if percent else "equal" for percent in planted) + " |",
        "| --- |" + " ---: |" * len(planted),
    ]
    for condition in dict.fromkeys(condition for condition, _ in lines):
        cells = []
        for percent in planted:
            line = lines.get((condition, percent))
            shares = [line[status]["share"] for status in ("fail", "pass", "anomalous")] if line else []
            few = f" (of {line['comparisons']})" if line and line["comparisons"] < most else ""
            cells.append((" / ".join(f"{100 * share:.3g} %" for share in shares) or "not measured") + few)
        rows.append(f"| {condition} | " + " | ".join(cells) + " |")
    words = {True: "met", False: "missed", None: "not measured"}
    bullets = []
    for goal, outcome in result["goals"].items():
        name, figure = next(pair for pair in outcome.items() if pair[0] != "met")
        suffix = [] if figure is None else [f"({figure})" if name == "passes" else f"({100 * figure:.3g} %)"]
        bullets.append(" ".join([f"- {goal}: {words[outcome['met']]}", *suffix]))
    return "\n".join([*bullets, "", "Failed / passed / anomalous, the rest inconclusive:", "", *rows])


def power_curve(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the share of failing and of passing verdicts over the planted slowdown, with intervals."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, status, title in zip(panels, ("fail", "pass"), ("found (fail)", "passed"), strict=True):
        for condition in CONDITIONS.values():
            mine = [line for line in lines if line["condition"] == condition]
            if not mine:
                continue
            x = [line["planted_percent"] for line in mine]
            y = [100 * line[status]["share"] for line in mine]
            below = [100 * max(0.0, line[status]["share"] - line[status]["low"]) for line in mine]
            above = [100 * max(0.0, line[status]["high"] - line[status]["share"]) for line in mine]
            panel.errorbar(x, y, yerr=[below, above], marker="o", capsize=3, label=condition)
        panel.axvline(5, color="0.7", linewidth=1, linestyle=":")
        panel.set_title(f"{title}, limit {TOLERANCE}")
        panel.set_xlabel("planted slowdown, %")
        panel.set_xticks(SLOWDOWNS)
    panels[0].set_ylabel("share of comparisons, %")
    panels[0].legend(frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None})


def read_state(path: Path) -> list[dict[str, Any]]:
    """What was compared before; a last line that was cut short by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def of_study(rows: Sequence[dict[str, Any]], count: int, seed: int, digest: str) -> list[dict[str, Any]]:
    """The rows of this study: of its seed, and no more of each cell than it counts.

    Raises:
        UserError: some of them were compared by other code, so that the shares would mix two rules.
    """
    mine = [row for row in rows if row["number"] < count and row["seed"] == subject_seed(seed, row["number"])]
    foreign = sum(row.get("code") != digest for row in mine)
    if foreign:
        raise UserError(
            f"{foreign} of {len(mine)} comparisons in the state file were measured by other code or versions "
            "than today's: remove the state file to start anew, or give another --out"
        )
    return mine


def subject_seed(seed: int, number: int) -> int:
    """The seed of one comparison."""
    return seed * 1_000_000 + number


def comparisons(left: Sequence[tuple[int, int, tuple[int, ...]]], seed: int) -> Iterator[dict[str, Any]]:
    """Compare what is left, each pair in processes of its own; a line for the state file from each."""
    built, digest = model(), code()
    task = remembering(catalog.task(built.artifact.task))
    head = task.head_of(checkpoint.read_config(built.artifact.path))
    rows = list(data.evaluation(_DATA, task, 0, head))[:_ROWS]
    setting = BenchConfig(threads=1)
    for processes in BUSY:
        pairs = [entry for entry in left if entry[0] == processes]
        total = sum(len(numbers) for _, _, numbers in pairs)
        with busy(processes), log.progress(CONDITIONS[processes], total) as bar:
            for _, percent, numbers in pairs:
                with open_lanes(specs(built, percent)) as lanes:
                    for number in numbers:
                        subject = Subject(task, rows, head, setting, "A", subject_seed(seed, number))
                        started = time.perf_counter()
                        report = compare(lanes, subject)
                        yield row(report, processes, percent, number, time.perf_counter() - started, digest)
                        bar.advance()


def write_down(lines: Iterable[dict[str, Any]], state: Path) -> list[dict[str, Any]]:
    """Add each line to the state file as it comes; all of them."""
    written = []
    with state.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            file.flush()
            written.append(line)
    return written


def run(out: Path, count: int, seed: int) -> dict[str, Any]:
    """Compare what is left, then write the result and the curve.

    Raises:
        UserError: the state file beside the output is of other code.
    """
    state = out.with_suffix(".state.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = of_study(read_state(state), count, seed, code())
    left = todo(count, rows, seed)
    before = conditions.read()
    if left:
        rows += write_down(comparisons(left, seed), state)
    lines = summarize(rows)
    curve = out.with_suffix(".svg")
    power_curve(lines, curve)
    result = {
        "what": f"latency gate {TOLERANCE} on a model against itself, slowed by planted work; {count} "
        f"comparisons each, {PAIR} by a pair of processes; inconclusive ones measured more for "
        f"{_MINUTES:g} min at most",
        "command": f"python -m studies.false_alarms --out {out.name} --count {count} --seed {seed}",
        "code": code(),
        "rounds_and_runs": [BenchConfig().rounds, BenchConfig().runs],
        "goals": goals(lines),
        "results": lines,
        "environment": environment.describe(),
        "conditions": {"before": before, "after": conditions.read()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    reports.write(out, json.dumps(result, indent=1) + "\n")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; exit 0 when every goal is met, 3 when one is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.false_alarms", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON to write; state and curve lie beside it"
    )
    parser.add_argument("--count", type=int, default=200, help="comparisons for each condition and slowdown")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    log.configure(0 if os.isatty(2) else -1)
    try:
        result = run(options.out, options.count, options.seed)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.INPUT
    for goal, outcome in result["goals"].items():
        sys.stdout.write(f"{goal}: {json.dumps(outcome)}\n")
    return 0 if all(outcome["met"] for outcome in result["goals"].values()) else 3


if __name__ == "__main__":
    sys.exit(main())
