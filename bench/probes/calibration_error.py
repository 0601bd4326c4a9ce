"""Whether confidence matches being right, before and after: calibration error, Brier score, likelihood.

Also at temperatures fitted on the selection rows, where the data has training rows to carve them from;
the evaluation rows tune nothing. The stage ``calibrate`` folds such a temperature into a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bench.answers import answers, asking
from bench.answers.asking import DamageConfig
from bench.findings import calibration
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = tuple(Figure(f"{metric}*", rows="nowhere") for metric in ("ece", "brier", "nll"))

_UNITS = {"ece": "share", "brier": "squared", "nll": "nats"}


class Config(DamageConfig):
    """Options.

    Attributes:
        temperature: whether to fit one, where there are selection rows.
    """

    temperature: bool = True


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The three figures of every candidate but the baseline, as it is and at its temperature.

    Raises:
        UserError: no labels, or answers without probabilities.
    """
    measurements = []
    tuning, missing = asking.tuning(subject) if config.temperature else ((), "it was not asked for")
    for ask in asking.candidates(lanes, subject, config, "calibration"):
        selection = ask.rows(tuning, answers.SELECTION) if missing is None else None
        finding = calibration.find(ask.evaluation(), selection, missing, asking.generator(subject, 23))
        for suffix, before, after, changes in (
            ("", finding.before, finding.after, finding.changes),
            ("_scaled", finding.scaled_before, finding.scaled_after, finding.scaled_changes),
        ):
            if before is None or after is None:
                continue
            for metric, unit in _UNITS.items():
                value = getattr(after, metric)
                measurements.append(
                    Measurement(
                        probe="calibration_error",
                        candidate=ask.name,
                        metric=f"{metric}{suffix}",
                        value=value,
                        unit=unit,
                        better=BETTER,
                        difference=value - getattr(before, metric),
                        difference_interval=changes.get(metric),
                        conditions={"rows": len(subject.rows), "batch_size": ask.size},
                        notes=finding.notes if metric == "ece" and not suffix else (),
                        finding=finding if metric == "ece" and not suffix else None,
                    )
                )
    return measurements
