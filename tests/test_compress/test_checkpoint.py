"""Models on disk: exact shapes back, exact bytes, and a sentence for every folder that does not fit."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from compress import contract
from compress.errors import ModelError
from compress.model import checkpoint, limit, shapes
from compress.tasks import Task


def _task(name: str, auto: str) -> ModuleType:
    """The names of a task that a checkpoint looks at, and what the contract fills in."""
    module = ModuleType(f"compress.tasks.{name}")
    module.MODEL = auto  # type: ignore[attr-defined]
    module.NAME = name.replace("_", "-")  # type: ignore[attr-defined]
    contract.complete(module, Task)
    return module


TEXT = _task("text_classification", "AutoModelForSequenceClassification")
TOKENS = _task("token_classification", "AutoModelForTokenClassification")
IMAGE = _task("image_classification", "AutoModelForImageClassification")

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_WORDS = {"vocab_size": 40, "max_position_embeddings": 40}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**_SMALL, **_WORDS},
    "roberta": {**_SMALL, **_WORDS, "pad_token_id": 1},
    "deberta-v2": {
        **_SMALL,
        **_WORDS,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "max_relative_positions": 16,
    },
    "distilbert": {**_WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "vit": {**_SMALL, "image_size": 8, "patch_size": 4, "num_channels": 1},
}
# Where the products of a layer are: query, key, value, attention output, FFN in, FFN out.
_BERT = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_DEBERTA = tuple(name.replace(".query", ".query_proj").replace(".key", ".key_proj") for name in _BERT)
PARTS = {
    "bert": ("bert.encoder.layer.{}.", *_BERT),
    "roberta": ("roberta.encoder.layer.{}.", *_BERT),
    "deberta-v2": ("deberta.encoder.layer.{}.", *(n.replace(".value", ".value_proj") for n in _DEBERTA)),
    "distilbert": (
        "distilbert.transformer.layer.{}.",
        *(f"attention.{name}" for name in ("q_lin", "k_lin", "v_lin", "out_lin")),
        *("ffn.lin1", "ffn.lin2"),
    ),
}


def _model(kind: str, task: ModuleType | None = None, **changes: Any) -> Any:
    chosen = task or (IMAGE if kind == "vit" else TEXT)
    return checkpoint.initialize({"model_type": kind, **CONFIGS[kind], **changes}, chosen, seed=3)


def _inputs(model: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.rand((3, 1, 8, 8), generator=generator)}
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2])
    return {"input_ids": torch.randint(2, 40, (3, 9), generator=generator), "attention_mask": mask}


def _logits(model: Any) -> torch.Tensor:
    # from_pretrained maps the file, where tensors are not aligned: products then differ in the last bit.
    aligned = copy.deepcopy(model)
    with torch.no_grad():
        return aligned.eval()(**_inputs(model)).logits


def _cut(linear: nn.Linear, keep: list[int], axis: int) -> None:
    """Slice a linear layer's rows (0) or columns (1) in place."""
    linear.weight = nn.Parameter(linear.weight.data.index_select(axis, torch.tensor(keep)).contiguous())
    if axis == 0:
        linear.bias = nn.Parameter(linear.bias.data[keep].contiguous())
    linear.out_features, linear.in_features = linear.weight.shape


def _vit_parts(model: Any) -> tuple[str, ...]:
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".0." in n]
    prefix = names[0].split(".0.")[0] + ".{}."
    return (prefix, *(name.split(".0.", 1)[1] for name in names))


def _prune(model: Any, kind: str, heads: dict[int, list[int]], neurons: dict[int, list[int]]) -> None:
    """Keep some heads (of size 8) and neurons of each layer by slicing, as surgery does."""
    prefix, q, k, v, o, first, second = PARTS.get(kind) or _vit_parts(model)
    for layer, head_ids in heads.items():
        rows = [head * 8 + i for head in head_ids for i in range(8)]
        base = prefix.format(layer)
        for part in (q, k, v):
            _cut(model.get_submodule(base + part), rows, 0)
        _cut(model.get_submodule(base + o), rows, 1)
        owner = model.get_submodule((base + q).rpartition(".")[0])
        for name in ("pos_key_proj", "pos_query_proj"):
            if hasattr(owner, name):
                _cut(getattr(owner, name), rows, 0)
        for attribute, value in (("num_attention_heads", len(head_ids)), ("n_heads", len(head_ids)),
                                 ("all_head_size", len(rows))):  # fmt: skip
            if hasattr(owner, attribute):
                setattr(owner, attribute, value)
    for layer, neuron_ids in neurons.items():
        _cut(model.get_submodule(prefix.format(layer) + first), neuron_ids, 0)
        _cut(model.get_submodule(prefix.format(layer) + second), neuron_ids, 1)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_uneven_widths_and_removed_heads_come_back_bit_identical(kind: str, tmp_path: Path) -> None:
    """Layers of different width and head count reload with equal logits; saved again, with equal bytes."""
    model = _model(kind)
    unpruned = _logits(model)
    _prune(model, kind, {0: [0, 2, 3], 1: [1]}, {0: list(range(0, 48, 3)), 1: [1, 5, 8]})
    pruned = _logits(model)
    assert not torch.equal(pruned, unpruned)
    checkpoint.save(model, tmp_path, source=None)
    again = checkpoint.load(tmp_path, IMAGE if kind == "vit" else TEXT)
    assert torch.equal(_logits(again), pruned)
    (tmp_path / "again").mkdir()
    checkpoint.save(again, tmp_path / "again", source=None)
    for name in ("config.json", "shapes.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_a_plain_shape_loads_with_plain_from_pretrained(kind: str, tmp_path: Path) -> None:
    """Without pruning there is no shapes.json, and transformers alone gives the same logits."""
    model = _model(kind)
    checkpoint.save(model, tmp_path, source=None)
    task = IMAGE if kind == "vit" else TEXT
    assert not (tmp_path / "shapes.json").exists()
    plain = getattr(transformers, task.MODEL).from_pretrained(tmp_path)
    assert torch.equal(_logits(plain), _logits(model))
    assert torch.equal(_logits(checkpoint.load(tmp_path, task)), _logits(model))


def test_a_uniform_width_that_the_config_names_needs_no_shapes(tmp_path: Path) -> None:
    """A uniform FFN width written into the config is expressible: plain from_pretrained loads it."""
    model = _model("bert")
    neurons = list(range(16))
    _prune(model, "bert", {}, {0: neurons, 1: neurons})
    model.config.intermediate_size = 16
    checkpoint.save(model, tmp_path, source=None)
    assert not (tmp_path / "shapes.json").exists()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(_logits(plain), _logits(model))


def test_from_pretrained_refuses_a_pruned_folder(tmp_path: Path) -> None:
    """Shapes that the config cannot express make plain from_pretrained stop, not load wrong weights."""
    model = _model("bert")
    _prune(model, "bert", {0: [0, 1]}, {})
    checkpoint.save(model, tmp_path, source=None)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_shapes_json_says_what_differs(tmp_path: Path) -> None:
    """shapes.json holds the shapes and integer attributes that differ from the plain build, nothing else."""
    model = _model("deberta-v2")
    _prune(model, "deberta-v2", {1: [0, 3]}, {})
    checkpoint.save(model, tmp_path, source=None)
    content = json.loads((tmp_path / "shapes.json").read_text())
    attention = "deberta.encoder.layer.1.attention.self"
    assert content["parameters"][f"{attention}.query_proj.weight"] == [16, 32]
    assert not [name for name in content["parameters"] if ".layer.0." in name]
    assert content["attributes"][attention] == {"all_head_size": 16, "num_attention_heads": 2}
    assert content["attributes"][f"{attention}.query_proj"] == {"out_features": 16}


def test_saving_is_deterministic_and_knows_no_place(tmp_path: Path) -> None:
    """The same weights saved from two folders give the same bytes: no path, no version, sorted keys."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    checkpoint.save(_model("bert"), first, source=None)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(first)
    checkpoint.save(loaded, second, source=None)
    for name in ("config.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    text = (second / "config.json").read_text()
    assert str(tmp_path) not in text
    assert "transformers_version" not in text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_half_precision_weights_become_fp32(tmp_path: Path) -> None:
    """A BF16 model is written and read as FP32, with the values that BF16 had."""
    model = _model("bert").to(torch.bfloat16)
    checkpoint.save(model, tmp_path, source=None)
    again = checkpoint.load(tmp_path, TEXT)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.equal(again.classifier.weight, model.classifier.weight.float())
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"


def test_shards_are_read(tmp_path: Path) -> None:
    """Weights split over several safetensors files by an index load like one file."""
    model = _model("bert")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(_logits(checkpoint.load(tmp_path, TEXT)), _logits(model))


def test_an_index_that_names_a_lost_shard(tmp_path: Path) -> None:
    """A missing shard is named."""
    model = _model("bert")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    lost = sorted(tmp_path.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match=f"names the shard {lost.name}, which is not in"):
        checkpoint.load(tmp_path, TEXT)


def test_an_index_cannot_point_outside(tmp_path: Path) -> None:
    """An index that names a file outside the folder is refused."""
    inside = tmp_path / "inside"
    _model("bert").save_pretrained(inside)
    (inside / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (inside / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(ModelError, match="a shard is a file of the same folder"):
        checkpoint.load(inside, TEXT)


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path: Path) -> None:
    """A tied matrix is one tensor in the file and one parameter after loading, also of another size."""
    task = _task("masked", "AutoModelForMaskedLM")
    model = _model("bert", task)
    table = model.bert.embeddings.word_embeddings
    table.weight = nn.Parameter(table.weight.data[:30].clone())
    table.num_embeddings = 30
    decoder = model.cls.predictions.decoder
    decoder.weight, decoder.out_features = table.weight, 30
    decoder.bias = nn.Parameter(decoder.bias.data[:30].clone())
    model.cls.predictions.bias = decoder.bias
    checkpoint.save(model, tmp_path, source=None)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert "bert.embeddings.word_embeddings.weight" in names
    assert "cls.predictions.decoder.weight" not in names
    again = checkpoint.load(tmp_path, task)
    assert again.cls.predictions.decoder.weight is again.bert.embeddings.word_embeddings.weight
    assert again.bert.embeddings.word_embeddings.num_embeddings == 30
    ids = {"input_ids": torch.tensor([[3, 4, 29]])}
    assert torch.equal(again(**ids).logits, model.eval()(**ids).logits)


def test_conv1d_and_layer_norm(tmp_path: Path) -> None:
    """GPT-2's Conv1D (weights the other way round) and a LayerNorm's tuple of sizes come back too."""
    config = {
        "model_type": "gpt2",
        "vocab_size": 40,
        "n_positions": 16,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
    }
    model = checkpoint.initialize({**config, "pad_token_id": 0}, TEXT, seed=0)
    mlp = model.transformer.h[0].mlp
    mlp.c_fc.weight = nn.Parameter(mlp.c_fc.weight.data[:, :24].clone())
    mlp.c_fc.bias = nn.Parameter(mlp.c_fc.bias.data[:24].clone())
    mlp.c_fc.nf = 24
    mlp.c_proj.weight = nn.Parameter(mlp.c_proj.weight.data[:24].clone())
    mlp.c_proj.nx = 24
    checkpoint.save(model, tmp_path, source=None)
    again = checkpoint.load(tmp_path, TEXT)
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert (again.transformer.h[0].mlp.c_fc.nf, again.transformer.h[0].mlp.c_proj.nx) == (24, 24)

    plain, narrow = nn.Sequential(nn.LayerNorm(4)), nn.Sequential(nn.LayerNorm(3))
    deviations = shapes.deviations(narrow, plain)
    assert deviations is not None
    assert deviations["attributes"] == {"0": {"normalized_shape": (3,)}}
    (tmp_path / "norm.json").write_text(json.dumps(deviations))
    shapes.restore(plain, tmp_path / "norm.json")
    assert plain[0].normalized_shape == (3,)
    assert plain(torch.ones(2, 3)).shape == (2, 3)


def test_tied_weights_that_disagree_are_refused(tmp_path: Path) -> None:
    """Two values for one tied weight are an error, not a silent choice."""
    task = _task("masked", "AutoModelForMaskedLM")
    checkpoint.save(_model("bert", task), tmp_path, source=None)
    weights = load_file(tmp_path / "model.safetensors")
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"] + 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="are one tied weight and have different values"):
        checkpoint.load(tmp_path, task)


def _folder(tmp_path: Path) -> Path:
    checkpoint.save(_model("bert"), tmp_path, source=None)
    return tmp_path


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    """Strict loading: a weight that is not in the file is named."""
    weights = load_file(_folder(tmp_path) / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"weights are missing for bert\.encoder\.layer\.1\.output\.dense\.bias"
    ):
        checkpoint.load(tmp_path, TEXT)


def test_an_unknown_weight_is_named(tmp_path: Path) -> None:
    """Strict loading: a weight that the model does not have is named."""
    weights = load_file(_folder(tmp_path) / "model.safetensors")
    weights["bert.surprise"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"hold bert\.surprise, which a BertForSequenceClassification has not"
    ):
        checkpoint.load(tmp_path, TEXT)


def test_lost_shapes_are_noticed(tmp_path: Path) -> None:
    """A pruned folder whose shapes.json is gone does not load."""
    model = _model("bert")
    _prune(model, "bert", {0: [0]}, {})
    checkpoint.save(model, tmp_path, source=None)
    (tmp_path / "shapes.json").unlink()
    with pytest.raises(ModelError, match=r"has the shape \[32, 8\].*its shapes\.json is missing"):
        checkpoint.load(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "does not fit the model"),
        ('{"schema_version": 2, "parameters": {}, "attributes": {}}', "another version"),
        ('{"schema_version": 1, "parameters": {"no.such": [1]}, "attributes": {}}', "does not fit the model"),
        (
            '{"schema_version": 1, "parameters": {"classifier.weight": [1]}, "attributes": {}}',
            "cannot have the shape",
        ),
        (
            '{"schema_version": 1, "parameters": {"classifier.weight": [-1, 2]}, "attributes": {}}',
            "greater than or equal to 1",
        ),
        (
            '{"schema_version": 1, "parameters": {}, "attributes": {"classifier": {"forward": 1}}}',
            "does not fit",
        ),
    ],
)
def test_damaged_shapes(tmp_path: Path, content: str, reason: str) -> None:
    """A shapes.json that does not fit is refused with the reason, and sets nothing but known integers."""
    (_folder(tmp_path) / "shapes.json").write_text(content)
    with pytest.raises(ModelError, match=reason):
        checkpoint.load(tmp_path, TEXT)


def test_a_layer_that_the_config_still_counts(tmp_path: Path) -> None:
    """Saving a model whose config names another depth is our bug and stops there."""
    model = _model("bert")
    del model.bert.encoder.layer[1]
    with pytest.raises(ValueError, match=r"not those of its configuration: bert\.encoder\.layer\.1"):
        checkpoint.save(model, tmp_path, source=None)


def test_fewer_layers_in_the_config_load_plain(tmp_path: Path) -> None:
    """Depth is expressible: a dropped layer with the config set loads with plain from_pretrained."""
    model = _model("bert", num_hidden_layers=3)
    del model.bert.encoder.layer[1]
    model.config.num_hidden_layers = 2
    checkpoint.save(model, tmp_path, source=None)
    assert not (tmp_path / "shapes.json").exists()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(_logits(plain), _logits(model))


def test_another_task_is_refused(tmp_path: Path) -> None:
    """A classifier of texts is no tagger, though their weights have the same names."""
    with pytest.raises(
        ModelError, match="is a BertForSequenceClassification, which is no model for token-classif"
    ):
        checkpoint.load(_folder(tmp_path), TOKENS)


def test_an_architecture_without_the_task() -> None:
    """An architecture that has no class for the task is refused by name."""
    with pytest.raises(ModelError, match="type 'vit' cannot do text-classification"):
        checkpoint.initialize({"model_type": "vit", **CONFIGS["vit"]}, TEXT, 0)


def test_an_unknown_architecture() -> None:
    """A model type that transformers does not know is refused by name; own code is never run."""
    with pytest.raises(ModelError, match=r"the type 'borg'.*does not know.*Python code of its own"):
        checkpoint.initialize({"model_type": "borg", "auto_map": {"AutoConfig": "x.Y"}}, TEXT, 0)
    with pytest.raises(ModelError, match="names no model_type"):
        checkpoint.initialize({"hidden_size": 3}, TEXT, 0)


def test_a_configuration_that_cannot_be_built() -> None:
    """Heads that do not divide the width are one sentence with the class."""
    with pytest.raises(ModelError, match="cannot build a BertForSequenceClassification"):
        _model("bert", num_attention_heads=5)


def test_fresh_weights_are_seeded_and_leave_the_global_generator_alone() -> None:
    """Equal seeds, equal weights; other seeds, others; torch's own generator goes on as it was."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = _model("bert"), _model("bert")
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    reseeded = checkpoint.initialize({"model_type": "bert", **CONFIGS["bert"]}, TEXT, seed=4)
    assert not torch.equal(reseeded.classifier.weight, first.classifier.weight)


def test_attention_falls_back_where_the_class_has_no_sdpa(tmp_path: Path) -> None:
    """BERT loads with the attention that was asked for; DeBERTa-v2, which has no SDPA, loads eager."""
    folder = _folder(tmp_path)
    assert checkpoint.load(folder, TEXT).config._attn_implementation == "sdpa"
    assert checkpoint.load(folder, TEXT, attention="eager").config._attn_implementation == "eager"
    assert _model("deberta-v2").config._attn_implementation == "eager"


def test_sidecars(tmp_path: Path) -> None:
    """Processor files, encoding.json and licenses travel; weights, config, graphs and code do not."""
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    (source / "sub").mkdir(parents=True)
    travel = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "merges.txt", "spiece.model",
              "preprocessor_config.json", "encoding.json", "LICENSE", "LICENSE.txt", "NOTICE"]  # fmt: skip
    stay = ["config.json", "model.safetensors", "shapes.json", "manifest.json", "model.onnx", "README.md",
            "tokenizer.py", "LICENSE.py", "tokenizer.pkl", "pytorch_model.bin"]  # fmt: skip
    for name in travel + stay:
        (source / name).write_text('{"max_length": null}' if name.endswith(".json") else name)
    checkpoint.copy_sidecars(source, out)
    assert sorted(p.name for p in out.iterdir()) == sorted(travel)


def test_max_length(tmp_path: Path) -> None:
    """encoding.json carries the token limit; without it there is none; damage is refused."""
    assert checkpoint.read_max_length(tmp_path) is None
    limit.write(tmp_path, limit.Limit(48))
    assert checkpoint.read_max_length(tmp_path) == 48
    limit.write(tmp_path, limit.Limit(None))
    assert checkpoint.read_max_length(tmp_path) is None
    for damage in ("[]", "{}", '{"max_length": "48"}', '{"max_length": 0}', "{"):
        (tmp_path / "encoding.json").write_text(damage)
        with pytest.raises(ModelError, match="max_length"):
            checkpoint.read_max_length(tmp_path)


def test_no_model_and_damaged_files(tmp_path: Path) -> None:
    """Each thing that is missing or damaged is named."""
    with pytest.raises(ModelError, match=r"holds no model \(no config\.json\)"):
        checkpoint.load(tmp_path, TEXT)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: this is not valid JSON"):
        checkpoint.load(tmp_path, TEXT)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="no JSON object"):
        checkpoint.load(tmp_path, TEXT)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    folder = _folder(tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        checkpoint.load(folder, TEXT)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no weights: expected model\.safetensors"):
        checkpoint.load(folder, TEXT)


def test_the_real_classifier_round_trips(shared: Path, tmp_path: Path) -> None:
    """The shared MiniLM classifier saves and reloads with equal logits, here and with transformers alone."""
    source = shared / "models" / "minilm-sst2"
    model = checkpoint.load(source, TEXT)
    checkpoint.save(model, tmp_path, source=source)
    ids = {"input_ids": torch.tensor([[101, 2023, 2003, 2204, 102]])}
    with torch.no_grad():
        expected = model(**ids).logits
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert torch.equal(copy.deepcopy(plain)(**ids).logits, expected)
        assert torch.equal(checkpoint.load(tmp_path, TEXT)(**ids).logits, expected)
    assert (tmp_path / "tokenizer.json").is_file()
