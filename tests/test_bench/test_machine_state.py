"""What the kernel says of the machine: neighbors, governor, load, temperature, energy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.lanes import noise
from bench.machine import conditions, energy
from bench.record.model import Interval


def put(root: Path, path: str, text: str) -> None:
    """A file of a make-believe kernel."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_state_of_a_machine_is_read_from_the_kernel(tmp_path: Path) -> None:
    """Load, pressure, governors, clocks, throttling and the hottest zone, in words."""
    cpu = "sys/devices/system/cpu"
    put(tmp_path, "proc/loadavg", "0.50 0.40 0.30 2/150 999\n")
    put(tmp_path, "proc/pressure/cpu", "some avg10=12.50 avg60=1.00 avg300=0.10 total=9\nfull avg10=0.00\n")
    for index, (governor, clock) in enumerate((("performance", 3_700_000), ("powersave", 1_200_000))):
        put(tmp_path, f"{cpu}/cpu{index}/cpufreq/scaling_governor", governor + "\n")
        put(tmp_path, f"{cpu}/cpu{index}/cpufreq/scaling_cur_freq", f"{clock}\n")
        put(tmp_path, f"{cpu}/cpu{index}/thermal_throttle/core_throttle_count", f"{index + 1}\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "41000\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/temp", "65500\n")
    assert conditions.read(tmp_path) == {
        "load": "0.50 0.40 0.30 (1, 5, 15 minutes)",
        "cpu pressure": "12.50 % of the last 10 s some process waited for a CPU",
        "cpu governor": "performance, powersave",
        "cpu clock": "1200 to 3700 MHz",
        "cpu throttled": "3 times since the start of the machine",
        "temperature": "66 C",
    }


def test_what_a_machine_does_not_show_is_left_out(tmp_path: Path) -> None:
    """A kernel without any of it gives nothing, and no error."""
    assert conditions.read(tmp_path) == {}


def test_waiting_and_stolen_time_are_read(tmp_path: Path) -> None:
    """Waits of all threads add up; steal is the eighth figure of the first line."""
    put(tmp_path, "task/1/schedstat", "5 700 3\n")
    put(tmp_path, "task/2/schedstat", "5 300 3\n")
    assert noise.waited(tmp_path / "task") == 1000
    assert noise.waited(tmp_path / "none") is None
    put(tmp_path, "stat", "cpu  1 2 3 4 5 6 7 50 0 0\ncpu0 0\n")
    assert noise.stolen(tmp_path / "stat") == 50 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert noise.stolen(tmp_path / "none") is None


def test_a_noisy_neighbor_is_said() -> None:
    """Half a second lost in two is 25 %; below the tolerance nothing is said."""
    disturbance = noise.Disturbance()
    assert disturbance.share() == 0
    disturbance.add(1e9, {"wait_ns": 300_000_000, "switches": 4})
    disturbance.add(1e9, {"wait_ns": 100_000_000, "steal_ns": 100_000_000, "switches": 1})
    assert disturbance.share() == pytest.approx(0.25)
    note = disturbance.note(0.02)
    assert note is not None
    assert note.startswith("noisy neighbor: others had the CPU for 25 % of the timed seconds")
    assert "0.10 s by the hypervisor" in note
    assert "5 involuntary context switches" in note
    assert disturbance.note(0.3) is None


@pytest.mark.skipif(noise.waited() is None, reason="this kernel counts no waiting")
def test_a_process_that_shares_its_cpu_is_seen_to_wait() -> None:
    """On one CPU with a busy process beside, the kernel's counter grows while this one computes."""
    code = (
        "import os, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from bench.lanes import noise\n"
        "before, end = noise.read(), time.perf_counter() + 0.3\n"
        "while time.perf_counter() < end: pass\n"
        "print(noise.since(before)['wait_ns'])\n"
    )
    spin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    neighbor = subprocess.Popen([sys.executable, "-c", spin])
    try:
        time.sleep(0.3)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
    finally:
        neighbor.kill()
        neighbor.wait()
    assert int(process.stdout) > 10_000_000


def rapl(root: Path, microjoules: int = 100) -> None:
    """Two packages, one of them with a part."""
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        put(root, f"{name}/energy_uj", f"{microjoules}\n")
        put(root, f"{name}/max_energy_range_uj", "1000\n")


def test_energy_counters_are_those_of_whole_packages(tmp_path: Path) -> None:
    """A package's parts are not counted twice; a counter that starts again goes on."""
    rapl(tmp_path)
    counters = energy.counters(tmp_path)
    assert [counter.file.parent.name for counter in counters] == ["intel-rapl:0", "intel-rapl:1"]
    assert [counter.read() for counter in counters] == [100, 100]
    assert energy.joules([900, 100], [100, 400], [1000, 1000]) == pytest.approx((200 + 300) / 1e6)


def test_energy_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """No counter, or one that this user may not read, is a reason and not a zero."""
    reason = energy.unavailable(tmp_path)
    assert reason is not None
    assert "shows no energy counter" in reason
    rapl(tmp_path)
    assert energy.unavailable(tmp_path) is None
    for folder in tmp_path.iterdir():
        (folder / "energy_uj").unlink()
    reason = energy.unavailable(tmp_path)
    assert reason is not None
    assert "readable by root alone" in reason


def test_an_interval_widens_by_what_others_took() -> None:
    """Half of the time lost: half as low and twice as high; below a quarter, and unknown, nothing changes."""
    interval = Interval(low=0.9, high=1.1)
    assert noise.widened(interval, 0.5) == Interval(low=0.45, high=2.2)
    assert noise.widened(interval, 0.25) == noise.widened(interval, None) == interval
    assert noise.widened(interval, 1.0).high < 12


def test_a_quieter_run_is_never_judged_more_strictly_than_one_that_lost_more() -> None:
    """The end that a pass is held to grows with what others took, for narrow intervals and for wide ones."""
    narrow, wide = Interval(low=0.99, high=1.01), Interval(low=0.04, high=0.74)
    assert noise.least_margin(narrow, 0.01) == noise.least_margin(narrow, None) == 1.01
    assert noise.least_margin(narrow, 0.2) == pytest.approx(1.02)  # twice as wide
    assert noise.least_margin(wide, 0.2) == pytest.approx(0.74 / 0.75)  # not 1.09
    for interval in (narrow, wide):
        ends = [noise.least_margin(interval, share) for share in (0.0, 0.02, 0.03, 0.25)]
        ends += [noise.widened(interval, share).high for share in (0.26, 0.5, 0.9)]
        assert ends == sorted(ends)
