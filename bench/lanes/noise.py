"""Who else used the CPU while something was timed: what the kernel counts, read before and after.

Linux counts for each thread how long it was ready and had to wait for a CPU (``schedstat``), for each
process how often it was put aside involuntarily, and for the machine the time that a hypervisor took
(``steal``). Waiting is the neighbor's doing, since a lane has a CPU of its own for each of its threads
otherwise. Elsewhere there is nothing to read, and nothing is said.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.record.interval import Interval

# Share of the timed seconds that others may have before a narrow pass is not believed.
DISTURBED = 0.02
# From this share of the timed seconds on, what others took may decide a comparison.
LOST = 0.25
_MOST = 0.9
_TASKS = Path("/proc/self/task")
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Counters:
    """What had been counted at one moment.

    Attributes:
        wait_ns: for which this process's threads were ready and had no CPU; None where nobody counts it.
        switches: how often they were put aside involuntarily.
        steal_ns: for which a hypervisor had the CPUs, all together; None where nobody counts it.
    """

    wait_ns: int | None
    switches: int
    steal_ns: int | None


def waited(tasks: Path = _TASKS) -> int | None:
    """Nanoseconds that the threads of a process waited for a CPU."""
    total, counted = 0, False
    with suppress(OSError):  # not on Linux, or a kernel without schedstat
        for task in os.listdir(tasks):  # noqa: PTH208 - names are wanted, and it is read between timings
            with suppress(OSError):  # a thread that ended meanwhile
                total += int((tasks / task / "schedstat").read_text(encoding="ascii").split()[1])
                counted = True
    return total if counted else None


def stolen(stat: Path = _STAT) -> int | None:
    """Nanoseconds that a hypervisor took from all CPUs."""
    with suppress(OSError):
        fields = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
        if len(fields) > 8:
            return int(fields[8]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return None


def read() -> Counters:
    """The counters of this process and machine now."""
    return Counters(
        wait_ns=waited(), switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, steal_ns=stolen()
    )


def since(before: Counters) -> dict[str, int]:
    """What was counted since then; a counter that is not there is left out."""
    now = read()
    counts = {"switches": now.switches - before.switches}
    if now.wait_ns is not None and before.wait_ns is not None:
        counts["wait_ns"] = max(0, now.wait_ns - before.wait_ns)
    if now.steal_ns is not None and before.steal_ns is not None:
        counts["steal_ns"] = now.steal_ns - before.steal_ns
    return counts


@dataclass
class Disturbance:
    """What was counted over the turns of one candidate.

    Attributes:
        seconds: of the turns.
        wait: seconds in which its threads had no CPU.
        steal: seconds that a hypervisor took.
        switches: involuntary context switches.
    """

    seconds: float = 0.0
    wait: float = 0.0
    steal: float = 0.0
    switches: int = 0

    def add(self, ns: float, counted: dict[str, int]) -> None:
        """Count a turn of so many nanoseconds."""
        self.seconds += ns / 1e9
        self.wait += counted.get("wait_ns", 0) / 1e9
        self.steal += counted.get("steal_ns", 0) / 1e9
        self.switches += counted.get("switches", 0)

    def share(self) -> float:
        """Seconds that were lost to others, against the seconds of the turns; at most 1."""
        return min(1.0, (self.wait + self.steal) / self.seconds) if self.seconds else 0.0

    def note(self, tolerance: float) -> str | None:
        """What a reader should know, where more than a tolerated share was lost."""
        if self.share() <= tolerance:
            return None
        stolen_ = f", of them {self.steal:.2f} s by the hypervisor" if self.steal else ""
        return (
            f"noisy neighbor: others had the CPU for {100 * self.share():.0f} % of the timed "
            f"seconds{stolen_} ({self.switches} involuntary context switches)"
        )


def widened(interval: Interval, share: float | None) -> Interval:
    """The interval of a time, or of a ratio of two, where others took much of the timed seconds.

    What they took may all have been one side's: the figure may be off by that share either way. Resampling
    does not see it, since who is put aside for how long goes on over many rounds. In a study of equal models
    beside two busy processes on two CPUs, where the share was 27 to 52 %, 11 of 40 comparisons failed without
    this (``studies/results/false-alarms``).

    Args:
        interval: of the figure.
        share: of the timed seconds that others took; up to ``LOST`` the interval stays as it is.
    """
    return interval if share is None or share <= LOST else _one_sided(interval, share)


def _one_sided(interval: Interval, share: float) -> Interval:
    """The interval where that share of the timed seconds may all have been taken from one side."""
    left = 1 - min(share, _MOST)
    return interval.model_copy(update={"low": interval.low * left, "high": interval.high / left})


def least_margin(interval: Interval, share: float | None) -> float:
    """What the upper end of a time counts as before a pass is believed, where others took a little.

    A narrow interval is taken twice as wide, since neighbors do more than take turns: they empty caches. A
    wide one has that margin many times over: it needs no more than where ``LOST`` of the seconds were taken,
    so that a quieter run is never judged more strictly than one that lost more.

    Args:
        interval: of the figure, not widened.
        share: of the timed seconds that others took; up to ``DISTURBED`` the end stays where it is.
    """
    if share is None or share <= DISTURBED:
        return interval.high
    doubled = interval.high + (interval.high - interval.low) / 2
    return min(doubled, _one_sided(interval, LOST).high)


@dataclass(frozen=True)
class Overhead:
    """What measuring adds to a run, in nanoseconds.

    Attributes:
        timer: between two readings of the clock, with nothing between them.
        dispatch: of the runner's own checks and calls around the runtime, with nothing run.
    """

    timer: float
    dispatch: float

    def note(self) -> str:
        """In a sentence."""
        return (
            f"in every run: {self.dispatch / 1e3:.1f} us of paredown's own checks and "
            f"{self.timer / 1e3:.2f} us of the timer"
        )
