"""What a quantized graph is worth on calibration rows, which of several to take, and what to say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ParityError
from deploy.checking import batches
from deploy.checking.outputs import Collected
from deploy.precision.coverage import Coverage

FILE = "trial.json"


@dataclass(frozen=True)
class Damage:
    """How far the outputs are from the float graph's on calibration rows.

    Attributes:
        rows: rows, or positions of rows.
        divergence_mean: in nats a row, of rows in batches.
        divergence_p99: of one row in a hundred.
        divergence_alone: the mean, one row at a time.
        agreeing: how many decide the same in batches; None where nothing is decided.
        agreeing_alone: how many do one at a time.
        batch: how far the two ways are apart.
    """

    rows: int
    divergence_mean: float
    divergence_p99: float
    divergence_alone: float
    agreeing: int | None
    agreeing_alone: int | None
    batch: batches.Dependence

    @property
    def divergence(self) -> float:
        """The larger mean of the two ways to run."""
        return max(self.divergence_mean, self.divergence_alone)

    @property
    def agreement(self) -> float | None:
        """The smaller share of the two ways to run; None where nothing is decided."""
        if self.agreeing is None or self.agreeing_alone is None:
            return None
        return min(self.agreeing, self.agreeing_alone) / self.rows

    def __str__(self) -> str:
        """In words."""
        equal = ""
        if self.agreeing is not None and self.agreeing_alone is not None:
            fewer = min(self.agreeing, self.agreeing_alone)
            equal = f"{fewer} of {self.rows} calibration rows decide as the float graph, "
        return f"{equal}divergence {self.divergence:.2g} nats a row; {self.batch}"


def damage(reference: Collected, together: Collected, alone: Collected) -> Damage:
    """Measure a quantized graph.

    Args:
        reference: outputs of the float graph.
        together: of the quantized one, rows in batches.
        alone: of the quantized one, one row at a time in the same order.

    Raises:
        ParityError: numbers that are not finite.
    """
    if not (together.finite() and alone.finite()):
        raise ParityError(
            "the quantized graph gives numbers that are not finite on calibration rows: try ranges: minmax "
            "or keep_float: auto. Nothing was sealed."
        )
    divergence = together.divergence_from(reference)
    agreeing, single = together.agreeing(reference), alone.agreeing(reference)
    return Damage(
        rows=int(divergence.size),
        divergence_mean=float(divergence.mean()),
        divergence_p99=float(np.percentile(divergence, 99)),
        divergence_alone=float(alone.divergence_from(reference).mean()),
        agreeing=agreeing[0] if agreeing else None,
        agreeing_alone=single[0] if single else None,
        batch=batches.compare(alone, together),
    )


@dataclass(frozen=True)
class Trial:
    """One way to quantize, done and measured.

    Attributes:
        name: what was tried, as options say it.
        folder: with its graph.
        damage: on calibration rows.
        coverage: how much became eight bits.
        opset: of the graph.
        facts: for the manifest.
    """

    name: str
    folder: Path
    damage: Damage
    coverage: Coverage
    opset: int
    facts: dict[str, Any]

    def holds(self, divergence: float, agreement: float = 0.0) -> bool:
        """Whether both limits are kept, in batches and one row at a time."""
        share = self.damage.agreement
        return self.damage.divergence <= divergence and (share is None or share >= agreement)

    def figures(self) -> dict[str, Any]:
        """What a manifest says of a trial, taken or not."""
        return {
            "options": self.name,
            "divergence": self.damage.divergence,
            "agreement": self.damage.agreement,
            "rows": self.damage.rows,
            "batch": asdict(self.damage.batch),
            "products": self.coverage.products,
            "eight_bit": self.coverage.eight_bit,
            "macs_share": self.coverage.macs_share,
        }

    def write(self) -> None:
        """Write the record beside the graph, as the last file: a trial with it is whole."""
        (self.folder / FILE).write_text(
            json.dumps({**asdict(self), "folder": None}, ensure_ascii=False), encoding="utf-8"
        )


def read(folder: Path) -> Trial | None:
    """A trial that an earlier run finished before it was ended, or None."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    dependence = batches.Dependence(**content["damage"].pop("batch"))
    return Trial(
        content["name"],
        folder,
        Damage(**content["damage"], batch=dependence),
        Coverage(**content["coverage"]),
        content["opset"],
        content["facts"],
    )


def carried(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What stays true of a quantized graph when a later stage changes something else of it."""
    return {name: facts[name] for name in ("coverage", "batch") if name in facts}


def best(trials: Sequence[Trial], divergence: float, agreement: float) -> Trial:
    """The first that holds both limits, or else the divergence alone; or else the least divergent."""
    for limits in ((divergence, agreement), (divergence,)):
        passing = [trial for trial in trials if trial.holds(*limits)]
        if passing:
            return passing[0]
    return min(trials, key=lambda trial: trial.damage.divergence)
