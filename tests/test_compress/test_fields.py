"""A ``config.json`` of wrong types is refused by file and field, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import ModelError
from compress.model import adapters, architecture, fields, length
from paredown import app

_WRONG = ("text", [], [[1]], 1.5, -7, float("nan"), float("inf"), 10**9, 2**70, {}, True)
_FIELDS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size")


@pytest.mark.parametrize("value", _WRONG, ids=str)
@pytest.mark.parametrize("name", _FIELDS)
def test_a_wrong_size_names_the_field_and_what_is_allowed(name: str, value: Any) -> None:
    """Every wrong type and every absurd size of what decides the shape is one sentence."""
    with pytest.raises(ModelError, match=f"here: {name} is .*allowed is"):
        fields.check({"model_type": "bert", name: value}, "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "nonsense"),
        ("architectures", "BertModel"),
        ("id2label", ["a", "b"]),
        ("id2label", {"a": 0}),
        ("label2id", {"a": "b"}),
        ("hidden_act", 7),
        ("layer_norm_eps", float("nan")),
        ("quantization_config", {"quant_method": "absent"}),
    ],
)
def test_other_fields_are_named_too(name: str, value: Any) -> None:
    """Labels, precision, classes and quantized weights are refused by the field's name."""
    with pytest.raises(ModelError, match=f"here: {name}"):
        fields.check({"model_type": "bert", name: value}, "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [("depths", [1, 2**40]), ("block_sizes", [[10**9]]), ("num_stages", 10**9), ("num_repeats", -(2**40))],
)
def test_what_counts_modules_is_bounded_under_any_name(name: str, value: Any) -> None:
    """ResNet's depths of 2^40 built layers until the machine was switched off."""
    with pytest.raises(ModelError, match=rf"here: {name} is .*a whole number up to 16,384"):
        fields.check({"model_type": "resnet", name: value}, "here")
    fields.check({"model_type": "resnet", name: [[2, 3], 4], "vocab_size_per_layer_input": 262_144}, "here")


def test_a_model_beyond_the_memory_is_refused_before_it_is_built() -> None:
    """The estimate from the widths alone is compared with the machine's memory."""
    content = {"model_type": "bert", "hidden_size": 2**20, "num_hidden_layers": 2048}
    with pytest.raises(ModelError, match=r"parameters.*this machine has"):
        fields.check(content, "here")


def test_a_good_configuration_passes(text_model: Path) -> None:
    """What transformers writes is read as it is."""
    assert architecture.read_config(text_model)["model_type"] == "bert"


@pytest.mark.parametrize("value", ["text", 10**9, -1.5])
def test_predict_leaves_with_exit_code_2_and_the_field(
    text_model: Path, tmp_path: Path, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line gives one sentence with file and field, and no traceback."""
    file = text_model / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": value}))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a good film"}\n')
    with pytest.raises(SystemExit) as leaving:
        app.main(["predict", str(text_model), "--file", str(rows)])
    printed = capsys.readouterr().err
    assert leaving.value.code == 2
    assert "config.json: num_hidden_layers is" in printed
    assert "Traceback" not in printed


def test_an_adapter_beside_a_whole_model_is_refused(text_model: Path) -> None:
    """Transformers would apply the adapter to the weights beside it: neither is taken in silence."""
    (text_model / adapters.CONFIG).write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match=r"holds an adapter .* and a whole model"):
        adapters.is_adapter(text_model)


def test_relative_positions_have_no_limit() -> None:
    """XLNet's -1 is no table of positions ("takes at most -1 tokens" was said)."""
    from transformers import XLNetConfig

    assert length.positions(XLNetConfig()) is None
