"""Which layers a student keeps, and that it is cut out of every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from compress.distillation.student import (
    block_influence,
    by_influence,
    check_choice,
    cut,
    drop_top,
    every_other,
    keeping_first,
    only,
    search,
    subsets,
    uniform_map,
)
from compress.errors import ModelError, RecipeError
from compress.model import checkpoint
from compress.model.layers import attention_linears, find_stack, first_is_fixed
from compress.pruning import surgery
from compress.tasks import text_classification


def test_rules_by_hand() -> None:
    """Every other layer keeps the last one; dropping the top keeps the lowest."""
    assert every_other(6, 3) == (1, 3, 5)
    assert every_other(12, 6) == (1, 3, 5, 7, 9, 11)
    assert every_other(4, 3) == (0, 2, 3)
    assert drop_top(3) == (0, 1, 2)
    assert by_influence([0.2, 0.9, 0.2, 0.5], 3) == (0, 1, 3)
    assert uniform_map(3, 6) == (2, 4, 6)
    assert len(subsets(6, 3)) == 20


@pytest.mark.parametrize("layers", range(2, 25))
def test_every_other_is_a_choice_of_layers(layers: int) -> None:
    """For every depth the indices rise, lie inside and end at the last layer."""
    for keep in range(1, layers):
        choice = every_other(layers, keep)
        assert check_choice(layers, choice) == choice
        assert choice[-1] == layers - 1


def test_block_influence_by_hand() -> None:
    """A right angle is an influence of 1, no turn 0; padding does not count."""
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    second = torch.tensor([[[0.0, 2.0], [1.0, 0.0]]])
    third = second * 3
    mask = torch.tensor([[True, False]])
    assert block_influence([first, second, third], mask) == pytest.approx([1.0, 0.0])
    assert block_influence([first, second], None) == pytest.approx([0.5])


@pytest.mark.parametrize(("chosen", "wrong"), [((0, 0), "rising"), ((3, 1), "rising"), ((0, 4), "0 to 3")])
def test_a_wrong_choice_of_layers_is_refused(chosen: tuple[int, ...], wrong: str) -> None:
    """The message says what is allowed and gives an example."""
    with pytest.raises(RecipeError, match=wrong):
        check_choice(4, chosen)


def test_as_many_layers_as_the_teacher_are_refused() -> None:
    """A student is shallower."""
    with pytest.raises(RecipeError, match="allowed are 1 to 3"):
        check_choice(4, (0, 1, 2, 3))


SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}

FAMILIES = {
    "bert": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=30,
            **SIZES,
        )
    ),
    "roberta": lambda: transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(
            vocab_size=30,
            **SIZES,
        )
    ),
    "electra": lambda: transformers.ElectraForSequenceClassification(
        transformers.ElectraConfig(
            vocab_size=30,
            embedding_size=8,
            **SIZES,
        )
    ),
    "distilbert": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=30, dim=16, n_layers=4, n_heads=2, hidden_dim=32)
    ),
    "deberta-v2": lambda: transformers.DebertaV2ForSequenceClassification(
        transformers.DebertaV2Config(
            vocab_size=30,
            **SIZES,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            max_position_embeddings=64,
        )
    ),
    "modernbert": lambda: transformers.ModernBertForSequenceClassification(
        transformers.ModernBertConfig(
            vocab_size=30,
            **SIZES,
            global_attn_every_n_layers=2,
            pad_token_id=0,
            bos_token_id=1,
            cls_token_id=1,
            eos_token_id=2,
            sep_token_id=2,
        )
    ),
    "longformer": lambda: transformers.LongformerForSequenceClassification(
        transformers.LongformerConfig(
            vocab_size=30,
            **SIZES,
            attention_window=[4, 4, 8, 8],
            max_position_embeddings=64,
            pad_token_id=0,
        )
    ),
    "gpt2": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            vocab_size=30,
            n_embd=16,
            n_layer=4,
            n_head=2,
            n_positions=16,
            pad_token_id=0,
            scale_attn_by_inverse_layer_idx=True,
        )
    ),
    "gemma2": lambda: transformers.Gemma2ForSequenceClassification(
        transformers.Gemma2Config(
            vocab_size=30,
            num_key_value_heads=2,
            head_dim=8,
            **SIZES,
            sliding_window=4,
            pad_token_id=0,
        )
    ),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            **SIZES,
        )
    ),
}


def family_inputs(name: str) -> dict[str, torch.Tensor]:
    """Two rows of an architecture's own inputs."""
    generator = torch.Generator().manual_seed(0)
    if name == "vit":
        return {"pixel_values": torch.rand(2, 1, 8, 8, generator=generator)}
    ids = torch.randint(5, 30, (2, 7), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_student_is_cut_out_of_every_family(name: str, tmp_path: Path) -> None:
    """The cut model computes with its own layers alone and loads with plain ``from_pretrained``.

    Decoders keep a cache by the number of a layer, Longformer a window for each, and GPT-2 may divide by it.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = FAMILIES[name]().eval()
    inputs = family_inputs(name)
    layers = (0, 3) if name == "modernbert" else (1, 3)
    student = cut(teacher, layers)
    assert len(find_stack(teacher)) == 4
    assert len(find_stack(student)) == 2
    for ours, theirs in zip(find_stack(student).layers, layers, strict=True):
        pairs = zip(ours.parameters(), find_stack(teacher).layers[theirs].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    if name in ("longformer", "gemma2"):
        lists = student.config.attention_window if name == "longformer" else student.config.layer_types
        assert len(lists) == 2
    student.save_pretrained(tmp_path)
    again, info = type(teacher).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        left, right = student(**inputs).logits, again.eval()(**inputs).logits
        assert torch.allclose(left, right, atol=1e-6)
        states = student(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == 3
    if name in ("modernbert", "gpt2"):
        with pytest.raises(ModelError, match="no separate query, key and value"):
            attention_linears(find_stack(student).layers[0])
    else:
        assert {linear.out_features for linear in attention_linears(find_stack(student).layers[0])} == {16}


def test_a_first_layer_unlike_the_others_stays() -> None:
    """ModernBERT's first layer has no norm of its own: rules keep it, a choice without it is refused."""
    teacher = FAMILIES["modernbert"]().eval()
    assert first_is_fixed(find_stack(teacher).layers)
    assert not first_is_fixed(find_stack(FAMILIES["bert"]()).layers)
    assert keeping_first(every_other, 4, 2) == (0, 3)
    assert keeping_first(every_other, 4, 1) == (0,)
    assert all(chosen[0] == 0 for chosen, _ in search(teacher, 2, lambda model: 0.0))
    with pytest.raises(ModelError, match="must stay"):
        cut(teacher, (1, 3))


STAGED = {
    "convnext": lambda: transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(image_size=32, depths=[1, 1], hidden_sizes=[8, 16], num_stages=2)
    ),
    "resnet": lambda: transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_channels=3
        )
    ),
    "swin": lambda: transformers.SwinForImageClassification(
        transformers.SwinConfig(
            embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2, image_size=16, patch_size=2
        )
    ),
}


@pytest.mark.parametrize("name", sorted(STAGED))
def test_stages_are_no_layers(name: str) -> None:
    """A network in stages has no layers to choose from, and the refusal says what can be done with it."""
    with pytest.raises(ModelError, match=r"built in 2 stages \(depths \[1, 1\].*'student: FOLDER'"):
        cut(STAGED[name](), (0,))


def test_a_student_of_a_pruned_teacher_keeps_its_shapes(tmp_path: Path) -> None:
    """Layers of different widths, which no configuration says, are cut out as they are and read again."""
    teacher = FAMILIES["bert"]().eval()
    surgery.apply(
        teacher, surgery.Plan({"layer.1.ffn": range(0, 32, 2), "layer.3.heads": [1], "layer.3.ffn": [0, 5]})
    )
    inputs = family_inputs("bert")
    student = cut(teacher, (1, 3))
    checkpoint.save(student, tmp_path, source=None)
    again = checkpoint.load(tmp_path, text_classification)
    assert [layer.intermediate.dense.out_features for layer in find_stack(again).layers] == [16, 2]
    assert find_stack(student).layers[1].attention.self.num_attention_heads == 1
    with torch.no_grad(), only(teacher, (1, 3)):
        assert torch.allclose(student(**inputs).logits, teacher(**inputs).logits, atol=1e-6)
        assert torch.equal(student(**inputs).logits, again(**inputs).logits)


def test_a_backbone_names_no_layer_that_is_gone(tmp_path: Path) -> None:
    """DINOv2's config lists the outputs of a backbone by layer: a student's has to be read again."""
    teacher = transformers.Dinov2ForImageClassification(
        transformers.Dinov2Config(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            out_indices=[0, 2, 4],
        )
    ).eval()
    student = cut(teacher, (1, 3))
    student.save_pretrained(tmp_path)
    again = transformers.Dinov2ForImageClassification.from_pretrained(tmp_path)
    assert again.config.stage_names == ["stem", "stage1", "stage2"]
    assert again.config.out_indices == [2]
    with torch.no_grad():
        pixels = family_inputs("vit")["pixel_values"]
        assert len(search(teacher, 2, lambda model: float(model(pixels).logits.sum()))) == 6
        assert teacher.config.out_indices == [0, 2, 4]
        assert torch.allclose(student(pixels).logits, again.eval()(pixels).logits, atol=1e-6)


def test_search_tries_what_a_student_would_compute() -> None:
    """Gemma's masks go by the number of a layer; a try counts anew, and the teacher is as it was after it."""
    teacher = FAMILIES["gemma2"]().eval()
    teacher.config.dtype = (
        torch.bfloat16
    )  # what the folder held; the model here is FP32, and so is its student
    assert cut(teacher, (1, 3)).dtype == torch.float32
    inputs = family_inputs("gemma2")
    answers: list[torch.Tensor] = []

    def distance(model: transformers.PreTrainedModel) -> float:
        answers.append(model(**inputs).logits)
        return 0.0

    with torch.no_grad():
        before = teacher(**inputs).logits
        tried = [chosen for chosen, _ in search(teacher, 2, distance)]
        assert tried == subsets(4, 2)
        for chosen, answer in zip(tried, answers, strict=True):
            assert torch.allclose(answer, cut(teacher, chosen)(**inputs).logits, atol=1e-6)
        assert torch.equal(teacher(**inputs).logits, before)
    assert teacher.config.num_hidden_layers == len(teacher.config.layer_types) == 4


def test_a_model_that_shares_its_layers_is_refused() -> None:
    """ALBERT has one layer for all: its depth cannot be cut."""
    config = transformers.AlbertConfig(
        vocab_size=30,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with pytest.raises(ModelError, match="share or split their layers"):
        find_stack(transformers.AlbertForSequenceClassification(config))
