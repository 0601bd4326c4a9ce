"""How far a converted model's outputs may be from its source's: what the conversion itself recorded.

The figures come from the artifact's manifest: the stage that converted it compared it with its source
on real rows. Export and fusion record the largest difference of each case (``parity``), quantization the
mean divergence from the float graph (``against_float``). Nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from bench.gates import GateConfig, decide
from bench.record.limits import Limit, Number
from bench.record.model import Report, Verdict

PROBE = None


class Config(GateConfig):
    """Options; at least one limit, plain numbers.

    Attributes:
        max_abs_at_most: largest absolute difference of any output on any case.
        kl_at_most: mean Kullback-Leibler divergence from the source's distribution, in nats a row.
    """

    max_abs_at_most: Number | None = None
    kl_at_most: Number | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.max_abs_at_most or self.kl_at_most):
            raise ValueError("give max_abs_at_most or kl_at_most")
        return self


def figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """The figures that a stage recorded: ``max_abs``, the worst of all cases, and ``kl``, where it has them.

    Args:
        facts: of the artifact; ``parity`` holds ``cases`` with a ``largest`` each, or, like
            ``against_float``, a ``divergence_mean``.
    """
    by_metric: dict[str, float] = {}
    for name in ("parity", "against_float"):
        recorded = facts.get(name)
        if not isinstance(recorded, Mapping):
            continue
        largest = [float(case["largest"]) for case in recorded.get("cases", ())]
        if largest:
            by_metric["max_abs"] = max(largest)
        if recorded.get("divergence_mean") is not None:
            by_metric["kl"] = float(recorded["divergence_mean"])
    return by_metric


def _one(report: Report, candidate: str, metric: str, limit: Limit) -> Verdict:
    recorded = figures(report.facts.get(candidate, {}))
    if metric not in recorded:
        candidates = sorted(name for name, facts in report.facts.items() if figures(facts))
        listing = (
            f"'{candidate}' records {', '.join(recorded)}" if recorded else f"'{candidate}' records none"
        )
        return Verdict(
            gate="parity",
            candidate=candidate,
            status="fail",
            metric=metric,
            value=None,
            interval=None,
            limit=limit.text,
            reason=(
                f"no parity figure {metric} was recorded for '{candidate}', and what is missing fails; "
                f"{listing}; candidates with parity figures: {', '.join(candidates) or 'none'}"
            ),
        )
    text = f"{metric} {recorded[metric]:.3g} from its source, as recorded when it was converted"
    return decide("parity", candidate, metric, recorded[metric], None, limit, at_most=True, said=text)


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when every recorded figure that is asked for is at most its limit."""
    limits = (("max_abs", config.max_abs_at_most), ("kl", config.kl_at_most))
    verdicts = [_one(report, candidate, metric, limit) for metric, limit in limits if limit is not None]
    worst = next((verdict for verdict in verdicts if verdict.status != "pass"), verdicts[0])
    return worst.model_copy(update={"reason": ". ".join(verdict.reason for verdict in verdicts)})
