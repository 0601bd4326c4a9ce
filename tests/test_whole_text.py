"""The whole text: the model's own limit, the original beside its artifacts, and what is said of a cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers

import deploy
from bench.record.document import read
from bench.report.markdown import page
from compress.errors import RecipeError
from compress.model import limit
from compress.model.tokenizer_files import settled
from compress.recipe import DataConfig
from paredown import app
from paredown.verbs import _options

LONG = " ".join(["the", "film", "was", "good", "and", "bright"] * 9)  # 56 tokens with the special ones


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of 64 positions, short training rows, and long evaluation rows."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.write_jsonl(folder / "data/train.jsonl", tiny.sentences(120, 1))
    rows = [
        {"text": " ".join(str(row["text"]) for row in tiny.sentences(4, seed)), "label": seed % 2}
        for seed in range(24)
    ]
    tiny.write_jsonl(folder / "data/validation.jsonl", rows)
    (folder / "data/labels.json").write_text('["negative", "positive"]')
    model = tiny.text_model(folder / "model")
    return {"model": model, "data": tiny.answer(model, folder / "data"), "out": folder / "out"}


@pytest.fixture
def call(places: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line; gives exit code, stdout and stderr."""
    monkeypatch.setenv("PAREDOWN_STORE", str(places["out"].parent / "store"))

    def _call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, " ".join(err.split())

    return _call


@pytest.fixture
def graphs(call: Any, places: dict[str, Path]) -> dict[str, Path]:
    """The model as graphs: with its own limit, and with that of the training rows."""
    for name, more in (("whole", ()), ("short", ("--max-length", "data"))):
        if not (places["out"] / name).exists():
            code, _, err = call(
                "export", places["model"], "--data", places["data"], "--out", places["out"] / name, *more
            )
            assert code == 0, err
    return {**places, "whole": places["out"] / "whole", "short": places["out"] / "short"}


def transformers_says(folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Labels by plain transformers, one row at a time, whole texts."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    labels = []
    for row in rows:
        encoded = tokenizer(row["text"], truncation=True, return_tensors="pt")
        with torch.no_grad():
            labels.append(model.config.id2label[int(model(**encoded).logits.argmax())])
    return labels


def test_an_artifact_sees_what_the_model_sees(graphs: dict[str, Path]) -> None:
    """Trained on short rows, a graph reads texts as long as its model does (simpletransformers 1574)."""
    lines = (graphs["data"] / "validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert limit.read(graphs["whole"]) == limit.Limit(64, "model")
    with deploy.load(graphs["whole"], threads=1) as model:
        predictions = model.predict([row["text"] for row in rows])
    assert [prediction.label for prediction in predictions] == transformers_says(graphs["model"], rows)
    assert not any(prediction.truncated for prediction in predictions)


def test_the_original_keeps_its_limit_in_a_comparison(call: Any, graphs: dict[str, Path]) -> None:
    """Beside an artifact that is cut to its training rows the original scores as plain transformers does."""
    rows = [json.loads(line) for line in (graphs["data"] / "validation.jsonl").read_text().splitlines()]
    labels = transformers_says(graphs["model"], rows)
    right = np.mean([row["label"] == label for row, label in zip(rows, labels, strict=True)])
    report = graphs["out"] / "report.json"
    pair = (graphs["model"], graphs["short"])
    code, out, err = call("bench", *pair, "--data", graphs["data"], "--probes", "accuracy", "--json", report)
    assert code == 0, err
    comparison = read(report)
    assert comparison.find(comparison.baseline, "accuracy").value == pytest.approx(right)  # type: ignore[union-attr]
    original, short = (candidate.truncation for candidate in comparison.candidates)
    assert original is not None
    assert short is not None
    tokens = np.array([len(row["text"].split()) + 2 for row in rows])
    assert (original.limit, original.whose, original.cut) == (64, "model", int((tokens > 64).sum()))
    assert (short.limit, short.whose) == (limit.read(graphs["short"]).tokens, "rows")
    assert short.cut == short.beyond_baseline == int((tokens > short.limit).sum()) > 0  # type: ignore[operator]
    sentence = (
        f"short: {short.cut} of 24 evaluation rows ({100 * short.share:.2f} %) were cut to {short.limit}"
    )
    assert sentence in " ".join(out.split()) + err
    assert sentence in page(comparison)


def test_predict_says_what_it_cut(call: Any, graphs: dict[str, Path], tmp_path: Path) -> None:
    """One line on stderr, a mark in the row's JSON, and a flag in Python; rows that fit have none of it."""
    tokens = limit.read(graphs["short"]).tokens
    code, out, err = call("predict", graphs["short"], LONG, "--json")
    assert code == 0
    assert json.loads(out)["truncated"] is True
    assert f"1 of 1 rows (100.00 %) was cut to {tokens} tokens (the limit of the training rows" in err
    code, out, err = call("predict", graphs["short"], "a good film", "--json")
    assert "truncated" not in json.loads(out)
    assert "cut" not in err
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", [{"text": LONG}, {"text": "bad"}, {"text": LONG}])
    code, out, err = call("predict", graphs["short"], "--file", file, "--batch-size", "2")
    assert ["truncated" in json.loads(line) for line in out.splitlines()] == [True, False, True]
    assert err.count("2 of 3 rows (66.67 %) were cut") == 1
    with deploy.load(graphs["short"], threads=1) as model:
        assert [prediction.truncated for prediction in model.predict([LONG, "bad"])] == [True, False]
        assert (model.truncation.rows, model.truncation.cut, model.truncation.limit) == (2, 1, tokens)


def test_a_shorter_limit_is_gated(call: Any, graphs: dict[str, Path], tmp_path: Path) -> None:
    """text-int8 passes its gate truncation at the model's limit and fails it where a shorter limit cuts."""
    shared = ("run", "text-int8", "--model", graphs["model"], "--data", graphs["data"])
    fast = ("--set", "bench.probes=[accuracy]", "--set", "bench.rounds=2")
    alone = ("--set", "gates=[{truncation: {at_most: 0%, beyond_baseline: true}}]")
    code, _, err = call(*shared, *fast, *alone, "--out", tmp_path / "whole")
    assert code == 0, err
    out = tmp_path / "short"
    code, stdout, err = call(*shared, *fast, *alone, "--set", "data.max_length=data", "--out", out)
    assert code == 3, err
    assert "sees more of" in " ".join(stdout.split()) + err
    assert "evaluation rows" in (out / "report.html").read_text().split('<p class="cut">')[1]


def test_the_shipped_recipes_gate_what_is_cut() -> None:
    """Every shipped recipe for texts holds what is made to the text that the original sees."""
    from compress import catalog, recipe

    for name in catalog.names("recipe"):
        shipped = recipe.read(name)
        if shipped.task == "text-classification":
            gates = [gate.options for gate in shipped.gates if gate.name == "truncation"]
            assert gates, name
            assert all(gate["at_most"] == "0%" and gate["beyond_baseline"] for gate in gates)


def test_another_limit_for_an_artifact_is_refused(call: Any, graphs: dict[str, Path], tmp_path: Path) -> None:
    """A sealed artifact has its limit: data.max_length is not passed over in silence."""
    code, _, err = call(
        "finetune", graphs["model"], "--data", graphs["data"], "--max-length", "32",
        "--out", tmp_path / "tuned", "--epochs", "1",
    )  # fmt: skip
    assert code == 0, err
    assert limit.read(tmp_path / "tuned") == limit.Limit(32, "recipe")
    code, _, err = call(
        "prune",
        tmp_path / "tuned",
        "--data",
        graphs["data"],
        "--max-length",
        "16",
        "--out",
        tmp_path / "pruned",
    )
    assert code == 2
    assert "has its limit already (32 tokens, the limit that data.max_length chose)" in err
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize("text", ["3", "-1", "rows", "1.5", "9" * 40, "", "٣٤"])
def test_a_token_limit_on_the_command_line(text: str) -> None:
    """A number from 4 on, or the word data."""
    assert _options.data_config("x", max_length="data") == DataConfig(source="x", max_length="data")
    assert _options.data_config("x", max_length="64") == DataConfig(source="x", max_length=64)
    with pytest.raises(RecipeError, match="from 4 on, or the word 'data'"):
        _options.data_config("x", max_length=text)


def baked(folder: Path) -> Path:
    """A model whose tokenizer.json pads each text to 32 tokens, cut to 8 (djl 2669, spiceai 13416)."""
    tiny.text_model(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    file.write_text(json.dumps(content))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_length": 8, "stride": 0}))
    return folder


@pytest.mark.parametrize("more", [(), ("--max-length", "16")])
def test_a_shipped_tokenizer_does_what_the_product_does(
    call: Any, places: dict[str, Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    """Loaded as it is, the artifact's tokenizer.json gives the product's ids; the source stays as it was."""
    from tokenizers import Tokenizer

    from compress.tasks import text_classification as task

    source = baked(tmp_path / "model")
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    code, _, err = call("export", source, "--data", places["data"], "--out", tmp_path / "onnx", *more)
    assert code == 0, err
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    tokens = limit.read(tmp_path / "onnx").tokens
    assert tokens == (16 if more else 64)
    assert settled(tmp_path / "onnx", tokens)
    assert not settled(source, tokens)
    plain = Tokenizer.from_file(str(tmp_path / "onnx/tokenizer.json"))
    processor = task.load_processor(tmp_path / "onnx")
    assert processor.model_max_length == tokens
    head = task.head_of(json.loads((tmp_path / "onnx/config.json").read_text()))
    singles = [{"text": "bad"}, {"text": LONG}, {"text": " ".join([LONG] * 3)}]
    pairs = [{"text": LONG, "text_pair": "bad film"}, {"text": "good", "text_pair": " ".join([LONG] * 3)}]
    for row in [*singles, *pairs]:
        inputs = task.encode([row], processor, head, tokens).inputs
        encoded = plain.encode(*row.values())
        assert encoded.ids == inputs["input_ids"][0].tolist()
        assert encoded.type_ids == inputs["token_type_ids"][0].tolist()
        assert encoded.attention_mask == inputs["attention_mask"][0].tolist()
    code, _, err = call("bundle", tmp_path / "onnx", "--out", tmp_path / "bundle")
    assert code == 0, err
    card = (tmp_path / "bundle/README.md").read_text()
    assert f"`tokenizer.json` cuts a row to {tokens} tokens and pads nothing by itself" in card
    shipped = Tokenizer.from_file(str(tmp_path / "bundle/artifact/tokenizer.json"))
    assert shipped.encode(LONG).ids == plain.encode(LONG).ids
