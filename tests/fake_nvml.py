"""A stand-in for ``pynvml``: one GPU whose figures tests set, and whose counters go up when they are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """What the library raises where a GPU does not tell."""


class Library:
    """The functions that the door calls; names in ``lacks`` are refused by the GPU."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *, processes: bool = True, lacks: tuple[str, ...] = (), grows: int = 0) -> None:
        self.calls: list[str] = []
        self.lacks, self.grows = lacks, grows
        self.running: list[tuple[int, int | None]] = [(4321, 3 * 2**30)] if processes else []
        self.used = 5 * 2**30
        self.clock = 1980
        self.reasons = 0
        self.busy = 0
        self.energy = 1000

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml"):
            calls, lacks = self.calls, self.lacks
            calls.append(name)
            assert not name.startswith("nvmlDeviceSet"), "the state of a GPU is never set"
            if name in lacks:

                def refused(*arguments: Any) -> Any:
                    raise NVMLError(name)

                return refused
        return super().__getattribute__(name)

    def nvmlInit(self) -> None:  # noqa: N802
        """Nothing."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        assert uuid.startswith("GPU-")
        return "handle"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 13020

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"590.44"

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return "Fake H200"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        total = 16 * 2**30
        self.used += self.grows
        return SimpleNamespace(total=total, used=self.used, free=total - self.used)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 123_400

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=self.busy, memory=0)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        return self.clock if kind == self.NVML_CLOCK_SM else 2619

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 35

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.running]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        self.energy += 500
        return self.energy
