"""The artifacts of a plan, made by the product's own commands; a GPU is not needed for them.

Each model of the plan gets random weights; a fine-tuned one is taken over as it is. What is there already
stays, so that a stopped call goes on where it was. Nothing is calibrated on evaluation rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compress.errors import UserError
from studies.gpu import models
from studies.gpu.plan import TASK, TRAINED, Plan, depths

# Random weights have no sensitive products and no outliers: only the shape of the graph matters.
_RANDOM = ("ranges=minmax", "tame=false", "keep_float=none", "rows=8")
Paredown = Callable[[list[str]], None]


@dataclass(frozen=True)
class Step:
    """One artifact.

    Attributes:
        out: its folder.
        words: of ``paredown``; ``--out`` is put behind them.
    """

    out: Path
    words: tuple[str, ...]


def steps(plan: Plan, folder: Path, *, trained: bool) -> Iterator[Step]:
    """The commands that make the artifacts from the model folders, in order.

    Args:
        plan: whose models.
        folder: of the artifacts.
        trained: whether there is a fine-tuned model.
    """
    names = [*plan.models, *([TRAINED] if trained else [])]
    for name in names:
        home = folder / name
        data = ("--data", str(folder / (TRAINED if name == TRAINED else "rows") / "data"))
        settings = (
            () if name == TRAINED else tuple(word for setting in _RANDOM for word in ("--set", setting))
        )
        half = ("--precision", "fp16", *data)
        yield Step(home / "onnx", ("export", str(home / "model"), "--task", TASK, *data))
        yield Step(home / "onnx-fp16", ("quantize", str(home / "onnx"), *half))
        integers = ("quantize", str(home / "onnx"), "--target", "tensorrt", *settings, *data)
        yield Step(home / "onnx-int8-fp32", integers)
        yield Step(home / "onnx-int8", ("quantize", str(home / "onnx-int8-fp32"), *half))
    for name in plan.whole:
        for keep in plan.keeps:
            cut = [
                f"keep={keep / 100}",
                "criterion=magnitude",
                "reconstruct=false",
                "recover=null",
                "target=gpu",
            ]
            cut += ["scope=uniform", "rows=8"]
            words = (
                "prune",
                str(folder / name / "model"),
                "--task",
                TASK,
                "--data",
                str(folder / "rows" / "data"),
            )
            chosen = (*words, *(word for setting in cut for word in ("--set", setting)))
            yield Step(folder / f"{name}-keep{keep}" / "model", chosen)


def prepare(
    plan: Plan,
    folder: Path,
    trained: tuple[Path, Path] | None,
    paredown: Paredown,
    say: Callable[[str], None],
) -> None:
    """Write what is missing of the folder.

    Args:
        plan: whose models are made.
        folder: of the artifacts.
        trained: the fine-tuned model's folder and its data's, where there are any.
        paredown: runs a command of the product, and raises ``UserError`` where it fails.
        say: takes a line of progress.

    Raises:
        UserError: the model or the data is no folder, or a command failed.
    """
    for place in trained or ():
        if not place.is_dir():
            raise UserError(
                f"{place} is no folder: --model and --data name the fine-tuned model and its rows"
            )
    if not (folder / "rows" / "data").is_dir():
        models.rows(min(sizes.vocabulary for sizes in plan.models.values()), folder / "rows" / "data")
    for name, sizes in plan.models.items():
        variants = {name: sizes}
        if name in plan.whole:
            variants |= {f"{name}-{part}": fewer for part, fewer in depths(sizes).items()}
        for variant, dimensions in variants.items():
            if not (folder / variant / "model" / "config.json").is_file():
                say(f"{variant}: random weights")
                models.classifier(dimensions, folder / variant / "model")
    if trained is not None and not (folder / TRAINED / "model").is_dir():
        say(f"{TRAINED}: {trained[0].name} and {trained[1].name}")
        shutil.copytree(trained[1], folder / TRAINED / "data", dirs_exist_ok=True)
        shutil.copytree(trained[0], folder / TRAINED / "model")
    for step in steps(plan, folder, trained=(folder / TRAINED / "model").is_dir()):
        if not step.out.is_dir():
            say(" ".join(("paredown", step.words[0], *step.out.parts[-2:])))
            paredown([*step.words, "--out", str(step.out)])


def present(folder: Path) -> bool:
    """Whether a folder holds prepared artifacts."""
    return (folder / "rows" / "data").is_dir()
