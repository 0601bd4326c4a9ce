"""What every cell is given (plan, device, artifacts), and how it says that something is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.gpu import backends, nvml
from studies.gpu.measure import Bench
from studies.gpu.plan import Plan, Sampling, Shape

Params = dict[str, Any]
Result = dict[str, Any]


class Skip(Exception):  # noqa: N818 - says that nothing is wrong
    """Something that this cell needs is not on this machine."""


@dataclass(frozen=True)
class Around:
    """What every cell may need.

    Attributes:
        plan: of the run.
        device: ``cpu`` or ``cuda``.
        folder: of the artifacts, where there are any.
        manifest: of them.
    """

    plan: Plan
    device: str
    folder: Path | None
    manifest: dict[str, Any]

    def bench(self) -> Bench:
        """For measuring on the device."""
        return Bench(self.device, nvml.open_device() if self.device == "cuda" else None)

    def sampling(self, params: Params) -> Sampling:
        """Long for the headline, short otherwise."""
        return self.plan.long if params.get("long") else self.plan.short

    def subject(self, model: str) -> backends.Subject:
        """A model of the plan, or one that is only among the artifacts."""
        return backends.Subject(model, self.plan.models.get(model), self.folder, self.manifest)


def shapes_of(params: Params) -> list[Shape]:
    """The shapes that a cell is asked for."""
    return [Shape(batch, length) for batch, length in params["shapes"]]
