"""Distillation: its losses by hand, the student's layers, the teacher's answers on disk, the training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers

from compress import catalog, data
from compress.distillation.distill import (
    DistillationConfig,
    DistillationObjective,
    distill,
    labelled_first,
    plan_match,
)
from compress.distillation.losses import hidden_mse, kl_loss, relation_heads, relation_loss
from compress.distillation.student import (
    block_influence,
    by_influence,
    check_choice,
    cut,
    drop_top,
    every_other,
    first_is_fixed,
    keeping_first,
    search,
    subsets,
    uniform_map,
)
from compress.distillation.taps import Want, flatten, real_tokens, unflatten
from compress.distillation.teacher import Teacher, TeacherCache
from compress.errors import ModelError, RecipeError, TrainingError
from compress.model import checkpoint
from compress.model.layers import attention_linears, find_stack
from compress.recipe import DataConfig
from compress.tasks import Head
from compress.training.batching import EncodedRows, TorchBatch, plan_epoch, plan_sorted, to_torch
from compress.training.loop import TrainingConfig

HEAD = Head("single_label", ("negative", "positive"))
KL_HALF = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # KL((3/4, 1/4) || (1/2, 1/2))


@pytest.fixture
def task() -> ModuleType:
    """The text classification task."""
    return catalog.load("task", "text-classification")


@pytest.fixture
def teacher_folder(tmp_path: Path) -> Path:
    """A tiny BERT of four layers."""
    return tiny.text_model(tmp_path / "teacher", layers=4)


@pytest.fixture
def teacher(teacher_folder: Path, task: ModuleType) -> Any:
    """The same, loaded."""
    return checkpoint.load(teacher_folder, task)


@pytest.fixture
def rows(text_data: Path, task: ModuleType) -> data.TrainingData:
    """The tiny data, aligned with the head."""
    return data.load(DataConfig(source=str(text_data)), task, 0).training.for_head(task, HEAD)


def batch_of(task: ModuleType, folder: Path, some: Sequence[Any], labelled: bool = True) -> TorchBatch:
    """Some rows as one batch on the CPU."""
    arrays = task.encode(some, task.load_processor(folder), HEAD, None, labelled=labelled)
    return to_torch(arrays, np.arange(len(some)), "cpu")


# --- losses ------------------------------------------------------------------------------------


def test_kl_of_a_softmax_by_hand() -> None:
    """Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2; mean over rows."""
    teacher = torch.tensor([[math.log(3.0), 0.0], [1.0, 1.0]])
    student = torch.zeros(2, 2)
    assert float(kl_loss(student, teacher, "softmax")) == pytest.approx(KL_HALF / 2)
    assert float(kl_loss(teacher, teacher, "softmax")) == pytest.approx(0, abs=1e-7)


def test_the_temperature_softens_and_keeps_the_size_of_gradients() -> None:
    """At temperature 2 the teacher's odds 9 become 3, and the KL is multiplied by 4."""
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    assert float(kl_loss(torch.zeros(1, 2), teacher, "softmax", 2.0)) == pytest.approx(4 * KL_HALF)


def test_kl_of_sigmoids_by_hand() -> None:
    """Each label is a coin: 3/4 against 1/2 as above, 0 where both agree, also far out."""
    teacher = torch.tensor([[math.log(3.0), 60.0, -60.0]])
    student = torch.tensor([[0.0, 60.0, -60.0]])
    assert float(kl_loss(student, teacher, "sigmoid")) == pytest.approx(KL_HALF / 3, abs=1e-6)


def test_numbers_are_compared_by_squared_error() -> None:
    """Regression: (1 - 3)^2, whatever the temperature."""
    assert float(kl_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]), "identity", 5.0)) == 4.0


def test_only_positions_that_count_enter_the_kl() -> None:
    """Padding may hold anything."""
    teacher = torch.tensor([[[math.log(3.0), 0.0], [1e4, 0.0]]])
    student = torch.tensor([[[0.0, 0.0], [0.0, 1e4]]])
    counts = torch.tensor([[True, False]])
    assert float(kl_loss(student, teacher, "softmax", 1.0, counts)) == pytest.approx(KL_HALF)


def test_no_gradient_reaches_the_teacher() -> None:
    """Every loss takes the teacher's side as a constant."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    losses: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
        lambda s, t: kl_loss(s, t, "softmax"),
        lambda s, t: kl_loss(s, t, "sigmoid"),
        lambda s, t: kl_loss(s, t, "identity"),
        lambda s, t: hidden_mse(s, t, mask),
        lambda s, t: relation_loss(s, t, mask, 2),
    ]
    for loss in losses:
        student = torch.randn(1, 3, 4, requires_grad=True)
        teacher = torch.randn(1, 3, 4, requires_grad=True)
        loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.abs().sum() > 0


def test_hidden_states_are_compared_over_real_tokens() -> None:
    """Two real tokens with differences (1, 0) and (2, 2): 9/4; padding does not count."""
    student = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert float(hidden_mse(student, torch.zeros(1, 3, 2), mask)) == pytest.approx(9 / 4)


def test_relations_by_hand() -> None:
    """One head of size 1: teacher states 1, 0 give rows (e, 1)/(e + 1) and (1, 1)/2, student rows are even.

    A third, padded token changes nothing.
    """
    teacher = torch.tensor([[[1.0], [0.0], [7.0]]])
    student = torch.tensor([[[0.0], [0.0], [-3.0]]])
    mask = torch.tensor([[True, True, False]])
    high, low = math.e / (math.e + 1), 1 / (math.e + 1)
    wanted = (high * math.log(2 * high) + low * math.log(2 * low)) / 2
    assert float(relation_loss(student, teacher, mask, 1)) == pytest.approx(wanted)


def test_relations_need_no_equal_widths() -> None:
    """Widths 4 and 8 with two heads: scores are divided by the root of the head size of each side."""
    student = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    # Each head of the wide side holds the narrow one's twice: the same products times 2 / sqrt(2).
    wide = torch.cat([student[..., :2]] * 2 + [student[..., 2:]] * 2, dim=-1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    scaled = student * 2**0.25
    assert float(relation_loss(scaled, wide, mask, 2)) == pytest.approx(0, abs=1e-6)
    assert float(relation_loss(student, wide, mask, 2)) > 1e-4


def test_relation_heads_divide_both_widths() -> None:
    """The largest common divisor up to what is wanted."""
    assert relation_heads(384, 768, 48) == 48
    assert relation_heads(312, 768, 48) == 24
    assert relation_heads(30, 7, 48) == 1


# --- which layers ------------------------------------------------------------------------------


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
        found = every_other(layers, keep)
        assert check_choice(layers, found) == found
        assert found[-1] == layers - 1


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


FAMILIES = {
    "bert": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32
        )
    ),
    "roberta": lambda: transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32
        )
    ),
    "electra": lambda: transformers.ElectraForSequenceClassification(
        transformers.ElectraConfig(
            vocab_size=30,
            embedding_size=8,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
        )
    ),
    "distilbert": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=30, dim=16, n_layers=4, n_heads=2, hidden_dim=32)
    ),
    "deberta-v2": lambda: transformers.DebertaV2ForSequenceClassification(
        transformers.DebertaV2Config(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            max_position_embeddings=64,
        )
    ),
    "modernbert": lambda: transformers.ModernBertForSequenceClassification(
        transformers.ModernBertConfig(
            vocab_size=30,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            global_attn_every_n_layers=2,
            pad_token_id=0,
            bos_token_id=1,
            cls_token_id=1,
            eos_token_id=2,
            sep_token_id=2,
        )
    ),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
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
    """The cut model computes with its own layers alone and loads with plain ``from_pretrained``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = FAMILIES[name]().eval()
    inputs = family_inputs(name)
    kept = (0, 3) if name == "modernbert" else (1, 3)
    student = cut(whole, kept)
    assert len(find_stack(whole)) == 4
    assert len(find_stack(student)) == 2
    for ours, theirs in zip(find_stack(student).layers, kept, strict=True):
        pairs = zip(ours.parameters(), find_stack(whole).layers[theirs].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    student.save_pretrained(tmp_path)
    again, info = type(whole).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        left, right = student(**inputs).logits, again.eval()(**inputs).logits
        assert torch.allclose(left, right, atol=1e-6)
        states = student(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == 3
    if name == "modernbert":
        with pytest.raises(ModelError, match="no separate query, key and value"):
            attention_linears(find_stack(student).layers[0])
    else:
        assert {linear.out_features for linear in attention_linears(find_stack(student).layers[0])} == {16}


def test_a_first_layer_unlike_the_others_stays() -> None:
    """ModernBERT's first layer has no norm of its own: rules keep it, a choice without it is refused."""
    whole = FAMILIES["modernbert"]().eval()
    assert first_is_fixed(find_stack(whole))
    assert not first_is_fixed(find_stack(FAMILIES["bert"]()))
    assert keeping_first(every_other, 4, 2) == (0, 3)
    assert keeping_first(every_other, 4, 1) == (0,)
    assert all(chosen[0] == 0 for chosen, _ in search(whole, 2, lambda model: 0.0))
    with pytest.raises(ModelError, match="must stay"):
        cut(whole, (1, 3))


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


def test_search_ranks_every_subset_by_its_distance(
    teacher: Any, task: ModuleType, teacher_folder: Path
) -> None:
    """The ranking equals the KL of models that were cut one by one; the teacher is left whole."""
    batch = batch_of(task, teacher_folder, tiny.sentences(12, 3))
    with torch.no_grad():
        whole = teacher(**batch.inputs).logits

        def distance(model: Any) -> float:
            return float(kl_loss(model(**batch.inputs).logits, whole, "softmax"))

        found = search(teacher, 2, distance)
        apart = {chosen: distance(cut(teacher, chosen)) for chosen in subsets(4, 2)}
        assert torch.equal(teacher(**batch.inputs).logits, whole)
    assert [kl for _, kl in found] == sorted(kl for _, kl in found)
    assert dict(found) == pytest.approx(apart)


# --- the teacher's answers ---------------------------------------------------------------------


def test_flat_states_come_back_in_their_places() -> None:
    """Only real tokens are kept; unflattening puts them back, with zeros elsewhere."""
    states = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    flat = flatten([states, states + 100], mask)
    assert flat.shape == (3, 4)
    assert flat[2].tolist() == [6, 7, 106, 107]
    assert torch.equal(unflatten(flat[:, :2], mask), states * mask[..., None])


def test_real_tokens_follow_the_attention_mask() -> None:
    """Without a mask, or with one of another length, every position is real."""
    mask = torch.tensor([[1, 1, 0]])
    assert real_tokens({"attention_mask": mask}, 3).tolist() == [[True, True, False]]
    assert real_tokens({"attention_mask": mask}, 9) is None
    assert real_tokens({"pixel_values": torch.zeros(1, 1, 2, 2)}, 5) is None


class Counted(Teacher):
    """A teacher that counts its forward passes, and may stop after some."""

    passes = 0
    stop: int | None = None

    def answer(self, batch: TorchBatch) -> Any:
        """Count, then answer."""
        if self.stop is not None and self.passes >= self.stop:
            raise KeyboardInterrupt
        self.passes += 1
        return super().answer(batch)


def make_cache(
    model: Any,
    task: ModuleType,
    folder: Path,
    place: Path,
    want: Want,
    *,
    gib: float = 1.0,
    stop: int | None = None,
    fill: bool = True,
) -> tuple[TeacherCache, Counted, EncodedRows]:
    """A cache of 100 rows in batches of 16."""
    processor = task.load_processor(folder)
    some = tiny.sentences(100, 1)
    lengths = task.lengths(some, processor)
    source = EncodedRows(some, lambda part: task.encode(part, processor, HEAD, None), lengths)
    counted = Counted(model, task, want, bf16=False)
    counted.stop = stop
    cache = TeacherCache(
        counted,
        source,
        plan_sorted(lengths, 100, 16),
        tokens=int(lengths.sum()),
        folder=place,
        budget_bytes=int(gib * 2**30),
        device="cpu",
        description="test",
        fill=fill,
    )
    return cache, counted, source


@pytest.mark.parametrize("gib", [1.0, 0.0])
@pytest.mark.parametrize("want", [Want(hidden=(2, 4)), Want(relations=4), Want()])
def test_cached_answers_are_the_teachers(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path, want: Want, gib: float
) -> None:
    """In any batch order, kept or computed on the way, answers equal a direct pass (states: FP16)."""
    cache, counted, source = make_cache(teacher, task, teacher_folder, tmp_path / "c", want, gib=gib)
    assert cache.keeps_states == bool(want and gib)
    filled = counted.passes
    plan = plan_epoch(None, 100, 8, seed=1, epoch=0, groups=None)
    for batch in source.batches(plan, "cpu"):
        found = cache(batch)
        direct = Teacher(teacher, task, want, bf16=False).answer(batch)
        assert torch.allclose(found.outputs["logits"], direct.outputs["logits"], atol=1e-5)
        if want:
            assert found.states is not None
            assert torch.allclose(found.states, direct.states, atol=5e-3)
        else:
            assert found.states is None
    assert counted.passes - filled == (len(plan) if want and not gib else 0)


def test_filling_goes_on_after_a_kill(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted before the interruption is not computed again, and a whole cache not at all."""
    monkeypatch.setattr("compress.distillation.teacher._FLUSH_SECONDS", 0.0)
    want = Want(hidden=(4,))
    with pytest.raises(KeyboardInterrupt):
        make_cache(teacher, task, teacher_folder, tmp_path / "c", want, stop=5)  # one to look, four chunks
    again, counted, source = make_cache(teacher, task, teacher_folder, tmp_path / "c", want)
    assert counted.passes == 1 + 7 - 4
    whole, once, _ = make_cache(teacher, task, teacher_folder, tmp_path / "c", want)
    assert once.passes == 1
    fresh, _, _ = make_cache(teacher, task, teacher_folder, tmp_path / "fresh", want)
    batch = next(source.batches([np.arange(100)], "cpu"))
    for cache in (again, whole):
        assert torch.equal(cache(batch).states, fresh(batch).states)
        assert torch.equal(cache(batch).outputs["logits"], fresh(batch).outputs["logits"])


def test_other_processes_read_what_the_main_one_wrote(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """Opened without filling, the tables give the same answers and nothing is written."""
    cache, _, source = make_cache(teacher, task, teacher_folder, tmp_path / "c", Want(hidden=(4,)))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()}
    reader, counted, _ = make_cache(
        teacher, task, teacher_folder, tmp_path / "c", Want(hidden=(4,)), fill=False
    )
    batch = next(source.batches([np.arange(100)], "cpu"))
    assert torch.equal(reader(batch).states, cache(batch).states)
    assert counted.passes == 1
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()} == before


def test_the_answers_of_another_teacher_are_not_used(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """One changed weight fills the folder anew."""
    make_cache(teacher, task, teacher_folder, tmp_path / "c", Want())
    other = copy.deepcopy(teacher)
    other.classifier.bias.data += 1
    _, counted, _ = make_cache(other, task, teacher_folder, tmp_path / "c", Want())
    assert counted.passes == 1 + 7


def test_a_teacher_that_answers_nan_is_refused(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """The message names the output."""
    teacher.classifier.bias.data[0] = float("nan")
    with pytest.raises(TrainingError, match="the teacher's logits are not finite"):
        make_cache(teacher, task, teacher_folder, tmp_path / "c", Want())


# --- the objective and the training ------------------------------------------------------------


def objective_of(
    student: Any, teacher: Any, task: ModuleType, folder: Path, place: Path, loss: DistillationConfig
) -> tuple[DistillationObjective, TorchBatch]:
    """The objective on 100 rows, and a batch of eight of them."""
    processor = task.load_processor(folder)
    some = tiny.sentences(100, 1)
    source = EncodedRows(
        some, lambda part: task.encode(part, processor, HEAD, None), task.lengths(some, processor)
    )
    batch = to_torch(source.gather(np.arange(8)), np.arange(8), "cpu")
    match = plan_match(student, teacher, batch, loss, None, task.OUTPUTS)
    cache, _, _ = make_cache(teacher, task, folder, place, match.teacher)
    return DistillationObjective(student, cache, match, task, HEAD, loss), batch


def test_the_loss_is_the_weighted_sum(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """Task, logits and relative hidden error, computed apart and added with their weights."""
    student = cut(teacher, (1, 3))
    loss = DistillationConfig(task_weight=0.3, logits_weight=0.6, hidden_weight=0.2, temperature=3.0)
    objective, batch = objective_of(student, teacher, task, teacher_folder, tmp_path / "c", loss)
    student.eval()
    with torch.no_grad():
        ours = student(**batch.inputs, output_hidden_states=True)
        theirs = teacher(**batch.inputs, output_hidden_states=True)
        mask = batch.inputs["attention_mask"].bool()
        hidden = [
            torch.nn.functional.mse_loss(ours.hidden_states[i][mask], theirs.hidden_states[2 * i][mask])
            / theirs.hidden_states[2 * i][mask].square().mean()
            for i in (1, 2)
        ]
        wanted = (
            0.3 * torch.nn.functional.cross_entropy(ours.logits, batch.labels)
            + 0.6 * kl_loss(ours.logits, theirs.logits, "softmax", 3.0)
            + 0.2 * (hidden[0] + hidden[1]) / 2
        )
        assert float(objective(student, batch)) == pytest.approx(float(wanted), rel=1e-3)


def test_unlabelled_rows_bring_the_teachers_terms_alone(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """Without labels the task's loss is not there."""
    student = cut(teacher, (1, 3)).eval()
    loss = DistillationConfig(task_weight=0.5, logits_weight=1.0, hidden_weight=0.0, relation_weight=0.0)
    objective, batch = objective_of(student, teacher, task, teacher_folder, tmp_path / "c", loss)
    bare = TorchBatch(inputs=batch.inputs, labels=None, rows=batch.rows, arrays=batch.arrays)
    with torch.no_grad():
        kl = kl_loss(student(**batch.inputs).logits, teacher(**batch.inputs).logits, "softmax", 2.0)
        assert float(objective(student, bare)) == pytest.approx(float(kl), rel=1e-4)
        assert float(objective(student, batch)) > float(kl)


def test_gradients_flow_into_the_student_alone(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """After a backward pass the teacher has no gradient, is in eval mode, and its weights are the same."""
    student = cut(teacher, (1, 3))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    loss = DistillationConfig(cache_gib=0)
    objective, batch = objective_of(student, teacher, task, teacher_folder, tmp_path / "c", loss)
    student.train()
    objective(student, batch).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert sum(p.grad is not None for p in student.parameters()) == len(list(student.parameters()))
    assert not teacher.training
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_a_student_of_another_width_is_held_to_relations(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """Hidden states cannot be compared, so the last layers' queries, keys and values are."""
    folder = tiny.text_model(tmp_path / "narrow", layers=2, hidden=16, heads=2, ffn=32)
    student = checkpoint.load(folder, task)
    loss = DistillationConfig(task_weight=0, logits_weight=0, relation_weight=1.0)
    objective, batch = objective_of(student, teacher, task, teacher_folder, tmp_path / "c", loss)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        value = objective(student, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.3 * values[0]


def test_the_match_follows_from_the_widths(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path
) -> None:
    """Equal widths: hidden states by the map. Other widths: relations. No weights: outputs alone."""
    batch = batch_of(task, teacher_folder, tiny.sentences(2, 1))
    deep = cut(teacher, (0, 1, 3))
    wide = checkpoint.load(tiny.text_model(tmp_path / "wide", layers=2, hidden=48, heads=4), task)
    loss = DistillationConfig()
    found = plan_match(deep, teacher, batch, loss, (1, 2, 4), task.OUTPUTS)
    assert (found.student.hidden, found.teacher.hidden) == ((1, 2, 3), (1, 2, 4))
    found = plan_match(wide, teacher, batch, loss, None, task.OUTPUTS)
    assert (found.student.relations, found.teacher.relations, found.heads) == (2, 4, 16)
    found = plan_match(
        deep, teacher, batch, DistillationConfig(hidden_weight=0, relation_weight=0), None, task.OUTPUTS
    )
    assert not found.teacher
    with pytest.raises(ModelError, match="layer map"):
        plan_match(deep, teacher, batch, loss, (1, 5, 2), task.OUTPUTS)


def test_a_teacher_of_other_labels_is_refused(teacher: Any, task: ModuleType, teacher_folder: Path) -> None:
    """Outputs of different shapes cannot be compared."""
    other = copy.deepcopy(teacher)
    other.classifier = torch.nn.Linear(32, 3)
    batch = batch_of(task, teacher_folder, tiny.sentences(2, 1))
    with pytest.raises(ModelError, match="must answer alike"):
        plan_match(teacher, other, batch, DistillationConfig(), None, task.OUTPUTS)


def arguments(
    task: ModuleType, folder: Path, rows: data.TrainingData, scratch: Path, **changes: Any
) -> dict[str, Any]:
    """What ``distill`` takes besides the two models."""
    return {
        "task": task,
        "head": HEAD,
        "processor": task.load_processor(folder),
        "data": rows,
        "max_length": None,
        "training": TrainingConfig(
            epochs=3, batch_size=16, learning_rate=2e-3, precision="fp32", checkpoint_seconds=0
        ),
        "loss": DistillationConfig(),
        "layer_map": (2, 4),
        "scratch": scratch,
        "seed": 3,
        "device": "cpu",
        "threads": 1,
        "description": "test",
        **changes,
    }


def test_a_student_comes_nearer_to_its_teacher(
    teacher: Any, task: ModuleType, teacher_folder: Path, rows: data.TrainingData, tmp_path: Path
) -> None:
    """On rows that it was not trained on, the KL to the teacher falls to a fraction."""
    for parameter in teacher.classifier.parameters():
        parameter.data *= 8  # answers with something to learn
    student = cut(teacher, (1, 3))
    batch = batch_of(task, teacher_folder, tiny.sentences(60, 9))

    def apart() -> float:
        with torch.no_grad():
            return float(kl_loss(student(**batch.inputs).logits, teacher(**batch.inputs).logits, "softmax"))

    before = apart()
    loss = DistillationConfig(task_weight=0, logits_weight=1)
    history = distill(student, teacher, **arguments(task, teacher_folder, rows, tmp_path / "s", loss=loss))
    assert apart() < 0.3 * before
    assert history.losses[-1][1] < history.losses[0][1]
    assert len(history.evaluations) == 3


def test_distillation_goes_on_after_an_interruption(
    teacher: Any,
    task: ModuleType,
    teacher_folder: Path,
    rows: data.TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle and started again: the same weights as in one go, without the teacher."""
    straight = cut(teacher, (1, 3))
    distill(straight, teacher, **arguments(task, teacher_folder, rows, tmp_path / "a"))
    plain = DistillationObjective.__call__
    steps = 0

    def stopping(self: DistillationObjective, model: Any, batch: TorchBatch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 20:
            raise KeyboardInterrupt
        return plain(self, model, batch)

    monkeypatch.setattr(DistillationObjective, "__call__", stopping)
    broken = cut(teacher, (1, 3))
    with pytest.raises(KeyboardInterrupt):
        distill(broken, teacher, **arguments(task, teacher_folder, rows, tmp_path / "b"))
    resumed = cut(teacher, (1, 3))
    distill(resumed, teacher, **arguments(task, teacher_folder, rows, tmp_path / "b"))
    left, right = straight.state_dict(), resumed.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_unlabelled_rows_join_in_batches_of_their_own(rows: data.TrainingData, task: ModuleType) -> None:
    """They come after the labelled rows and are marked."""
    bare = [{"text": row["text"]} for row in tiny.sentences(10, 7)]
    joined = data.TrainingData(
        train=rows.train,
        selection=rows.selection,
        calibration=rows.calibration,
        unlabeled=bare,
        label_names=None,
    )
    together, groups = labelled_first(joined, task.LABEL)
    assert len(together) == len(rows.train) + 10
    assert groups.tolist() == [0] * len(rows.train) + [1] * 10


def test_unlabelled_rows_are_trained_on(
    teacher: Any, task: ModuleType, teacher_folder: Path, rows: data.TrainingData, tmp_path: Path
) -> None:
    """Steps are made for them too, and training goes through."""
    bare = [{"text": row["text"]} for row in tiny.sentences(40, 7)]
    joined = data.TrainingData(
        train=rows.train,
        selection=rows.selection,
        calibration=rows.calibration,
        unlabeled=bare,
        label_names=None,
    )
    student = cut(teacher, (1, 3))
    history = distill(student, teacher, **arguments(task, teacher_folder, joined, tmp_path / "s"))
    assert history.steps == 3 * (math.ceil(len(rows.train) / 16) + math.ceil(40 / 16))
