"""The state of the machine at one moment, for a report: load, governor, clock, temperature.

Recorded before and after measuring, so that a reader can tell a machine at rest from a busy or a
throttled one. Everything is read from the kernel; what this machine does not show is left out. Nothing
is ever set.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
_CPU = "sys/devices/system/cpu/"


def _texts(root: Path, pattern: str) -> list[str]:
    texts = []
    for path in sorted(root.glob(pattern)):
        with suppress(OSError):  # shown, and not readable by everyone
            texts.append(path.read_text(encoding="utf-8").strip())
    return texts


def _numbers(texts: Iterable[str]) -> list[float]:
    return [float(text) for text in texts if text.lstrip("-").isdigit()]


def read(root: Path = _ROOT) -> dict[str, str]:
    """What the kernel says now, in words.

    Args:
        root: of the file system; another one in tests.
    """
    facts: dict[str, str] = {}
    load = _texts(root, "proc/loadavg")
    if load:
        facts["load"] = " ".join(load[0].split()[:3]) + " (1, 5, 15 minutes)"
    pressure = _texts(root, "proc/pressure/cpu")
    if pressure and pressure[0].startswith("some "):
        shares = dict(part.split("=") for part in pressure[0].splitlines()[0].split()[1:])
        facts["cpu pressure"] = f"{shares['avg10']} % of the last 10 s some process waited for a CPU"
    governors = sorted(set(_texts(root, _CPU + "cpu[0-9]*/cpufreq/scaling_governor")))
    if governors:
        facts["cpu governor"] = ", ".join(governors)
    clocks = _numbers(_texts(root, _CPU + "cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if clocks:
        facts["cpu clock"] = f"{min(clocks) / 1e3:.0f} to {max(clocks) / 1e3:.0f} MHz"
    throttled = _numbers(_texts(root, _CPU + "cpu[0-9]*/thermal_throttle/core_throttle_count"))
    if throttled:
        facts["cpu throttled"] = f"{sum(throttled):.0f} times since the start of the machine"
    heat = _numbers(_texts(root, "sys/class/thermal/thermal_zone*/temp"))
    if heat:
        facts["temperature"] = f"{max(heat) / 1e3:.0f} C"
    return facts
