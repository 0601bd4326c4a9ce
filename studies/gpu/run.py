"""The coordinator: cell after cell under the time limit, each result on disk before the next begins."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from compress import children
from compress.errors import ExitCode, UserError
from studies.gpu import artifacts as prepared
from studies.gpu import machine, nvml, record, state
from studies.gpu.plan import Cell, Plan
from studies.gpu.state import MOST_TRIES, Entry, State

STATE = "acceptance.state.json"
RECORD = "acceptance.json"
LOG = "acceptance.log"
# Kept for writing the record and for ending a cell.
_RESERVE_SECONDS = 8.0
_GRACE_SECONDS = 3.0
_PACE_LIMITS = (0.2, 4.0)
GROUPS = ("facts", "torch", "ort", "tensorrt")
Execute = Callable[..., dict[str, Any]]
# Studies are in no wheel: a worker finds them in this checkout.
_PATH = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]


@dataclass(frozen=True)
class Job:
    """One call of the command.

    Attributes:
        plan: what to measure.
        artifacts: folder from ``--prepare``, or None: cells that need one are skipped.
        out: folder of the state and the record.
        device: ``cuda`` or ``cpu``.
        minutes: time limit of this call.
        groups: cells of these only.
    """

    plan: Plan
    artifacts: Path | None
    out: Path
    device: str
    minutes: float
    groups: tuple[str, ...] = GROUPS


def estimate(cell: Cell, found: State, cells: list[Cell]) -> float:
    """Seconds that a cell will take, as far as one can know.

    Its own earlier try, or the estimate times how far the estimates of done cells were off.
    """
    entry = found.cells.get(cell.id, Entry())
    if entry.seconds is not None and entry.status == "pending":
        return max(entry.seconds, cell.seconds)
    ratios = [
        done.seconds / each.seconds
        for each in cells
        if (done := found.cells.get(each.id, Entry())).status == "done" and done.seconds is not None
        and each.kind == cell.kind
    ]  # fmt: skip
    low, high = _PACE_LIMITS
    return cell.seconds * (min(high, max(low, statistics.median(ratios))) if ratios else 1.0)


def execute(cell: Cell, job: Job, timeout: float, log: TextIO) -> dict[str, Any]:
    """Run a cell in its own process; ``{"status": "pending"}`` where the time was up.

    The process group is ended as a whole, for compilers that it may have started.
    """
    with tempfile.TemporaryDirectory(prefix="acceptance-") as folder:
        answer = Path(folder) / "answer.json"
        request = {
            "plan": job.plan.name,
            "kind": cell.kind,
            "params": cell.params,
            "device": job.device,
            "artifacts": str(job.artifacts) if job.artifacts else None,
            "answer": str(answer),
        }
        process = subprocess.Popen(
            children.command("studies.gpu.worker"),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_PATH)},
        )
        if process.stdin is None:
            raise RuntimeError("the worker has no stdin")
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return {"status": "pending", "reason": f"cut off by the time limit after {timeout:.0f} s"}
        except BrokenPipeError:
            process.wait(_GRACE_SECONDS)
        finally:
            _end(process)
        if not answer.exists():
            return {"status": "failed", "reason": f"the process ended with {process.returncode}; see the log"}
        told: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return told


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait(_GRACE_SECONDS)


def identify(job: Job, manifest: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for figures to lie in one record."""
    return {
        "plan": job.plan.name,
        "device": job.device,
        "groups": list(job.groups),
        "gpu": machine.gpu_name() if job.device == "cuda" else None,
        "python": platform.python_version(),
        "artifacts": prepared.identity(manifest) if manifest else None,
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
    """One call at work: the state on disk, the cells, and what was found missing on the way."""

    def __init__(self, job: Job, found: State, say: Callable[[str], None], execute: Execute) -> None:
        self.job, self.found, self.say, self.execute = job, found, say, execute
        self.cells = [cell for cell in job.plan.cells() if cell.group in job.groups]
        self.watch = nvml.open_device() if job.device == "cuda" else None
        self._missing: dict[tuple[str, str], str] = {}

    def save(self) -> None:
        """Write the state file."""
        state.save(self.found, self.job.out / STATE)

    def everything(self, deadline: float, log: TextIO) -> None:
        """Every cell that is left and fits into the time; one that does not fit leaves room for the next."""
        for cell in self.cells:
            if not self.found.todo(cell):
                continue
            entry = self.found.entry(cell)
            known = self._missing.get(_lane(cell)) if cell.kind == "shapes" else None
            if known is not None:
                entry.status, entry.reason = "skipped", known
                continue
            left = deadline - time.monotonic()
            wanted = estimate(cell, self.found, self.cells)
            if wanted > left:
                entry.status = "pending"
                entry.reason = f"not begun: about {wanted:.0f} s, and {max(0.0, left):.0f} s were left"
                continue
            self._one(cell, entry, left, log)

    def _one(self, cell: Cell, entry: Entry, left: float, log: TextIO) -> None:
        entry.status, entry.tries, entry.reason = "running", entry.tries + 1, None
        entry.call = len(self.found.calls)
        self.save()
        before = self.watch.snapshot() if self.watch else None
        began = time.monotonic()
        told = self.execute(cell, self.job, left, log)
        entry.seconds = time.monotonic() - began
        entry.status, entry.result, entry.reason = told["status"], told.get("result"), told.get("reason")
        entry.around = {"before": before, "after": self.watch.snapshot()} if self.watch else None
        if entry.status == "skipped":
            entry.tries -= 1
            if cell.kind == "shapes":
                self._missing[_lane(cell)] = entry.reason or ""
        if entry.status == "pending" and entry.tries >= MOST_TRIES:
            entry.status, entry.reason = "failed", f"given up after {entry.tries} tries: {entry.reason}"
        self.save()
        self.say(
            f"{cell.id}: {entry.status} in {entry.seconds:.1f} s{': ' + entry.reason if entry.reason else ''}"
        )


def _lane(cell: Cell) -> tuple[str, str]:
    return str(cell.params.get("backend")), str(cell.params.get("precision"))


def run(job: Job, say: Callable[[str], None], execute: Execute = execute) -> int:
    """Do what the time allows, and write the record.

    Args:
        job: what.
        say: takes a line of progress.
        execute: does one cell.

    Returns:
        0 when nothing is left, 4 when the same command should be run again, 1 when a cell failed.

    Raises:
        UserError: what was given does not fit together.
    """
    started = time.monotonic()
    if job.device == "cuda" and machine.gpu_name() is None:
        raise UserError(
            "--device cuda: nvidia-smi shows no GPU here; --device cpu runs the same cells on the CPU"
        )
    manifest = prepared.read(job.artifacts) if job.artifacts else {}
    with _alone(job.out):
        found = state.load(job.out / STATE, identify(job, manifest))
        call: dict[str, Any] = {
            "started": _now(),
            "minutes": job.minutes,
            "cpu": machine.cpu(),
            "gpu": machine.smi(),
        }
        found.calls.append(call)
        at_work = _Call(job, found, say, execute)
        with (job.out / LOG).open("a", encoding="utf-8") as log:
            at_work.everything(started + job.minutes * 60 - _RESERVE_SECONDS, log)
        call["seconds"] = time.monotonic() - started
        at_work.save()
        made = record.make(job.plan, job.device, found, at_work.cells)
        state.write_json(job.out / RECORD, made)
    return _verdict(made, say)


def _verdict(made: dict[str, Any], say: Callable[[str], None]) -> int:
    counts = made["counts"]
    say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    for one in made["expectations"]:
        say(f"expectation {one['name']} ({one['backend']}): {one['status']}")
    if counts["pending"]:
        say(f"{counts['pending']} cells are left: run the same command again")
        return int(ExitCode.INCONCLUSIVE)
    return int(ExitCode.BUG) if counts["failed"] else int(ExitCode.OK)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 - also on Python 3.10
