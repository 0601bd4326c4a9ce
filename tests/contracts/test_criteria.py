"""What every pruning criterion has to fulfil; a new file in ``compress/criteria`` is covered at once."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from compress import catalog
from compress.criteria import Signals, Structure
from compress.errors import RecipeError, UnknownName
from compress.recipe import validate

NAMES = catalog.names("criterion")
SIGNALS = {"gradients", "fisher", "activations"}
CHANCE = "random"  # scores by the seed alone, whatever the units are


def make(kind: str, dead: int | None = None, seed: int = 0) -> tuple[Structure, Signals]:
    """A structure of six units with all signals; a dead unit has zero weights and zero signals."""
    generator = torch.Generator().manual_seed(seed)
    units, width, size = 6, (4 if kind == "heads" else 1), 5
    count = 3 if kind == "heads" else 1

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rows = [random(units * width, size) for _ in range(count)]
    columns = [random(size, units * width)]
    biases = [random(units * width) for _ in range(count)]
    gradients = [torch.randn(t.shape, generator=generator) for t in (*rows, *columns, *biases)]
    fisher = torch.rand(units, generator=generator, dtype=torch.float64) + 0.1
    activations = torch.rand(units, generator=generator, dtype=torch.float64) + 0.1
    if dead is not None:
        span = slice(dead * width, (dead + 1) * width)
        for tensor in (*rows, *biases, *gradients[:count], *gradients[count + 1 :]):
            tensor[span] = 0
        for tensor in (*columns, gradients[count]):
            tensor[:, span] = 0
        fisher[dead] = activations[dead] = 0
    structure = Structure("layer.0." + kind, kind, units, width, tuple(rows), tuple(columns), tuple(biases))
    return structure, Signals(tuple(gradients), fisher, activations)


def permuted(structure: Structure, signals: Signals, order: torch.Tensor) -> tuple[Structure, Signals]:
    """The same units in another order."""
    width = structure.width
    index = (order[:, None] * width + torch.arange(width)).flatten()
    rows = len(structure.rows)
    gradients = [
        g[:, index] if rows <= i < rows + len(structure.columns) else g[index]
        for i, g in enumerate(signals.gradients)
    ]
    return (
        Structure(
            structure.name,
            structure.kind,
            structure.units,
            width,
            tuple(t[index] for t in structure.rows),
            tuple(t[:, index] for t in structure.columns),
            tuple(t[index] for t in structure.biases),
        ),
        Signals(tuple(gradients), signals.fisher[order], signals.activations[order]),
    )


def only_needed(module: ModuleType, signals: Signals) -> Signals:
    """What the pipeline collects for a criterion: nothing that it did not ask for."""
    return Signals(**{name: getattr(signals, name) for name in module.NEEDS})


def scores(module: ModuleType, structure: Structure, signals: Signals, seed: int = 0) -> torch.Tensor:
    """Scores with default options."""
    generator = torch.Generator().manual_seed(seed)
    return module.score(structure, only_needed(module, signals), module.Config(), generator)


def is_chance(module: ModuleType) -> bool:
    """Whether it scores by the seed alone."""
    return catalog.canonical(module.__name__.rpartition(".")[2]) == CHANCE


@pytest.fixture(params=NAMES)
def criterion(request: pytest.FixtureRequest) -> Any:
    """Every entry of the shelf."""
    return catalog.load("criterion", request.param)


def test_the_five_are_there() -> None:
    """The criteria that the README names exist; names that do not get a hint."""
    assert {"magnitude", "taylor", "fisher", "activation", "random"} <= set(NAMES)
    with pytest.raises(UnknownName, match=r"Unknown criterion 'tailor'\. Did you mean 'taylor'\?"):
        catalog.load("criterion", "tailor")


def test_module_shape(criterion: ModuleType) -> None:
    """A criterion names known signals, has strict options and a summary line."""
    assert criterion.NEEDS <= SIGNALS
    assert isinstance(criterion.NEEDS, frozenset)
    with pytest.raises(RecipeError, match="unknown key 'no_such_option'"):
        validate(criterion.Config, {"no_such_option": 1}, "criterion")
    assert len(catalog.summary("criterion", criterion.__name__.rpartition(".")[2])) > 20


@pytest.mark.parametrize("kind", ["heads", "ffn"])
def test_scores_are_finite_float64_and_one_a_unit(criterion: ModuleType, kind: str) -> None:
    """Scores are 1-D, float64, finite, on the CPU and without a gradient history."""
    unit_scores = scores(criterion, *make(kind))
    assert unit_scores.shape == (6,)
    assert unit_scores.dtype == torch.float64
    assert torch.isfinite(unit_scores).all()
    assert not unit_scores.requires_grad
    assert unit_scores.device.type == "cpu"


@pytest.mark.parametrize("kind", ["heads", "ffn"])
def test_scores_do_not_depend_on_unit_order(criterion: ModuleType, kind: str) -> None:
    """Permuted units get permuted scores; chance, which knows no units, gives its own in any order."""
    structure, signals = make(kind)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    before = scores(criterion, structure, signals)
    after = scores(criterion, *permuted(structure, signals, order))
    assert torch.allclose(after, before if is_chance(criterion) else before[order])
    assert not torch.allclose(before, before[order])  # or the two could not be told apart


@pytest.mark.parametrize("kind", ["heads", "ffn"])
@pytest.mark.parametrize("dead", [0, 3, 5])
def test_a_dead_unit_comes_last(criterion: ModuleType, kind: str, dead: int) -> None:
    """A unit of zero weights and zero signals has the strictly lowest score; chance does not see it."""
    unit_scores = scores(criterion, *make(kind, dead=dead))
    if is_chance(criterion):
        assert torch.equal(unit_scores, scores(criterion, *make(kind)))
        return
    live = torch.cat([unit_scores[:dead], unit_scores[dead + 1 :]])
    assert unit_scores[dead] < live.min()


def test_scoring_changes_nothing(criterion: ModuleType) -> None:
    """Weights and signals are read, not written."""
    structure, signals = make("heads")
    tensors = [*structure.rows, *structure.columns, *structure.biases, *signals.gradients]
    before = [t.clone() for t in tensors]
    scores(criterion, structure, signals)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_scores_repeat_with_the_seed(criterion: ModuleType) -> None:
    """The same seed gives the same scores; only chance depends on it."""
    structure, signals = make("ffn")
    assert torch.equal(scores(criterion, structure, signals), scores(criterion, structure, signals))
    same = torch.equal(scores(criterion, structure, signals, 1), scores(criterion, structure, signals, 2))
    assert same is not is_chance(criterion)


def test_a_missing_signal_is_said(criterion: ModuleType) -> None:
    """A criterion never scores on a signal that was not collected; one that asks for none scores without."""
    structure, signals = make("ffn")
    generator = torch.Generator().manual_seed(0)
    for name in criterion.NEEDS:
        remaining = {need: getattr(signals, need) for need in criterion.NEEDS - {name}}
        with pytest.raises(ValueError, match="needs"):
            criterion.score(structure, Signals(**remaining), criterion.Config(), generator)
    if not criterion.NEEDS:
        assert criterion.score(structure, Signals(), criterion.Config(), generator).shape == (6,)


def test_each_signal_is_needed_by_a_criterion() -> None:
    """Every signal that can be collected is missed by a criterion, so that the refusal above is seen."""
    assert frozenset().union(*(catalog.load("criterion", name).NEEDS for name in NAMES)) == SIGNALS


def test_magnitude_by_hand() -> None:
    """Norms of two neurons: rows (3, 0) and (1, 2), columns 4 and 2, biases 0 and -1."""
    module = catalog.load("criterion", "magnitude")
    structure = Structure(
        "x",
        "ffn",
        2,
        1,
        (torch.tensor([[3.0, 0.0], [1.0, 2.0]]),),
        (torch.tensor([[4.0, 2.0]]),),
        (torch.tensor([0.0, -1.0]),),
    )
    generator = torch.Generator()
    unit_scores = module.score(structure, Signals(), module.Config(), generator)
    assert unit_scores.tolist() == pytest.approx([5.0, 10**0.5])
    unit_scores = module.score(structure, Signals(), module.Config(norm="l1"), generator)
    assert unit_scores.tolist() == [7.0, 6.0]


def test_activation_by_hand() -> None:
    """A head of two features: mean square 3, columns of mean square (1+4)/2 and (0+16)/2, summed."""
    module = catalog.load("criterion", "activation")
    structure = Structure(
        "x", "heads", 1, 2, (torch.zeros(2, 2),), (torch.tensor([[1.0, 0.0], [2.0, 4.0]]),), ()
    )
    signals = Signals(activations=torch.tensor([3.0]))
    unit_scores = module.score(structure, signals, module.Config(), torch.Generator())
    assert unit_scores.tolist() == pytest.approx([3 * (2.5 + 8)])
