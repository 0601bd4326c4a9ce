"""The coordinator: command after command under the time limit, each answer on disk before the next begins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from bench.record import document
from compress import catalog, children
from compress.artifacts import artifact as artifacts
from compress.errors import ExitCode, MissingPiece, UserError
from deploy.tensorrt import binding, gpu
from studies.gpu import figures, prepare, record, state
from studies.gpu.plan import GROUPS, TRAINED, Cell, Device, Group, Plan
from studies.gpu.state import MOST_TRIES, Entry, State

STATE = "acceptance.state.json"
RECORD = "acceptance.json"
LOG = "acceptance.log"
# Kept for writing the record and for ending a cell.
_RESERVE_SECONDS = 8.0
_GRACE_SECONDS = 3.0
_PACE_LIMITS = (0.2, 4.0)
_RUNTIMES: dict[Group, str] = {"torch": "pytorch", "ort": "ort", "tensorrt": "trt"}
# Studies are in no wheel, and on a bare machine nothing else is either: commands are found in this checkout.
_PATH = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]


@dataclass(frozen=True)
class Job:
    """One call of the command.

    Attributes:
        plan: what to run.
        artifacts: folder from ``--prepare``.
        out: folder of the state, the record, the reports and the engines.
        device: that is measured on.
        minutes: time limit of this call.
        groups: cells of these only.
    """

    plan: Plan
    artifacts: Path
    out: Path
    device: Device
    minutes: float
    groups: tuple[Group, ...] = GROUPS

    def places(self, answer: str = "") -> dict[str, str]:
        """What the words of a cell name."""
        return {
            "artifacts": str(self.artifacts),
            "engines": str(self.out / "engines"),
            "answer": answer,
        }


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes:
        code: with which it ended; None where the time was up.
        last: line of its stderr.
        text: its stdout.
    """

    code: int | None
    last: str = ""
    text: str = ""


Execute = Callable[[list[str], float | None, TextIO], Answer]


def execute(words: list[str], timeout: float | None, log: TextIO) -> Answer:
    """Run a command of the product as a child; its process group is ended as a whole when the time is up."""
    log.write(f"\n$ paredown {' '.join(words)}\n")
    log.flush()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(
            children.command("paredown", *words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_PATH)},
        )
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_GRACE_SECONDS)
        out.seek(0)
        error.seek(0)
        output, messages = out.read(), error.read()
    log.write(messages)
    log.flush()
    lines = [line for line in messages.splitlines() if line.strip()]
    return Answer(code, lines[-1].strip() if lines else "", output)


def estimate(cell: Cell, progress: State, cells: list[Cell]) -> float:
    """Seconds that a cell will take, as far as one can know.

    Its own earlier try, or the estimate times how far the estimates of done cells were off.
    """
    entry = progress.cells.get(cell.id, Entry())
    if entry.seconds is not None and entry.status == "pending":
        return max(entry.seconds, cell.seconds)
    ratios = [
        earlier.seconds / peer.seconds
        for peer in cells
        if (earlier := progress.cells.get(peer.id, Entry())).status == "done" and earlier.seconds is not None
        and peer.kind == cell.kind
    ]  # fmt: skip
    low, high = _PACE_LIMITS
    return cell.seconds * (min(high, max(low, statistics.median(ratios))) if ratios else 1.0)


@cache
def unavailable(group: Group, device: Device) -> str | None:
    """Why a group of cells cannot run here, as the product says it; None where it can."""
    if group == "facts":
        return None
    reason = catalog.runtime(_RUNTIMES[group]).unavailable(device)
    if reason is None and group == "tensorrt":
        try:
            binding.load("tensorrt")
        except MissingPiece as missing:
            return str(missing)
    return reason


def judge(cell: Cell, answer: Answer, report: Path) -> dict[str, Any]:
    """What a command came to.

    Args:
        cell: whose command it was.
        answer: of the command.
        report: the file in which ``bench`` was to leave its report.

    Returns:
        ``status`` with ``result`` or ``reason``. A report that lacks a figure of the cell is a failure, and
        so is a command that runs where it was to refuse.
    """
    if answer.code is None:
        return {"status": "pending", "reason": "cut off by the time limit"}
    if cell.refusal is not None:
        if answer.code == ExitCode.INPUT and cell.refusal in answer.last:
            return {"status": "done", "result": {"refused": answer.last}}
        ending = f"exit code {answer.code}: {answer.last}"
        return {"status": "failed", "reason": f"it was to refuse with '{cell.refusal}', and {ending}"}
    allowed = (ExitCode.OK, ExitCode.INPUT) if cell.group == "facts" else (ExitCode.OK,)
    if answer.code not in allowed:
        return {"status": "failed", "reason": f"exit code {answer.code}: {answer.last}; see the log"}
    if "{answer}" not in cell.words:
        return {"status": "done", "result": json.loads(answer.text)}
    measured = document.read(report, must_be_sealed=True)
    rows = figures.of(measured)
    lacks = figures.lacking(rows, cell.expects)
    if lacks:
        return {"status": "failed", "reason": f"the report lacks {'; '.join(lacks)}"}
    ran = {
        candidate.name: {"runtime": candidate.runtime, **candidate.provenance}
        for candidate in measured.candidates
    }
    return {"status": "done", "result": {"report": report.name, "candidates": ran, "figures": rows}}


def gpu_name() -> str | None:
    """The first device's name, for telling machines apart."""
    described = gpu.describe()
    return described.name if described else None


def identify(job: Job) -> dict[str, Any]:
    """What must be the same for figures to lie in one record."""
    sealed = sorted(file.parent for file in job.artifacts.glob(f"*/*/{artifacts.MANIFEST}"))
    ids = [artifacts.Artifact.open(folder, verify=False).id for folder in sealed]  # bench checks every byte
    digest = hashlib.sha256("".join(ids).encode())
    return {
        "plan": job.plan.name,
        "device": job.device,
        "groups": list(job.groups),
        "gpu": gpu_name() if job.device == "cuda" else None,
        "python": platform.python_version(),
        "artifacts": digest.hexdigest()[:16],
    }


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the output folder; the kernel lets go of it when this process ends, however that is."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another run is writing into {out}: wait for it, or choose another --out"
            ) from None
        yield


class _Call:
    """One call at work: the state on disk and the cells."""

    def __init__(self, job: Job, progress: State, say: Callable[[str], None], execute: Execute) -> None:
        self.job, self.progress, self.say, self.execute = job, progress, say, execute
        self.cells = [cell for cell in job.plan.cells(job.device) if cell.group in job.groups]

    def save(self) -> None:
        """Write the state file."""
        state.save(self.progress, self.job.out / STATE)

    def everything(self, deadline: float, log: TextIO) -> None:
        """Every cell that is left and fits into the time; one that does not fit leaves room for the next."""
        for cell in self.cells:
            if not self.progress.todo(cell):
                continue
            entry = self.progress.entry(cell)
            reason = self.absent(cell)
            if reason is not None:
                entry.status, entry.reason = "skipped", reason
                continue
            left = deadline - time.monotonic()
            seconds = estimate(cell, self.progress, self.cells)
            if seconds > left:
                entry.status = "pending"
                entry.reason = f"not begun: about {seconds:.0f} s, and {max(0.0, left):.0f} s were left"
                continue
            self._one(cell, entry, left, log)

    def absent(self, cell: Cell) -> str | None:
        """What a cell wants and does not find here; None where it can run."""
        reason = unavailable(cell.group, self.job.device)
        if reason is not None:
            return reason
        places = self.job.places()
        for place in cell.needs:
            if Path(place.format(**places)).is_dir():
                continue
            if place.startswith("{engines}"):
                return f"the engine {Path(place).name} was not built"
            if f"/{TRAINED}/" in place:
                return "no fine-tuned model was prepared (--prepare --model DIR --data DIR)"
            return f"{place.format(**places)} is not there: go on with --prepare"
        return None

    def _one(self, cell: Cell, entry: Entry, left: float, log: TextIO) -> None:
        entry.status, entry.tries, entry.reason = "running", entry.tries + 1, None
        entry.call = len(self.progress.calls)
        self.save()
        began = time.monotonic()
        report = self.job.out / "reports" / f"{cell.id.replace('/', '-')}.json"
        report.parent.mkdir(exist_ok=True)
        answer = self.execute(cell.command(self.job.places(str(report))), left, log)
        outcome = judge(cell, answer, report)
        entry.seconds = time.monotonic() - began
        entry.status, entry.result, entry.reason = (
            outcome["status"],
            outcome.get("result"),
            outcome.get("reason"),
        )
        if entry.status == "pending" and entry.tries >= MOST_TRIES:
            entry.status, entry.reason = "failed", f"given up after {entry.tries} tries: {entry.reason}"
        self.save()
        self.say(
            f"{cell.id}: {entry.status} in {entry.seconds:.1f} s{': ' + entry.reason if entry.reason else ''}"
        )


def run(job: Job, say: Callable[[str], None], execute: Execute = execute) -> int:
    """Do what the time allows, and write the record.

    Args:
        job: what.
        say: takes a line of progress.
        execute: runs one command.

    Returns:
        0 when nothing is left, 4 when the same command should be run again, 1 when a cell failed.

    Raises:
        UserError: what was given does not fit together.
    """
    started = time.monotonic()
    if job.device == "cuda" and gpu_name() is None:
        raise UserError(
            "--device cuda: the driver shows no GPU here; --device cpu runs the same cells on the CPU"
        )
    if not prepare.present(job.artifacts):
        raise UserError(
            f"{job.artifacts} holds no prepared artifacts: make them, on any machine, with "
            f"python -m studies.gpu --prepare --out {job.artifacts}"
        )
    with _alone(job.out):
        progress = state.load(job.out / STATE, identify(job))
        call: dict[str, Any] = {"started": _now(), "minutes": job.minutes}
        progress.calls.append(call)
        at_work = _Call(job, progress, say, execute)
        with (job.out / LOG).open("a", encoding="utf-8") as log:
            at_work.everything(started + job.minutes * 60 - _RESERVE_SECONDS, log)
        call["seconds"] = time.monotonic() - started
        at_work.save()
        acceptance = record.make(job.plan, job.device, progress, at_work.cells)
        state.write_json(job.out / RECORD, acceptance)
    return _verdict(acceptance, say)


def make(
    job: Job, trained: tuple[Path, Path] | None, say: Callable[[str], None], execute: Execute = execute
) -> None:
    """Prepare the artifacts of a job, without a limit of time.

    Args:
        job: whose plan and folder.
        trained: the fine-tuned model and its data, where there are any.
        say: takes a line of progress.
        execute: runs one command.

    Raises:
        UserError: a command failed; its last line is told.
    """
    with _alone(job.artifacts), (job.artifacts / LOG).open("a", encoding="utf-8") as log:

        def paredown(words: list[str]) -> None:
            answer = execute(words, None, log)
            if answer.code != ExitCode.OK:
                raise UserError(f"paredown {' '.join(words)} ended with {answer.code}: {answer.last}")

        prepare.prepare(job.plan, job.artifacts, trained, paredown, say)


def _verdict(acceptance: Mapping[str, Any], say: Callable[[str], None]) -> int:
    counts = acceptance["counts"]
    say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    for expectation in acceptance["expectations"]:
        say(f"expectation {expectation['name']} ({expectation['lane']}): {expectation['status']}")
    if counts["pending"]:
        say(f"{counts['pending']} cells are left: run the same command again")
        return int(ExitCode.INCONCLUSIVE)
    return int(ExitCode.BUG) if counts["failed"] else int(ExitCode.OK)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
