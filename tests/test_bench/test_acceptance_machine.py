"""What the acceptance run reads of its machine: NVML's numbers, nvidia-smi, and TensorRT's libraries."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import fake_gpu_libraries
import pytest

from studies.gpu import machine, nvml


def _processes(device: Any, count: Any, found: Any) -> int:
    if count._obj.value < 100:
        return 7  # as if there were more than fit
    hidden = ctypes.c_ulonglong(-1).value
    for one, (pid, used) in zip(found, ((5, 1 << 20), (6, hidden)), strict=False):
        one.pid, one.used = pid, used
    count._obj.value = 2
    return 0


def test_nvml_numbers_have_their_units() -> None:
    """Milliwatts become watts, millijoules joules, bits reasons; what is not supported is None."""
    made = nvml.Nvml(
        fake_gpu_libraries.nvml(
            nvmlDeviceGetPowerUsage=123_000,
            nvmlDeviceGetTotalEnergyConsumption=5_500,
            nvmlDeviceGetCurrentClocksThrottleReasons=0x1 | 0x40,
            nvmlDeviceGetClockInfo=lambda device, kind, out: (
                setattr(out._obj, "value", 1000 + kind.value) or 0
            ),
            nvmlDeviceGetComputeRunningProcesses_v3=_processes,
        )
    )
    seen = made.snapshot()
    assert seen == {
        "sm_mhz": 1001,
        "memory_mhz": 1002,
        "celsius": None,
        "watts": 123.0,
        "throttle": ["idle", "hardware_thermal"],
    }
    assert made.energy_joules() == 5.5
    assert made.processes() == [(5, 1 << 20), (6, None)]
    assert made.used_by(5) == 1 << 20
    assert made.used_by(99) is None


def test_a_machine_without_nvml_is_no_error() -> None:
    """A library that refuses to start is an OSError, which ``open_device`` turns into None."""
    with pytest.raises(OSError, match="nvmlInit_v2 returned NVML error 9"):
        nvml.Nvml(fake_gpu_libraries.nvml(nvmlInit_v2=9))


def test_moved_clocks_and_throttling_are_flagged() -> None:
    """More than 3 % either way; idle and application clocks are no throttling."""
    quiet: dict[str, Any] = {"sm_mhz": 1000, "throttle": ["idle", "application_clocks"]}
    assert nvml.flags(quiet, {**quiet, "sm_mhz": 1029}) == []
    assert nvml.flags(quiet, {**quiet, "sm_mhz": 969}) == ["clock_moved"]
    assert nvml.flags(quiet, {**quiet, "throttle": ["hardware_thermal"]}) == ["throttled:hardware_thermal"]
    assert nvml.flags(None, quiet) == []


def test_nvidia_smi_is_read_and_a_planted_tensorrt_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells get their names, also where it knows few of them; any libnvinfer is listed, by name only."""
    cells = ", ".join(f"v{i}" for i in range(len(machine._ASKED)))
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{cells}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = machine.smi()
    assert found is not None
    assert found["name"] == "v0"
    assert machine.gpu_name() == "v0"
    program.write_text("#!/bin/sh\ncase $1 in *compute_cap*) exit 2;; esac\necho 'old, 1, 2, 3'\n")
    assert machine.smi() == {"name": "old", "driver_version": "1", "memory.total": "2", "memory.used": "3"}
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "libnvinfer.so.10").touch()
    (deep / "libnvinfer_plugin.so.10.3").touch()
    (deep / "libnvinfer.txt").touch()
    assert machine.tensorrt_libraries((str(tmp_path),)) == ["libnvinfer.so.10", "libnvinfer_plugin.so.10.3"]
