"""Every stage: it writes where it may, leaves its source alone, pickles nothing, repeats where it says so."""

from __future__ import annotations

import os
import pickletools
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
import tiny
import tiny_deploy

from compress import catalog, contract, data
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact
from compress.recipe import DataConfig, validate
from compress.stage import Context, Stage, StageConfig

# What makes a stage quick on tiny models, or what it cannot do without; a new stage runs with its defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 1, "batch_size": 16, "precision": "fp32"},
    "distill": {"layers": 1, "epochs": 1, "batch_size": 16, "precision": "fp32"},
    "prune": {"keep": 0.5, "round_to": 8, "rows": 16, "recover": {"epochs": 0}},
    "calibrate": {"temperature": 1.5},  # an untrained model's answers fit none
    "calibrate-onnx": {"temperature": 1.5},
    "build-tensorrt": {"profiles": ["batch=1:2:4,length=1:16:32"]},
}
_LAYER = {"Name": "gemm", "LayerType": "gemm", "Inputs": [], "Outputs": []}
_writes: list[Path] | None = None


def _audit(event: str, details: tuple[Any, ...]) -> None:
    """Note what this process opens to write, makes, renames or removes, while ``_writes`` is a list."""
    if _writes is None:
        return
    if event == "open" and isinstance(details[0], str | bytes):
        mode, flags = details[1], details[2] or 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or (mode and set(mode) & set("wax+")):
            _writes.append(_place(details[0]))
    elif event in {"os.mkdir", "os.remove", "os.rmdir"}:
        _writes.append(_place(details[0], details[-1]))
    elif event == "os.rename":
        _writes.extend([_place(details[0], details[2]), _place(details[1], details[3])])


def _place(path: Any, folder: int = -1) -> Path:
    """The absolute path, of one that is relative to an open folder as well."""
    base = Path.cwd() if folder == -1 else Path(f"/proc/self/fd/{folder}").readlink()
    return base / os.fsdecode(path)


sys.addaudithook(_audit)


@dataclass(frozen=True)
class Ran:
    """What a stage left.

    Attributes:
        id: content id of what it wrote.
        faults: what it did that no stage may do, each in words.
    """

    id: str
    faults: list[str]


@dataclass
class House:
    """A folder with everything in it that a stage could write to."""

    root: Path
    sources: dict[str, Artifact]
    rows: data.TrainingData
    runs: int = field(default=0)

    def run(self, module: Any, source: Artifact | None, options: dict[str, Any]) -> Ran:
        """Run a stage in fresh folders and look at all that is below the root, and at what it opened."""
        global _writes
        self.runs += 1
        out, scratch = self.root / f"out-{self.runs}", self.root / f"scratch-{self.runs}"
        out.mkdir()
        scratch.mkdir()
        context = Context(
            out=out,
            scratch=scratch,
            task=catalog.task("text-classification"),
            data=self.rows if module.DATA else None,
            seed=0,
            threads=1,
            device="cpu",
            record=lambda name, value: artifacts.canonical_json(value) and None,
            ancestors=(self.sources["torch"],) if module.ANCESTORS else (),
        )
        before = self.bytes(out, scratch)
        _writes = []
        try:
            module.run(source, validate(module.Config, options, "the stage"), context)
        finally:
            opened, _writes = _writes, None
        after = self.bytes(out, scratch)
        faults = [
            f"{'changed' if name in before else 'left'} {name}"
            for name, content in after.items()
            if before.get(name) != content
        ]
        faults += [f"removed {name}" for name in before if name not in after]
        allowed = (out, scratch, self.root / "tmp", Path("/dev"), Path("/proc"))
        faults += [
            f"wrote {path}"
            for path in dict.fromkeys(opened)
            if not any(path.is_relative_to(folder) for folder in allowed) and "__pycache__" not in path.parts
        ]
        faults += [
            f"pickled {path.relative_to(self.root)}"
            for folder in (out, scratch)
            for path in folder.rglob("*")
            if path.is_file() and pickled(path)
        ]
        files = artifacts.inventory(out)
        assert files, "the stage wrote nothing"
        return Ran(artifacts.content_id(module.PRODUCES or source.kind, "text-classification", files), faults)

    def bytes(self, *but: Path) -> dict[str, bytes]:
        """The content of every file below the root, but for some folders."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not any(path.is_relative_to(folder) for folder in but)
        }


def pickled(path: Path) -> bool:
    """Whether a file is a pickle, or an archive or array file that holds one."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    content = path.read_bytes()
    if content.startswith(b"\x93NUMPY"):
        return b"'O'" in content[:128] or b"|O" in content[:128]
    try:
        opcodes = [opcode.name for opcode, _, _ in pickletools.genops(content)]
    except ValueError:
        return False
    return len(opcodes) > 1 and opcodes[-1] == "STOP"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A tiny text classifier as each kind that a stage takes."""
    folder = tmp_path_factory.mktemp("sources")
    torch = tiny_deploy.text_artifact(folder / "torch")
    onnx = tiny_deploy.run("export_onnx", torch, folder / "onnx", tiny_deploy.text_rows(16)).artifact
    return {"torch": torch, "onnx": onnx}


@pytest.fixture
def house(sources: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Copies of the sources, rows, a home, a working folder and a folder for what is temporary."""
    import shutil

    copies = {}
    for kind, source in sources.items():
        shutil.copytree(source.path, tmp_path / "sources" / kind)
        copies[kind] = Artifact.open(tmp_path / "sources" / kind)
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR"), ("cache", "XDG_CACHE_HOME")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tiny.text_data(tmp_path / "data", train=64, evaluate=16)
    config = DataConfig(source=str(tmp_path / "data"), calibration=16)
    rows = data.load(config, catalog.task("text-classification"), 0).training
    for side in (rows.train, rows.selection, rows.calibration):
        assert len(side)  # read before anyone watches
    return House(tmp_path, copies, rows)


def several_labels(house: House) -> Artifact:
    """The classifier with labels that hold each by itself, and rows of such: thresholds mean something."""
    import json
    import shutil

    folder = house.root / "sources" / "several"
    shutil.copytree(house.sources["torch"].path, folder, ignore=shutil.ignore_patterns("manifest.json"))
    config = json.loads((folder / "config.json").read_text())
    config["problem_type"] = "multi_label_classification"
    (folder / "config.json").write_text(json.dumps(config))
    names = ("negative", "positive")
    sentences = [{**row, "label": [names[int(str(row["label"]))]]} for row in tiny.sentences(64, 1)]
    tiny.write_jsonl(house.root / "several" / "train.jsonl", sentences)
    config_of = DataConfig(source=str(house.root / "several"), calibration=16)
    house.rows = data.load(config_of, catalog.task("text-classification"), 0).training
    return tiny_deploy.seal(folder)


def stage_of(name: str, house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Artifact | None, Any]:
    """A stage, its source and its options."""
    module = catalog.stage(name)
    options = OPTIONS.get(name, {})
    if not module.CONSUMES:
        return module, None, {"model": str(tiny.text_model(house.root / "model")), **options}
    if name == "fit-threshold":
        return module, several_labels(house), options
    if module.PRODUCES == "tensorrt":
        fake_tensorrt.install(
            monkeypatch, fake_tensorrt.module("10.16.1", {"Layers": [_LAYER], "Bindings": []})
        )
    return module, house.sources[sorted(module.CONSUMES)[-1]], options


@pytest.mark.parametrize("name", catalog.names("stage"))
def test_a_stage_keeps_its_contract(name: str, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes in ``out`` and ``scratch`` alone, no pickle, and the same key gives the same content."""
    module, source, options = stage_of(name, house, monkeypatch)
    first = house.run(module, source, options)
    assert first.faults == []
    if module.DETERMINISTIC:
        second = house.run(module, source, options)
        assert second.faults == []
        assert second.id == first.id


def _pickle(source: Any, ctx: Context) -> None:
    import torch

    torch.save({"x": torch.zeros(1)}, ctx.out / "x")  # noqa: TID251 - the pickle that must be seen


def _object_array(source: Any, ctx: Context) -> None:
    np.save(ctx.out / "x.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)


FAULTS: dict[str, tuple[Callable[[Any, Context], Any], str]] = {
    "source": (
        lambda source, ctx: source.file("config.json").write_text("{}"),
        "changed sources/torch/config.json",
    ),
    "removal": (lambda source, ctx: source.file("config.json").unlink(), "removed sources/torch/config.json"),
    "home": (lambda source, ctx: Path("~/x").expanduser().write_text("x"), "left home/x"),
    "here": (lambda source, ctx: Path("x").write_text("x"), "left here/x"),
    "temporary": (lambda source, ctx: tempfile.mkstemp(), "left tmp/"),
    "elsewhere": (
        lambda source, ctx: Path(sys.prefix, "x.tmp").open("w").close(),
        f"wrote {sys.prefix}/x.tmp",
    ),
    "torch.save": (_pickle, "pickled out-1/x"),
    "objects": (_object_array, "pickled out-1/x.npy"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_sees_a_stage_that_breaks_it(fault: str, house: House) -> None:
    """What no stage may do is noticed, by the words that name it."""
    act, start = FAULTS[fault]

    def run(source: Any, config: Any, ctx: Context) -> None:
        (ctx.out / "result").write_text("x")
        act(source, ctx)

    try:
        ran = house.run(made(run), house.sources["torch"], {})
    finally:
        Path(sys.prefix, "x.tmp").unlink(missing_ok=True)
    assert any(message.startswith(start) for message in ran.faults), ran.faults


def test_the_suite_sees_what_does_not_repeat(house: House) -> None:
    """Other bytes are another id; the same are the same."""
    texts = iter(["a", "b", "b"])

    def run(source: Any, config: Any, ctx: Context) -> None:
        (ctx.out / "result").write_text(next(texts))

    ids = [house.run(made(run), house.sources["torch"], {}).id for _ in range(3)]
    assert ids[0] != ids[1] == ids[2]


def made(run: Callable[[Any, Any, Context], None]) -> Any:
    """A stage with this ``run``."""
    module = SimpleNamespace(
        Config=StageConfig,
        CONSUMES=frozenset({"torch"}),
        PRODUCES="torch",
        VERSION=1,
        TOOLS=(),
        DATA=frozenset(),
        NEEDS_DATA=False,
        DETERMINISTIC=True,
        ANCESTORS=False,
        MAKES_HEAD=False,
        reads=lambda config: (),
        run=run,
    )
    assert contract.breaches(module, Stage) == []
    contract.complete(module, Stage)
    return module
