"""The model card of a bundle: what it is, where it comes from, how to run it, what was measured, limits.

Every statement comes from the manifest, the graph's facts or a report; what is not known is said to be so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import catalog, label_names, quantities, tasks
from compress.label_names import LabelNames
from compress.model import padding, sample

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact, Manifest
    from compress.model.limit import Limit
    from compress.tasks import Head, Task
    from deploy.handover.figures import Candidate, Figures, Measurement

UNKNOWN = "not known"
_KINDS = {"torch": "PyTorch weights (safetensors)", "onnx": "ONNX graph", "tensorrt": "TensorRT engine"}


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        name: of the bundle.
        artifact: what is handed over.
        head: what its outputs mean.
        precision: of its weight products, where the graph says it.
        limit: tokens that a row is cut to, and who set that; None where rows have no length.
        labels: how the outputs got their names.
        pads: whether rows of several lengths may share a batch.
        settled: whether the tokenizer's files say that limit, and pad nothing by themselves.
        onnxruntime: version that the graph needs at least; None where any will do.
        triton: path of the Triton repository in the bundle; None where there is none.
        build: whether the bundle builds its engine on the target.
    """

    name: str
    artifact: Artifact
    head: Head
    precision: str | None
    limit: Limit | None
    labels: LabelNames
    pads: bool
    settled: bool
    triton: str | None
    build: bool
    onnxruntime: str | None = None


def card(subject: Subject, figures: Figures | None = None, measured: Sequence[Candidate] = ()) -> str:
    """The card as Markdown."""
    parts = [
        _what(subject),
        _run(subject),
        _lineage(subject.artifact.manifest),
        _origin(subject.artifact.manifest),
        _measured(figures, measured, catalog.task(subject.artifact.task)),
        _limits(subject),
        _files(subject),
    ]
    return "\n\n".join(parts) + "\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


_TEXTS = {
    "span": "a part of the text, with its probability",
    "filling": "pieces of the vocabulary at each mask of a text",
    "choice": "one of the choices that a row gives, with the probability of each",
}


def _answer(head: Head) -> str:
    """What a model without labels answers, in words."""
    if head.problem == "ranking":
        return f"a number that orders documents (shown through {head.activation})"
    if head.answer == "vector":
        return f"none: a vector of {head.size} numbers a text"
    return _TEXTS.get(head.problem, "a number (regression)")


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _what(subject: Subject) -> str:
    artifact = subject.artifact
    labels = ", ".join(subject.head.labels) or _answer(subject.head)
    rows: list[tuple[str, object]] = [
        ("task", artifact.task),
        ("labels", labels),
        ("form", _KINDS[artifact.kind]),
        ("precision", subject.precision or UNKNOWN),
        ("size", f"{artifact.size_bytes / 1e6:.1f} MB"),
        ("content id", artifact.id),
        ("made", artifact.manifest.created),
    ]
    if subject.limit is not None:
        texts = sample.has_texts(catalog.task(artifact.task))
        rows.append(("longest text" if texts else "longest row", _longest(subject)))
    return f"# {subject.name}\n\n{_table(('', ''), rows)}"


def _longest(subject: Subject) -> str:
    limit = subject.limit
    if limit is None or limit.tokens is None:
        return "no limit; nothing is cut"
    unit = catalog.task(subject.artifact.task).UNIT
    longer = "is read in overlapping windows" if subject.head.problem == "span" else "is cut"
    return f"{limit.tokens} {unit}, {limit}; what is longer {longer}"


def _run(subject: Subject) -> str:
    kind = subject.artifact.kind
    extra = {"torch": "cpu", "onnx": "cpu", "tensorrt": "gpu,tensorrt"}[kind]
    lines = ["## How to run it", "", "```"]
    lines.append("sha256sum -c SHA256SUMS")
    if subject.build:
        lines += ["python build/build_engine.py --out engine    # on the target, with TensorRT there"]
    target = "engine" if subject.build else "artifact"
    kinds = [column.holds for column in catalog.task(subject.artifact.task).COLUMNS.values()]
    example = {"image": "IMAGE", "audio": "SOUND.wav"}.get(kinds[0]) or _example(subject)
    device = " --device cuda" if subject.build or kind == "tensorrt" else ""
    runtime = f" 'onnxruntime>={subject.onnxruntime}'" if subject.onnxruntime else ""
    lines += [
        f"pip install 'paredown[{'gpu,tensorrt' if subject.build else extra}]'{runtime}",
        f"paredown predict {target} {example}{device}",
    ]
    if subject.triton is not None:
        # The server has a runtime of its own, which reads the same variable.
        quiet = "ORT_DISABLE_TELEMETRY=1 " if kind == "onnx" and not subject.build else ""
        lines.append(f"{quiet}tritonserver --model-repository {subject.triton}")
    lines.append("```")
    if subject.triton is not None:
        lines += [
            "",
            "Triton takes encoded inputs: encode rows with the processor files in `artifact/`.",
        ]
    return "\n".join(lines)


def _lineage(manifest: Manifest) -> str:
    rows = [
        (step.stage, json.dumps(_public(step.config), sort_keys=True), step.seed, step.id[:12])
        for step in manifest.lineage
    ]
    return f"## Lineage\n\n{_table(('stage', 'options', 'seed', 'result'), rows)}"


def _public(value: Any) -> Any:
    """Options without what says nothing: absent values, and the folders of the machine that built it."""
    if isinstance(value, dict):
        return {key: _public(option) for key, option in value.items() if option is not None}
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _origin(manifest: Manifest) -> str:
    origin = manifest.origin
    data = origin.data or {}
    source = data.get("source") or data.get("train")
    rows = [
        ("model", _public(origin.model) or UNKNOWN),
        ("model's license", origin.model_license or UNKNOWN),
        ("training data", _public(source) or UNKNOWN),
        ("data's fingerprint", origin.data_fingerprint or UNKNOWN),
        ("data's license", origin.data_license or UNKNOWN),
    ]
    return f"## Origin\n\n{_table(('', ''), rows)}"


def _measured(figures: Figures | None, candidates: Sequence[Candidate], task: Task) -> str:
    if figures is None:
        return "## Measured\n\nNothing: no report was given when the bundle was made."
    parts = ["## Measured"]
    rows = figures.data.get("rows")
    about = f"On {rows} evaluation rows" if rows else "On the report's evaluation rows"
    processor = figures.environment.get("gpu") or figures.environment.get("cpu") or UNKNOWN
    parts.append(f"{about}, {figures.created}, on {_cell(processor)}. The whole report is `report.json`.")
    parts += [f"{_cell(sentence)}." for sentence in label_names.evaluation_order(figures.label_order)]
    if (score := figures.chance) is not None:
        metric, value, *_ = _figure(score, task)
        blind = quantities.figure(score.blind or 0.0, score.unit)
        parts.append(
            f"**The baseline '{_cell(figures.baseline)}' is no better than chance**: {metric} {value}, and "
            f"one answer for every row gets {blind}. Its head may be untrained, or its labels in another "
            "order than the data's; figures against it say nothing."
        )
    for candidate in candidates:
        lines = [_figure(figure, task) for figure in figures.of(candidate)]
        title = f"`{candidate.runtime}` on {candidate.device}, {candidate.threads} threads"
        parts.append(f"{title}:\n\n{_table(('metric', 'value', 'interval', 'conditions', 'notes'), lines)}")
        if candidate.truncation is not None and candidate.truncation.cut:
            parts.append(f"Length: {_cell(candidate.truncation.sentence('evaluation rows'))}.")
        judged = [verdict for verdict in figures.verdicts if verdict.candidate == candidate.name]
        outcomes = [f"- {verdict.gate}: {verdict.status}: {_cell(verdict.reason)}" for verdict in judged]
        if outcomes:
            parts.append("Gates:\n\n" + "\n".join(outcomes))
    return "\n\n".join(parts)


def _figure(measurement: Measurement, task: Task) -> tuple[str, str, str, str, str]:
    unit, interval = measurement.unit, measurement.interval
    spread = (
        f"{quantities.interval(interval.low, interval.high, unit)} ({interval.level:.0%})" if interval else ""
    )
    conditions = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in measurement.conditions.items()
    )
    return (
        tasks.metric(task, measurement.metric).title or quantities.title(measurement.metric, unit),
        quantities.figure(measurement.value, unit),
        spread,
        conditions,
        "; ".join(measurement.notes),
    )


def _example(subject: Subject) -> str:
    """A row of texts as arguments: a text, or two, for each role that a row must have."""
    columns = catalog.task(subject.artifact.task).COLUMNS
    cells = [
        f'"a {role}"' if column.holds == "text" else '"one of them" "another"'
        for role, column in columns.items()
        if column.required and column.holds in ("text", "texts")
    ]
    return " ".join(cells) or '"a text"'


def _limits(subject: Subject) -> str:
    artifact = subject.artifact
    lines = [
        f"Answers are for {artifact.task} with the labels above, on rows like those that it was trained on; "
        "elsewhere it was not measured.",
        "A compressed model can differ from its teacher on rare rows more than its mean score says: compare "
        "the two on rows that matter to you (`paredown compare`).",
    ]
    if subject.limit is not None and sample.has_texts(catalog.task(artifact.task)):
        lines.append(_tokenizer(subject.limit, subject.settled))
    lines += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in _answers(subject)]
    if artifact.kind == "tensorrt":
        lines.append(
            "An engine runs on the GPU and the TensorRT version that it was built for, and no other."
        )
    if subject.onnxruntime is not None:
        lines.append(
            f"The graph needs ONNX Runtime {subject.onnxruntime} or later. A server such as Triton has a "
            "runtime of its own: take one with that version. An id that the table of tokens has no row for "
            "is answered as if it were 0."
        )
    lines += _eight_bits(artifact.manifest.facts)
    if subject.precision == "fp8":
        lines.append("FP8 needs a GPU of compute capability 8.9 or later.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _answers(subject: Subject) -> list[str]:
    """What no figure shows of the answers: whose names they have, and whether padding moves them."""
    return subject.labels.sentences() + ([] if subject.pads else [padding.SENTENCE])


def _tokenizer(limit: Limit, settled: bool) -> str:
    if not settled:
        return (
            "`tokenizer.json` in `artifact/` pads or cuts by itself, and the product does neither as it "
            "says: switch both off where you load it without paredown, or make the artifact again."
        )
    cuts = "does not cut" if limit.tokens is None else f"cuts a row to {limit.tokens} tokens"
    return (
        f"The tokenizer's files in `artifact/` say what the product does: `tokenizer.json` {cuts} and pads "
        "nothing by itself (pad a batch to its longest row). It does not say which of its arrays the model "
        "takes."
    )


def _eight_bits(facts: dict[str, Any]) -> list[str]:
    """What was measured on calibration rows when the graph was quantized."""
    lines = []
    covered, batch = facts.get("coverage"), facts.get("batch")
    if covered is not None:
        lines.append(
            f"{covered['eight_bit']} of {covered['products']} weight products are in eight bits, "
            f"{100 * covered['macs_share']:.1f} % of the MACs of all products; the others are float."
        )
    if batch is not None and batch["ranges"] == "tensor":
        differ = "" if batch["differ"] is None else f"{batch['differ']} of {batch['rows']} answers differ, "
        lines.append(
            "Answers depend on the rows that share a batch, since one range is taken for the whole batch: on "
            f"calibration rows, batch 1 against batch {batch['batch_size']}, {differ}outputs by up to "
            f"{batch['largest']:.2g}. Send rows one at a time where that matters, or quantize with "
            "mode: static or activation_scales: token."
        )
    return lines


def _files(subject: Subject) -> str:
    rows = [("artifact/", "the sealed artifact: model, processor, manifest with lineage and checksums")]
    if subject.triton is not None:
        rows.append((f"{subject.triton}/", "Triton model repository"))
    if subject.build:
        rows.append(
            ("build/", "builds the engine on the target: script, profiles, timings of earlier builds")
        )
    if subject.head.answer == "vector" and subject.artifact.kind == "onnx":
        rows.append(("sentence-transformers/", 'what SentenceTransformer(folder, backend="onnx") loads'))
    rows += [("bundle.json", "what this bundle is, for machines"), ("SHA256SUMS", "checksums of every file")]
    return f"## Files\n\n{_table(('', ''), rows)}"
