"""Limits: every unit, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from bench.record.limits import Bytes, Duration, Number, Points, Share, Times
from compress.errors import UserError
from compress.recipe import validate


class Every(BaseModel):
    """One option of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: Points | None = None
    duration: Duration | None = None
    size: Bytes | None = None
    times: Times | None = None
    share: Share | None = None
    number: Number | None = None


@pytest.mark.parametrize(
    ("option", "text", "value", "unit"),
    [
        ("points", "0.5pt", 0.5, "pt"),
        ("points", "1 pt", 1.0, "pt"),
        ("duration", "2ms", 2.0, "ms"),
        ("duration", "500us", 0.5, "ms"),
        ("duration", "1.5s", 1500.0, "ms"),
        ("duration", "0.6x", 0.6, "x"),
        ("size", "64MiB", 64 * 2**20, "bytes"),
        ("size", "25MB", 25e6, "bytes"),
        ("size", "1GiB", 2**30, "bytes"),
        ("size", "512kB", 512e3, "bytes"),
        ("size", "0.25x", 0.25, "x"),
        ("times", "4x", 4.0, "x"),
        ("share", "98%", 0.98, "share"),
        ("share", 0.98, 0.98, "number"),
        ("number", "1e-3", 1e-3, "number"),
        ("number", 0.001, 1e-3, "number"),
    ],
)
def test_a_limit_is_read_in_its_unit(option: str, text: Any, value: float, unit: str) -> None:
    """Each unit becomes its base unit, and the limit keeps how it was written."""
    limit = getattr(validate(Every, {option: text}, "here"), option)
    assert limit.value == pytest.approx(value)
    assert limit.unit == unit
    assert limit.text == str(text)
    assert limit.relative == (unit == "x")


@pytest.mark.parametrize(
    ("option", "text", "reason"),
    [
        ("points", "0.5", "has no unit"),
        ("points", 0.5, "has no unit"),
        ("points", "1%", "has the unit '%'"),
        ("duration", "2MB", "has the unit 'MB'"),
        ("duration", "2", "Allowed units: us, ms, s, x"),
        ("size", "25mb", "has the unit 'mb'"),
        ("size", "64M", "has the unit 'M'"),
        ("times", "4ms", "Allowed units: x (times the baseline's)"),
        ("share", "98pt", "has the unit 'pt'"),
        ("number", "1ms", "Allowed units: a plain number"),
        ("points", "-1pt", "is not a limit"),
        ("points", "much", "is not a limit"),
        ("points", True, "is not a limit"),
        ("points", [1], "is not a limit"),
        ("size", "1e400x", "is not a limit"),
    ],
)
def test_a_wrong_unit_is_refused_with_those_that_are_allowed(option: str, text: Any, reason: str) -> None:
    """The message names the option, what was found and the allowed units."""
    with pytest.raises(UserError) as caught:
        validate(Every, {option: text}, "budget.yaml")
    message = str(caught.value)
    assert reason in message
    assert "Allowed units" in message
    assert f"budget.yaml: {option}" in message
