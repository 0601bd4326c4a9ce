"""The process behind a lane: one open Runner that works when told to and otherwise waits on a pipe.

Started by way of ``compress.children``. It imports the runtime and what that needs, nothing of the
tasks: feeds arrive encoded. Timing is done in here, right around ``infer`` and ``sync``, so that no
message passing is in a sample. Whatever a library prints goes to stderr; the protocol has a pipe of its own.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import math
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.lanes import load, noise, wire
from compress import environment
from compress.errors import UserError

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_EMPTY_RUNS = 200


def _status_kib(field: str) -> int | None:
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return None


def resident_bytes() -> int:
    """What the process holds now, as the OS sees it."""
    kib = _status_kib("VmRSS:")
    if kib is not None:
        return kib * 1024
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most that the process held.

    Linux keeps it per address space (``VmHWM``). ``ru_maxrss``, the fall-back elsewhere, counts what
    the parent held when it started this process, which is why it is not used on Linux.
    """
    kib = _status_kib("VmHWM:")
    if kib is not None:
        return kib * 1024
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def give_back_heap() -> None:
    """Hand freed heap pages back to the OS, where the C library can (glibc)."""
    with suppress(OSError, AttributeError):  # another C library, without the call
        ctypes.CDLL(None).malloc_trim(0)


def runner_class(runtime: str) -> Any:
    """The ``Runner`` of a runtime: a name in the catalog, or ``module:Class`` for one's own."""
    module, colon, name = runtime.partition(":")
    if colon:
        return getattr(importlib.import_module(module), name)
    from compress import catalog

    return catalog.runtime(runtime)


class Worker:
    """State of one lane: the open runner and the feeds that were sent."""

    def __init__(self) -> None:
        """Start with nothing open."""
        self._stack = ExitStack()
        self._runner: Any = None
        self._make: Any = None
        self._feeds: dict[str, list[dict[str, np.ndarray]]] = {}
        self._device = "cpu"
        self._fitted: tuple[int, ...] = ()

    def open(self, header: dict[str, Any]) -> dict[str, Any]:
        """Open the artifact in its runtime; report what really runs and what opening took."""
        from compress.artifacts.artifact import Artifact

        started = time.perf_counter()
        runner = runner_class(header["runtime"])
        imported = time.perf_counter()
        artifact = Artifact.open(Path(header["artifact"]), verify=False)
        self._make = partial(runner, artifact, header["device"], header["threads"], **header["options"])
        self._device = header["device"]
        opened = self._enter()
        return {
            "pid": os.getpid(),
            "inputs": [spec.name for spec in self._runner.inputs],
            "provenance": self._runner.provenance(),
            "graph_choices": list(self._runner.graph_choices()),
            "import_s": imported - started,
            "open_s": opened,
        }

    def _enter(self) -> float:
        """Open the runner; the seconds that it took."""
        started = time.perf_counter()
        self._runner = self._stack.enter_context(self._make())
        self._runner.sync()
        seconds = time.perf_counter() - started
        gc.collect()
        gc.freeze()
        return seconds

    def empty(self, _header: dict[str, Any]) -> dict[str, Any]:
        """Resident memory with the libraries loaded and the model gone; it is opened again afterwards."""
        self._stack.close()
        self._runner = None
        gc.unfreeze()
        gc.collect()
        give_back_heap()
        resident = resident_bytes()
        self._enter()
        return {"empty_bytes": resident}

    def keep(self, header: dict[str, Any], feeds: list[dict[str, np.ndarray]]) -> dict[str, Any]:
        """Keep feeds under a key until they are dropped, and make the runner ready for their shapes."""
        for feed in feeds:
            self._runner.prepare(feed)
            self._fitted = max(self._fitted, _shape(feed), key=math.prod)
        self._runner.sync()
        self._feeds[header["key"]] = feeds
        return {}

    def drop(self, header: dict[str, Any]) -> dict[str, Any]:
        """Forget the feeds of a key."""
        self._feeds.pop(header["key"], None)
        return {}

    def turn(self, header: dict[str, Any]) -> dict[str, Any]:
        """Time single runs on kept feeds: nanoseconds around ``infer`` and ``sync``.

        The first ``settle`` runs of a turn are not counted: they refill the caches that the other
        lanes' turns emptied. Python's garbage collector rests meanwhile.
        """
        feeds, runner = self._feeds[header["key"]], self._runner
        durations = []
        gc.disable()
        try:
            for index in header["settle"]:
                runner.infer(feeds[index])
            runner.sync()
            counters = noise.read()
            for index in header["order"]:
                feed = feeds[index]
                started = time.perf_counter_ns()
                runner.infer(feed)
                runner.sync()
                durations.append(time.perf_counter_ns() - started)
            counted = noise.since(counters)
        finally:
            gc.enable()
        return {"ns": durations, "noise": counted}

    def overhead(self, header: dict[str, Any]) -> dict[str, Any]:
        """Time the clock alone, and ``infer`` with the runtime's part taken out: medians, nanoseconds."""
        feed, runner = self._feeds[header["key"]][0], self._runner
        timer, dispatch = [], []
        runner.run = lambda feed: {}  # the instance's; the class's own comes back below
        try:
            for _ in range(_EMPTY_RUNS):
                started = time.perf_counter_ns()
                timer.append(time.perf_counter_ns() - started)
                started = time.perf_counter_ns()
                runner.infer(feed)
                runner.sync()
                dispatch.append(time.perf_counter_ns() - started)
        finally:
            del runner.run
        return {"timer_ns": float(np.median(timer)), "dispatch_ns": float(np.median(dispatch))}

    def device_turn(self, header: dict[str, Any]) -> dict[str, Any]:
        """Time single runs on kept feeds by device events, by the host's enqueuing, and from end to end.

        The three are measured in runs of their own, and never mixed.
        """
        feeds, runner, graph = self._feeds[header["key"]], self._runner, header["graph"]
        gpu, enqueue = [], []
        gc.disable()
        try:
            for index in header["settle"]:
                runner.device_times(feeds[index], graph=graph)
            for index in header["order"]:
                times = runner.device_times(feeds[index], graph=graph)
                gpu.append(times.gpu_ms)
                enqueue.append(times.enqueue_ms)
            end_to_end = [runner.end_to_end_ms(feeds[index], graph=graph) for index in header["order"]]
        finally:
            gc.enable()
        waits = runner.enqueue_waits(graph=graph)
        return {"gpu_ms": gpu, "enqueue_ms": enqueue, "e2e_ms": end_to_end, "waits": waits}

    def flow(self, header: dict[str, Any]) -> dict[str, Any]:
        """Submit feeds one after the other for a time, waiting for the device only at the end."""
        feeds, runner = self._feeds[header["key"]], self._runner
        limit = int(header["seconds"] * 1e9)
        runner.infer(feeds[0])
        runner.sync()
        rows = runs = 0
        started = time.perf_counter_ns()
        while time.perf_counter_ns() - started < limit:
            feed = feeds[runs % len(feeds)]
            runner.submit(feed)
            runs += 1
            rows += next(iter(feed.values())).shape[0]
        runner.sync()
        return {"rows": rows, "runs": runs, "ns": time.perf_counter_ns() - started}

    def _serve(self, key: str) -> Callable[[int], object]:
        """A function that answers request ``i`` on kept feeds, to its end."""
        feeds, runner = self._feeds[key], self._runner

        def serve(index: int) -> None:
            runner.infer(feeds[index % len(feeds)])
            runner.sync()

        return serve

    def open_loop(self, header: dict[str, Any]) -> dict[str, Any]:
        """Serve kept feeds as a schedule says; see ``bench.lanes.load``."""
        serve = self._serve(header["key"])
        serve(0)
        latencies, service = load.open_loop(serve, header["arrivals"])
        return {"latency_ns": latencies, "service_ns": service}

    def closed_loop(self, header: dict[str, Any]) -> dict[str, Any]:
        """Serve clients that wait for their answers; see ``bench.lanes.load``."""
        serve = self._serve(header["key"])
        serve(0)
        together = self._runner.concurrent
        latencies, elapsed = load.closed_loop(serve, header["clients"], header["seconds"], together=together)
        return {"latency_ns": latencies, "ns": elapsed, "together": together}

    def nodes(self, header: dict[str, Any]) -> dict[str, Any]:
        """What ran where and in which precision, from a separate pass; None where the runtime cannot say."""
        node_times = self._runner.nodes(self._feeds[header["key"]])
        return {"nodes": None if node_times is None else [vars(node) for node in node_times]}

    def infer(self, feeds: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """Outputs of each feed, copied, since a runner may reuse its buffers."""
        return [{name: np.array(array) for name, array in self._runner.infer(feed).items()} for feed in feeds]

    def memory(self, _header: dict[str, Any]) -> dict[str, Any]:
        """Peak and present memory of this process, and the device's where there is one."""
        # PyTorch's allocator knows only of PyTorch: in a lane that did not load it there is nothing to ask.
        device = environment.device_memory_bytes(self._device) if "torch" in sys.modules else None
        return {
            "peak_bytes": peak_bytes(),
            "resident_bytes": resident_bytes(),
            "device_allocated_bytes": device[0] if device else None,
            "device_reserved_bytes": device[1] if device else None,
        }

    def device_memory(self, _header: dict[str, Any]) -> dict[str, Any]:
        """What the runner says that its model holds on the device."""
        memory = self._runner.device_memory()
        return {} if memory is None else vars(memory)

    def shortage(self, error: Exception, feeds: Sequence[dict[str, np.ndarray]]) -> str:
        """The sentence for a GPU whose memory is full: what was tried, what fitted, what is free."""
        tried = max(map(_shape, feeds), key=math.prod, default=())
        queryable = "torch" in sys.modules and self._device != "cpu"
        return environment.explain_device_memory(
            error,
            work=_words(tried),
            fitted=_words(self._fitted),
            memory=environment.free_device_memory(self._device) if queryable else None,
        )

    def close(self) -> None:
        """Close the runner."""
        self._stack.close()


def _shape(feed: dict[str, np.ndarray]) -> tuple[int, ...]:
    return next(iter(feed.values())).shape


def _words(shape: tuple[int, ...]) -> str:
    return "inputs of " + " x ".join(map(str, shape)) if shape else ""


def serve(inbox: Any, outbox: Any) -> None:
    """Answer messages until the other side closes the pipe or says ``close``."""
    worker = Worker()
    plain = {
        "open": worker.open,
        "drop": worker.drop,
        "turn": worker.turn,
        "flow": worker.flow,
        "device_turn": worker.device_turn,
        "overhead": worker.overhead,
        "open_loop": worker.open_loop,
        "closed_loop": worker.closed_loop,
        "nodes": worker.nodes,
        "memory": worker.memory,
        "device_memory": worker.device_memory,
        "empty": worker.empty,
    }
    try:
        while (message := wire.receive(inbox)) is not None:
            header, feeds = message
            outputs: list[dict[str, np.ndarray]] = []
            reply: dict[str, Any]
            try:
                if header["do"] == "close":
                    wire.send(outbox, {})
                    return
                if header["do"] == "start":  # that the libraries of this module came up is all that is asked
                    reply = {}
                elif header["do"] == "infer":
                    reply, outputs = {}, worker.infer(feeds)
                elif header["do"] == "keep":
                    reply = worker.keep(header, feeds)
                else:
                    reply = plain[header["do"]](header)
            except UserError as error:
                reply = {"refused": str(error)}
            except MemoryError:
                reply = {"refused": "memory ran out: free some, or give smaller batches or shorter lengths"}
            except Exception as error:  # the coordinator gets the traceback and raises it there
                reply = {"broken": traceback.format_exc()}
                if environment.out_of_device_memory(error):
                    reply = {"refused": worker.shortage(error, feeds)}
            wire.send(outbox, reply, outputs)
    finally:
        worker.close()


def main() -> None:
    """Take the pipes off stdin and stdout, so that nothing else can write into the protocol."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    serve(inbox, outbox)


if __name__ == "__main__":
    main()
