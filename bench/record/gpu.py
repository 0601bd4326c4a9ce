"""What a report records of the GPU that was measured on: what it is, and its state at two moments."""

from __future__ import annotations

from compress.strict import Strict


class Process(Strict):
    """A process that computes on the GPU, and the bytes that it holds where the driver says so."""

    pid: int
    bytes: int | None


class State(Strict):
    """A GPU at one moment.

    Attributes:
        sm_clock_mhz: of the multiprocessors.
        memory_clock_mhz: of the memory.
        temperature_c: of the chip.
        power_w: that it draws.
        slowdowns: reasons for which its clocks are lowered.
        utilization: share of the last moments in which a kernel ran.
        used_bytes: of its memory, by everybody.
        free_bytes: of its memory.
        processes: that compute on it; empty also where the driver shows none.
    """

    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    slowdowns: tuple[str, ...]
    utilization: float | None
    used_bytes: int
    free_bytes: int
    processes: tuple[Process, ...]


class Facts(Strict):
    """What does not change: name, identity, driver, the newest CUDA that it runs, and memory."""

    name: str
    uuid: str
    driver: str
    cuda: str
    memory_bytes: int


class Gpu(Strict):
    """A GPU over one run.

    Attributes:
        device: such as ``cuda:0``.
        facts: what does not change.
        before: its state before measuring.
        after: its state after it.
        context_bytes: that a context alone holds.
        energy_counter: whether it counts its energy.
        shared_with: who else used it, in words; None where nobody did.
    """

    device: str
    facts: Facts
    before: State
    after: State
    context_bytes: int | None
    energy_counter: bool
    shared_with: str | None


class UnknownGpu(Strict):
    """A GPU of which nothing could be recorded, and why."""

    device: str
    unknown: str
