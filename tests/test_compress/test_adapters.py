"""Adapters: merged exactly, checked against the unmerged model, refused with the reason otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import tiny
import tiny_embedders
import torch
import transformers
from safetensors.torch import load_file, save_file

from compress import catalog
from compress import data as rows
from compress.errors import ModelError
from compress.model import checkpoint, patterns, pretrained
from compress.recipe import DataConfig, validate
from compress.stage import Context
from compress.stages import load
from compress.tasks import text_classification

IDS = torch.tensor([[2, 5, 17, 9, 3], [2, 6, 7, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


def _load(
    folder: Path, *, data: Path | None = None, task: Any = text_classification, **options: Any
) -> SimpleNamespace:
    """Run the load stage into ``folder``."""
    folder.mkdir()
    facts: dict[str, Any] = {}
    training = (
        None if data is None else rows.load(DataConfig(source=str(data)), text_classification, 3).training
    )
    context = Context(
        out=folder,
        scratch=folder,
        task=task,
        data=training,
        seed=3,
        threads=1,
        device="cpu",
        record=facts.__setitem__,
    )
    load.run(None, validate(load.Config, {k: str(v) for k, v in options.items()}, "load"), context)
    return SimpleNamespace(out=folder, facts=facts)


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=IDS, attention_mask=MASK).logits
    return logits


LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value", "dense"]}
METHODS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(task_type="SEQ_CLS", **LORA),
    "dora": lambda: peft.LoraConfig(task_type="SEQ_CLS", use_dora=True, use_rslora=True, **LORA),
    "loha": lambda: peft.LoHaConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"]),
    "lokr": lambda: peft.LoKrConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"]),
    "ia3": lambda: peft.IA3Config(
        task_type="SEQ_CLS", target_modules=["key", "output.dense"], feedforward_modules=["output.dense"]
    ),
}


def _adapt(base: Path, folder: Path, config: Any, labels: int = 2) -> torch.Tensor:
    """Save an adapter with random weights beside its base; gives the unmerged model's logits."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=labels, ignore_mismatched_sizes=True
    )
    wrapped = peft.get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
        assert "modules_to_save" not in name or parameter.requires_grad
    wrapped.save_pretrained(folder)
    return _logits(wrapped)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_merged_adapter_computes_what_the_unmerged_did(
    method: str, text_model: Path, tmp_path: Path
) -> None:
    """Each mergeable method gives the unmerged model's logits, its trained head included."""
    expected = _adapt(text_model, tmp_path / "adapter", METHODS[method]())
    merge = _load(tmp_path / "out", model=tmp_path / "adapter")
    logits = _logits(checkpoint.load(merge.out, text_classification))
    assert torch.allclose(logits, expected, atol=1e-5)
    base = _logits(checkpoint.load(text_model, text_classification))
    assert not torch.allclose(logits, base, atol=1e-2)
    assert merge.facts["adapter"]["max_abs_difference"] < merge.facts["adapter"]["limit"]
    assert merge.facts["adapter"]["rows"] == 16
    assert merge.facts["head"] == "trained"
    assert merge.facts["origin"]["model"] == "text-model + adapter"
    assert not (merge.out / "adapter_config.json").exists()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(merge.out)
    assert torch.allclose(_logits(plain), expected, atol=1e-5)


def test_an_adapter_on_a_base_without_a_padding_id(tmp_path: Path) -> None:
    """Such a base takes one row at a time; the merged model gets the tokenizer's id, and its answer stays."""
    size = len(tiny.vocabulary())
    config = transformers.GPT2Config(
        vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3
    )
    base = tmp_path / "base"
    torch.manual_seed(0)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(base)
    tiny.save_tokenizer(base)
    wrapped = peft.get_peft_model(
        transformers.AutoModelForSequenceClassification.from_pretrained(base),
        peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["c_attn"], fan_in_fan_out=True),
    )
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    wrapped.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = wrapped.eval()(input_ids=IDS[:1]).logits
    merge = _load(tmp_path / "out", model=tmp_path / "adapter")
    merged = checkpoint.load(merge.out, text_classification)
    assert (merged.config.pad_token_id, merge.facts["adapter"]["rows"]) == (0, 16)
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=IDS[:1]).logits, expected, atol=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_an_adapter_on_an_embedder(whole: bool, tmp_path: Path) -> None:
    """It is of the plain encoder, as sentence-transformers saves it, or of the model around it."""
    base = tiny_embedders.folder(tmp_path / "base")
    task = catalog.task("text-embedding")
    model = pretrained.load(base, task, None, 0, fields=task.fields(base, {}, {}, lambda: None)).model
    torch.manual_seed(0)
    config = peft.LoraConfig(task_type=None if whole else "FEATURE_EXTRACTION", r=4, target_modules=["query"])
    wrapped = peft.get_peft_model(model if whole else model.bert, config)
    for name, parameter in wrapped.named_parameters():
        if "lora" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        plain = model.eval()(input_ids=IDS, attention_mask=MASK).embedding
        expected = torch.nn.functional.normalize(plain, dim=-1)  # the folder says so, the bare model does not
    merge = _load(tmp_path / "out", task=task, model=tmp_path / "adapter")
    with torch.no_grad():
        merged = checkpoint.load(merge.out, task).eval()(input_ids=IDS, attention_mask=MASK).embedding
    assert torch.allclose(merged, expected, atol=1e-5)
    assert merge.facts["adapter"]["max_abs_difference"] < merge.facts["adapter"]["limit"]


def test_an_adapter_with_one_output_is_of_the_task_that_is_asked_for(
    text_model: Path, tmp_path: Path
) -> None:
    """The library calls a cross-encoder SEQ_CLS as any classifier: text-ranking takes its head too."""
    expected = _adapt(text_model, tmp_path / "adapter", METHODS["lora"](), labels=1)
    task = catalog.task("text-ranking")
    merge = _load(tmp_path / "out", task=task, model=tmp_path / "adapter")
    merged = checkpoint.load(merge.out, task)
    assert torch.allclose(_logits(merged), expected, atol=1e-5)
    assert task.head_of(merged.config.to_dict()).problem == "ranking"
    assert merge.facts["head"] == "trained"
    assert "labels" not in merge.facts
    _adapt(text_model, tmp_path / "three", METHODS["lora"](), labels=3)
    with pytest.raises(ModelError, match=r"outputs .*, and a model that ranks has one"):
        _load(tmp_path / "other", task=task, model=tmp_path / "three")


def test_base_and_adapter_given_apart(text_model: Path, text_data: Path, tmp_path: Path) -> None:
    """An adapter can be named beside its base; with data it is checked on training rows."""
    expected = _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "gone/away"}))
    merge = _load(tmp_path / "out", model=text_model, adapter=tmp_path / "adapter", data=text_data)
    assert torch.allclose(_logits(checkpoint.load(merge.out, text_classification)), expected, atol=1e-5)
    with pytest.raises(ModelError, match="is for the base model 'gone/away', which was not found"):
        _load(tmp_path / "other", model=tmp_path / "adapter")


def test_a_base_beside_the_adapter_and_its_tokenizer(text_model: Path, tmp_path: Path) -> None:
    """A relative base is looked for beside the adapter; the adapter's own tokenizer comes first."""
    _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    tiny.save_tokenizer(tmp_path / "adapter")
    config = tmp_path / "adapter" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": 40}))
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "../text-model"}))
    merge = _load(tmp_path / "out", model=tmp_path / "adapter")
    assert checkpoint.read_max_length(merge.out) == 40
    assert {
        p.parent.name for p in load.reads(validate(load.Config, {"model": str(tmp_path / "adapter")}, "l"))
    } == {
        "text-model",
        "adapter",
    }


@pytest.mark.parametrize("headless", [False, True])
def test_an_adapter_with_a_head_of_its_own_size(headless: bool, text_model: Path, tmp_path: Path) -> None:
    """The adapter's classifier decides the number of labels, whatever head the base has, if any."""
    base = text_model
    if headless:
        base = tmp_path / "base"
        model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model)
        model.bert.save_pretrained(base)
        tiny.save_tokenizer(base)
    expected = _adapt(base, tmp_path / "adapter", METHODS["lora"](), labels=3)
    merge = _load(tmp_path / "out", model=tmp_path / "adapter")
    head = text_classification.head_of(checkpoint.read_config(merge.out))
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert torch.allclose(_logits(checkpoint.load(merge.out, text_classification)), expected, atol=1e-5)
    assert merge.facts["head"] == "trained"


def _unnamed_base(text_model: Path, folder: Path, **named: Any) -> Path:
    """The base of a classifier, whose config.json names no labels but the given ones."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model)
    model.bert.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    file = folder / "config.json"
    content = json.loads(file.read_text())
    for key in ("id2label", "label2id", "problem_type"):
        content.pop(key, None)
    file.write_text(json.dumps({**content, **named}))
    return folder


def test_names_in_the_base_are_those_of_an_adapter(
    text_model: Path, text_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain peft takes them as well; it is said whose they are."""
    base = _unnamed_base(
        text_model,
        tmp_path / "base",
        id2label={"0": "positive", "1": "negative"},
        label2id={"positive": 0, "negative": 1},
    )
    _adapt(base, tmp_path / "adapter", METHODS["lora"]())
    with caplog.at_level("WARNING", logger="paredown"):
        merge = _load(tmp_path / "out", model=tmp_path / "adapter")
    assert text_classification.head_of(checkpoint.read_config(merge.out)).labels == ("positive", "negative")
    assert merge.facts["labels"] == "of the base"
    assert merge.facts["origin"]["labels"] == {"borrowed_from": "base"}
    assert "are those of the base: 0 = positive, 1 = negative" in caplog.text


def test_labels_of_an_adapter_are_numbered_and_never_guessed(
    text_model: Path, text_data: Path, tmp_path: Path
) -> None:
    """An adapter names no labels: the data's sorted names turned 32 of 32 answers round (peft 1486)."""
    base = _unnamed_base(text_model, tmp_path / "base")
    _adapt(base, tmp_path / "adapter", METHODS["lora"]())
    merge = _load(tmp_path / "out", model=tmp_path / "adapter", data=text_data)
    assert text_classification.head_of(checkpoint.read_config(merge.out)).labels == ("LABEL_0", "LABEL_1")
    assert merge.facts["labels"] == "unknown"
    assert merge.facts["head"] == "trained"


def test_an_adapter_without_a_head_leaves_it_new(text_model: Path, tmp_path: Path) -> None:
    """An adapter of the base alone on a base without a head: merged, and the head is reported as new."""
    base = tmp_path / "base"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model)
    model.bert.save_pretrained(base)
    tiny.save_tokenizer(base)
    _adapt(base, tmp_path / "adapter", peft.LoraConfig(**LORA))
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = {k: v for k, v in load_file(file).items() if "classifier" not in k}
    save_file(weights, file)
    assert _load(tmp_path / "out", model=tmp_path / "adapter").facts["head"] == "new"


@pytest.mark.parametrize(
    "config",
    [
        peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
        peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
    ],
)
def test_methods_that_cannot_be_merged(config: Any, text_model: Path, tmp_path: Path) -> None:
    """Methods that add tokens are refused by name, with those that can be merged."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    name = config.peft_type.value.lower().replace("_", " ")
    with pytest.raises(ModelError, match=f"uses {name}, which cannot be merged.*LORA, LOHA, LOKR, IA3"):
        _load(tmp_path / "out", model=tmp_path / "adapter")


def test_an_adapter_of_another_model(text_model: Path, tmp_path: Path) -> None:
    """A base of another width, or with fewer layers, does not fit, and the sentence says where."""
    _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    wide = tiny.text_model(tmp_path / "wide", hidden=48)
    with pytest.raises(
        ModelError, match=r"does not fit the base model \(BertForSequ.*size mismatch.*trained on"
    ):
        _load(tmp_path / "out", model=wide, adapter=tmp_path / "adapter")
    short = tiny.text_model(tmp_path / "short", layers=1)
    with pytest.raises(
        ModelError, match=r"does not fit the base model .* weights are on one side only, such as"
    ):
        _load(tmp_path / "out-2", model=short, adapter=tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "target_modules": ["no_such_part"]}))
    with pytest.raises(ModelError, match=r"does not fit the base model .*No modules were targeted"):
        _load(tmp_path / "out-3", model=text_model, adapter=tmp_path / "adapter")


def test_a_wrong_merge_is_noticed(text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that is off by one percent of the adapter does not pass the check."""
    _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    layer = peft.tuners.lora.layer.Linear
    right = layer.get_delta_weight
    monkeypatch.setattr(layer, "get_delta_weight", lambda self, name: 1.01 * right(self, name))
    with pytest.raises(ModelError, match=r"changes the outputs by .* \(allowed: 0\.0001\d*\)"):
        _load(tmp_path / "out", model=tmp_path / "adapter")


def test_an_adapter_that_is_no_number(text_model: Path, tmp_path: Path) -> None:
    """Adapter weights that are NaN are refused."""
    _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: torch.full_like(v, float("nan")) for k, v in load_file(file).items()}, file)
    with pytest.raises(ModelError, match=r"holds NaN or infinity in .*lora_A"):
        _load(tmp_path / "out", model=tmp_path / "adapter")


def test_damaged_adapter_folders(text_model: Path, tmp_path: Path) -> None:
    """A pickled adapter, a missing base, a damaged config and damaged weights are each named."""
    adapter = tmp_path / "adapter"
    _adapt(text_model, adapter, METHODS["lora"]())
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    content = json.loads(config.read_text())
    payload = weights.read_bytes()
    weights.write_bytes(b"\x00" * 40)
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is damaged"):
        _load(tmp_path / "out-1", model=adapter)
    weights.rename(adapter / "adapter_model.bin")
    with pytest.raises(
        ModelError, match=r"holds adapter_model\.bin, which can run code.*expected adapter_model\.saf"
    ):
        _load(tmp_path / "out-2", model=adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(ModelError, match="holds no weights: expected"):
        _load(tmp_path / "out-3", model=adapter)
    weights.write_bytes(payload)
    config.write_text(json.dumps({**content, "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="names no base model: give the base as 'model'"):
        _load(tmp_path / "out-4", model=adapter)
    config.write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json: this is not valid JSON"):
        _load(tmp_path / "out-5", model=adapter)
    with pytest.raises(ModelError, match="holds no adapter"):
        _load(tmp_path / "out-6", model=text_model, adapter=text_model)


OPTIONS: dict[str, tuple[Any, str]] = {
    "peft_type": ([1], "peft_type is .* a name"),
    "base_model_name_or_path": (5, "base_model_name_or_path is 5, allowed is a name"),
    "revision": ({}, "revision is {}, allowed is a name"),
    "task_type": (True, "task_type is True, allowed is a name"),
    "r": (10**9, r"r is 1000000000, allowed is a rank that its weights have, 1 to 64"),
    "rank_pattern": ({"query": 10**9}, "query is 1000000000, allowed is a rank"),
    "rank_pattern of nothing": (None, "does not fit the base model .*AttributeError"),
    "alpha_pattern": ("3", "alpha_pattern is '3', allowed is a table"),
    "lora_alpha": ("16", "lora_alpha is '16', allowed is a number"),
    "fan_in_fan_out": ("false", "fan_in_fan_out is 'false', allowed is true or false"),
    "use_dora": (1, "use_dora is 1, allowed is true or false"),
    "bias": (-1, "does not fit the base model .*AttributeError"),
    "target_modules": (7, "does not fit the base model"),
    "alora_invocation_tokens": ([1], "(cannot be merged|does not fit)"),
    "megatron_config": ({"a": 1}, "megatron_config asks for a library to be imported"),
}


@pytest.mark.parametrize(("option", "value", "reason"), [(k, *v) for k, v in OPTIONS.items()], ids=OPTIONS)
def test_options_of_a_wrong_kind_are_refused(
    option: str, value: Any, reason: str, text_model: Path, tmp_path: Path
) -> None:
    """An option that peft would stumble over, read as a switch, or take room for is one sentence."""
    adapter = tmp_path / "adapter"
    _adapt(text_model, adapter, METHODS["lora"]())
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), option.partition(" ")[0]: value}))
    with pytest.raises(ModelError, match=reason):
        _load(tmp_path / "out", model=adapter)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": r"(\w+[.]?)+!"},
        {"layers_to_transform": [0], "layers_pattern": [r"(\w+[.]?)+!"]},
        {"rank_pattern": {r"(\w+[.]?)+!": 4}},
    ],
    ids=lambda fields: min(fields),
)
def test_a_pattern_that_never_ends_is_named(fields: dict[str, Any], tmp_path: Path) -> None:
    """A regular expression that takes an age on the names of the layers; those that end pass unseen."""
    names = ["bert.encoder.layer.0.attention.self.query", "classifier"]
    file = tmp_path / "adapter_config.json"
    with pytest.raises(
        ModelError, match=r"adapter_config\.json: the pattern .*!\" was not done .* after 1 s"
    ):
        patterns.check(file, fields, names, seconds=1)
    plain = {
        "target_modules": r".*[.](query|value)",
        "rank_pattern": {"^bert.*query": 4},
        "layers_pattern": "[",
    }
    patterns.check(file, plain, names, seconds=60)
    patterns.check(file, {"target_modules": ["query"]}, names, seconds=0)


def test_the_patterns_of_an_adapter_are_tried_before_peft_gets_them(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the names of the very model that it is merged into."""
    adapter = tmp_path / "adapter"
    _adapt(text_model, adapter, METHODS["lora"]())
    tried: list[Any] = []

    def refuse(file: Path, content: Any, names: Any) -> None:
        tried.extend((file.name, "bert.pooler.dense" in names))
        raise ModelError("tried")

    monkeypatch.setattr(patterns, "check", refuse)
    with pytest.raises(ModelError, match="tried"):
        _load(tmp_path / "out", model=adapter)
    assert tried == ["adapter_config.json", True]


def test_an_adapter_of_whole_numbers_is_refused(text_model: Path, tmp_path: Path) -> None:
    """Their bytes would be read as quite other numbers."""
    adapter = tmp_path / "adapter"
    _adapt(text_model, adapter, METHODS["lora"]())
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"I32"'))
    with pytest.raises(ModelError, match="holds numbers of the type I32"):
        _load(tmp_path / "out", model=adapter)


def test_the_task_of_an_adapter(text_model: Path, tmp_path: Path) -> None:
    """The adapter's task type says the task; without one its base's class does."""
    _adapt(text_model, tmp_path / "adapter", METHODS["lora"]())
    config = validate(load.Config, {"model": str(tmp_path / "adapter")}, "load")
    assert load.infer_task(config) == "text-classification"
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "task_type": None}))
    assert load.infer_task(config) == "text-classification"
