"""The door to NVML: what the driver says of one GPU. It only reads; clocks and limits are never set.

What a GPU or a driver does not tell is None: MIG slices know no power, older cards no energy counter, and
containers often no processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.record.gpu import Facts, Process, State
from compress import environment
from compress.errors import MissingPiece

# Why the clocks are what they are, from nvml.h. Being idle, and clocks that somebody chose, slow nothing down
# in the course of a run.
_SLOWDOWNS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


class Gpu:
    """One GPU, by the identity that CUDA gives it (its number differs between the two)."""

    def __init__(self, uuid: str, library: Any = None) -> None:
        """Open it.

        Args:
            uuid: ``GPU-...``.
            library: the module ``pynvml``; imported when None.

        Raises:
            MissingPiece: the library is not installed, or the driver does not answer it.
        """
        self._nvml = library or environment.require("pynvml", extra="gpu", purpose="to read the GPU's state")
        try:
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        except self._nvml.NVMLError as cause:
            raise MissingPiece(
                f"the driver does not answer NVML here ({cause}): give the container or user access to it "
                "(nvidia-smi must work)"
            ) from cause
        self._uuid = uuid

    def _ask(self, name: str, *arguments: Any) -> Any:
        """The answer of one function; None where this GPU, driver or library does not have it."""
        function: Callable[..., Any] | None = getattr(self._nvml, name, None)
        if function is None:
            return None
        try:
            return function(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None

    def facts(self) -> Facts:
        """Name, driver and memory."""
        cuda = self._nvml.nvmlSystemGetCudaDriverVersion()
        return Facts(
            name=_text(self._nvml.nvmlDeviceGetName(self._handle)),
            uuid=self._uuid,
            driver=_text(self._nvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            memory_bytes=int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total),
        )

    def state(self) -> State:
        """Clocks, temperature, power, slowdowns, memory and processes now."""
        nvml = self._nvml
        memory = nvml.nvmlDeviceGetMemoryInfo(self._handle)
        power = self._ask("nvmlDeviceGetPowerUsage")
        busy = self._ask("nvmlDeviceGetUtilizationRates")
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # the name before driver 535
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return State(
            sm_clock_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            temperature_c=self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1000,
            slowdowns=tuple(text for bit, text in _SLOWDOWNS.items() if (reasons or 0) & bit),
            utilization=None if busy is None else busy.gpu / 100,
            used_bytes=int(memory.used),
            free_bytes=int(memory.free),
            processes=self.processes(),
        )

    def processes(self) -> tuple[Process, ...]:
        """Every process that has a context on it, as far as the driver shows."""
        entries = self._ask("nvmlDeviceGetComputeRunningProcesses") or ()
        return tuple(Process(pid=int(entry.pid), bytes=_bytes(entry.usedGpuMemory)) for entry in entries)

    def process_bytes(self, pid: int) -> int | None:
        """Bytes that a process holds; None where the driver does not show it."""
        return next((process.bytes for process in self.processes() if process.pid == pid), None)

    def used_bytes(self) -> int:
        """Bytes in use, by everybody."""
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded; None where there is no counter."""
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if energy is None else int(energy)


def _text(text: str | bytes) -> str:
    return text.decode() if isinstance(text, bytes) else text


def _bytes(size: Any) -> int | None:
    return None if size is None else int(size)
