"""Lanes: one resident worker process a candidate, with its Runner open; a coordinator passes turns.

A lane that has no turn blocks on a pipe and takes no CPU time. Threads and device are fixed when the
process starts. Rows are encoded in the coordinator, with the candidate's own tokenizer, and sent as
arrays beforehand: tokenization is in no timing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from bench.lanes import patience, wire
from bench.lanes.noise import Disturbance, Overhead
from compress import children, environment, log
from compress.errors import UserError
from deploy.node_time import NodeTime

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_GOODBYE_SECONDS = 10.0
# Thread pools of a lane that just ended its turn spin for about a millisecond: the next turn waits for that.
_GAP_SECONDS = 0.004


@dataclass(frozen=True)
class LaneSpec:
    """What a lane opens.

    Attributes:
        name: of the candidate.
        artifact: sealed.
        runtime: name in the catalog, or ``module:Class``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads.
        options: of the runtime.
    """

    name: str
    artifact: Artifact
    runtime: str
    device: str = "cpu"
    threads: int = 1
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """What a lane said when its runner was open.

    Attributes:
        pid: of the process.
        inputs: names of the arrays that the model takes.
        provenance: what really runs.
        import_seconds: importing the runtime and its libraries.
        open_seconds: opening the artifact.
        graph_choices: ways in which runs can be timed by device events: without and with a CUDA graph.
    """

    pid: int
    inputs: tuple[str, ...]
    provenance: dict[str, str]
    import_seconds: float
    open_seconds: float
    graph_choices: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Memory:
    """Memory of a lane's process, in bytes."""

    peak: int
    resident: int
    device_allocated: int | None
    device_reserved: int | None


@dataclass(frozen=True)
class DeviceTurn:
    """Timings of one turn on a device, in milliseconds [runs].

    Attributes:
        gpu: between device events, inputs on the device.
        enqueue: of enqueuing the same runs, on the host.
        e2e: from arrays to arrays, in runs of their own.
        waits: whether enqueuing waits for the device.
    """

    gpu: np.ndarray
    enqueue: np.ndarray
    e2e: np.ndarray
    waits: bool


class Lane:
    """One candidate's process. Use it as a context manager."""

    def __init__(self, spec: LaneSpec) -> None:
        """Remember what to open; the process starts with ``__enter__``."""
        self.spec = spec
        self.used = False
        self.memo: dict[Any, Any] = {}
        self.disturbance = Disturbance()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._opened: Opened | None = None

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.spec.name

    @property
    def opened(self) -> Opened:
        """What the process said when it had opened the artifact."""
        if self._opened is None:
            raise RuntimeError(f"lane '{self.name}' is not open")
        return self._opened

    def __enter__(self) -> Self:
        """Start the process and open the artifact in it."""
        threads = dict.fromkeys(_THREADS, str(self.spec.threads))
        paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 - a string is wanted
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            children.command("bench.lanes.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **threads, "PYTHONPATH": paths, "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,  # Ctrl-C reaches the coordinator alone, which then ends the lanes
        )
        try:
            self._ask("start")
            reply, _ = self._ask(
                "open",
                artifact=str(self.spec.artifact.path.absolute()),
                runtime=self.spec.runtime,
                device=self.spec.device,
                threads=self.spec.threads,
                options=self.spec.options,
            )
        except BaseException:
            self._end(politely=False)
            raise
        self._opened = Opened(
            pid=reply["pid"],
            inputs=tuple(reply["inputs"]),
            provenance=reply["provenance"],
            import_seconds=reply["import_s"],
            open_seconds=reply["open_s"],
            graph_choices=tuple(reply["graph_choices"]),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: politely when all went well, at once otherwise."""
        self._end(politely=kind is None)

    def feed(self, inputs: wire.Feed) -> dict[str, np.ndarray]:
        """The arrays that this candidate's model takes, out of encoded rows.

        Raises:
            UserError: the task's encoding lacks one of them.
        """
        missing = [name for name in self.opened.inputs if name not in inputs]
        if missing:
            raise UserError(
                f"candidate '{self.name}' takes {', '.join(self.opened.inputs)}; the rows give "
                f"{', '.join(inputs)}: it was exported for another task or tokenizer"
            )
        return {name: inputs[name] for name in self.opened.inputs}

    def keep(self, key: str, feeds: Sequence[wire.Feed]) -> None:
        """Send feeds that later turns run on."""
        self._ask("keep", feeds, key=key)

    def drop(self, key: str) -> None:
        """Let the process forget feeds."""
        self._ask("drop", key=key)

    def turn(self, key: str, order: Sequence[int], settle: Sequence[int] = ()) -> np.ndarray:
        """Time one run of each feed in ``order`` after uncounted ones, in nanoseconds [runs]."""
        self.used = True
        time.sleep(_GAP_SECONDS)
        reply, _ = self._ask("turn", key=key, order=list(order), settle=list(settle))
        self.disturbance.add(sum(reply["ns"]), reply["noise"])
        return np.array(reply["ns"], dtype=np.int64)

    def device_turn(
        self, key: str, order: Sequence[int], settle: Sequence[int] = (), *, graph: bool
    ) -> DeviceTurn:
        """Time one run of each feed in ``order`` by device events and from end to end."""
        self.used = True
        time.sleep(_GAP_SECONDS)
        reply, _ = self._ask("device_turn", key=key, order=list(order), settle=list(settle), graph=graph)
        return DeviceTurn(
            gpu=np.array(reply["gpu_ms"]),
            enqueue=np.array(reply["enqueue_ms"]),
            e2e=np.array(reply["e2e_ms"]),
            waits=reply["waits"],
        )

    def overhead(self, key: str) -> Overhead:
        """What the timer and the runner's checks take, on kept feeds, with nothing run."""
        reply, _ = self._ask("overhead", key=key)
        return Overhead(timer=reply["timer_ns"], dispatch=reply["dispatch_ns"])

    def flow(self, key: str, seconds: float) -> tuple[int, float]:
        """Run kept feeds back to back for a time: rows done, and the seconds that they took."""
        self.used = True
        time.sleep(_GAP_SECONDS)
        reply, _ = self._ask("flow", key=key, seconds=seconds)
        return int(reply["rows"]), reply["ns"] / 1e9

    def open_loop(self, key: str, arrivals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Latency and service time of requests that arrive by a schedule, in nanoseconds [requests] each."""
        self.used = True
        time.sleep(_GAP_SECONDS)
        reply, _ = self._ask("open_loop", key=key, arrivals=[int(arrival) for arrival in arrivals])
        return np.array(reply["latency_ns"], dtype=np.int64), np.array(reply["service_ns"], dtype=np.int64)

    def closed_loop(self, key: str, clients: int, seconds: float) -> tuple[np.ndarray, float, bool]:
        """Latencies in ns of clients that wait for answers, seconds in all, whether they ran at once."""
        self.used = True
        time.sleep(_GAP_SECONDS)
        reply, _ = self._ask("closed_loop", key=key, clients=clients, seconds=seconds)
        return np.array(reply["latency_ns"], dtype=np.int64), reply["ns"] / 1e9, bool(reply["together"])

    def nodes(self, key: str) -> list[NodeTime] | None:
        """What the runtime ran for kept feeds, node by node, in a pass of its own; None if it cannot say."""
        reply, _ = self._ask("nodes", key=key)
        return None if reply["nodes"] is None else [NodeTime(**node) for node in reply["nodes"]]

    def infer(self, feeds: Sequence[wire.Feed]) -> list[dict[str, np.ndarray]]:
        """Outputs of each feed."""
        self.used = True
        return self._ask("infer", feeds)[1]

    def memory(self) -> Memory:
        """Memory of the process, now and at its peak."""
        reply, _ = self._ask("memory")
        return Memory(
            peak=reply["peak_bytes"],
            resident=reply["resident_bytes"],
            device_allocated=reply["device_allocated_bytes"],
            device_reserved=reply["device_reserved_bytes"],
        )

    def device_memory(self) -> dict[str, int | None]:
        """What the runner says that its model holds on the device, by part; empty on a CPU."""
        return self._ask("device_memory")[0]

    def empty_bytes(self) -> int:
        """Resident memory of the process without the model: it is closed for that, and opened again."""
        return int(self._ask("empty")[0]["empty_bytes"])

    def _ask(
        self, do: str, feeds: Sequence[wire.Feed] = (), **fields: Any
    ) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError(f"lane '{self.name}' is not open")
        work = patience.work(do, fields, len(feeds))
        with patience.limited(process, work.seconds) as expired:
            try:
                wire.send(process.stdin, {"do": do, **fields}, feeds)
                answer = wire.receive(process.stdout)
            except BrokenPipeError:
                answer = None
        if answer is None:
            code, last = process.wait(), self._last_words()
            if expired.yes:
                raise patience.hung(self.name, self.spec.runtime, work, last)
            raise self._died(code, last)
        reply, outputs = answer
        if "refused" in reply:
            raise UserError(f"candidate '{self.name}': {reply['refused']}")
        if "broken" in reply:
            raise RuntimeError(f"candidate '{self.name}' ({self.spec.runtime}) failed:\n{reply['broken']}")
        return reply, outputs

    def _last_words(self) -> str:
        """The end of what the process wrote on stderr."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()[-2000:]

    def _died(self, code: int, last: str) -> Exception:
        tail = f" It last said: {last}" if last else ""
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (often: out of memory)" if name == "SIGKILL" else ""
            return UserError(
                f"the process of candidate '{self.name}' ({self.spec.runtime}) was ended by {name}{hint}; "
                f"nothing was reported. Free memory or leave this candidate out.{tail}"
            )
        return RuntimeError(f"the process of candidate '{self.name}' ended with exit code {code}.{tail}")

    def _end(self, *, politely: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if politely and process.poll() is None and process.stdin and process.stdout:
                wire.send(process.stdin, {"do": "close"})
                process.wait(_GOODBYE_SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            log.detail("candidate '%s' did not close in time", self.name)
        finally:
            with suppress(ProcessLookupError):  # its group, for compilers that a runtime may have started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, self._stderr):
                if stream is not None:
                    _close(stream)


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:  # what was still in its buffer has nobody to read it
        log.detail("a lane went before its pipe was empty")


@contextmanager
def open_lanes(specs: Sequence[LaneSpec]) -> Iterator[list[Lane]]:
    """Open a lane for each candidate, one after the other; all end with the block, whatever happens.

    Raises:
        UserError: a candidate cannot run here; the message names it.
    """
    with ExitStack() as stack:
        lanes = []
        with log.progress("opening candidates", len(specs)) as bar:
            for spec in specs:
                lanes.append(stack.enter_context(Lane(spec)))
                bar.advance(1, spec.name)
        yield lanes


def cpu_threads(threads: int | None) -> int:
    """The number of CPU threads that a lane gets."""
    return threads or environment.cpu_count()
