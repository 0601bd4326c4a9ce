"""From scores to a plan: how much goes in which round, what may go, and what is left of the original."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress.pruning import choice
from compress.pruning.anatomy import Part
from compress.pruning.choice import Pool, Scope
from compress.pruning.surgery import Plan

MINIMUM_NEURONS = 8

Scores = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Targets:
    """How much stays, as shares of the unpruned model.

    Attributes:
        heads: of the attention heads.
        ffn: of the FFN neurons.
        layers: of the layers; heads and neurons are counted in the layers that stay.
        scope: between which parts units compete; ``joint`` spends ``heads`` (equal to ``ffn``) as one
            budget of parameters over both kinds.
        round_to: FFN widths are multiples of this.
    """

    heads: float
    ffn: float
    layers: float = 1.0
    scope: Scope = "global"
    round_to: int = 1

    def of_round(self, number: int, rounds: int) -> Targets:
        """What should be left after a round (from 1): the same share goes in each."""

        def share(final: float) -> float:
            return final if number == rounds else 1.0 - (1.0 - final) * number / rounds

        return replace(self, heads=share(self.heads), ffn=share(self.ffn), layers=share(self.layers))


class Ledger:
    """Which layers, heads and neurons of the unpruned model are still there, by their first numbers."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Start with everything."""
        self._whole = {(part.layer, part.kind): part.units for part in parts}
        self._layers = sorted({part.layer for part in parts})
        self._units = {key: tuple(range(units)) for key, units in self._whole.items()}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are left, as the unpruned model numbers them (from 0)."""
        return tuple(self._layers)

    @property
    def depth(self) -> int:
        """How many layers the unpruned model has."""
        return len({layer for layer, _ in self._whole})

    def whole(self, part: Part) -> int:
        """How many units a part of the model had before any pruning."""
        return self._whole[self._layers[part.layer], part.kind]

    def apply(self, plan: Plan) -> None:
        """Follow a plan that was applied to the model."""
        for name, units in plan.units.items():
            _, layer, kind = name.split(".")
            key = (self._layers[int(layer)], kind)
            self._units[key] = tuple(self._units[key][unit] for unit in units)  # type: ignore[index]
        if plan.layers is not None:
            self._layers = [self._layers[index] for index in plan.layers]

    def facts(self) -> list[dict[str, Any]]:
        """What is left of each layer, as a JSON value; neurons as ranges such as ``0-3,7``."""
        return [
            {
                "layer": layer,
                "heads": list(self._units[layer, "heads"]),
                "ffn": len(self._units[layer, "ffn"]),
                "neurons": ranges(self._units[layer, "ffn"]),
            }
            for layer in self._layers
        ]

    def state(self) -> dict[str, Any]:
        """Everything, as a JSON value that ``restore`` takes."""
        return {
            "layers": self._layers,
            "units": [[layer, kind, list(units)] for (layer, kind), units in self._units.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a ledger of the same model."""
        self._layers = list(state["layers"])
        self._units = {(layer, kind): tuple(units) for layer, kind, units in state["units"]}


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short.

    >>> ranges((0, 1, 2, 5, 7, 8))
    '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def plan_layers(
    parts: Sequence[Part], scores: Scores, ledger: Ledger, share: float, *, first_stays: bool = False
) -> Plan | None:
    """Which layers stay; None where all do.

    Args:
        parts: of the model as it is now.
        scores: of their units.
        ledger: what is left of the unpruned model.
        share: of the unpruned model's layers.
        first_stays: whether no other layer can stand first.
    """
    now = len(ledger.layers)
    count = max(1, math.floor(share * ledger.depth + 1e-9))
    if count >= now:
        return None
    heads = [scores[part.name] for part in parts if part.kind == "heads"]
    ffn = [scores[part.name] for part in parts if part.kind == "ffn"]
    layer_scores = choice.layer_scores(heads, ffn)
    if first_stays:
        layer_scores[0] = math.inf
    return Plan(layers=choice.best_layers(layer_scores, count))


def plan_units(parts: Sequence[Part], scores: Scores, ledger: Ledger, targets: Targets) -> Plan | None:
    """Which heads and neurons stay; None where all do."""
    pools = [_pool(same, scores, ledger.whole(same[0]), targets.round_to) for same in _alike(parts)]
    if targets.scope == "joint":
        units = choice.choose([pool for pool, _ in pools], targets.heads, "joint")
    else:
        heads = [pool for pool, part in pools if part.kind == "heads"]
        ffn = [pool for pool, part in pools if part.kind == "ffn"]
        units = choice.choose(heads, targets.heads, targets.scope)
        units |= choice.choose(ffn, targets.ffn, targets.scope)
    staying = {part.name: units[same[0].name] for same in _alike(parts) for part in same}
    cut = {part.name: staying[part.name] for part in parts if len(staying[part.name]) < part.units}
    return Plan(units=cut) if cut else None


def _alike(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that keep the same units: each by itself, or all tied ones of a kind together."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.kind if part.tied else part.name, []).append(part)
    return list(groups.values())


def _pool(same: Sequence[Part], scores: Scores, full_size: int, round_to: int) -> tuple[Pool, Part]:
    """The units of parts that keep the same ones, as one: scores and costs add up."""
    part = same[0]
    neurons = part.kind == "ffn"
    pool = Pool(
        name=part.name,
        scores=tuple(math.fsum(unit) for unit in zip(*(scores[tied.name] for tied in same), strict=True)),
        cost=float(sum(tied.unit_parameters for tied in same)),
        whole=full_size,
        multiple=round_to if neurons else 1,
        minimum=max(MINIMUM_NEURONS, round_to) if neurons else 1,
    )
    return pool, part


def summarize(scores: Scores) -> dict[str, dict[str, float]]:
    """Lowest, mean and highest score of each part, as a JSON value."""
    return {
        name: {"lowest": min(values), "mean": math.fsum(values) / len(values), "highest": max(values)}
        for name, values in scores.items()
    }
