"""Loading: local folders in every state that users have them in, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

from compress import data as rows
from compress.artifacts.store import Store
from compress.errors import DataError, ModelError, RecipeError
from compress.model import architecture, checkpoint, length, limit
from compress.pipeline import building
from compress.recipe import DataConfig, Recipe, validate
from compress.stage import Context
from compress.stages import load
from compress.tasks import image_classification, text_classification

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the stage as the pipeline would; gives the folder and the recorded facts."""
    count = 0
    loaded: dict[str, rows.TrainingData] = {}

    def _run(
        data: Path | DataConfig | None = None, seed: int = 7, task: Any = text_classification, **options: Any
    ) -> SimpleNamespace:
        nonlocal count
        count += 1
        out, scratch = tmp_path / f"out-{count}", tmp_path / f"scratch-{count}"
        out.mkdir()
        scratch.mkdir()
        facts: dict[str, Any] = {}
        data_config = DataConfig(source=str(data)) if isinstance(data, Path) else data
        name = f"{data_config.model_dump_json()} {seed}" if data_config else ""
        if data_config is not None and name not in loaded:
            loaded[name] = rows.load(data_config, task, seed).training
        context = Context(
            out=out,
            scratch=scratch,
            task=task,
            data=loaded.get(name),
            seed=seed,
            threads=1,
            device="cpu",
            record=facts.__setitem__,
        )
        config = validate(
            load.Config, {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}, "load"
        )
        load.run(None, config, context)
        return SimpleNamespace(out=out, facts=facts)

    return _run


def _forward(model: Any) -> torch.Tensor:
    # from_pretrained maps the file, where tensors are not aligned: products then differ in the last bit.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    # With gradients, PyTorch's attention takes another path, which differs in the last bits too.
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=IDS).logits
    return logits


def _logits(folder: Path) -> torch.Tensor:
    return _forward(checkpoint.load(folder, text_classification))


IDS = torch.tensor([[2, 5, 17, 9, 3]])


def test_a_folder_comes_out_with_equal_logits(text_model: Path, run: Run) -> None:
    """A Hugging Face folder becomes FP32 safetensors, config, processor and encoding, computing the same."""
    loaded = run(model=text_model)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(text_model).eval()
    assert torch.equal(_logits(loaded.out), _forward(plain))
    names = {path.name for path in loaded.out.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "encoding.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert loaded.facts["head"] == "trained"
    assert loaded.facts["parameters"] == sum(p.numel() for p in plain.parameters())
    assert loaded.facts["origin"] == {"model": "text-model", "model_license": None}


def test_loading_twice_gives_equal_bytes(text_model: Path, run: Run) -> None:
    """The stage is deterministic."""
    first, second = run(model=text_model), run(model=text_model)
    for file in first.out.iterdir():
        assert file.read_bytes() == (second.out / file.name).read_bytes()


def test_half_precision_comes_out_as_fp32(text_model: Path, run: Run) -> None:
    """Weights in BF16 are widened, not kept."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model, dtype=torch.bfloat16)
    model.save_pretrained(text_model)
    loaded = run(model=text_model)
    weights = load_file(loaded.out / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert torch.equal(weights["classifier.weight"], model.classifier.weight.float())


def test_shards_and_license(text_model: Path, run: Run) -> None:
    """Sharded weights load; the license is taken from the model card and its file travels."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(text_model)
    (text_model / "model.safetensors").unlink()
    model.save_pretrained(text_model, max_shard_size="30KB")
    (text_model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (text_model / "LICENSE").write_text("Apache License\n")
    loaded = run(model=text_model)
    assert torch.equal(_logits(loaded.out), _forward(model))
    assert loaded.facts["origin"]["model_license"] == "apache-2.0"
    assert (loaded.out / "LICENSE").read_text() == "Apache License\n"
    assert not (loaded.out / "README.md").exists()


def test_a_pruned_folder_of_ours(text_model: Path, run: Run, tmp_path: Path) -> None:
    """A folder with shapes.json, unsealed, loads with its shapes and keeps them."""
    model = checkpoint.load(text_model, text_classification)
    layer = model.bert.encoder.layer[0]
    layer.intermediate.dense.weight = torch.nn.Parameter(layer.intermediate.dense.weight.data[:24].clone())
    layer.intermediate.dense.bias = torch.nn.Parameter(layer.intermediate.dense.bias.data[:24].clone())
    layer.output.dense.weight = torch.nn.Parameter(layer.output.dense.weight.data[:, :24].clone())
    pruned = tmp_path / "pruned"
    pruned.mkdir()
    checkpoint.save(model, pruned, source=text_model)
    loaded = run(model=pruned)
    assert (loaded.out / "shapes.json").read_bytes() == (pruned / "shapes.json").read_bytes()
    assert torch.equal(_logits(loaded.out), _forward(model))


def test_the_length_limit_is_the_models_own(text_model: Path, text_data: Path, run: Run) -> None:
    """Short training rows leave the limit where the model has it (simpletransformers 1574, GLiNER 378)."""
    loaded = run(text_data, model=text_model)
    assert limit.read(loaded.out) == limit.read_derived(loaded.out) == limit.Limit(64, "model")
    assert (loaded.facts["max_length"], loaded.facts["truncated_share"]) == (64, 0.0)


def test_the_training_rows_can_set_the_limit(text_model: Path, text_data: Path, run: Run) -> None:
    """With data.max_length: data what is made takes the training rows' limit; the original keeps its."""
    loaded = run(DataConfig(source=str(text_data), max_length="data"), model=text_model)
    training = rows.load(DataConfig(source=str(text_data)), text_classification, 7).training
    processor = text_classification.load_processor(text_model)
    lengths = text_classification.lengths(training.train, processor)
    assert limit.read(loaded.out) == limit.Limit(64, "model")
    assert limit.read_derived(loaded.out) == limit.Limit(loaded.facts["max_length"], "rows")
    assert loaded.facts["max_length"] % 8 == 0
    assert lengths.max() <= loaded.facts["max_length"] < lengths.max() + 8
    assert loaded.facts["truncated_share"] == 0.0


def test_a_given_length_limit_wins(text_model: Path, text_data: Path, run: Run) -> None:
    """data.max_length is taken as it is, with its truncated share; more than the model takes is refused."""
    loaded = run(DataConfig(source=str(text_data), max_length=8), model=text_model)
    assert limit.read(loaded.out).tokens == 64
    assert limit.read_derived(loaded.out) == limit.Limit(8, "recipe")
    training = rows.load(DataConfig(source=str(text_data)), text_classification, 7).training
    lengths = text_classification.lengths(training.train, text_classification.load_processor(text_model))
    assert loaded.facts["truncated_share"] == pytest.approx((lengths > 8).mean())
    with pytest.raises(ModelError, match=r"data\.max_length is 65 and the model takes at most 64 tokens"):
        run(DataConfig(source=str(text_data), max_length=65), model=text_model)


def test_the_length_limit_without_data(text_model: Path, run: Run) -> None:
    """Without data the limit is what the model takes, or what the folder's encoding.json says."""
    assert checkpoint.read_max_length(run(model=text_model).out) == 64
    limit.write(text_model, limit.Limit(24))
    assert checkpoint.read_max_length(run(model=text_model).out) == 24


def test_positions_of_roberta_begin_after_the_padding(tmp_path: Path, run: Run) -> None:
    """A RoBERTa position table of 40 holds texts of 38 tokens: ids begin at padding + 1."""
    config = {"model_type": "roberta", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40,
              "pad_token_id": 1}  # fmt: skip
    folder = tmp_path / "roberta"
    folder.mkdir()
    checkpoint.save(checkpoint.initialize(config, text_classification, 0), folder, source=None)
    tiny.save_tokenizer(folder)
    loaded = run(model=folder)
    assert checkpoint.read_max_length(loaded.out) == 38
    checkpoint.load(loaded.out, text_classification)(input_ids=torch.full((1, 38), 5))


def test_relative_positions_limit_nothing() -> None:
    """A table that DeBERTa does not use is no limit; a shorter student lowers its teacher's."""
    table = transformers.DebertaV2Config(max_position_embeddings=32, position_biased_input=False)
    assert length.positions(table) is None
    used = transformers.DebertaV2Config(max_position_embeddings=32, position_biased_input=True)
    assert length.positions(used) == 32
    teacher = limit.Limit(64, "model")
    assert length.within(teacher, table) == teacher
    assert length.within(teacher, used) == limit.Limit(32, "model")
    assert length.within(limit.Limit(16, "recipe"), used) == limit.Limit(16, "recipe")
    assert length.within(limit.Limit(None), used) == limit.Limit(32, "model")


def test_a_limit_from_rows_that_are_not_there_is_refused(text_model: Path, tmp_path: Path, run: Run) -> None:
    """data.max_length: data without training rows says what to give."""
    tiny.write_jsonl(tmp_path / "only/validation.jsonl", tiny.sentences(8, 1))
    with pytest.raises(DataError, match=r"training rows(, and there are none|: give data)"):
        run(DataConfig(source=str(tmp_path / "only"), max_length="data"), model=text_model)


def _base(text_model: Path, folder: Path, cls: str = "BertModel") -> Path:
    """The classifier's base model, saved as another class."""
    config = transformers.BertConfig.from_pretrained(text_model, id2label={0: "LABEL_0", 1: "LABEL_1"})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        getattr(transformers, cls)(config).save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder


@pytest.mark.parametrize("cls", ["BertModel", "BertForMaskedLM"])
def test_a_base_model_gets_a_fresh_seeded_head(
    cls: str, text_model: Path, text_data: Path, tmp_path: Path, run: Run
) -> None:
    """A model without the task's head loads with a new one for the data's labels; the base is untouched."""
    base = _base(text_model, tmp_path / "base", cls)
    first, second, reseeded = (
        run(text_data, model=base),
        run(text_data, model=base),
        run(text_data, seed=8, model=base),
    )
    assert first.facts["head"] == "new"
    assert text_classification.head_of(checkpoint.read_config(first.out)).labels == ("negative", "positive")
    weights = [load_file(loaded.out / "model.safetensors") for loaded in (first, second, reseeded)]
    assert torch.equal(weights[0]["classifier.weight"], weights[1]["classifier.weight"])
    assert not torch.equal(weights[0]["classifier.weight"], weights[2]["classifier.weight"])
    base_weights = {
        name.removeprefix("bert."): tensor for name, tensor in load_file(base / "model.safetensors").items()
    }
    for name, tensor in weights[0].items():
        short = name.removeprefix("bert.")
        if name.startswith("bert.") and "pooler" not in name:
            assert torch.equal(base_weights[short], tensor)
    assert "unused_weights" not in first.facts


def test_a_fresh_head_is_known_to_later_stages(text_model: Path, tmp_path: Path) -> None:
    """The manifest of a model with a new head says so, and the model is refused; a trained one is not."""
    base = _base(text_model, tmp_path / "base")
    recipe = Recipe(model=str(base), task="text-classification")
    fresh = building.run(recipe)[-1].artifact
    assert checkpoint.has_fresh_head(fresh)
    for place in (base, fresh.path):
        with pytest.raises(ModelError, match=r"no trained head for text-classification.*paredown finetune"):
            building.open_artifact(place, task="text-classification")
    assert not checkpoint.has_fresh_head(building.open_artifact(text_model))


def test_an_architecture_builds_fresh_weights(run: Run) -> None:
    """An architecture gives a seeded model with the data's labels and the task's own processor."""
    config = {
        "model_type": "vit",
        "image_size": 8,
        "patch_size": 4,
        "num_channels": 1,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    digits = DataConfig(source="sklearn:digits", limit=200)
    loaded = run(digits, task=image_classification, architecture=config)
    same = run(digits, task=image_classification, architecture=config)
    content = checkpoint.read_config(loaded.out)
    assert {key: content[key] for key in config} == config
    assert content["id2label"] == {str(digit): str(digit) for digit in range(10)}
    assert loaded.facts["head"] == "new"
    assert loaded.facts["origin"] == {"model": "fresh ViTForImageClassification, seed 7"}
    assert checkpoint.read_max_length(loaded.out) is None
    for file in loaded.out.iterdir():
        assert file.read_bytes() == (same.out / file.name).read_bytes()
    image_classification.load_processor(loaded.out)


def test_an_architecture_of_a_text_model(run: Run) -> None:
    """Fresh weights of a text model are refused: a tokenizer cannot be made up."""
    with pytest.raises(ModelError, match="tokenizer"):
        run(architecture={"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "either a model .* or an architecture"),
        ({"model": "m", "architecture": {"model_type": "bert"}}, "either a model .* or an architecture"),
        (
            {"architecture": {"model_type": "bert"}, "revision": "main"},
            "a revision or an adapter belongs to a model",
        ),
        ({"model": "m", "trust_remote_code": True}, "never runs a model's own code"),
        ({"model": "m", "speed": 3}, "unknown key 'speed'.*Known keys: model, revision"),
    ],
)
def test_options_that_do_not_hold_together(options: dict[str, Any], reason: str) -> None:
    """Each is refused by the configuration, before anything is read."""
    with pytest.raises(RecipeError, match=reason):
        validate(load.Config, options, "stage 'load'")


def test_the_task_is_inferred_from_the_class(text_model: Path, tmp_path: Path) -> None:
    """The task of a classifier is inferred; a base model, a speech model and an unknown class are refused."""
    config = validate(load.Config, {"model": str(text_model)}, "load")
    assert load.infer_task(config) == "text-classification"
    base = _base(text_model, tmp_path / "base")
    with pytest.raises(ModelError, match="is a BertModel, an encoder without a head for a task: say"):
        architecture.infer_task(base)
    content = checkpoint.read_config(base)
    for named, reason in (
        (
            "Wav2Vec2ForCTC",
            "is a Wav2Vec2ForCTC, a speech recognizer: say with --task",
        ),
        ("MyOwnNet", "is of the class MyOwnNet, which transformers does not have: say which task"),
        (None, "names no class: say with --task"),
    ):
        (base / "config.json").write_text(json.dumps({**content, "architectures": [named] if named else []}))
        with pytest.raises(ModelError, match=reason):
            architecture.infer_task(base)
    with pytest.raises(ModelError, match="does not say its task"):
        load.infer_task(validate(load.Config, {"architecture": {"model_type": "bert"}}, "load"))


def test_the_task_of_a_base_model_comes_from_the_data(
    text_model: Path, text_data: Path, tmp_path: Path
) -> None:
    """Without a head the data's columns decide, among the tasks that the architecture can do."""
    base = _base(text_model, tmp_path / "base")
    config = validate(load.Config, {"model": str(base)}, "load")
    assert load.infer_task(config, DataConfig(source=str(text_data))) == "text-classification"
    tags = tiny.write_jsonl(tmp_path / "tags" / "train.jsonl", [{"tokens": ["a"], "tags": ["O"]}])
    assert load.infer_task(config, DataConfig(source=str(tags.parent))) == "token-classification"
    odd = tiny.write_jsonl(tmp_path / "odd" / "train.jsonl", [{"x": 1}])
    with pytest.raises(ModelError, match=r"say with --task .*; the data's columns fit none of them"):
        load.infer_task(config, DataConfig(source=str(odd.parent)))
    vit = {"model_type": "vit", "image_size": 8}
    fresh = validate(load.Config, {"architecture": vit}, "load")
    assert load.infer_task(fresh, DataConfig(source="sklearn:digits")) == "image-classification"


def test_what_the_key_depends_on(text_model: Path) -> None:
    """The files that decide the result are named; pickles, code and subfolders are not."""
    (text_model / "training_args.bin").write_bytes(b"x")
    (text_model / "checkpoint-3").mkdir()
    paths = load.reads(validate(load.Config, {"model": str(text_model)}, "load"))
    assert {path.name for path in paths} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert load.reads(validate(load.Config, {"architecture": {"model_type": "bert"}}, "load")) == ()


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_the_class_does_not_use(text_model: Path, run: Run) -> None:
    """Extra weights outside any layer are recorded and left out, as transformers does."""
    _edit(text_model, lambda weights: weights.update({"bert.extra.weight": torch.ones(2)}))
    loaded = run(model=text_model)
    assert loaded.facts["unused_weights"] == ["bert.extra.weight"]
    assert "bert.extra.weight" not in load_file(loaded.out / "model.safetensors")


@pytest.mark.parametrize("layers", [0, 1])
def test_a_layer_that_the_config_does_not_count(layers: int, text_model: Path, run: Run) -> None:
    """More layers in the weights than in config.json is another model, not something to ignore."""
    content = checkpoint.read_config(text_model)
    (text_model / "config.json").write_text(json.dumps({**content, "num_hidden_layers": layers}))
    with pytest.raises(
        ModelError, match=rf"hold bert\.encoder\.layer\.{layers}\..*a layer that config\.json does not count"
    ):
        run(model=text_model)


def test_missing_weights(text_model: Path, tmp_path: Path, run: Run) -> None:
    """A missing weight is named, in the base as in the head of a task's class."""
    _edit(text_model, lambda weights: [weights.pop(n) for n in list(weights) if n == "classifier.bias"])  # type: ignore[func-returns-value]
    with pytest.raises(ModelError, match=r"weights are missing for classifier\.bias of the BertForSeq"):
        run(model=text_model)
    base = _base(text_model, tmp_path / "base")
    _edit(base, lambda weights: [weights.pop(n) for n in list(weights) if ".layer.0." in n])  # type: ignore[func-returns-value]
    with pytest.raises(ModelError, match=r"weights are missing for bert\.encoder\.layer\.0\..* and more"):
        run(model=base)


def test_weights_of_another_shape(text_model: Path, run: Run) -> None:
    """A weight whose shape the config does not ask for is named with both shapes."""
    content = checkpoint.read_config(text_model)
    (text_model / "config.json").write_text(json.dumps({**content, "intermediate_size": 48}))
    with pytest.raises(ModelError, match=r"has the shape \[64.*asks for \[48.*not of the same model"):
        run(model=text_model)


def test_own_code_is_refused(text_model: Path, run: Run) -> None:
    """A model with auto_map is refused; with ignore_remote_code transformers' own class is taken."""
    content = checkpoint.read_config(text_model)
    trap = text_model / "modeling.py"
    trap.write_text("raise SystemExit('the code of a model folder was run')")
    mapping = {"AutoModelForSequenceClassification": "modeling.Model"}
    (text_model / "config.json").write_text(json.dumps({**content, "auto_map": mapping}))
    with pytest.raises(
        ModelError, match=r"brings Python code of its own.*never runs.*'bert' computes the same"
    ):
        run(model=text_model)
    loaded = run(model=text_model, ignore_remote_code=True)
    assert "auto_map" not in checkpoint.read_config(loaded.out)
    assert not (loaded.out / "modeling.py").exists()
    (text_model / "config.json").write_text(
        json.dumps({**content, "model_type": "mine", "auto_map": mapping})
    )
    with pytest.raises(ModelError, match=r"names the type 'mine'.*brings Python code of its own"):
        run(model=text_model, ignore_remote_code=True)


def test_a_hub_model(text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id, served on loopback, loads through the pipeline; its origin names id and commit."""
    import fake_hub
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models" / "someone" / "tiny"
    repository.parent.mkdir(parents=True)
    shutil.copytree(text_model, repository)
    with fake_hub.serve(tmp_path / "hub") as (endpoint, requests):
        # huggingface_hub reads its settings when it is imported; test_hub.py asks from fresh processes.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        artifact = building.open_artifact("someone/tiny", store=Store(tmp_path / "store"))
        assert any(line.endswith("model.safetensors") for line in requests)
    assert artifact.manifest.origin.model == f"someone/tiny@{fake_hub.commit_of(repository)}"
    assert artifact.task == "text-classification"
    assert torch.equal(_logits(artifact.path), _logits(text_model))
