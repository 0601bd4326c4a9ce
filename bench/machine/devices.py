"""The GPU under a bench run: who else uses it, what fits on it, and what its state was before and after.

Judgments are pure functions at the top; ``at`` and ``watch`` ask the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.machine import context, nvml
from bench.record.gpu import Facts, State, UnknownGpu
from bench.record.gpu import Gpu as Record
from compress import log
from compress.errors import MissingPiece, UserError
from deploy.tensorrt import gpu

if TYPE_CHECKING:
    from bench.lanes.lane import LaneSpec

# A kernel of somebody else ran in the last moments; what a desktop shows stays below it.
BUSY = 0.05
# A run whose clock moved by more than this share is two runs at two speeds.
CLOCK_TOLERANCE = 0.03
_HALF = ("fp16", "bf16")


WHOLE = "the whole device, other processes included: its driver shows no processes here"
"""Note of a figure of memory that is not the process's own; it has no ratio and judges nothing."""


def others(state: State) -> str | None:
    """Who uses a GPU before we do, in words; None where nobody does."""
    if state.processes:
        listed = [
            f"pid {process.pid}" + ("" if process.bytes is None else f" with {gib(process.bytes)}")
            for process in state.processes
        ]
        return ", ".join(listed)
    if state.utilization is not None and state.utilization > BUSY:
        return (
            "something that the driver does not show here (kernels ran in "
            f"{100 * state.utilization:.0f} % of the time before we started)"
        )
    return None


def refuse_shared(name: str, who: str) -> str:
    """The sentence for a GPU that others use."""
    return (
        f"{name} is in use by others ({who}): what they do would be in every figure. Wait for them, choose "
        "another with --device cuda:N, or measure all the same with --shared, which the report then says"
    )


def refuse_memory(needs: Mapping[str, int], free: int, total: int) -> str | None:
    """Why candidates do not fit on a GPU side by side, and how many would; None if they may.

    Args:
        needs: candidate -> bytes that it needs at least: its weights and its context.
        free: bytes.
        total: bytes.
    """
    if sum(needs.values()) <= free:
        return None
    fitting: list[str] = []
    left = free
    for name, size in needs.items():
        if size > left:
            break
        fitting.append(name)
        left -= size
    listed = ", ".join(f"{name} {gib(size)}" for name, size in needs.items())
    would = (
        f"{', '.join(fitting)} would fit: measure the others in a run of their own"
        if fitting
        else "not even the first would fit: free memory, or use a smaller model or a GPU with more"
    )
    return (
        f"too little GPU memory: the candidates ask for at least {gib(sum(needs.values()))} (weights and "
        f"context: {listed}), free are {gib(free)} of {gib(total)}; {would}"
    )


def disturbances(before: State, after: State) -> str | None:
    """What spoils figures between two moments, in words: lowered clocks, or clocks that moved."""
    causes = []
    reasons = sorted({*before.slowdowns, *after.slowdowns})
    if reasons:
        causes.append(f"the GPU lowered its clocks ({', '.join(reasons)})")
    was, now = before.sm_clock_mhz, after.sm_clock_mhz
    if was and now and abs(now - was) > CLOCK_TOLERANCE * was:
        causes.append(f"the SM clock moved from {was} to {now} MHz")
    return "; ".join(causes) or None


def weights_needed(file_bytes: int, options: Mapping[str, Any]) -> int:
    """Bytes of weights on the device: those of the file, half of them where a runtime halves them."""
    return file_bytes // 2 if options.get("precision") in _HALF else file_bytes


def gib(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def lines(device: Record | UnknownGpu | None) -> list[tuple[str, str]]:
    """What a report recorded of its GPU, as pairs to show."""
    if device is None:
        return []
    if isinstance(device, UnknownGpu):
        return [("gpu", f"not recorded: {device.unknown}")]
    pairs = [
        ("gpu", f"{device.facts.name}, {gib(device.facts.memory_bytes)}"),
        ("gpu driver", f"{device.facts.driver} (CUDA {device.facts.cuda})"),
        ("gpu before", _state(device.before)),
        ("gpu after", _state(device.after)),
    ]
    if device.context_bytes is not None:
        pairs.append(("gpu context alone", gib(device.context_bytes)))
    if device.shared_with:
        pairs.append(("gpu shared", f"measured while in use by others: {device.shared_with}"))
    return pairs


def _state(state: State) -> str:
    parts = [
        f"SM {state.sm_clock_mhz} MHz" if state.sm_clock_mhz is not None else "",
        f"memory {state.memory_clock_mhz} MHz" if state.memory_clock_mhz is not None else "",
        f"{state.temperature_c} °C" if state.temperature_c is not None else "",
        f"{state.power_w:.0f} W" if state.power_w is not None else "",
        f"{gib(state.used_bytes)} in use",
        f"clocks lowered: {', '.join(state.slowdowns)}" if state.slowdowns else "clocks not lowered",
    ]
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Watched:
    """A GPU that can be asked.

    Attributes:
        gpu: the door to it.
        context_bytes: that a context alone holds.
    """

    gpu: nvml.Gpu
    context_bytes: int


@cache
def at(device: str) -> Watched | None:
    """The GPU of a device; None on a CPU.

    Raises:
        MissingPiece: NVML's library is not installed.
        UserError: no context can be made.
    """
    if not device.startswith("cuda"):
        return None
    with context.held(int(device.partition(":")[2] or 0)) as holder:
        gpu = nvml.Gpu(holder.uuid)
        own_bytes = gpu.process_bytes(holder.pid)
        with_it = gpu.used_bytes()
    # Where the driver shows no processes, the device as a whole got that much emptier.
    return Watched(gpu, own_bytes if own_bytes is not None else max(0, with_it - gpu.used_bytes()))


def held_bytes(device: str, pid: int, before: int | None = None) -> tuple[int, bool] | None:
    """Bytes that a process holds on its GPU, and whether the driver says so of the process itself.

    Args:
        device: of the process.
        pid: its number.
        before: bytes in use on the device before it started; where the driver does not show processes, the
            growth since then is taken, or all that is in use when it is None.
    """
    watched = find(device)
    if watched is None:
        return None
    size = watched.gpu.process_bytes(pid)
    if size is not None:
        return size, True
    return watched.gpu.used_bytes() - (before or 0), False


def find(device: str) -> Watched | None:
    """As ``at``; None where NVML cannot be asked."""
    try:
        return at(device)
    except MissingPiece:
        return None


def identity(watched: Watched | None, device: str) -> dict[str, str]:
    """What a report's environment says of the GPU under a device; nothing on a CPU.

    Where NVML cannot be asked, the driver is: two GPUs must not pass for one machine.
    """
    facts: Facts | gpu.Gpu | None
    if watched is not None:
        facts = watched.gpu.facts()
    else:
        facts = gpu.describe(gpu.index_of(device)) if device.startswith("cuda") else None
    if facts is None:
        return {}
    return {"gpu": facts.name, "gpu driver": facts.driver or "unknown", "cuda": facts.cuda}


def identities() -> list[dict[str, str]]:
    """What a report that is made here would say of its GPU, for each GPU of the machine."""
    try:
        count = gpu.count()
    except MissingPiece:  # what cannot be asked here can be in no report that is made here
        return []
    return [identity(find(device), device) for device in (f"cuda:{index}" for index in range(count))]


class Watch:
    """One run on a GPU: checked before, recorded before and after."""

    def __init__(self, watched: Watched | None, unknown: str | None, who: str | None, device: str) -> None:
        self._watched, self._unknown, self._who = watched, unknown, who
        self._device = device
        self._before = watched.gpu.state() if watched else None

    def identity(self) -> dict[str, str]:
        """What a report's environment says of the GPU; nothing on a CPU."""
        return identity(self._watched, self._device)

    def record(self) -> Record | UnknownGpu | None:
        """What the report keeps; None on a CPU."""
        if self._unknown is not None:
            return UnknownGpu(device=self._device, unknown=self._unknown)
        if self._watched is None or self._before is None:
            return None
        watched_gpu = self._watched.gpu
        return Record(
            device=self._device,
            facts=watched_gpu.facts(),
            before=self._before,
            after=watched_gpu.state(),
            context_bytes=self._watched.context_bytes,
            energy_counter=watched_gpu.energy_mj() is not None,
            shared_with=self._who,
        )


def watch(specs: Sequence[LaneSpec], weights: Mapping[str, int], device: str, *, shared: bool) -> Watch:
    """Check the GPU of a run before anything is opened on it.

    Args:
        specs: of the candidates.
        weights: candidate -> bytes of its weights on disk.
        device: of all of them.
        shared: whether a GPU that others use is measured all the same.

    Raises:
        UserError: others use it, or the candidates do not fit.
    """
    try:
        watched = at(device)
    except MissingPiece as cause:
        log.info("the GPU's state is not recorded: %s", cause)
        return Watch(None, str(cause), None, device)
    if watched is None:
        return Watch(None, None, None, device)
    state, facts = watched.gpu.state(), watched.gpu.facts()
    who = others(state)
    if who is not None and not shared:
        raise UserError(refuse_shared(f"{device} ({facts.name})", who))
    needs = {
        spec.name: weights_needed(weights[spec.name], spec.options) + watched.context_bytes for spec in specs
    }
    reason = refuse_memory(needs, state.free_bytes, facts.memory_bytes)
    if reason:
        raise UserError(reason)
    return Watch(watched, None, who, device)
