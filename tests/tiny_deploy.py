"""Tiny sealed artifacts for the tests of deploy, and a way to run one stage as the pipeline would."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import tiny

from compress import catalog
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact, Manifest, Origin, Step
from compress.model import checkpoint
from compress.recipe import validate
from compress.stage import Context

TASK = "text-classification"


def seal(folder: Path, kind: str = "torch", stage: str = "load", task: str = TASK) -> Artifact:
    """Seal a folder."""
    files = artifacts.inventory(folder)
    step = Step(stage=stage, config={}, id=artifacts.content_id(kind, task, files), seed=0)
    manifest = Manifest(
        kind=kind,  # type: ignore[arg-type]
        task=task,
        stage=stage,
        config={},
        seed=0,
        key=None,
        parent=None,
        lineage=(step,),
        origin=Origin(),
        facts={},
        environment={},
        created="2026-01-01T00:00:00+00:00",
        files=files,
    )
    artifacts.write_manifest(folder, manifest)
    return Artifact.open(folder)


def text_artifact(folder: Path, **sizes: int) -> Artifact:
    """A sealed tiny text classifier."""
    tiny.text_model(folder, **sizes)
    (folder / "encoding.json").write_text('{"max_length": 32}')
    return seal(folder)


def text_rows(count: int = 48) -> list[dict[str, Any]]:
    """Rows of the tiny sentiment set, without labels."""
    return [{"text": row["text"]} for row in tiny.sentences(count, 5)]


def token_artifact(folder: Path) -> Artifact:
    """A sealed tiny token classifier with three tags."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    names = ("O", "B-X", "I-X")
    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = BertForTokenClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    (folder / "encoding.json").write_text('{"max_length": 32}')
    return seal(folder, task="token-classification")


def image_artifact(folder: Path, size: int = 8) -> Artifact:
    """A sealed tiny vision transformer on gray images of one size."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from compress.tasks import image_classification

    config = ViTConfig(
        image_size=size,
        patch_size=2,
        num_channels=1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        id2label={i: str(i) for i in range(3)},
        label2id={str(i): i for i in range(3)},
        problem_type="single_label_classification",
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = ViTForImageClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    folder.mkdir()
    checkpoint.save(model, folder, source=None)
    image_classification.default_processor(config).save_pretrained(folder)
    return seal(folder, task="image-classification")


@dataclass(frozen=True)
class Ran:
    """What a stage left behind.

    Attributes:
        artifact: sealed result.
        facts: what it recorded.
    """

    artifact: Artifact
    facts: dict[str, Any]


def stage(name: str) -> ModuleType:
    """The stage's module."""
    return importlib.import_module(f"deploy.stages.{name}")


def run(name: str, source: Artifact, out: Path, rows: Any, **options: Any) -> Ran:
    """Run a stage of deploy into a fresh folder and seal it."""
    module = stage(name)
    out.mkdir(parents=True)
    scratch = out.parent / f"{out.name}-scratch"
    scratch.mkdir()
    facts: dict[str, Any] = {}

    def record(key: str, value: Any) -> None:
        artifacts.canonical_json(value)
        facts[key] = value

    context = Context(
        out=out,
        scratch=scratch,
        task=catalog.load("task", source.task),
        data=SimpleNamespace(calibration=rows),  # type: ignore[arg-type]
        seed=0,
        threads=1,
        device="cpu",
        record=record,
    )
    module.run(source, validate(module.Config, options, name), context)
    return Ran(seal(out, module.PRODUCES or source.kind, name, source.task), facts)
