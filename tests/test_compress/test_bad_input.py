"""Models that cannot be used: exit code 2, one sentence with what to do, no traceback, nothing left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

from compress.artifacts.store import Store
from paredown import app

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path, text_data: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command that must be refused; gives its one sentence."""

    def _refuse(*arguments: str | Path, data: Path = text_data) -> str:
        store, out = tmp_path / "store", tmp_path / "never"
        words = [str(argument) for argument in arguments]
        with pytest.raises(SystemExit) as left:
            app.main([*words, "--data", str(data), "--out", str(out), "--store", str(store)])
        streams = capsys.readouterr()
        assert left.value.code == 2, streams.err
        assert streams.out == ""
        assert "Traceback" not in streams.err
        sentences = [line for line in streams.err.splitlines() if line.startswith("paredown: ")]
        assert len(sentences) == 1, streams.err
        assert not out.exists()
        building = store / "building"
        assert not building.exists() or not list(building.iterdir())
        assert all(entry.artifact.manifest.stage == "load" for entry in Store(store).entries())
        return sentences[0]

    return _refuse


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _configure(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_folder_without_a_model(tmp_path: Path, refuse: Refuse) -> None:
    """An empty folder, a path that is not there, and a single file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("hello")
    assert "empty holds no model (no config.json): give a Hugging Face model folder" in refuse(
        "export", tmp_path / "empty"
    )
    assert "There is no folder ./nowhere: check the path" in refuse("export", "./nowhere")
    assert "file.txt is a file: give the folder that holds config.json" in refuse(
        "export", tmp_path / "file.txt"
    )
    assert "is not in the local cache while HF_HUB_OFFLINE is set" in refuse("export", "someone/something")


def test_a_model_without_weights(text_model: Path, refuse: Refuse) -> None:
    """A config alone is not a model."""
    (text_model / "model.safetensors").unlink()
    assert "holds no weights (no model.safetensors, no model.safetensors.index.json)" in refuse(
        "export", text_model
    )


def test_a_pickle(text_model: Path, refuse: Refuse) -> None:
    """Weights in a format that can run code are refused unopened, with how to convert them."""
    (text_model / "model.safetensors").unlink()
    (text_model / "pytorch_model.bin").write_bytes(b"not even a pickle")
    message = refuse("export", text_model)
    assert "holds its weights as pytorch_model.bin, a format that can run code when it is opened" in message
    assert "save_pretrained('NEW')" in message


def test_a_model_of_another_task(text_model: Path, tmp_path: Path, refuse: Refuse) -> None:
    """The task that was asked for is compared with the model's own class."""
    tags = [{"tokens": ["a", "film"], "tags": ["O", "B-work"]} for _ in range(40)]
    for split in ("train", "validation"):
        tiny.write_jsonl(tmp_path / "tags" / f"{split}.jsonl", tags)
    message = refuse("export", text_model, "--task", "token-classification", data=tmp_path / "tags")
    assert "is a BertForSequenceClassification, which is no model for token-classification" in message
    _configure(text_model, architectures=["SegformerForSemanticSegmentation"])
    message = refuse("export", text_model)
    assert "(task 'image-segmentation'), which" in message
    message = refuse("export", text_model, "--task", "text-clasification")
    assert "Unknown task 'text-clasification'. Did you mean 'text-classification'?" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float, text_model: Path, refuse: Refuse) -> None:
    """NaN and infinity are found before anything is computed, and the weight is named."""
    name = "bert.encoder.layer.1.output.dense.weight"
    _edit(text_model, lambda weights: weights[name].view(-1)[5:7].fill_(value))
    message = refuse("export", text_model)
    assert f"the weight {name} holds 2 values of 2048 that are no numbers (NaN or infinity)" in message


def test_no_tokenizer(text_model: Path, refuse: Refuse) -> None:
    """A text model without a tokenizer is refused before its weights are read."""
    (text_model / "tokenizer.json").unlink()
    (text_model / "tokenizer_config.json").unlink()
    assert "has no tokenizer" in refuse("export", text_model)


def test_damaged_files(text_model: Path, refuse: Refuse) -> None:
    """A truncated weight file and a config that is no JSON are each named."""
    weights = text_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    assert "model.safetensors is damaged" in refuse("export", text_model)
    (text_model / "config.json").write_text('{"model_type": "bert"')
    assert "config.json: this is not valid JSON" in refuse("export", text_model)


def test_weights_and_config_of_different_models(text_model: Path, refuse: Refuse) -> None:
    """A width that does not fit is named with both shapes."""
    _configure(text_model, intermediate_size=32)
    assert "weights and configuration are not of the same model" in refuse("export", text_model)


def test_a_tampered_artifact(
    text_model: Path, tmp_path: Path, refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sealed model whose bytes changed, or that lost or gained a file, is not opened."""
    from compress.pipeline import building

    sealed = building.open_artifact(text_model, store=Store(tmp_path / "other")).path
    capsys.readouterr()
    for damage, reason in (
        (lambda copy: (copy / "config.json").write_text("{}"), "changed config.json"),
        (lambda copy: (copy / "tokenizer.json").unlink(), "missing tokenizer.json"),
        (lambda copy: (copy / "extra.bin").write_bytes(b"x"), "added extra.bin"),
    ):
        copy = tmp_path / "tampered"
        shutil.copytree(sealed, copy)
        damage(copy)
        message = refuse("export", copy)
        assert f"is not what was sealed: {reason}" in message
        assert "nothing of it was loaded" in message
        shutil.rmtree(copy)


def test_an_adapter_that_does_not_fit(text_model: Path, tmp_path: Path, refuse: Refuse) -> None:
    """A LoRA adapter of a wider model, one that cannot be merged, and one whose base is gone."""
    import peft

    wide = tiny.text_model(tmp_path / "wide", hidden=48)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(wide)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "base_model_name_or_path": str(text_model)}))
    assert "does not fit the base model (BertForSequenceClassification)" in refuse(
        "export", tmp_path / "adapter"
    )
    file.write_text(json.dumps({**content, "base_model_name_or_path": "gone/away"}))
    message = refuse("export", tmp_path / "adapter")
    assert "is for the base model 'gone/away', which was not found" in message
    file.write_text(json.dumps({**content, "peft_type": "PREFIX_TUNING"}))
    assert "uses prefix tuning, which cannot be merged into the weights" in refuse(
        "export", tmp_path / "adapter"
    )


def test_a_model_with_code_of_its_own(text_model: Path, refuse: Refuse) -> None:
    """Python files in a model folder are never run."""
    (text_model / "modeling.py").write_text("raise SystemExit('it was run')")
    _configure(text_model, auto_map={"AutoModelForSequenceClassification": "modeling.Model"})
    assert "brings Python code of its own (auto_map in config.json), which paredown never runs" in refuse(
        "export", text_model
    )


def test_a_verb_that_takes_a_graph_and_is_given_none(
    text_model: Path, tmp_path: Path, refuse: Refuse
) -> None:
    """A path that is not there is said to be so, a model folder to be none; not "change the order"."""
    missing = tmp_path / "nowhere"
    for verb in ("quantize", "build"):
        message = refuse(verb, missing)
        assert f"{missing} does not exist" in message
        assert "paredown export" in message
        message = refuse(verb, text_model)
        assert "is no sealed artifact" in message
        assert "change the order" not in message
