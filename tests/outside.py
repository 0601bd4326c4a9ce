"""A distribution that brings one entry of each kind, as ``pip install`` would lay it down."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "more_entries"
DISTRIBUTION = "more-entries"
GROUPS = {
    "stage": "stages",
    "criterion": "criteria",
    "task": "tasks",
    "runtime": "runtimes",
    "probe": "probes",
    "gate": "gates",
    "finding": "findings",
    "tracker": "trackers",
    "recipe": "recipes",
}
NAMES = {
    "stage": "copy-files",
    "criterion": "first-units",
    "task": "moods",
    "runtime": "plain",
    "probe": "file-count",
    "gate": "file-count",
    "finding": "folders",
    "tracker": "notes",
    "recipe": "all-of-it",
}
SOURCES = {
    "stage": '''"""Copies the files of its source."""

import shutil

from compress.stage import StageConfig

CONSUMES = frozenset({"torch"})
PRODUCES = "torch"
VERSION = 1
TOOLS = ()
DATA = frozenset()
NEEDS_DATA = False
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False


class Config(StageConfig):
    """No options."""


def reads(config):
    return ()


def run(source, config, ctx):
    for name in source.manifest.files:
        target = ctx.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / name, target)
''',
    "criterion": '''"""Keeps the first units."""

import torch

from compress.criteria._base import CriterionConfig


class Config(CriterionConfig):
    """No options."""


NEEDS = frozenset()


def score(structure, signals, config, generator):
    return -torch.arange(structure.units, dtype=torch.float64)
''',
    "task": '''"""Which mood a text is in."""

from compress.tasks.text_classification import *
from compress.tasks import Metric
from compress.tasks.text_classification import COLUMNS, MODEL, OUTPUTS, encode, export_spec, lengths
from compress.tasks.text_classification import metrics as their_metrics

METRICS = (Metric("surprise", unit="squared", better="lower"), *METRICS)


def metrics(totals, head):
    figures = their_metrics(totals, head)
    return {**figures, "surprise": (1 - figures["accuracy"]) ** 2}
''',
    "runtime": '''"""PyTorch, called by another name."""

from deploy.runtimes.pytorch import Runner as Base


class Runner(Base):
    """As its base."""
''',
    "probe": '''"""How many files an artifact has."""

from pydantic import BaseModel, ConfigDict

from bench.record.figure import Column, Figure
from bench.record.model import Measurement

UNIT = "count"
BETTER = "lower"
DEFAULT = False
FRESH = False
FIGURES = (
    Figure("files", columns=(Column("files of it"),), exact="counted", card="Number of files"),
    Figure("folders", "folders of it"),
)


class Config(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def measure(lanes, subject, config):
    from more_entries.finding_entry import Folders

    counts = {lane.name: float(len(lane.spec.artifact.manifest.files)) for lane in lanes}
    return [
        Measurement(
            probe="file-count",
            candidate=name,
            metric=metric,
            value=value,
            unit=UNIT,
            better=BETTER,
            finding=Folders(names=("onnx",)) if metric == "folders" else None,
        )
        for name, count in counts.items()
        for metric, value in (("files", count), ("folders", 1.0))
    ]


def explanation(report):
    return "Files are counted by name."
''',
    "gate": '''"""How many files an artifact may have."""

from bench.gates import GateConfig
from bench.record.model import Verdict

PROBE = "file-count"


class Config(GateConfig):
    """Options.

    Attributes:
        at_most: so many files.
    """

    at_most: int


def check(report, candidate, config):
    files = report.find(candidate, "files").value
    return Verdict(
        gate="file-count",
        candidate=candidate,
        status="pass" if files <= config.at_most else "fail",
        metric="files",
        value=files,
        interval=None,
        limit=str(config.at_most),
        reason=f"{files:g} files; allowed: at most {config.at_most}",
    )
''',
    "finding": '''"""Which folders an artifact has."""

from typing import Literal

from bench.display.parts import Card, table
from bench.record.finding import Finding

TITLE = "Folders of it"


class Folders(Finding):
    kind: Literal["folders"] = "folders"
    names: tuple[str, ...]

    def problems(self):
        if len(set(self.names)) < len(self.names):
            yield "a folder that is there twice"


MODEL = Folders


def sentences(finding):
    return [f"There are {len(finding.names)} folders."]


def headline(finding):
    return "folders were looked for"


def tables(finding):
    return [table("All folders", ["folder"], [[name] for name in finding.names])]


def brief(finding):
    return tables(finding)[0]


def plots(finding):
    return [("Folders, drawn", "<svg/>")]


def cards(finding):
    return [Card("Folders", str(len(finding.names)), "", "", "of both models")]


def steps(finding):
    return {"folders": str(len(finding.names))}


def notes(finding):
    return ["links are no folders"]
''',
    "tracker": '''"""Notes in a text file."""

from pathlib import Path


class Sink:
    def __init__(self, path):
        self.where = str(path)

    def note(self, text):
        with Path(self.where).open("a") as file:
            file.write(text + "\\n")

    def stage(self, stage):
        self.note(stage.name)

    def result(self, result):
        self.note(result.verdict)

    def close(self, succeeded):
        self.note(f"succeeded: {succeeded}")


def start(run, location):
    return Sink(location)
''',
    "recipe": """# One entry of every kind.
task: moods
stages:
  - load: {}
  - prune: {criterion: first-units, keep: 0.5, round_to: 8, recover: {epochs: 0}}
  - copy-files: {}
bench:
  probes: [file-count, agreement]
  runtimes: {torch: plain}
gates:
  - file-count: {at_most: 20}
""",
}


def install(site: Path, *, version: str = "1.2", names: dict[str, str] | None = None) -> Path:
    """Lay the distribution down in a folder that is on the path; gives the package's folder.

    Args:
        site: where to.
        version: of the distribution.
        names: kind -> what to call that entry, in place of ``NAMES``; only these kinds where given.
    """
    package = site / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    points = []
    for kind, name in (names or NAMES).items():
        module = f"{PACKAGE}.{kind}_entry"
        if kind == "recipe":
            (package / f"{name}.yaml").write_text(SOURCES[kind])
            module = PACKAGE
        else:
            (package / f"{kind}_entry.py").write_text(SOURCES[kind])
        points.append(f"[paredown.{GROUPS[kind]}]\n{name} = {module}\n")
    for old in site.glob("*.dist-info/*"):
        old.unlink()
    for old in site.glob("*.dist-info"):
        old.rmdir()
    information = site / f"{PACKAGE}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n"
    )
    (information / "entry_points.txt").write_text("\n".join(points))
    return package
