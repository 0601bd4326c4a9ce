"""Plans: how much goes in which round, what counts as the whole, and what is left of the original."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from families import build

from compress.artifacts.artifact import Artifact
from compress.distillation.origins import layer_steps, teacher_artifact, trace_layers
from compress.errors import RecipeError
from compress.pruning import surgery
from compress.pruning import targets as pruning
from compress.pruning.anatomy import Part, parts_of
from compress.pruning.surgery import Plan
from compress.pruning.targets import Ledger, Targets, plan_layers, plan_units, ranges


def scores_of(parts: list[Part]) -> dict[str, tuple[float, ...]]:
    """Later units and later layers are better."""
    return {p.name: tuple(float(u + 1 + p.layer) for u in range(p.units)) for p in parts}


def test_rounds_remove_equal_shares() -> None:
    """Keeping 0.4 in three rounds leaves 0.8, 0.6, 0.4; the last one exactly."""
    targets = Targets(heads=0.4, ffn=0.7, layers=0.5)
    rounds = [targets.of_round(n, 3) for n in (1, 2, 3)]
    assert [r.heads for r in rounds] == pytest.approx([0.8, 0.6, 0.4])
    assert [r.ffn for r in rounds] == pytest.approx([0.9, 0.8, 0.7])
    assert rounds[2] == targets


def test_ranges() -> None:
    """Runs of numbers are written in short."""
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8"
    assert ranges(()) == ""


def test_ledger_speaks_of_the_original() -> None:
    """After two cuts and a removed layer, what is left is named as the unpruned model names it."""
    model = build("bert")
    ledger = Ledger(parts_of(model))
    for plan in (
        Plan({"layer.1.heads": (0, 2, 3), "layer.1.ffn": range(8, 48)}),
        Plan(layers=(1, 2)),
        Plan({"layer.0.heads": (1, 2), "layer.0.ffn": (0, 1, 39), "layer.1.heads": (3,)}),
    ):
        surgery.apply(model, plan)
        ledger.apply(plan)
    assert ledger.layers == (1, 2)
    assert ledger.depth == 3
    assert ledger.facts() == [
        {"layer": 1, "heads": [2, 3], "ffn": 3, "neurons": "8-9,47"},
        {"layer": 2, "heads": [3], "ffn": 48, "neurons": "0-47"},
    ]
    assert [ledger.whole(part) for part in parts_of(model)] == [4, 48, 4, 48]
    again = Ledger(parts_of(build("bert")))
    again.restore(ledger.state())
    assert again.facts() == ledger.facts()


def test_uniform_plan_counts_in_the_unpruned_model() -> None:
    """Half of the heads, and FFN widths of half, rounded down to 16."""
    model = build("bert")
    parts = parts_of(model)
    plan = plan_units(parts, scores_of(parts), Ledger(parts), Targets(0.5, 0.5, 1.0, "uniform", 16))
    assert plan is not None
    assert plan.units["layer.0.heads"] == (2, 3)
    assert plan.units["layer.2.ffn"] == tuple(range(32, 48))


def test_minimums_hold() -> None:
    """However little should stay, a head and eight neurons (or one step) do."""
    parts = parts_of(build("bert"))
    plan = plan_units(parts, scores_of(parts), Ledger(parts), Targets(0.01, 0.01))
    assert plan is not None
    assert [len(units) for units in plan.units.values()] == [1, 8] * 3
    plan = plan_units(parts, scores_of(parts), Ledger(parts), Targets(0.01, 0.01, round_to=32))
    assert plan is not None
    assert [len(units) for units in plan.units.values()] == [1, 32] * 3


def test_joint_spends_one_budget() -> None:
    """With heads that matter most, joint keeps all of them and pays with neurons."""
    parts = parts_of(build("bert"))
    scores = {p.name: (1e6 if p.kind == "heads" else 1.0,) * p.units for p in parts}
    plan = plan_units(parts, scores, Ledger(parts), Targets(0.7, 0.7, scope="joint"))
    assert plan is not None
    assert all(name.endswith("ffn") for name in plan.units)
    total = sum(p.units * p.unit_parameters for p in parts)
    left = total - surgery.removed_parameters(parts, plan)
    assert 0.65 * total < left <= 0.7 * total


def test_nothing_to_cut_is_no_plan() -> None:
    """Shares of 1 give no plan at all."""
    parts = parts_of(build("bert"))
    assert plan_units(parts, scores_of(parts), Ledger(parts), Targets(1.0, 1.0)) is None
    assert plan_layers(parts, scores_of(parts), Ledger(parts), 1.0) is None


@pytest.mark.parametrize(("share", "layers"), [(0.67, (1, 2)), (0.5, (2,)), (0.01, (2,))])
def test_layers_go_by_score(share: float, layers: tuple[int, ...]) -> None:
    """The best layers stay, rounded down, never none."""
    parts = parts_of(build("bert"))
    plan = plan_layers(parts, scores_of(parts), Ledger(parts), share)
    assert plan is not None
    assert plan.layers == layers


def test_summaries() -> None:
    """Scores are summarized by lowest, mean and highest."""
    summary = pruning.summarize({"layer.0.heads": (1.0, 2.0, 6.0)})
    assert summary == {"layer.0.heads": {"lowest": 1.0, "mean": 3.0, "highest": 6.0}}


def test_layers_are_traced_back() -> None:
    """A student of layers 2, 4, 6 pruned to its layers 1 and 3 has layers 2 and 6 of the original."""
    assert trace_layers(6, [[2, 4, 6], [1, 3]]) == (2, 6)
    assert trace_layers(3, []) == (1, 2, 3)
    assert trace_layers(3, [[1, 4]]) is None
    assert trace_layers(3, [[]]) is None


def artifact(stage: str, **options: Any) -> Artifact:
    """A stand-in with the parts of a manifest that matter here."""
    config, facts = options.get("config", {}), options.get("facts", {})
    return SimpleNamespace(manifest=SimpleNamespace(stage=stage, config=config, facts=facts))  # type: ignore[return-value]


def test_the_original_is_the_first_tuned_model() -> None:
    """The fine-tuned model of a run, or what was loaded; a run that starts later has none."""
    load, tuned, student = artifact("load"), artifact("finetune"), artifact("distill")
    assert teacher_artifact("source", [load, student]) is student
    assert teacher_artifact("original", [load, student]) is load
    assert teacher_artifact("original", [load, tuned, student]) is tuned
    assert teacher_artifact("some/folder", [load]) is None
    with pytest.raises(RecipeError, match="this run starts from an artifact of 'distill'"):
        teacher_artifact("original", [student])


def test_steps_are_read_from_manifests() -> None:
    """Distill and prune say which layers they kept; fine-tuning keeps all; anything else is unclear."""
    student = artifact("distill", facts={"layers": [2, 4]}, config={"teacher": "source"})
    pruned = artifact("prune", facts={"layers": [1]}, config={"teacher": "original"})
    assert layer_steps([student, artifact("finetune"), pruned]) == [[2, 4], [1]]
    foreign = artifact("distill", facts={"layers": [2, 4]}, config={"teacher": "some/folder"})
    assert layer_steps([foreign]) is None
    late = artifact("distill", facts={"layers": [1]}, config={"teacher": "original"})
    assert layer_steps([late]) == [[1]]
    assert layer_steps([student, late]) is None
    assert layer_steps([artifact("unknown")]) is None
