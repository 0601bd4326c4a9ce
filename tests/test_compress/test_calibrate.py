"""Temperature: what is fitted, and that folding it in divides the outputs and changes no answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import torch
from torch import nn

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ModelError, ParityError
from compress.model import checkpoint, temperature, weight_files
from compress.recipe import validate
from compress.stage import Context
from compress.stages import calibrate
from compress.tasks import Head

TEXT = catalog.load("task", "text-classification")
ROWS = tiny.sentences(60, 9)


def honest(count: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs that are too large by a factor, and labels drawn from the honest ones."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 2, size=(count, 3))
    p = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=line) for line in p])
    return outputs * scale, truth


def test_likelihood_by_hand() -> None:
    """Softmax of (0, log 3) at temperature 1: the second class has 3/4; sigmoid means over labels."""
    outputs = np.array([[0.0, np.log(3)]])
    assert temperature.nll(outputs, np.array([1]), "softmax") == pytest.approx(-np.log(0.75))
    assert temperature.nll(2 * outputs, np.array([0]), "softmax", 2.0) == pytest.approx(-np.log(0.25))
    loss = temperature.nll(outputs, np.array([[1.0, 0.0]]), "sigmoid")
    assert loss == pytest.approx((np.log(2) - np.log(0.25)) / 2)
    with pytest.raises(ValueError, match="no likelihood"):
        temperature.nll(outputs, np.array([1.0]), "identity")


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_the_best_of_a_grid(scale: float) -> None:
    """No temperature of a fine grid has a smaller loss, and it is near what was planted."""
    outputs, truth = honest(3000, scale)
    best = temperature.fit(outputs, truth, "softmax")
    grid = np.geomspace(0.2, 6, 400)
    losses = [temperature.nll(outputs, truth, "softmax", t).mean() for t in grid]
    assert temperature.nll(outputs, truth, "softmax", best).mean() <= min(losses) + 1e-9
    assert best == pytest.approx(scale, rel=0.1)


def test_labels_of_a_set_fit_too() -> None:
    """The sigmoid of each label has the same temperature."""
    rng = np.random.default_rng(1)
    outputs = rng.normal(0, 2, size=(3000, 2))
    truth = (rng.random(outputs.shape) < 1 / (1 + np.exp(-outputs))).astype(np.float32)
    assert temperature.fit(2 * outputs, truth, "sigmoid") == pytest.approx(2, rel=0.1)


def test_the_slope_is_that_of_the_likelihood() -> None:
    """Against central differences, for both links."""
    outputs, truth = honest(50, 1.0)
    hot = (truth[:, None] == np.arange(3)).astype(np.float64)
    for link, true in (("softmax", truth), ("sigmoid", hot)):
        for inverse in (0.3, 1.0, 2.5):
            ends = [
                temperature.nll(outputs, true, link, 1 / (inverse + step)).mean() for step in (1e-5, -1e-5)
            ]
            expected = (ends[0] - ends[1]) / 2e-5
            assert temperature.slope(outputs, true, link, inverse) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("wrong", "kind"), [(False, "right"), (True, "wrong")])
def test_rows_that_do_not_say_are_refused(wrong: bool, kind: str) -> None:
    """All right: the surer, the better; all wrong: the less sure, the better. Neither has an end."""
    outputs = np.array([[2.0, 0.0], [0.0, 3.0]] * 10)
    truth = np.array([0, 1] * 10)
    with pytest.raises(DataError, match=f"nearly all of their answers are {kind}"):
        temperature.fit(outputs, 1 - truth if wrong else truth, "softmax")
    with pytest.raises(DataError, match="no selection rows"):
        temperature.fit(outputs[:0], truth[:0], "softmax")


class Selected(SimpleNamespace):
    """Data with selection rows only."""

    def for_head(self, task: Any, head: Head) -> Selected:
        """They are aligned already."""
        return self


def context(source: Artifact, out: Path, rows: list[dict[str, Any]], facts: dict[str, Any]) -> Context:
    """What the pipeline would hand over."""
    out.mkdir(parents=True)
    return Context(
        out=out,
        scratch=out.parent,
        task=catalog.load("task", source.task),
        data=Selected(selection=rows),  # type: ignore[arg-type]
        seed=0,
        threads=1,
        device="cpu",
        record=facts.__setitem__,
    )


def fold(source: Artifact, out: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[Artifact, Any]:
    """Run the stage and seal what it made."""
    facts: dict[str, Any] = {}
    calibrate.run(source, validate(calibrate.Config, options, "calibrate"), context(source, out, rows, facts))
    return tiny_deploy.seal(out, "torch", "calibrate", source.task), facts["calibration"]


def outputs(artifact: Artifact, rows: list[dict[str, Any]]) -> torch.Tensor:
    """Logits of a model folder."""
    task = catalog.load("task", artifact.task)
    model = checkpoint.load(artifact.path, task)
    head = task.head_of(model.config.to_dict())
    batch = task.encode(rows, task.load_processor(artifact.path), head, 32)
    with torch.inference_mode():
        logits: torch.Tensor = model(
            **{name: torch.from_numpy(array) for name, array in batch.inputs.items()}
        ).logits
    return logits


def test_a_power_of_two_divides_exactly(tmp_path: Path) -> None:
    """Temperature 2 changes an exponent and no bit besides: the outputs are halved exactly."""
    source = tiny_deploy.text_artifact(tmp_path / "model")
    folded, facts = fold(source, tmp_path / "out", ROWS, temperature=2)
    assert torch.equal(outputs(folded, ROWS), outputs(source, ROWS) / 2)
    assert facts["largest_difference"] == 0
    assert (facts["temperature"], facts["fitted"], facts["decisions"]) == (2, False, 60)
    files = {path.name for path in source.path.iterdir()}
    assert files == {path.name for path in folded.path.iterdir()}


def test_the_fitted_temperature_lowers_the_loss(tmp_path: Path) -> None:
    """On the selection rows, with the same answers; nothing but the last layer changes."""
    source, _ = fold(tiny_deploy.text_artifact(tmp_path / "flat"), tmp_path / "model", ROWS, temperature=0.05)
    # What the model itself says, but for every fourth row: then there is a best confidence.
    answers = outputs(source, ROWS).argmax(dim=1).tolist()
    rows = [
        {**row, "label": answer if i % 4 else 1 - answer}
        for i, (row, answer) in enumerate(zip(ROWS, answers, strict=True))
    ]
    folded, facts = fold(source, tmp_path / "out", rows)
    assert facts["fitted"]
    assert facts["nll_after"] < facts["nll_before"]
    before, after = outputs(source, ROWS), outputs(folded, ROWS)
    assert torch.equal(before.argmax(dim=1), after.argmax(dim=1))
    torch.testing.assert_close(after, before / facts["temperature"])
    old, new = weight_files.read(source.path), weight_files.read(folded.path)
    assert {name for name in old if not torch.equal(old[name], new[name])} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_tagged_words_count_one_by_one(tmp_path: Path) -> None:
    """Every first sub-token is a decision."""
    source = tiny_deploy.token_artifact(tmp_path / "model")
    rows = [{"tokens": ["the", "film", "is"], "tags": (0, 1, i % 3)} for i in range(9)]
    folded, facts = fold(source, tmp_path / "out", rows, temperature=4)
    assert facts["decisions"] == 27
    assert torch.equal(outputs(folded, rows), outputs(source, rows) / 4)


class Shared(nn.Module):
    """A model whose last layer is also its first."""

    def __init__(self, *, share: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.last = nn.Linear(3, 3)
        if share:
            self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Twice linear."""
        return {"logits": self.last(self.first(x))}


class Softened(Shared):
    """A model whose outputs are no product's."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Bent at the end."""
        return {"logits": torch.tanh(super().forward(x)["logits"])}


def test_a_model_that_ends_otherwise_is_refused() -> None:
    """A last layer that serves elsewhere, or something after it: a sentence in place of a wrong model."""
    feed = {"x": torch.ones(2, 3)}
    plain = Shared(share=False)
    assert calibrate.last_layer(plain, feed, "logits") is plain.last
    with pytest.raises(ModelError, match="shares its weights"):
        calibrate.last_layer(Shared(share=True), feed, "logits")
    with pytest.raises(ModelError, match="does not end in one linear layer"):
        calibrate.last_layer(Softened(share=False), feed, "logits")


def test_numbers_and_missing_labels_are_refused() -> None:
    """A regression has no temperature; rows without labels fit none."""
    with pytest.raises(ModelError, match="this model gives numbers"):
        temperature.decide(lambda _: {}, [], TEXT, Head("regression", ()))
    with pytest.raises(DataError, match="no selection rows"):
        temperature.decide(lambda _: {}, [], TEXT, Head("single_label", ("a", "b")))


def test_a_model_that_was_not_divided_is_not_sealed() -> None:
    """The check trips where the outputs are not the divided ones."""
    with pytest.raises(ParityError, match="Nothing was sealed"):
        temperature.check(np.ones((2, 2)), np.ones((2, 2)), 2.0)
    assert temperature.check(np.ones((2, 2)), np.full((2, 2), 0.5), 2.0) == 0
