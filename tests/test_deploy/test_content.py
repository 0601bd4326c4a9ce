"""Artifacts that somebody sealed anew: every verb refuses what their checksums cannot show.

The kinds are those of the project's own hostile inputs (truncated, foreign or custom graphs, other inputs and
outputs, external data outside the artifact, sidecar files of wrong types), of which 68 of 98 once ended in a
traceback or were bundled as they were.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import tiny_deploy
import tiny_hostile
from tiny_hostile import GRAPHS, RUNS, SIDECARS, TORCH, sealed_anew

from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from deploy import content
from deploy.graph import facts as graph_facts
from deploy.tensorrt import passport, profiles
from paredown.app import main


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny classifier as weights and as a graph, with rows, and a store."""
    root = tmp_path_factory.mktemp("content")
    torch = tiny_deploy.text_artifact(root / "torch")
    onnx = tiny_deploy.run("export_onnx", torch, root / "onnx", tiny_deploy.text_rows()).artifact
    data = tiny.text_data(root / "data", train=48, evaluate=16)
    return SimpleNamespace(root=root, torch=torch, onnx=onnx, data=data, store=root / "store")


def verbs(good: SimpleNamespace, bad: Path, out: Path) -> dict[str, list[str]]:
    """The command lines of every verb that opens an artifact."""
    data = ["--data", str(good.data)]
    writes = ["--out", str(out), "--store", str(good.store)]
    store = ["--store", str(good.store)]
    original = str(good.onnx.path)
    return {
        "verify": ["verify", str(bad)],
        "show": ["show", str(bad)],
        "predict": ["predict", str(bad), "a good film", "--threads", "1", *store],
        "bundle": ["bundle", str(bad), *writes],
        "quantize": ["quantize", str(bad), *data, "--threads", "1", *writes],
        "static": ["quantize", str(bad), "--mode", "static", *data, "--threads", "1", *writes],
        "fp16": ["quantize", str(bad), "--precision", "fp16", *data, "--threads", "1", *writes],
        "calibrate": ["calibrate", str(bad), *data, "--threads", "1", *writes],
        "build": ["build", str(bad), *data, *writes],
        "target": [
            "bundle",
            str(bad),
            "--build-on-target",
            "--profile",
            "batch=1:4:8,length=1:16:32",
            *writes,
        ],
        "compare": ["compare", original, str(bad), *data, "--threads", "1", *store],
        "bench": ["bench", original, str(bad), *data, *store],
        "damage": ["damage", original, str(bad), *data, *store],
        "export": ["export", str(bad), *data, "--threads", "1", *writes],
        "prune": ["prune", str(bad), *data, *writes],
    }


def call(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    capsys.readouterr()
    try:
        main(list(arguments))
    except SystemExit as left:
        return int(left.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def refused(arguments: Sequence[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, exit code 2, and nothing left behind."""
    beside = sorted(out.parent.iterdir())
    code, message = call(arguments, capsys)
    assert code == 2, message
    assert "Traceback" not in message
    assert len([line for line in message.splitlines() if line.startswith("paredown: ")]) == 1, message
    assert sorted(out.parent.iterdir()) == beside
    assert not out.exists()


FIRST = ("predict", "bundle")
OTHERS = (
    "verify",
    "show",
    "quantize",
    "static",
    "fp16",
    "calibrate",
    "target",
    "compare",
    "bench",
    "damage",
    "export",
    "build",
)
SOME = (
    *("empty", "cut 0.5", "custom domain", "cyclic", "renamed input", "string input", "external device"),
    "a loop without an end",
)


@pytest.mark.parametrize("verb", FIRST)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_that_was_sealed_anew(
    case: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Truncated, foreign, cyclic, absurd, or with data elsewhere: refused by the verbs used first."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", GRAPHS[case])
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("verb", OTHERS)
@pytest.mark.parametrize("case", SOME)
def test_every_other_verb_passes_through_the_same_check(
    case: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Conversions, comparisons and measurements refuse the same graphs, before anything is measured."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", GRAPHS[case])
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("verb", ["predict", "bundle"])
@pytest.mark.parametrize("case", SIDECARS)
def test_sidecar_files_of_wrong_types(
    case: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``graph.json`` and ``encoding.json`` are read through their models, in every verb."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", SIDECARS[case])
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("verb", ["predict", "quantize", "static", "fp16", "calibrate", "compare", "bench"])
@pytest.mark.parametrize("case", RUNS)
def test_what_only_a_run_shows(
    case: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph that ONNX Runtime cannot run, or whose outputs are not the task's, is named as the culprit."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", RUNS[case])
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("verb", ["bundle", "predict", "export"])
@pytest.mark.parametrize("case", TORCH)
def test_weights_that_were_sealed_anew(
    case: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that are cut or none, and ``shapes.json`` of wrong types."""
    bad = sealed_anew(good.torch, tmp_path / "bad", TORCH[case])
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


def test_what_is_whole_is_let_through(
    good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same copies without a change pass every check, with weights in a file of their own too."""
    rows = tiny_deploy.text_rows()
    beside = tiny_deploy.run(
        "export_onnx", good.torch, tmp_path / "beside", rows, external_data=True
    ).artifact
    assert "model.onnx.data" in beside.manifest.files
    for artifact in (good.torch, good.onnx, beside):
        same = sealed_anew(artifact, tmp_path / f"same-{artifact.path.name}", lambda folder: None)
        content.check(Artifact.open(same))
        for verb in ("verify", "show", "predict", "bundle"):
            code, message = call(verbs(good, same, tmp_path / f"{verb}-{same.name}")[verb], capsys)
            assert code == 0, (verb, message)


@pytest.mark.parametrize("verb", ["verify", "show", "predict", "bundle", "quantize", "compare", "bench"])
def test_no_byte_of_a_manifest_changes_unseen(
    verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 bytes all over a manifest, flipped: each is found in every verb (18 of 40 once were not)."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", lambda folder: None)
    manifest = bad / "manifest.json"
    original = manifest.read_bytes()
    out = tmp_path / "out"
    for number in range(40):
        place = number * (len(original) - 1) // 39
        manifest.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
        refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "manifest.json", "graph.json"])
@pytest.mark.parametrize("verb", ["verify", "show", "predict", "bundle"])
def test_a_sealed_file_that_became_a_link(
    name: str, verb: str, good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to a copy, byte for byte the same, is no file of the artifact."""
    bad = sealed_anew(good.onnx, tmp_path / "bad", lambda folder: None)
    tiny_hostile.linked(bad, name)
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


@pytest.mark.parametrize("case", [*SOME, *RUNS])
def test_fusing_passes_through_it_too(case: str, good: SimpleNamespace, tmp_path: Path) -> None:
    """The stage that no verb runs alone refuses the same graphs."""
    change = GRAPHS.get(case) or RUNS[case]
    bad = Artifact.open(sealed_anew(good.onnx, tmp_path / "bad", change))
    with pytest.raises(UserError):
        tiny_deploy.run("optimize_onnx", bad, tmp_path / "out", tiny_deploy.text_rows())


def _engine(good: SimpleNamespace, folder: Path) -> Artifact:
    """An engine as far as a machine without a GPU sees it: the model's sidecars, bytes, a passport."""
    content_ = b"a serialized engine"
    shutil.copytree(good.torch.path, folder)
    (folder / "model.safetensors").unlink()
    (folder / "manifest.json").unlink()
    (folder / passport.ENGINE).write_bytes(content_)
    shape = profiles.shape(profiles.parse("batch=1:8:32,length=1:16:32"), {"input_ids": ["batch", "length"]})
    passport.write(
        folder,
        passport.Passport(
            flavor="tensorrt",
            tensorrt="10.16.1",
            gpu=None,
            precision="fp16",
            typing="strong",
            options=passport.BuildOptions(),
            profiles=(shape,),
            onnx_sha256="0" * 64,
            source_id="1" * 64,
            engine_sha256=hashlib.sha256(content_).hexdigest(),
            engine_bytes=len(content_),
            build_seconds=1.5,
        ),
    )
    graph_facts.write(folder, graph_facts.GraphFacts(precision="fp16", opset=17, exporter="torchscript"))
    return tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")


@pytest.mark.parametrize("verb", ["verify", "show", "predict", "bundle"])
@pytest.mark.parametrize(
    "change",
    [
        tiny_hostile.written("engine.json", ""),
        tiny_hostile.written("engine.json", "[]"),
        tiny_hostile.written("engine.json", "[" * 100_000),
        tiny_hostile.removed("engine.json"),
        tiny_hostile.removed("model.engine"),
        tiny_hostile.written("model.engine", b""),
        tiny_hostile.written("model.engine", b"another engine"),
        tiny_hostile.field("engine.json", engine_bytes="many"),
        tiny_hostile.field("engine.json", profiles=[]),
        tiny_hostile.field("engine.json", profiles=[{"axes": 5}]),
        tiny_hostile.field("engine.json", gpu="a GPU"),
        tiny_hostile.field("engine.json", schema_version=9),
    ],
)
def test_an_engine_that_was_sealed_anew(
    change: tiny_hostile.Change,
    verb: str,
    good: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An engine's passport is read through its model, and is of the engine that lies beside it."""
    engine = _engine(good, tmp_path / "whole")
    content.check(engine)
    bad = sealed_anew(engine, tmp_path / "bad", change)
    out = tmp_path / "out"
    refused(verbs(good, bad, out)[verb], out, capsys)


def test_the_sentence_names_file_and_field(good: SimpleNamespace, tmp_path: Path) -> None:
    """What a user reads: which file, what was found, what is allowed."""
    for case, words in (
        (GRAPHS["external device"], r"lies in '/dev/zero', which is no file of the artifact"),
        (GRAPHS["opset 9999"], r"asks for opset 9999, and the installed onnx .* knows 1 to"),
        (GRAPHS["custom domain"], r"of domain 'my\.own' .* custom operators are not run"),
        (GRAPHS["a loop without an end"], r"has a loop \(node 'endless', Loop\)"),
        (GRAPHS["renamed input"], r"takes ids, attention_mask, token_type_ids and gives logits; a model for"),
        (
            SIDECARS["graph.json opset='17'"],
            r"graph\.json is damaged .*opset: Input should be a valid integer",
        ),
    ):
        folder = tmp_path / str(abs(hash(words)))
        bad = sealed_anew(good.onnx, folder, case)
        with pytest.raises(content.ArtifactError, match=words):
            content.check(Artifact.open(bad))


def test_recorded_data_of_wrong_types(
    good: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data that a manifest records is read through its model, in the verbs that take it from there."""
    from compress.artifacts import artifact as artifacts

    bad = sealed_anew(good.onnx, tmp_path / "bad", lambda folder: None)
    origin = good.onnx.manifest.origin.model_copy(update={"data": {"source": 5, "more": []}})
    artifacts.write_manifest(bad, good.onnx.manifest.model_copy(update={"origin": origin}))
    out = tmp_path / "out"
    for arguments in (
        ["quantize", str(bad), "--out", str(out), "--store", str(good.store)],
        ["compare", str(bad), str(bad), "--store", str(good.store)],
        ["bundle", str(bad), "--build-on-target", "--out", str(out), "--store", str(good.store)],
    ):
        refused(arguments, out, capsys)
    assert json.loads((bad / "manifest.json").read_text())["origin"]["data"]["source"] == 5
