"""One session measured whole: device, host, end to end, rate, energy, and the device's state around it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.gpu import backends, nvml, timing
from studies.gpu.plan import Sampling, Shape


@dataclass(frozen=True)
class Bench:
    """What measuring needs besides a session.

    Attributes:
        device: ``cpu`` or ``cuda``.
        watch: the device's management, where there is one.
    """

    device: str
    watch: nvml.Nvml | None

    def snapshot(self) -> dict[str, Any] | None:
        """The device now."""
        return self.watch.snapshot() if self.watch else None


def figure(
    opened: backends.Opened,
    session: timing.Session,
    shape: Shape,
    graph: bool,
    sampling: Sampling,
    bench: Bench,
) -> dict[str, Any]:
    """Every time of one session.

    Returns:
        The shape, ``gpu_ms`` (or ``cpu_ms``), ``enqueue_ms``, ``e2e_ms``, ``rows_per_s``,
        ``joules_per_row`` and ``flags``.
    """
    warm = timing.warm_up(session, sampling)
    before = bench.snapshot()
    samples = timing.sample_device(session, opened.clock, sampling)
    after = bench.snapshot()
    device = timing.summarize(samples.device)
    flags = nvml.flags(before, after)
    if timing.is_host_bound(samples):
        flags.append("host_bound")
    flags += [flag for flag in device["flags"] if flag == "unstable"]
    made: dict[str, Any] = {
        "batch": shape.batch,
        "length": shape.length,
        "cuda_graph": graph,
        opened.clock.name: device,
        "enqueue_ms": timing.summarize(samples.enqueue) if samples.enqueue else None,
        "e2e_ms": timing.summarize(timing.sample_end_to_end(session, sampling)),
    }
    joules = bench.watch.energy_joules() if bench.watch else None
    rates = timing.sample_rate(session, shape.batch, device["p50"], sampling.rate_seconds)
    made["rows_per_s"] = timing.summarize(rates)
    spent = bench.watch.energy_joules() if bench.watch and joules is not None else None
    rows = timing.rate_runs(device["p50"], sampling.rate_seconds) * len(rates) * shape.batch
    made["joules_per_row"] = (spent - joules) / rows if spent is not None and joules is not None else None
    made |= {"warm_up_runs": warm, "flags": flags, "device_before": before, "device_after": after}
    return made


def resident_bytes() -> int | None:
    """What this process holds of the machine's memory, where the kernel tells (Linux)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def process_memory(bench: Bench) -> dict[str, int | None]:
    """What the process holds now: of the machine, of the device as NVML and as the driver see it.

    The driver's figure is of the whole device and holds other processes too.
    """
    found: dict[str, int | None] = {"resident_bytes": resident_bytes()}
    if bench.device == "cuda":
        from studies.gpu.driver import Driver

        free, total = Driver().free_and_total()
        found["nvml_process_bytes"] = bench.watch.used_by(os.getpid()) if bench.watch else None
        found["device_used_bytes"] = total - free
    return found
