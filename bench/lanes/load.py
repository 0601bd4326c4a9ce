"""Load on one open runner, from inside its process: arrivals at a rate, or clients that wait for answers.

Open loop: requests arrive by a schedule that does not wait for the server. Each latency counts from the
moment at which its request *should* have started, so that a stall is charged to every request that it
kept waiting. A loop that sends the next request after the last answer would leave those out ("coordinated
omission", Tene 2013). One server, first come first served.

Closed loop: so many clients, each of which sends its next request when it has its answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

# A sleeping process wakes this much late; the last stretch before an arrival is watched instead.
_WATCH_NS = 200_000


def arrivals(rate: float, count: int, generator: np.random.Generator, *, poisson: bool) -> np.ndarray:
    """When requests arrive, in nanoseconds from the start, int64 [count]; the first at 0.

    Args:
        rate: requests a second.
        count: of requests.
        generator: of the gaps.
        poisson: exponential gaps, as independent users make them; equal ones otherwise.
    """
    gaps = generator.exponential(1.0, count - 1) if poisson else np.ones(count - 1)
    return np.concatenate([[0], np.cumsum(gaps / rate * 1e9)]).astype(np.int64)


def queue(arrived: np.ndarray, service: np.ndarray) -> np.ndarray:
    """Latencies of a queue with one server, by Lindley's recursion (1952); what ``open_loop`` measures.

    Args:
        arrived: times of arrival, [requests].
        service: time of each request on the server alone.
    """
    free = 0
    latencies = np.empty(len(arrived), dtype=np.int64)
    for index, (at, duration) in enumerate(zip(arrived, service, strict=True)):
        free = max(int(at), free) + int(duration)
        latencies[index] = free - int(at)
    return latencies


def settling(busy: float) -> float:
    """About how many requests a queue that begins empty serves until its mean latency is the lasting one.

    Within 10 %, for random arrivals and service times that hardly vary; found with ``queue`` for 0.7 to 0.95,
    where it grows with the square of the distance from being full, as such queues do (Odoni and Roth 1983).

    Args:
        busy: share of the time in which the server works, below 1.
    """
    return 4 / (1 - busy) ** 2


def open_loop(serve: Callable[[int], object], arrived: Sequence[int]) -> tuple[list[int], list[int]]:
    """Serve requests as they arrive.

    Args:
        serve: answers request ``i``.
        arrived: nanoseconds from now.

    Returns:
        Latency of each request since it should have started, and the time that serving it took, in ns.
    """
    latencies, service = [], []
    start = time.perf_counter_ns() + _WATCH_NS
    for index, after in enumerate(arrived):
        due = start + after
        ahead = due - time.perf_counter_ns()
        if ahead > _WATCH_NS:
            time.sleep((ahead - _WATCH_NS) / 1e9)
        while time.perf_counter_ns() < due:
            pass
        began = time.perf_counter_ns()
        serve(index)
        ended = time.perf_counter_ns()
        latencies.append(ended - due)
        service.append(ended - began)
    return latencies, service


def closed_loop(
    serve: Callable[[int], object], clients: int, seconds: float, *, together: bool
) -> tuple[list[int], int]:
    """Let clients ask and wait, one after the other each, for a time.

    Args:
        serve: answers request ``i``.
        clients: threads.
        seconds: for which new requests are made.
        together: whether the runner takes several requests at once; otherwise they queue for it.

    Returns:
        Latency of each request as its client saw it, and the time until the last answer, in ns.
    """
    turn = threading.Lock()
    latencies: list[list[int]] = [[] for _ in range(clients)]
    problems: list[BaseException] = []
    ready = threading.Barrier(clients + 1)
    limit = int(seconds * 1e9)
    started = 0

    def ask(client: int) -> None:
        index = client
        ready.wait()
        try:
            while True:
                began = time.perf_counter_ns()
                if together:
                    serve(index)
                else:
                    with turn:
                        serve(index)
                ended = time.perf_counter_ns()
                latencies[client].append(ended - began)
                index += clients
                if ended - started > limit:
                    return
        except BaseException as problem:  # raised again by the caller's thread
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    started = time.perf_counter_ns()
    ready.wait()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return [latency for client in latencies for latency in client], time.perf_counter_ns() - started
