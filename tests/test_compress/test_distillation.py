"""Distillation: the search for layers, the teacher's answers on disk, the objective, the training."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from compress import catalog, data
from compress.distillation.distill import (
    DistillationConfig,
    DistillationObjective,
    distill,
    learnable,
    plan_match,
)
from compress.distillation.losses import kl_loss
from compress.distillation.student import (
    cut,
    search,
    subsets,
)
from compress.distillation.taps import Want, flatten, unflatten
from compress.distillation.teacher import Teacher, TeacherCache
from compress.errors import ModelError, TrainingError
from compress.model import checkpoint
from compress.model.layers import real_tokens
from compress.recipe import DataConfig
from compress.tasks import Head, has_label
from compress.training.batching import EncodedRows, TorchBatch, plan_epoch, plan_sorted, to_torch
from compress.training.loop import TrainingConfig

HEAD = Head("single_label", ("negative", "positive"))


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


def batch_of(task: ModuleType, folder: Path, sentences: Sequence[Any], labelled: bool = True) -> TorchBatch:
    """Some rows as one batch on the CPU."""
    arrays = task.encode(sentences, task.load_processor(folder), HEAD, None, labelled=labelled)
    return to_torch(arrays, np.arange(len(sentences)), "cpu")


def test_search_ranks_every_subset_by_its_distance(
    teacher: Any, task: ModuleType, teacher_folder: Path
) -> None:
    """The ranking equals the KL of models that were cut one by one; the teacher is left whole."""
    batch = batch_of(task, teacher_folder, tiny.sentences(12, 3))
    with torch.no_grad():
        reference = teacher(**batch.inputs).logits

        def distance(model: Any) -> float:
            return float(kl_loss(model(**batch.inputs).logits, reference, "softmax"))

        ranking = search(teacher, 2, distance)
        apart = {chosen: distance(cut(teacher, chosen)) for chosen in subsets(4, 2)}
        assert torch.equal(teacher(**batch.inputs).logits, reference)
    assert [kl for _, kl in ranking] == sorted(kl for _, kl in ranking)
    assert dict(ranking) == pytest.approx(apart)


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
    sentences = tiny.sentences(100, 1)
    lengths = task.lengths(sentences, processor)
    source = EncodedRows(sentences, lambda part: task.encode(part, processor, HEAD, None), lengths)
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


@pytest.mark.parametrize("harm", ["flip", "cut", "meta", "types", "link"])
def test_answers_that_changed_on_the_disk_are_computed_again(
    teacher: Any, task: ModuleType, teacher_folder: Path, tmp_path: Path, harm: str
) -> None:
    """A flipped or missing byte in what an earlier try kept, and a damaged note of it, cost time alone."""
    place = tmp_path / "c"
    _, first, _ = make_cache(teacher, task, teacher_folder, place, Want())
    file, meta = place / "outputs.logits.f32", place / "teacher.json"
    content = file.read_bytes()
    if harm == "flip":
        file.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    elif harm == "cut":
        file.write_bytes(content[:-4])
    elif harm == "meta":
        meta.write_bytes(meta.read_bytes()[:20])
    elif harm == "types":
        meta.write_text('{"identity": 3, "done": [], "sizes": {}, "sums": {}}')
    else:
        (tmp_path / "other").write_bytes(content)
        file.unlink()
        file.symlink_to(tmp_path / "other")
    _, again, _ = make_cache(teacher, task, teacher_folder, place, Want())
    assert again.passes == first.passes
    assert file.read_bytes() == content
    _, third, _ = make_cache(teacher, task, teacher_folder, place, Want())
    assert third.passes == 1, "the first batch says the widths; the rest is kept"


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
        answer = cache(batch)
        direct = Teacher(teacher, task, want, bf16=False).answer(batch)
        assert torch.allclose(answer.outputs["logits"], direct.outputs["logits"], atol=1e-5)
        if want:
            assert answer.states is not None
            assert torch.allclose(answer.states, direct.states, atol=5e-3)
        else:
            assert answer.states is None
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
    complete, once, _ = make_cache(teacher, task, teacher_folder, tmp_path / "c", want)
    assert once.passes == 1
    fresh, _, _ = make_cache(teacher, task, teacher_folder, tmp_path / "fresh", want)
    batch = next(source.batches([np.arange(100)], "cpu"))
    for cache in (again, complete):
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
    changed = copy.deepcopy(teacher)
    changed.classifier.bias.data += 1
    _, counted, _ = make_cache(changed, task, teacher_folder, tmp_path / "c", Want())
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
    sentences = tiny.sentences(100, 1)
    source = EncodedRows(
        sentences, lambda part: task.encode(part, processor, HEAD, None), task.lengths(sentences, processor)
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
        expected = (
            0.3 * torch.nn.functional.cross_entropy(ours.logits, batch.labels)
            + 0.6 * kl_loss(ours.logits, theirs.logits, "softmax", 3.0)
            + 0.2 * (hidden[0] + hidden[1]) / 2
        )
        assert float(objective(student, batch)) == pytest.approx(float(expected), rel=1e-3)


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
    match = plan_match(deep, teacher, batch, loss, (1, 2, 4), task.OUTPUTS)
    assert (match.student.hidden, match.teacher.hidden) == ((1, 2, 3), (1, 2, 4))
    match = plan_match(wide, teacher, batch, loss, None, task.OUTPUTS)
    assert (match.student.relations, match.teacher.relations, match.heads) == (2, 4, 16)
    match = plan_match(
        deep, teacher, batch, DistillationConfig(hidden_weight=0, relation_weight=0), None, task.OUTPUTS
    )
    assert not match.teacher
    with pytest.raises(ModelError, match="layer map"):
        plan_match(deep, teacher, batch, loss, (1, 5, 2), task.OUTPUTS)


def test_a_teacher_of_other_labels_is_refused(teacher: Any, task: ModuleType, teacher_folder: Path) -> None:
    """Outputs of different shapes cannot be compared."""
    wider = copy.deepcopy(teacher)
    wider.classifier = torch.nn.Linear(32, 3)
    batch = batch_of(task, teacher_folder, tiny.sentences(2, 1))
    with pytest.raises(ModelError, match="must answer alike"):
        plan_match(teacher, wider, batch, DistillationConfig(), None, task.OUTPUTS)


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
    """They come after the labelled rows."""
    bare = [{"text": row["text"]} for row in tiny.sentences(10, 7)]
    joined = data.TrainingData(
        train=rows.train,
        selection=rows.selection,
        calibration=rows.calibration,
        unlabeled=bare,
        label_names=None,
    )
    together = learnable(joined, task)
    assert together == [*rows.train, *bare]
    assert [has_label(task, row) for row in together] == [True] * len(rows.train) + [False] * 10


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
