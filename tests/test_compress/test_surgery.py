"""Cutting equals masking, in every family, and the counts are those of the plan."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import CASES, build, feed, logits
from torch import nn

from compress.errors import ModelError
from compress.model import checkpoint
from compress.pruning import surgery
from compress.pruning.anatomy import Part, layers_of, parts_of, scale_after, stream_after
from compress.pruning.families import FAMILIES
from compress.pruning.surgery import Plan
from compress.tasks import text_classification

PLAN = Plan(
    {
        "layer.0.heads": (1, 3),
        "layer.0.ffn": tuple(range(0, 40, 2)),
        "layer.1.heads": (2,),
        "layer.2.ffn": tuple(range(5, 30)),
    }
)


def plan_of(model: Any) -> Plan:
    """``PLAN`` as far as a family allows it: what is fixed stays, and what is tied goes alike."""
    units: dict[str, Any] = {}
    for part in parts_of(model):
        if part.fixed is None and part.tied:
            units[part.name] = (1, 3)
        elif part.fixed is None and part.name in PLAN.units:
            units[part.name] = tuple(unit for unit in PLAN.units[part.name] if unit < part.units)
    return Plan(units)


@pytest.mark.parametrize("case", [case for case in CASES if case != "gpt2"])
def test_cutting_equals_masking(case: str) -> None:
    """Removed heads and neurons are those that were masked, and the parameter count is the plan's."""
    model = build(case)
    inputs, plan = feed(model), plan_of(model)
    before, uncut = surgery.parameter_count(model), logits(model, inputs)
    parts = parts_of(model)
    planned = surgery.removed_parameters(parts, plan)
    with surgery.masked(model, plan):
        expected = logits(model, inputs)
    assert torch.equal(logits(model, inputs), uncut), "the masks are gone again"
    assert (expected - uncut).abs().max() > 1e-3, "the plan matters"
    surgery.apply(model, plan)
    assert (logits(model, inputs) - expected).abs().max() < 1e-5
    assert surgery.parameter_count(model) == before - planned
    assert [part.units for part in parts_of(model)] == [
        len(plan.units.get(part.name, range(part.units))) for part in parts
    ]


def test_every_family_is_tested() -> None:
    """No family is in the table without a tiny model of it in this file."""
    assert {kind for kind, _ in CASES.values()} == set(FAMILIES)


def test_unit_parameters_by_hand() -> None:
    """A head of size 8 on width 32 has 3 * 8 * 33 + 8 * 32 parameters; a neuron 33 + 32."""
    heads, ffn = parts_of(build("bert"))[:2]
    assert (heads.name, heads.units, heads.width) == ("layer.0.heads", 4, 8)
    assert heads.unit_parameters == 3 * 8 * 33 + 8 * 32
    assert (ffn.name, ffn.units, ffn.width) == ("layer.0.ffn", 48, 1)
    assert ffn.unit_parameters == 33 + 32


def test_structures_describe_the_tensors() -> None:
    """A structure shows the weights, columns and biases of its part, and no gradient history."""
    structure = parts_of(build("deberta-v2-own-keys"))[0].structure()
    assert (structure.units, structure.width, structure.kind) == (4, 8, "heads")
    assert len(structure.rows) == 5, "the two position projections belong to the heads"
    assert structure.columns[0].shape == (32, 32)
    assert not any(t.requires_grad for t in (*structure.rows, *structure.columns, *structure.biases))


_NAMED = ("bert", "camembert", "roberta", "xlm-roberta", "electra", "distilbert", "deberta-v2", "vit", "deit")


@pytest.mark.parametrize("case", [*_NAMED, "deberta-v2-own-keys"])
def test_names_agree_with_optimum(case: str) -> None:
    """Heads, layers and widths are those that optimum's normalized configuration reads."""
    from optimum.utils import NormalizedConfigManager

    model = build(case)
    kind = model.config.model_type
    normalized = NormalizedConfigManager.get_normalized_config_class(kind)(model.config)
    parts = parts_of(model)
    assert len(parts) == 2 * model.config.num_hidden_layers
    assert parts[0].units == normalized.num_attention_heads
    assert parts[0].columns.out_features == normalized.hidden_size


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("albert", "swin")])
def test_removed_layers_are_skipped(case: str) -> None:
    """Keeping layers 0 and 2 gives what a two-layer model with their weights gives, and saves and loads."""
    model = build(case)
    shallow = copy.deepcopy(model)
    surgery.keep_layers(shallow, (0, 2))
    assert (len(layers_of(shallow)), shallow.config.num_hidden_layers) == (2, 2)
    fresh = type(model)._from_config(copy.deepcopy(shallow.config), attn_implementation="eager").eval()
    fresh.load_state_dict(shallow.state_dict(), strict=True)
    inputs = feed(model)
    assert (logits(fresh, inputs) - logits(shallow, inputs)).abs().max() < 1e-5
    assert (logits(shallow, inputs) - logits(model, inputs)).abs().max() > 1e-3
    assert all(
        torch.equal(a, b)
        for a, b in zip(layers_of(shallow)[1].parameters(), layers_of(model)[2].parameters(), strict=True)
    )


def test_layers_and_units_in_one_plan() -> None:
    """Part names of a plan refer to the model before its layers are removed."""
    model = build("bert")
    surgery.apply(model, Plan({"layer.2.ffn": range(16), "layer.0.ffn": range(8)}, layers=(0, 2)))
    assert [part.units for part in parts_of(model)] == [4, 8, 4, 16]


def test_uniform_widths_reach_the_configuration() -> None:
    """Equal FFN widths are written into the configuration; uneven ones leave it as it was."""
    model = build("distilbert")
    surgery.apply(model, Plan({f"layer.{i}.ffn": range(16) for i in range(3)}))
    assert model.config.hidden_dim == 16
    surgery.apply(model, Plan({"layer.1.ffn": range(8)}))
    assert model.config.hidden_dim == 16
    assert [layer.ffn.lin1.out_features for layer in layers_of(model)] == [16, 8, 16]


_EXPRESSED = ("vit", "deit", "dinov2", "llama", "qwen3", "nomic_bert", "eurobert")


@pytest.mark.parametrize("case", _EXPRESSED)
def test_uniform_heads_reach_the_configuration(case: str, tmp_path: Path) -> None:
    """Where the configuration has a head size of its own, the folder loads with from_pretrained."""
    model = build(case)
    before = model.config.num_attention_heads
    surgery.apply(model, Plan({f"layer.{i}.heads": range(2) for i in range(3)}, layers=(0, 1)))
    assert model.config.num_attention_heads == before // 2
    checkpoint.save(model, tmp_path, source=None)
    assert not (tmp_path / "shapes.json").exists()
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again, feed(model)), logits(model, feed(model)))


def test_a_number_of_heads_that_a_configuration_refuses_is_kept_beside_it(tmp_path: Path) -> None:
    """Llama's takes no six heads at a width of 32: the shapes are written down, and the folder loads."""
    model = build("llama")
    surgery.apply(model, Plan({f"layer.{i}.heads": range(3) for i in range(3)}))
    assert model.config.num_attention_heads == 8
    checkpoint.save(model, tmp_path, source=None)
    again = checkpoint.load(tmp_path, text_classification)
    assert torch.equal(logits(again, feed(model)), logits(model, feed(model)))


def test_depth_and_uniform_width_load_with_from_pretrained(tmp_path: Path) -> None:
    """A model with fewer layers and equal FFN widths needs no shapes.json."""
    model = build("bert")
    surgery.apply(model, Plan({f"layer.{i}.ffn": range(16) for i in range(3)}, layers=(0, 2)))
    checkpoint.save(model, tmp_path, source=None)
    assert not (tmp_path / "shapes.json").exists()
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again, feed(model)), logits(model, feed(model)))


_TEXTS = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert", "mpnet", "albert", "llama")


@pytest.mark.parametrize("case", [*_TEXTS, "nomic_bert", "modernbert-decoder"])
def test_uneven_models_reload_bit_identically(case: str, tmp_path: Path) -> None:
    """A model with other heads and widths in every layer comes back from disk as it was."""
    model = build(case)
    surgery.apply(model, plan_of(model))
    checkpoint.save(model, tmp_path, source=None)
    assert (tmp_path / "shapes.json").is_file()
    again = checkpoint.load(tmp_path, text_classification)
    for (name, ours), (reloaded_name, theirs) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == reloaded_name
        assert torch.equal(ours, theirs)
    inputs = feed(model)
    assert torch.equal(logits(again, inputs), logits(model, inputs))
    surgery.apply(again, Plan({part.name: (0,) for part in parts_of(again) if part.kind == "heads"}))
    assert parts_of(again)[0].units == 1, "a reloaded model can be pruned further"


def test_frozen_parameters_stay_frozen() -> None:
    """The graph is traced with gradients on; the flags are as before, on cut parameters too."""
    model = build("bert")
    model.bert.embeddings.requires_grad_(False)
    parts_of(model)[0].rows[0].weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    surgery.apply(model, PLAN)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before


def streams(model: Any, part: Part) -> torch.Tensor:
    """The residual stream after a part's first run."""
    values: list[torch.Tensor] = []
    module, side = stream_after(model, part)

    def read(_module: nn.Module, args: Any, output: Any = None) -> None:
        value = args[0] if side == "input" else output
        values.append(value[0] if isinstance(value, tuple) else value)

    hook = module.register_forward_hook(read) if side == "output" else module.register_forward_pre_hook(read)
    logits(model, feed(model))
    hook.remove()
    return values[0]


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("wavlm", "swin")])
def test_stream_is_the_residual_plus_the_part(case: str) -> None:
    """What is read after a part changes by what the part's last linear layer changes, times its scale."""
    model = build(case)
    for part in parts_of(model)[:2]:
        before = streams(model, part)
        handle = part.columns.register_forward_hook(lambda _module, _args, output: output + 1.0)
        after = streams(model, part)
        handle.remove()
        scale = scale_after(model, part)
        assert torch.allclose(after, before + (1.0 if scale is None else scale), atol=1e-5)


def test_unknown_family_is_refused() -> None:
    """A family without a description is a clear error that names those that are known."""
    config = transformers.FNetConfig(hidden_size=32, num_hidden_layers=1, intermediate_size=32, vocab_size=20)
    model = transformers.FNetForSequenceClassification(config)
    with pytest.raises(ModelError, match=r"type 'fnet'.*cannot be pruned.*bert.*vit"):
        surgery.apply(model, Plan({"layer.0.ffn": (0,)}))


def test_unexpected_coupling_is_refused() -> None:
    """A model whose wiring couples more than its family should is not cut at all."""
    model = build("bert")

    class Leaky(nn.Module):
        """An output layer that adds the neurons' first 32 activations to the stream."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.dense = inner.dense
            self.LayerNorm = inner.LayerNorm
            self.extra = nn.Linear(48, 32)

        def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            return self.LayerNorm(self.dense(hidden) + self.extra(hidden) + residual)

    layers_of(model)[0].output = Leaky(layers_of(model)[0].output)
    with pytest.raises(ModelError, match=r"cutting layer\.0\.ffn would touch .*output\.extra"):
        surgery.apply(model, Plan({"layer.0.ffn": range(8)}))
    assert parts_of(model)[1].units == 48


def test_quantized_or_adapted_layers_are_refused() -> None:
    """Only plain linear layers can be cut."""
    model = build("bert")
    layers_of(model)[1].intermediate.dense = nn.Identity()
    with pytest.raises(ModelError, match=r"'intermediate\.dense' is an Identity.*prune before"):
        parts_of(model)


@pytest.mark.parametrize("units", [(), (4,), (1, 1), (2, 0)])
def test_impossible_plans_are_bugs(units: tuple[int, ...]) -> None:
    """Plans that leave nothing, or name what is not there, are refused before anything is cut."""
    model = build("bert")
    with pytest.raises(ValueError, match=r"units to keep of layer\.1\.heads"):
        surgery.apply(model, Plan({"layer.0.heads": (0,), "layer.1.heads": units}))
    assert parts_of(model)[0].units == 4
    with pytest.raises(ValueError, match="parts that the model does not have"):
        surgery.apply(model, Plan({"layer.9.heads": (0,)}))
    with pytest.raises(ValueError, match="layers to keep"):
        surgery.keep_layers(model, (0, 3))


def test_weighted_layer_sums_are_refused() -> None:
    """A model with one weight a layer cannot lose layers."""
    model = build("wav2vec2")
    model.config.use_weighted_layer_sum = True
    with pytest.raises(ModelError, match=r"use_weighted_layer_sum.*'layers: 1'.*heads and ffn"):
        surgery.keep_layers(model, (0,))


@pytest.mark.parametrize(
    ("case", "plan", "refusal"),
    [
        ("albert", Plan(layers=(0,)), r"lose layers: it runs one layer again.*'layers: 1'.*heads and ffn"),
        ("swin", Plan(layers=(0, 1)), r"lose layers: it is built in stages.*heads and ffn"),
        ("wavlm", Plan({"layer.0.heads": (0,)}), r"lose heads: its attention.*'heads: 1'.*ffn and layers"),
        ("gpt2", Plan({"layer.0.ffn": (0,)}), r"lose FFN neurons: .*Conv1D.*'ffn: 1'.*is layers"),
        ("modernbert", Plan(layers=(1, 2)), r"first layer of a ModernBert.*must stay"),
        ("wavlm", Plan(layers=(1, 2)), r"first layer of a WavLM.*must stay"),
    ],
)
def test_what_a_family_cannot_lose_is_refused(case: str, plan: Plan, refusal: str) -> None:
    """The refusal says why, and what can be pruned instead; nothing is cut."""
    model = build(case)
    before = surgery.parameter_count(model)
    with pytest.raises(ModelError, match=refusal):
        surgery.apply(model, plan)
    assert surgery.parameter_count(model) == before


def test_a_layer_that_computes_with_its_number_stays() -> None:
    """GPT-2 may divide attention by the number of its layer, which another place would change."""
    model = build("gpt2")
    model.config.scale_attn_by_inverse_layer_idx = True
    with pytest.raises(ModelError, match="scale_attn_by_inverse_layer_idx"):
        surgery.keep_layers(model, (0, 2))


def test_heads_that_share_a_table_go_alike() -> None:
    """MPNet's layers read one table of positions, a column a head: plans that cut others in each are bugs."""
    model = build("mpnet")
    with pytest.raises(ValueError, match="share a table"):
        surgery.apply(
            model, Plan({"layer.0.heads": (0, 1), "layer.1.heads": (0, 2), "layer.2.heads": (0, 1)})
        )
    surgery.apply(model, Plan({f"layer.{index}.heads": (0, 2) for index in range(3)}))
    assert model.mpnet.encoder.relative_attention_bias.weight.shape[1] == 2


def test_a_group_is_a_unit() -> None:
    """Query heads that share a key and a value go together with these, and the groups stay as large."""
    model = build("llama")
    heads = parts_of(model)[0]
    assert (heads.units, heads.width) == (4, 16)
    assert heads.unit_parameters == (16 + 8 + 8) * 32 + 16 * 32
    surgery.apply(model, Plan({f"layer.{index}.heads": (1, 3) for index in range(3)}))
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (4, 2)
    assert model.config.head_dim == 8


def test_another_answer_is_refused() -> None:
    """A model whose wiring the graph does not show is refused by what it answers."""
    model = build("modernbert")
    layer = layers_of(model)[1]

    plain = layer.attn.Wo.forward
    layer.attn.Wo.forward = lambda hidden: plain(hidden.cumsum(-1))
    with pytest.raises(ModelError, match="answers otherwise than with them at zero"):
        surgery.apply(model, Plan({"layer.1.heads": (0, 2)}))


def test_the_real_classifier(shared: Path, tmp_path: Path) -> None:
    """MiniLM on SST-2: cut equals masked, parameters are the plan's, and the folder reloads."""
    folder = shared / "models" / "minilm-sst2"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    model = checkpoint.load(folder, text_classification)
    ids = torch.randint(1000, 20000, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[2, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    plan = Plan(
        {f"layer.{i}.heads": range(i % 3, 12, 2) for i in range(6)}
        | {f"layer.{i}.ffn": range(i, 1536, i + 2) for i in range(6)}
    )
    before = surgery.parameter_count(model)
    planned = surgery.removed_parameters(parts_of(model), plan)
    with surgery.masked(model, plan):
        expected = logits(model, inputs)
    surgery.apply(model, plan)
    assert (logits(model, inputs) - expected).abs().max() < 1e-5
    assert surgery.parameter_count(model) == before - planned
    checkpoint.save(model, tmp_path, source=None)
    assert torch.equal(logits(checkpoint.load(tmp_path, text_classification), inputs), logits(model, inputs))
