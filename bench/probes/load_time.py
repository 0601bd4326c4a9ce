"""Seconds until a fresh process can answer: importing the runtime, and opening the artifact.

Both are of the lane's own process, which was started for this run. The files may lie in the OS's
page cache (they were checksummed just before), so that this is a warm disk's figure. More
processes are started for more samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bench.lanes import Lane
from bench.probes import Subject
from bench.record import Measurement
from compress import log

UNIT = "s"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False


class Config(BaseModel):
    """Options.

    Attributes:
        processes: fresh processes a candidate; the lane itself is the first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    processes: int = Field(default=1, ge=1)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """``load_time_s`` (opening the artifact) and ``import_time_s`` (the runtime's libraries)."""
    opened = {lane.name: [lane.opened] for lane in lanes}
    with log.progress("load time", len(lanes) * (config.processes - 1)) as bar:
        for _ in range(config.processes - 1):
            for lane in lanes:
                with Lane(lane.spec) as fresh:
                    opened[lane.name].append(fresh.opened)
                bar.advance(1, lane.name)
    seconds = {
        metric: {name: [getattr(one, field) for one in all_] for name, all_ in opened.items()}
        for metric, field in (("load_time_s", "open_seconds"), ("import_time_s", "import_seconds"))
    }
    found = []
    for lane in lanes:
        for metric, by_name in seconds.items():
            own = float(np.median(by_name[lane.name]))
            found.append(
                Measurement(
                    probe="load_time",
                    candidate=lane.name,
                    metric=metric,
                    value=own,
                    unit=UNIT,
                    better=BETTER,
                    ratio=own / float(np.median(by_name[subject.baseline])),
                    samples=tuple(by_name[lane.name]),
                )
            )
    return found
