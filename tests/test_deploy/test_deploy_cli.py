"""The verbs export, quantize, compare and predict, through the root command, store and data and all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from compress.artifacts.artifact import Artifact
from paredown import app

Call = Any


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder, its data and room for results, shared by all tests of this file."""
    folder = tmp_path_factory.mktemp("cli")
    return {
        "model": tiny.text_model(folder / "model"),
        "data": tiny.text_data(folder / "data"),
        "out": folder / "out",
        "store": folder / "store",
    }


@pytest.fixture
def call(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Run a command line; gives exit code, stdout and stderr."""
    monkeypatch.setenv("PAREDOWN_STORE", str(places["store"]))

    def _call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return _call


@pytest.fixture
def folders(call: Call, places: dict[str, Path]) -> dict[str, Path]:
    """The chain export, then INT8, built once and delivered."""
    out = places["out"]
    if not (out / "onnx").exists():
        code, text, err = call(
            "export", places["model"], "--data", places["data"], "--out", out / "onnx", "--json"
        )
        assert code == 0, err
        assert json.loads(text)["kind"] == "onnx"
        code, text, err = call("quantize", out / "onnx", "--out", out / "int8", "--json")
        assert code == 0, err
        assert json.loads(text)["facts"]["against_float"]["rows"] >= 8
    return {"onnx": out / "onnx", "int8": out / "int8", **places}


def test_export_and_quantize_give_sealed_artifacts(folders: dict[str, Path]) -> None:
    """Lineage and data are on record; quantize took the data that export was given."""
    int8 = Artifact.open(folders["int8"])
    assert [step.stage for step in int8.manifest.lineage] == ["load", "export-onnx", "quantize-onnx"]
    assert int8.manifest.origin.data == Artifact.open(folders["onnx"]).manifest.origin.data


def test_other_precisions_and_modes(folders: dict[str, Path], call: Call) -> None:
    """fp16 and static INT8 for TensorRT from the same graph, with options by name and by --set."""
    code, text, err = call(
        "quantize", folders["onnx"], "--precision", "fp16", "--out", folders["out"] / "fp16", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["config"]["precision"] == "fp16"
    code, text, err = call(
        *("quantize", folders["onnx"], "--mode", "static", "--target", "tensorrt", "--ranges", "percentile"),
        *("--keep-float", "pooler", "--keep-float", "layer.0", "--set", "percentile=99.9"),
        *("--out", folders["out"] / "trt", "--json"),
    )
    assert code == 0, err
    config = json.loads(text)["config"]
    assert (config["percentile"], config["keep_float"]) == (99.9, ["pooler", "layer.0"])
    code, text, err = call(
        "quantize", folders["onnx"], "--keep-float", "auto", "--out", folders["out"] / "auto", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["config"]["keep_float"] == "auto"


def test_export_can_fuse(folders: dict[str, Path], call: Call) -> None:
    """One verb, two stages; the delivered artifact is the fused one."""
    code, text, err = call(
        "export",
        folders["model"],
        "--data",
        folders["data"],
        "--fuse",
        "--out",
        folders["out"] / "f",
        "--json",
    )
    assert code == 0, err
    assert [step["stage"] for step in json.loads(text)["lineage"]] == ["load", "export-onnx", "optimize-onnx"]


def test_compare_shows_and_gives_figures(folders: dict[str, Path], call: Call) -> None:
    """On the evaluation rows of the recorded data, or of --data; as a table and as JSON."""
    code, text, err = call("compare", folders["onnx"], folders["int8"], "--json", "--layers")
    assert code == 0, err
    comparison = json.loads(text)
    assert comparison["rows"] == 60
    assert comparison["agreement"] > 0.9
    assert len(comparison["layers"]) == 2
    code, text, err = call(
        "compare", folders["model"], folders["int8"], "--data", folders["data"], "--rows", "10"
    )
    assert code == 0, err
    assert "agreement" in text
    assert "(10 of 10)" in text or "of 10)" in text
    words = ("compare", folders["onnx"], folders["int8"], "--rows", "10", "--layers", "--layer-limit")
    assert json.loads(call(*words, "0", "--json")[1])["first_diverging"] == 1
    assert json.loads(call(*words, "9", "--json")[1])["first_diverging"] is None


def test_one_file_of_rows_is_enough(folders: dict[str, Path], call: Call, tmp_path: Path) -> None:
    """A file given to a stage is what it learns from; given to compare, what is compared on."""
    code, text, err = call(
        *("quantize", folders["onnx"], "--data", folders["data"] / "train.jsonl", "--mode", "static"),
        *("--out", tmp_path / "int8", "--json"),
    )
    assert code == 0, err
    assert json.loads(text)["facts"]["data"]["rows"]["eval"] == 0
    rows = folders["data"] / "validation.jsonl"
    code, text, err = call("compare", folders["onnx"], tmp_path / "int8", "--data", rows, "--json")
    assert code == 0, err
    assert json.loads(text)["rows"] == 60


def test_predict_one_text_and_a_file(folders: dict[str, Path], call: Call, tmp_path: Path) -> None:
    """A label with its share; JSON lines in, JSON lines out in the same order."""
    code, text, err = call("predict", folders["int8"], "a good film")
    assert code == 0, err
    assert text.splitlines()[0] in {"negative", "positive"}
    code, text, err = call("predict", folders["int8"], "a good film", "--json")
    alone = json.loads(text)
    assert sum(alone["probabilities"].values()) == pytest.approx(1.0, abs=1e-6)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('\ufeff{"text": "bad story"}\n\n{"text": "a good film"}\n', encoding="utf-8")
    code, text, err = call("predict", folders["int8"], "--file", rows, "--batch-size", "1")
    assert code == 0, err
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 2
    assert lines[1]["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


def test_two_texts_are_a_pair_only_where_the_model_takes_pairs(
    folders: dict[str, Path], call: Call, tmp_path: Path
) -> None:
    """A model of single texts refuses two, one of pairs refuses one; where none is known, stderr says so."""
    code, text, err = call("predict", folders["int8"], "a good film", "a bad film")
    assert (code, text) == (2, "")
    assert "row 1 has text and text_pair, but the model was made with rows of text: leave text_pair" in err
    assert "--file ROWS.jsonl" in err
    both = tmp_path / "both.jsonl"
    tiny.write_jsonl(both, [{"text": "a"}, {"text": "a", "text_pair": "b"}])
    code, _, err = call("predict", folders["int8"], "--file", both)
    assert code == 2
    assert "row 2 has text and text_pair" in err

    pairs = tmp_path / "pairs"
    for split in ("train", "validation"):
        rows = [json.loads(line) for line in (folders["data"] / f"{split}.jsonl").read_text().splitlines()]
        tiny.write_jsonl(pairs / f"{split}.jsonl", [{**row, "hypothesis": "a film"} for row in rows])
    code, _, err = call("export", folders["model"], "--data", pairs, "--out", tmp_path / "onnx")
    assert code == 0, err
    code, _, err = call("predict", tmp_path / "onnx", "a good film")
    assert code == 2
    assert "row 1 has text, but the model was made with rows of text and text_pair: give text_pair too" in err
    code, text, err = call("predict", tmp_path / "onnx", "a good film", "a bad film")
    assert code == 0, err
    assert "pair" not in err

    code, text, err = call("predict", folders["model"], "a good film", "a bad film", "--json")
    assert code == 0, err
    assert "label" in json.loads(text)
    assert "The model does not say whether it takes pairs: the texts are read as one pair" in err
    assert "pair" not in call("predict", folders["model"], "a good film")[2]


def test_mistakes_are_one_sentence_and_exit_2(folders: dict[str, Path], call: Call, tmp_path: Path) -> None:
    """Each says what is wrong and what is allowed; no traceback, nothing delivered."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"text": \n')
    listed = tmp_path / "list.jsonl"
    listed.write_text("[1]\n")
    wrong = [
        (
            ("quantize", folders["onnx"], "--precision", "int4"),
            "--precision is 'int4'; allowed: int8, fp8, fp16, bf16",
        ),
        (
            ("quantize", folders["onnx"], "--precision", "fp16", "--mode", "static"),
            "--mode belongs to int8 and fp8",
        ),
        (("quantize", folders["onnx"], "--set", "percentil=99"), "unknown key 'percentil'"),
        (
            ("quantize", folders["onnx"], "--target", "tensorrt", "--mode", "dynamic"),
            "write mode: static",
        ),
        (("predict", folders["int8"]), "give a text to predict, or --file"),
        (("predict", folders["int8"], "x", "--file", broken), "one of the two"),
        (("predict", folders["int8"], "--file", broken), "line 2: this is not valid JSON"),
        (("predict", folders["int8"], "--file", listed), "line 1: a row must be an object"),
        (("predict", folders["int8"], "--file", tmp_path / "no.jsonl"), "cannot be read"),
        (("predict", folders["int8"], "x", "--runtime", "pytorch"), "opens torch artifacts"),
        (("predict", folders["int8"], "x", "y", "z"), "3 arguments are given, and predict takes one row"),
    ]
    for words, sentence in wrong:
        code, _, err = call(*words, *(("--out", tmp_path / "never") if words[0] == "quantize" else ()))
        assert code == 2, (words, err)
        assert sentence in " ".join(err.split()), (words, err)
        assert "Traceback" not in err
    assert not (tmp_path / "never").exists()


def test_fp8_is_made_for_tensorrt_and_runs_nowhere_else(folders: dict[str, Path], call: Call) -> None:
    """The target follows from the precision; asking for a prediction says where it would run."""
    fp8 = folders["out"] / "fp8"
    code, text, err = call("quantize", folders["onnx"], "--precision", "fp8", "--out", fp8, "--json")
    assert code == 0, err
    config = json.loads(text)["config"]
    assert (config["precision"], config["target"]) == ("fp8", "tensorrt")
    code, _, err = call("predict", fp8, "a lovely film")
    assert code == 2
    assert "build a TensorRT engine of this graph for a GPU of compute capability 8.9" in " ".join(
        err.split()
    )


def test_a_tampered_artifact_is_refused(folders: dict[str, Path], call: Call, tmp_path: Path) -> None:
    """One byte changed in the graph: exit 2, and the file is named."""
    import shutil

    folder = tmp_path / "tampered"
    shutil.copytree(folders["int8"], folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[100] ^= 1
    (folder / "model.onnx").write_bytes(content)
    for words in (("predict", folder, "x"), ("quantize", folder), ("compare", folders["onnx"], folder)):
        code, _, err = call(*words)
        assert code == 2
        assert "changed model.onnx" in err
        assert "Traceback" not in err


def test_help_needs_nothing_heavy() -> None:
    """The verbs are registered without torch, numpy or onnxruntime."""
    import subprocess
    import sys

    code = (
        "import sys; from paredown.app import app; "
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime'}; "
        "names = [one.name or one.callback.__name__ for one in app.registered_commands]; "
        "print(*sorted(names), sorted(heavy & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *names, heavy = process.stdout.strip().split(" ")
    assert {"export", "quantize", "build", "bundle", "compare", "predict"} <= set(names)
    assert heavy == "[]"


def headed(folder: Path, outputs: int, problem: str | None) -> Path:
    """The tiny model with so many outputs, and a configuration that says what they are, or nothing."""
    from transformers import AutoModelForSequenceClassification

    tiny.text_model(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=outputs, ignore_mismatched_sizes=True
    )
    model.config.problem_type = problem
    model.config.id2label = {i: f"tag {i}" for i in range(outputs)}
    model.config.label2id = {f"tag {i}": i for i in range(outputs)}
    model.save_pretrained(folder)
    return folder


def plain(folder: Path, text: str) -> Any:
    """The outputs that transformers gives for one text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return AutoModelForSequenceClassification.from_pretrained(folder)(**encoded).logits[0]


def test_predict_shows_the_scores_of_several_labels(call: Call, tmp_path: Path) -> None:
    """Each label's own probability, in JSON and in the terminal, those that are on or not."""
    folder = headed(tmp_path / "tags", 3, "multi_label_classification")
    shares = plain(folder, "a good film").sigmoid().tolist()
    code, text, err = call("predict", folder, "a good film", "--json")
    assert code == 0, err
    prediction = json.loads(text)
    assert prediction["unit"] == "probability"
    assert prediction["scores"] == pytest.approx(
        dict(zip(("tag 0", "tag 1", "tag 2"), shares, strict=True)), abs=1e-5
    )
    on = [f"tag {i}" for i, share in enumerate(shares) if share >= 0.5]
    assert prediction["label"] == on
    lines = call("predict", folder, "a good film")[1].splitlines()
    assert lines[0] == (", ".join(on) or "none of the labels")
    assert sorted(line.split(maxsplit=1)[1] for line in lines[1:]) == ["tag 0", "tag 1", "tag 2"]
    assert max(float(line.split()[0]) for line in lines[1:]) == pytest.approx(max(shares), abs=1e-4)


@pytest.mark.parametrize(
    ("problem", "unit"),
    [("regression", "value"), (None, "logit"), ("multi_label_classification", "probability")],
)
def test_predict_says_what_a_single_output_is(
    call: Call, tmp_path: Path, problem: str | None, unit: str
) -> None:
    """A regression's value, the raw output of a model that does not say, or one label's probability."""
    folder = headed(tmp_path / "one", 1, problem)
    raw = plain(folder, "a good film")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a good film"}\n')
    for words in (("a good film", "--json"), ("--file", rows)):
        code, text, err = call("predict", folder, *words)
        assert code == 0, err
        prediction = json.loads(text)
        assert prediction["unit"] == unit
        number = prediction["scores"]["tag 0"] if unit == "probability" else prediction["label"]
        assert number == pytest.approx(float(raw.sigmoid() if unit == "probability" else raw), abs=1e-5)
    lines = call("predict", folder, "a good film")[1].splitlines()
    if unit != "probability":
        assert lines[0].endswith(f" ({unit})")
        assert float(lines[0].split()[0]) == pytest.approx(float(raw), abs=1e-5)
    else:
        assert lines[1].endswith(" tag 0")
