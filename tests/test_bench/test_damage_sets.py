"""Public challenge sets and templates read as they are, and gates that bring their probe along."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import tiny_damage

from bench.answers import challenges
from bench.findings import fairness
from bench.verdicts import judge
from compress import catalog
from compress.errors import DataError
from compress.recipe import BenchConfig, Named
from compress.tasks import Head

TEXT = catalog.load("task", "text-classification")
SENTIMENT = tiny_damage.HEAD


def test_the_checklist_suite(shared: Path) -> None:
    """Neutral expectations are left out for a model of two labels; every type of test is there."""
    read = challenges.read(str(shared / "data" / "checklist_sentiment"), TEXT, SENTIMENT)
    rules = Counter(case.rule for case in read.cases)
    assert read.layout == "checklist"
    assert len(read.cases) + 1977 == 7282
    assert rules["same"] == 1200
    assert rules["not up"] == 600
    assert rules["not down"] == 300
    assert rules["not"] == 900
    assert "1977 cases expect a label that the model does not have" in read.notes[0]


@pytest.mark.parametrize(("name", "pairs"), [("imdb_contrast", 488), ("imdb_counterfactual", 488)])
def test_contrast_sets(shared: Path, name: str, pairs: int) -> None:
    """Both public forms of a contrast set become pairs whose labels differ."""
    read = challenges.read(str(shared / "data" / name), TEXT, SENTIMENT)
    assert (read.layout, len(read.cases)) == ("pairs", pairs)
    assert all(len(case.rows) == 2 for case in read.cases)
    assert sum(case.wanted[0] != case.wanted[1] for case in read.cases) >= 0.99 * pairs


def test_functional_tests_of_another_task(shared: Path) -> None:
    """HateCheck fits a model of its labels, by functionality, and is refused for one of sentiment."""
    place = str(shared / "data" / "hatecheck")
    read = challenges.read(place, TEXT, Head("single_label", ("non-hateful", "hateful")))
    assert (len(read.cases), len({case.test for case in read.cases})) == (3728, 29)
    with pytest.raises(DataError, match=r"challenge set .*hatecheck: .*which the model's head does not have"):
        challenges.read(place, TEXT, SENTIMENT)


@pytest.mark.parametrize(("name", "count"), [("jigsaw_identity_templates", 959), ("crows_pairs", 1508)])
def test_templates(shared: Path, name: str, count: int) -> None:
    """Sentences of several groups are found, and their labels are not asked for."""
    swaps = fairness.read_swaps(str(shared / "data" / name), TEXT, None, 100_000, 0)
    counts = Counter(swaps.frames.tolist())
    assert min(counts.values()) >= 2
    assert len(counts) == count
    assert all(set(row) == {"text"} for row in swaps.rows)


def test_a_gate_brings_its_probe_beside_the_defaults() -> None:
    """Where no probes are named, a gate on damage adds its probe and the usual ones stay."""
    gates = judge.prepare([Named(name="harmful-flips", options={"at_most": "1%"})])
    named = [probe.name for probe in judge.widen(BenchConfig(), gates).probes]
    assert "flips" in named
    assert {"accuracy", "latency", "size"} <= set(named)
    assert "slices" not in named
    plain = judge.prepare([Named(name="size", options={"at_most": "1MB"})])
    assert judge.widen(BenchConfig(), plain).probes == ()
