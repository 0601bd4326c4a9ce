"""The hand-over folder: an artifact with all that is needed to check, run and serve it elsewhere.

artifact/           the sealed artifact as it is
triton/NAME/        a Triton model repository: config.pbtxt and 1/model.onnx or 1/model.plan
sentence-transformers/  of an embedder's graph: the folder that the library loads with backend="onnx"
build/              with ``build_on_target``: build_engine.py, plan.json (profiles), timings/
README.md           the model card
report.json         where a report was given
bundle.json         what the bundle is
SHA256SUMS          checksums of everything else, as ``sha256sum -c`` reads them
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from compress import __version__, catalog, outputs
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import hidden, sweep
from compress.errors import UserError
from compress.model import checkpoint, tokenizer_files
from compress.model.limit import Limit
from deploy import rehearsal
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.graph import runtime_versions
from deploy.handover import build_engine, card, figures, sentence_folder, sums, triton
from deploy.handover.sums import ARTIFACT, FACTS
from deploy.tensorrt import axes, passport, profiles, timing

CARD, REPORT, TRITON = "README.md", "report.json", "triton"
SCHEMA = 1
_MAX_BATCH = 32
_BUCKETS = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Target:
    """What building on the target needs.

    Attributes:
        profiles: as ``--profile`` takes them; from ``rows`` when empty.
        rows: training rows, whose lengths make profiles.
        timings: files of timing caches, in the store's form.
    """

    profiles: tuple[str, ...] = ()
    rows: Sequence[Any] = ()
    timings: tuple[Path, ...] = ()


def bundle(
    artifact: Artifact,
    out: Path,
    *,
    name: str | None = None,
    report: Path | None = None,
    target: Target | None = None,
    max_batch: int | None = None,
) -> Path:
    """Write a bundle, whole or not at all.

    Args:
        artifact: sealed and verified.
        out: folder; must not hold anything.
        name: of the model in the card and in Triton; the folder's when None.
        report: of a bench that measured this artifact.
        target: to build the engine on the target; None for the artifact as it is.
        max_batch: rows that Triton may join; the graph's or engine's limit when None, or 32.

    Returns:
        The folder.

    Raises:
        UserError: the folder holds something, the report is of another artifact, or the artifact cannot
            be built on a target.
    """
    out = outputs.folder(out).absolute()
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"the output folder {out} is in use (it holds something else): choose another --out")
    called = name or out.name
    if not _NAME.fullmatch(called):
        raise UserError(
            f"'{called}' cannot name a model: give --name of at most 100 letters, digits, '_', '.' and '-'"
        )
    if target is not None and artifact.kind != "onnx":
        raise UserError(
            f"{artifact.path} is {artifact.kind}, and an engine is built on the target from an ONNX "
            "artifact: give that one (what 'paredown export' or 'quantize' made)"
        )
    rehearsal.before_handover(artifact)
    report_figures, measured = figures.read(report, artifact.id) if report is not None else (None, ())
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out)
    folder = out.parent / hidden(f"{out.name}.{os.getpid()}")
    try:
        shutil.copytree(artifact.path, folder / ARTIFACT)
        writer = _Writer(artifact, folder, called, max_batch)
        chosen = writer.chosen(target) if target is not None else ()
        writer.serve(chosen)
        if artifact.kind == "onnx" and writer.encoder.head.answer == "vector":
            sentence_folder.write(artifact, writer.encoder, folder / sentence_folder.FOLDER)
        if target is not None:
            writer.build(chosen, target.timings)
        if report is not None:
            shutil.copyfile(report, folder / REPORT)
        text = card.card(writer.subject(target is not None), report_figures, measured)
        (folder / CARD).write_text(text, encoding="utf-8")
        writer.describe(target is not None)
        sums.seal(folder)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


class _Writer:
    """One bundle under way."""

    def __init__(self, artifact: Artifact, folder: Path, name: str, max_batch: int | None) -> None:
        self.artifact, self.folder, self.name = artifact, folder, name
        self._max_batch = max_batch
        self.encoder = Encoder.open(artifact.path, catalog.task(artifact.task))
        self.facts = graph_facts.read(artifact) if artifact.kind != "torch" else None
        self.graph: onnx.ModelProto | None = None
        if artifact.kind == "onnx":
            self.graph = onnx.load(str(artifact.file(graph_facts.MODEL)), load_external_data=False)

    @property
    def version(self) -> Path:
        """The folder of the served file in the Triton repository, as the bundle names it."""
        return Path(TRITON) / self.name / "1"

    @property
    def needs(self) -> str | None:
        """The version of ONNX Runtime that the graph needs at least; None where any will do."""
        return None if self.graph is None else runtime_versions.needed(self.graph)

    def subject(self, build: bool) -> card.Subject:
        """What the card is about."""
        facts = self.facts
        precision: str = "fp32" if facts is None else facts.precision
        if facts is not None and facts.precision in ("int8", "fp8"):
            precision += f"; everything else {facts.rest}"
        return card.Subject(
            name=self.name,
            artifact=self.artifact,
            head=self.encoder.head,
            precision=precision,
            limit=self._limit(),
            labels=checkpoint.label_names(self.artifact, self.encoder.head),
            pads=self.encoder.pads,
            settled=tokenizer_files.settled(self.artifact.path, self.encoder.max_length),
            triton=None if self.artifact.kind == "torch" else TRITON,
            build=build,
            onnxruntime=self.needs,
        )

    def _limit(self) -> Limit | None:
        """The token limit; None where rows have no length."""
        if self.encoder.spec.length_axis is None and self.encoder.max_length is None:
            return None
        return Limit(self.encoder.max_length, self.encoder.whose)

    def serve(self, chosen: Sequence[profiles.Profile]) -> None:
        """The Triton repository, for what the artifact is or, with profiles, for what the script builds."""
        if self.artifact.kind == "torch":
            return
        if self.artifact.kind == "tensorrt":
            chosen = passport.read(self.artifact).profiles
        backend: triton.Backend = "tensorrt" if chosen else "onnxruntime"
        folder = self.folder / self.version
        folder.mkdir(parents=True)
        text = triton.config(
            self.name,
            backend,
            *(self._ports() if backend == "onnxruntime" else ((), ())),
            max_batch=self._batch(chosen),
            profiles=len(chosen),
        )
        (folder.parent / "config.pbtxt").write_text(text, encoding="utf-8")
        if self.artifact.kind == "onnx" and chosen:
            return  # the script puts the engine there
        names = {passport.ENGINE: triton.FILES["tensorrt"]} if chosen else {}
        for name in self.artifact.manifest.files:
            if name in names or (not chosen and name.startswith(graph_facts.MODEL)):
                _link(self.folder / ARTIFACT / name, folder / names.get(name, name))

    def _ports(self) -> tuple[list[triton.Port], list[triton.Port]]:
        if self.graph is None:
            raise RuntimeError("only a graph says its inputs and outputs")
        initializers = {tensor.name for tensor in self.graph.graph.initializer}
        inputs = [port for port in self.graph.graph.input if port.name not in initializers]
        return triton.ports(inputs), triton.ports(list(self.graph.graph.output))

    def _batch(self, chosen: Sequence[profiles.Profile]) -> int:
        """Rows that Triton may join at once."""
        most = max(
            (profile.axes[profiles.BATCH].max for profile in chosen if profiles.BATCH in profile.axes),
            default=None,
        )
        if most is None and self.facts is not None:
            most = min((sizes[0] for sizes in self.facts.limits.values() if 0 in sizes), default=None)
        if self._max_batch is not None and most is not None and self._max_batch > most:
            raise UserError(
                f"--max-batch is {self._max_batch}, and the model takes at most {most} rows at once"
            )
        return self._max_batch or most or _MAX_BATCH

    def chosen(self, target: Target) -> tuple[profiles.Profile, ...]:
        """The engine's profiles, given or from the rows' lengths, checked against the graph.

        Raises:
            UserError: they do not fit the graph, or there is nothing to make them from.
        """
        if self.graph is None or self.facts is None:
            raise RuntimeError("profiles are of a graph")
        for_cpu = self.facts.precision == "int8" and self.facts.target != "tensorrt"
        if for_cpu or self.facts.fused:
            state = "INT8 for CPUs" if for_cpu else "made of operators of ONNX Runtime's own"
            raise UserError(
                f"{self.artifact.path} is {state}, which TensorRT does not take: bundle what 'paredown "
                "export' made, or 'paredown quantize ONNX --target tensorrt'"
            )
        inputs, free = axes.free(self.graph, self.encoder)
        longest = self.encoder.max_length
        lengths = axes.lengths(self.encoder, target.rows) if profiles.LENGTH in free else None
        if target.profiles:
            profile_axes = [
                profiles.complete(profiles.parse(text), free, longest) for text in target.profiles
            ]
        elif profiles.LENGTH in free and lengths is None:
            raise UserError(
                "profiles are made from the lengths of training rows, and there are none: give --data, or "
                "--profile such as batch=1:8:32,length=16:64:128"
            )
        else:
            derived = profiles.derive(
                lengths, longest, profiles.Range(min=1, opt=8, max=_MAX_BATCH), _BUCKETS
            )
            profile_axes = [
                profiles.complete({name: ranges[name] for name in free if name in ranges}, free, longest)
                for ranges in derived
            ]
        profiles.check_limits(profile_axes, axes.limits(self.encoder, self.facts))
        if lengths is not None:
            profiles.check_lengths(profile_axes, lengths, self.encoder.task.UNIT)
        return tuple(profiles.shape(ranges, inputs) for ranges in profile_axes)

    def build(self, chosen: Sequence[profiles.Profile], timings: Sequence[Path]) -> None:
        """The script and what it needs beside the graph."""
        if self.facts is None:
            raise RuntimeError("an engine is built from a graph")
        folder = self.folder / "build"
        folder.mkdir()
        shutil.copyfile(Path(build_engine.__file__), folder / "build_engine.py")
        plan = {
            "schema_version": SCHEMA,
            "source_id": self.artifact.id,
            "precision": self.facts.precision,
            "rest": self.facts.rest,
            "opset": self.facts.opset,
            "profiles": [profile.model_dump(mode="json") for profile in chosen],
            "carried": [n for n in self.artifact.manifest.files if not n.startswith(graph_facts.MODEL)],
            "served": (self.version / triton.FILES["tensorrt"]).as_posix(),
        }
        _write_json(self.folder / build_engine.PLAN, plan)
        caches = [(path, content) for path in timings if (content := timing.read(path))]
        for path, content in caches:
            (folder / "timings").mkdir(exist_ok=True)
            (folder / "timings" / path.name).write_bytes(content)

    def describe(self, build: bool) -> None:
        """What the bundle is, for machines."""
        served = (self.version / triton.FILES["tensorrt"]).as_posix()
        facts = sums.Facts(
            name=self.name,
            artifact=self.artifact.id,
            seal=self.artifact.seal,
            kind=self.artifact.kind,
            task=self.artifact.task,
            built_on_target=served if build else None,
            paredown=__version__,
            onnxruntime=self.needs,
        )
        _write_json(self.folder / FACTS, facts.model_dump(mode="json"))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
