"""Tiny sealed artifacts and hand-made reports for the tests of bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny

from bench.record import Candidate, Interval, Measurement, Report
from compress import artifact as artifacts
from compress.artifact import Artifact, Manifest, Origin, Step

FAKE = "fake_runtime:Runner"


def seal(
    folder: Path, kind: str = "torch", stage: str = "load", facts: dict[str, Any] | None = None
) -> Artifact:
    """Seal a folder as a text classifier."""
    files = artifacts.inventory(folder)
    step = Step(stage=stage, config={}, id=artifacts.content_id(kind, "text-classification", files), seed=0)
    manifest = Manifest(
        kind=kind,  # type: ignore[arg-type]
        task="text-classification",
        stage=stage,
        config={},
        seed=0,
        key=None,
        parent=None,
        lineage=(step,),
        origin=Origin(),
        facts=facts or {},
        environment={},
        created="2026-01-01T00:00:00+00:00",
        files=files,
    )
    artifacts.write_manifest(folder, manifest)
    return Artifact.open(folder)


def fake_artifact(
    folder: Path, *, bytes_: int = 1000, labels: tuple[str, ...] = ("negative", "positive")
) -> Artifact:
    """A sealed folder with a tokenizer, a config and weights that only the fake runtime can open."""
    folder.mkdir(parents=True)
    tiny.save_tokenizer(folder)
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "encoding.json").write_text('{"max_length": 16}')
    (folder / "model.safetensors").write_bytes(b"0" * bytes_)
    return seal(folder)


def torch_artifact(folder: Path, **sizes: int) -> Artifact:
    """A real tiny BERT, sealed."""
    tiny.text_model(folder, **sizes)
    (folder / "encoding.json").write_text('{"max_length": 16}')
    return seal(folder)


def candidate(name: str) -> Candidate:
    """A candidate of a hand-made report."""
    return Candidate(
        name=name,
        artifact="0" * 64,
        kind="torch",
        stage="load",
        runtime="pytorch",
        device="cpu",
        threads=1,
        provenance={"provider": "fake"},
        lineage=("load",),
    )


def measurement(name: str, metric: str, value: float, **more: Any) -> Measurement:
    """A measurement of a hand-made report."""
    defaults: dict[str, Any] = {"probe": "size", "unit": "bytes", "better": "lower"}
    return Measurement(candidate=name, metric=metric, value=value, **{**defaults, **more})


def report(**changes: Any) -> Report:
    """A report of two candidates: ``before`` (the baseline) and ``after``.

    after: accuracy 0.91 against 0.92 (1 point less, 95 % interval -2 to 0), p50 2 ms against 8 ms (0.25x),
    p95 3 ms against 10 ms, 50 MiB against 200 MiB, 20 MB against 80 MB, agreement 98 %.
    """
    made = []
    figures = {"before": (0.92, 8.0, 10.0, 200, 80e6), "after": (0.91, 2.0, 3.0, 50, 20e6)}
    grid: dict[str, int | str] = {"batch_size": 1, "length": "data"}
    for name, (accuracy, p50, p95, mib, size) in figures.items():
        base = figures["before"]
        interval = Interval(low=-0.02, high=0.0) if name == "after" else Interval(low=0.0, high=0.0)
        made += [
            measurement(
                name,
                "accuracy",
                accuracy,
                probe="accuracy",
                unit="share",
                better="higher",
                interval=Interval(low=accuracy - 0.02, high=accuracy + 0.02),
                difference=accuracy - base[0],
                difference_interval=interval,
                conditions={"rows": 100, "batch_size": 1},
            ),
            measurement(
                name,
                "macro_f1",
                accuracy - 0.01,
                probe="accuracy",
                unit="share",
                better="higher",
                difference=accuracy - base[0],
                conditions={"rows": 100, "batch_size": 1},
            ),
            measurement(name, "size_bytes", size, ratio=size / base[4]),
            measurement(name, "weights_bytes", size / 2, ratio=size / base[4]),
            measurement(name, "memory_peak_bytes", mib * 2**20, probe="memory", ratio=mib / base[3]),
            measurement(name, "memory_model_bytes", mib * 2**19, probe="memory", ratio=mib / base[3]),
        ]
        for metric, value, other in (("latency_p50_ms", p50, base[1]), ("latency_p95_ms", p95, base[2])):
            ratio = value / other
            made.append(
                measurement(
                    name,
                    metric,
                    value,
                    probe="latency",
                    unit="ms",
                    interval=Interval(low=value * 0.9, high=value * 1.1),
                    ratio=ratio,
                    ratio_interval=Interval(low=ratio * 0.8, high=ratio * 1.25),
                    conditions=grid,
                    samples=tuple(value + 0.01 * i for i in range(160)) if "p50" in metric else (),
                )
            )
        if name == "after":
            for metric, share in (("int8_product_share", 0.8), ("fp32_product_share", 0.2)):
                made.append(
                    measurement(name, metric, share, probe="execution", unit="share", better="higher")
                )
            made.append(
                measurement(
                    name,
                    "agreement",
                    0.98,
                    probe="agreement",
                    unit="share",
                    better="higher",
                    interval=Interval(low=0.93, high=0.994),
                )
            )
    content: dict[str, Any] = {
        "title": "after against before",
        "task": "text-classification",
        "candidates": (candidate("before"), candidate("after")),
        "baseline": "before",
        "measurements": tuple(made),
        "data": {"source": "somewhere", "rows": 100},
        "facts": {"after": {"parity": {"cases": [{"largest": 1e-5}, {"largest": 1e-4}]}}},
        "environment": {"cpu": "a processor", "python": "3.11"},
        "config": {"rounds": 20, "runs": 8},
        "seed": 0,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Report(**{**content, **changes})
