"""Which candidate ships where several could: the first, unless another is faster beyond chance."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bench

from bench import session
from bench.record.model import Report
from bench.report import summary
from bench.verdicts import choice
from compress.errors import UserError
from compress.recipe import BenchConfig, Named

ROUNDS = 20


def report(**factors: float) -> Report:
    """Candidates whose rounds take a wandering time, each by its own factor of it."""
    source = np.random.default_rng(3)
    times = source.uniform(2, 4, size=(ROUNDS, 1)) * source.uniform(0.99, 1.01, size=(ROUNDS, 4))
    measurements = [
        tiny_bench.measurement(
            name,
            "latency_p50_ms",
            float(np.median(times) * factor),
            probe="latency",
            unit="ms",
            conditions={"batch_size": 1, "length": "data"},
            rounds=ROUNDS,
            samples=tuple((times * factor).ravel()),
        )
        for name, factor in factors.items()
    ]
    candidates = tuple(tiny_bench.candidate(name) for name in factors)
    return tiny_bench.report(
        candidates=candidates, measurements=tuple(measurements), baseline=candidates[0].name
    )


def test_the_faster_one_ships_with_the_reason() -> None:
    """A fifth off every round, though rounds differ by far more: exactly 0.80, and the last in the report."""
    outcome = choice.arrange(report(plain=1.0, fused=0.8, other=0.1), ("plain", "fused"))
    assert [candidate.name for candidate in outcome.candidates] == ["plain", "other", "fused"]
    assert outcome.choice == ("fused ships (fused takes 0.80x of plain's p50, 95 % 0.80 to 0.80: faster)")
    assert any("fused ships" in sentence for sentence in summary.explanation(outcome))


def test_what_is_not_faster_beyond_chance_does_not_ship() -> None:
    """The same time, and a slower one, leave the default."""
    for factor in (1.0, 1.3):
        outcome = choice.arrange(report(fused=factor, plain=1.0), ("plain", "fused"))
        assert outcome.candidates[-1].name == "plain"
        assert "not faster" in str(outcome.choice)


def test_nothing_changes_where_nothing_is_to_choose() -> None:
    """Without ``ship`` the report stays as it is."""
    original = report(plain=1.0, fused=0.5)
    assert choice.arrange(original, ()) is original


def test_choosing_needs_the_latency() -> None:
    """Said before anything runs."""
    with pytest.raises(UserError, match="latency is not measured: add the probe latency to size"):
        session.check(BenchConfig(ship=("plain", "fused"), probes=(Named(name="size"),)))
