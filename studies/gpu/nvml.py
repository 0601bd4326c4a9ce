"""What the driver's management library tells of the device: clocks, heat, power, energy, who uses it.

Read only, through ctypes on ``libnvidia-ml.so.1``: it costs microseconds where nvidia-smi costs a tenth of a
second, and asks for no package. What a device or container does not tell is None. Nothing is ever set.
"""

from __future__ import annotations

import ctypes as c
from typing import Any

_SM, _MEMORY = 1, 2  # nvmlClockType_t: graphics 0, SM 1, memory 2
_TEMPERATURE_GPU = 0
_NOT_ENOUGH_ROOM = 7  # NVML_ERROR_INSUFFICIENT_SIZE
# nvmlClocksThrottleReasons; an idle device or a set application clock is no throttling.
REASONS = {
    0x1: "idle",
    0x2: "application_clocks",
    0x4: "software_power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "hardware_power_brake",
    0x100: "display_clock",
}
HARMLESS = frozenset({"idle", "application_clocks", "display_clock"})
_MOVED = 0.03


class _Process(c.Structure):
    _fields_ = (
        ("pid", c.c_uint),
        ("used", c.c_ulonglong),
        ("instance", c.c_uint),
        ("compute_instance", c.c_uint),
    )


class Nvml:
    """The library, opened for one device; use ``open_device``."""

    def __init__(self, library: Any, index: int = 0) -> None:
        self._library, self._device = library, c.c_void_p()
        for name, arguments in (
            ("nvmlInit_v2", ()),
            ("nvmlDeviceGetHandleByIndex_v2", (c.c_uint(index), c.byref(self._device))),
        ):
            code = getattr(library, name)(*arguments)
            if code:
                raise OSError(f"{name} returned NVML error {code}")

    def _number(self, name: str, *before: Any, kind: Any = c.c_uint) -> int | None:
        found = kind()
        entry = getattr(self._library, name, None)
        if entry is None or entry(self._device, *before, c.byref(found)):
            return None
        return int(found.value)

    def snapshot(self) -> dict[str, Any]:
        """Clocks in MHz, temperature in Celsius, power in watts, reasons of a lowered clock."""
        milliwatts = self._number("nvmlDeviceGetPowerUsage")
        bits = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", kind=c.c_ulonglong)
        return {
            "sm_mhz": self._number("nvmlDeviceGetClockInfo", c.c_uint(_SM)),
            "memory_mhz": self._number("nvmlDeviceGetClockInfo", c.c_uint(_MEMORY)),
            "celsius": self._number("nvmlDeviceGetTemperature", c.c_uint(_TEMPERATURE_GPU)),
            "watts": None if milliwatts is None else milliwatts / 1000,
            "throttle": None if bits is None else [name for bit, name in REASONS.items() if bits & bit],
        }

    def energy_joules(self) -> float | None:
        """Energy since the driver was loaded."""
        found = self._number("nvmlDeviceGetTotalEnergyConsumption", kind=c.c_ulonglong)
        return None if found is None else found / 1000

    def processes(self) -> list[tuple[int, int | None]] | None:
        """Process id and bytes of everything that computes on the device; None where that is hidden."""
        entry = getattr(self._library, "nvmlDeviceGetComputeRunningProcesses_v3", None)
        if entry is None:
            return None
        room = 64
        while True:
            count, found = c.c_uint(room), (_Process * room)()
            code = entry(self._device, c.byref(count), found)
            if code == _NOT_ENOUGH_ROOM and room < 4096:
                room *= 4
                continue
            if code:
                return None
            hidden = c.c_ulonglong(-1).value  # NVML_VALUE_NOT_AVAILABLE
            return [
                (int(one.pid), None if one.used == hidden else int(one.used)) for one in found[: count.value]
            ]

    def used_by(self, pid: int) -> int | None:
        """Bytes that a process holds; None where the device does not tell (another pid namespace, say)."""
        return dict(self.processes() or ()).get(pid)


def open_device(index: int = 0) -> Nvml | None:
    """The device's management, or None where there is none."""
    try:
        return Nvml(c.CDLL("libnvidia-ml.so.1"), index)
    except (OSError, AttributeError):
        return None


def flags(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """What spoils figures taken between two snapshots under load.

    Returns:
        ``clock_moved`` (the SM clock by more than 3 %), ``throttled:REASON`` for each reason.
    """
    if not before or not after:
        return []
    found = []
    first, last = before.get("sm_mhz"), after.get("sm_mhz")
    if first and last and abs(last / first - 1) > _MOVED:
        found.append("clock_moved")
    reasons = {*(before.get("throttle") or ()), *(after.get("throttle") or ())} - HARMLESS
    return found + [f"throttled:{reason}" for reason in sorted(reasons)]
