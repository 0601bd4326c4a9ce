"""Whether the precision that was asked for is the one that ran: "INT8 asked for, FP32 ran" is a failure.

What was asked for is what the artifact says of itself, unless ``precision`` names another. What ran comes
from the runtime's own profile; see the probe ``execution``. Time in layers whose inside the runtime does not
show may or may not have run in it: where that decides, the verdict is inconclusive.
"""

from __future__ import annotations

from typing import Literal

from bench.gates import GateConfig, decide, missing
from bench.record.limits import Limit, Share
from bench.record.model import Interval, Report, Verdict

PROBE = "execution"
_METRICS = {"products": "product_share", "all": "time_share"}


class Config(GateConfig):
    """Options.

    Attributes:
        precision: that must run; the one that the artifact was made in when absent.
        at_least: share of the time that must run in it; half when absent.
        of: the time of matrix ``products``, or ``all`` of it.
    """

    precision: Literal["int8", "fp8", "fp16", "bf16", "fp32"] | None = None
    at_least: Share = Limit("50%", 0.5, "share")
    of: Literal["products", "all"] = "products"


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when that share of the time ran in the precision, on the provider that was asked for."""
    named = next((entry for entry in report.candidates if entry.name == candidate), None)
    precision = config.precision or (named.provenance.get("precision") if named else None)
    metric = f"{precision}_{_METRICS[config.of]}"
    shares = {
        measurement.metric.split("_")[0]: measurement.value
        for measurement in report.measurements
        if (measurement.probe, measurement.candidate) == (PROBE, candidate)
        and measurement.metric.endswith(_METRICS[config.of])
    }
    if precision is None or not shares:
        return missing(
            report, "execution", candidate, metric, config.at_least.text, "which precision really ran"
        )
    share = shares.get(precision, 0.0)  # a precision that nothing ran in may have no figure
    ran = ", ".join(f"{name} {100 * part:.0f} %" for name, part in shares.items() if part)
    unknown = shares.get("unknown", 0.0)
    scope = "the time of matrix products" if config.of == "products" else "the time"
    placed = report.find(candidate, "placed_share")
    placement = f"; {100 * placed.value:.0f} % on the provider asked for" if placed else ""
    return decide(
        "execution",
        candidate,
        metric,
        share,
        Interval(low=share, high=min(1.0, share + unknown)) if unknown else None,
        config.at_least,
        at_most=False,
        said=f"{precision} was asked for, and {100 * share:.1f} % of {scope} ran in it ({ran}{placement})",
        advice="the runtime does not show what is inside the layers that count as unknown" if unknown else "",
    )
