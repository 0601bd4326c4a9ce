"""Tiny sealed artifacts and hand-made reports for the tests of bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny
import tiny_hostile

from bench.answers.shown import Attribution, Row
from bench.findings.flips import Flips, Matrix
from bench.findings.slices import Slice, Slices
from bench.record.model import Candidate, Interval, Measurement, Report
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact, Manifest, Origin, Step
from deploy.graph import facts as graph_facts
from deploy.truncation import Truncation

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
    (folder / "model.safetensors").write_bytes(_weights(bytes_))
    return seal(folder)


def fake_graph(folder: Path) -> Artifact:
    """The same sealed as a graph: a small one that sums token ids, which the fake runtime does not run."""
    fake_artifact(folder)
    for name in ("model.safetensors", "manifest.json"):
        (folder / name).unlink()
    tiny_hostile.summing(folder)
    graph_facts.write(folder, graph_facts.GraphFacts(precision="fp32", opset=17, exporter="torchscript"))
    return seal(folder, "onnx")


def _weights(size: int) -> bytes:
    """A safetensors file of a size, with one tensor that fills it."""
    room = size - 8 - 80
    table = {"w": {"dtype": "U8", "shape": [room], "data_offsets": [0, room]}}
    return (80).to_bytes(8, "little") + json.dumps(table).ljust(80).encode() + b"0" * room


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
        truncation=Truncation(rows=100, cut=4, limit=16, whose="rows", beyond_baseline=3)
        if name == "after"
        else Truncation(rows=100, cut=1, limit=64, whose="model", beyond_baseline=0),
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
    measurements = []
    figures = {"before": (0.92, 8.0, 10.0, 200, 80e6), "after": (0.91, 2.0, 3.0, 50, 20e6)}
    grid: dict[str, int | str] = {"batch_size": 1, "length": "data"}
    for name, (accuracy, p50, p95, mib, size) in figures.items():
        base = figures["before"]
        interval = Interval(low=-0.02, high=0.0) if name == "after" else Interval(low=0.0, high=0.0)
        measurements += [
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
        for metric, value, baseline in (("latency_p50_ms", p50, base[1]), ("latency_p95_ms", p95, base[2])):
            ratio = value / baseline
            measurements.append(
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
                measurements.append(
                    measurement(name, metric, share, probe="execution", unit="share", better="higher")
                )
            measurements.append(
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
            measurements.append(
                measurement(
                    name,
                    "batch_agreement",
                    0.97,
                    probe="batch_agreement",
                    unit="share",
                    better="higher",
                    interval=Interval(low=0.92, high=0.989),
                    conditions={"rows": 100, "batch_size": 16},
                )
            )
    content: dict[str, Any] = {
        "title": "after against before",
        "task": "text-classification",
        "candidates": (candidate("before"), candidate("after")),
        "baseline": "before",
        "measurements": tuple(measurements),
        "data": {"source": "somewhere", "rows": 100},
        "facts": {"after": {"parity": {"cases": [{"largest": 1e-5}, {"largest": 1e-4}]}}},
        "environment": {"cpu": "a processor", "python": "3.11"},
        "config": {"rounds": 20, "runs": 8},
        "seed": 0,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Report(**{**content, **changes})


def damaged(plain: Report) -> Report:
    """A report of ``before`` and ``after`` in which damage was measured as well.

    Four slices, of which the first lost beyond chance; six flipped rows, the first long and with its words
    weighed, the fourth with a hostile text.
    """
    slices = [
        Slice(
            family=family,
            name=name,
            rows=25,
            before=0.92,
            after=0.92 + lost,
            difference=lost,
            interval=Interval(low=lost - 0.04, high=lost + 0.04),
            p_value=chance,
            holm=chance,
            bh=chance,
        )
        for family, name, lost, chance in (
            ("length", "longest quarter", -0.12, 0.001),
            ("confidence", "the quarter of which the original is least sure", -0.08, 0.2),
            ("label", "bad", -0.04, 0.5),
            ("length", "shortest quarter", 0.0, 1.0),
        )
    ]
    long = ("a", "film", "that", "takes", "its", "time,") * 12
    rows = [
        Row(
            number=1 + index,
            cells={"text": text},
            truth=truth,
            before=before,
            after=after,
            change=change,  # type: ignore[arg-type]
            truth_before=0.9,
            truth_after=0.2,
            attribution=Attribution(
                answer="good",
                words=long,
                before=tuple(0.01 * (place % 21 - 10) for place in range(len(long))),
                after=tuple(0.01 * (10 - place % 21) for place in range(len(long))),
            )
            if index == 0
            else None,
        )
        for index, (text, truth, before, after, change) in enumerate(
            (
                (" ".join(long), "good", "good", "bad", "harmful"),
                ("no laughs , no tears , " * 9, "bad", "bad", "good", "harmful"),
                ("fine , really , and then some " * 9, "good", "good", "bad", "harmful"),
                ("<b>who knows</b> what it was about " * 9, "so-so", "good", "bad", "other"),
                ("a small wonder of a film " * 9, "good", "bad", "good", "beneficial"),
                ("the last one", "good", "bad", "good", "beneficial"),
            )
        )
    ]
    findings = (
        Slices(
            metric="accuracy",
            unit="share",
            better="higher",
            before=0.92,
            after=0.91,
            slices=tuple(slices),
            small=(),
            min_rows=20,
        ),
        Flips(
            rows=100,
            harmful=3,
            beneficial=2,
            other=1,
            p_value=0.7,
            harmful_interval=Interval(low=0.01, high=0.08),
            matrix=Matrix(labels=("bad", "good"), counts=((40, 3), (3, 54))),
            worst=tuple(rows),
            attribution="leaving each word out",
        ),
    )
    measurements = [
        measurement("after", finding.kind, 0.0, probe=finding.kind, unit="share", finding=finding)
        for finding in findings
    ]
    return plain.model_copy(update={"measurements": (*plain.measurements, *measurements)})
