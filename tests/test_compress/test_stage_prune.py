"""The prune stage end to end on a tiny classifier: what stays, what is recorded, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import transformers

from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import DataError, ModelError, RecipeError, UnknownName, UserError
from compress.model import checkpoint
from compress.pipeline import building
from compress.pruning import surgery
from compress.pruning.anatomy import parts_of
from compress.recipe import DataConfig, Recipe, validate
from compress.stages import prune
from compress.tasks import text_classification as task
from tools import family_matrix
from tools.tiny_families import task_of

_FAST: dict[str, Any] = {"round_to": 8, "rows": 64, "recover": {"epochs": 0}}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny model, loaded once, its data, and a store."""
    root = tmp_path_factory.mktemp("prune")
    data = DataConfig(source=str(tiny.text_data(root / "data", train=120)), calibration=32)
    store = Store(root / "store")
    folder = tiny.text_model(root / "model")
    loaded = building.open_artifact(folder, data_config=data, store=store)
    return SimpleNamespace(root=root, data=data, store=store, folder=folder, loaded=loaded)


def run(subject: SimpleNamespace, *, data: bool = True, **options: Any) -> Artifact:
    """The stage on the tiny model."""
    return building.run_stage(
        "prune",
        subject.loaded.path,
        options={**_FAST, **options},
        data_config=subject.data if data else None,
        store=subject.store,
        threads=1,
    )


def units(artifact: Artifact) -> list[int]:
    """Heads and neurons of each layer."""
    return [part.units for part in parts_of(checkpoint.load(artifact.path, task))]


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "fisher", "activation", "random"])
def test_every_criterion_prunes(subject: SimpleNamespace, criterion: str) -> None:
    """Half of the heads and neurons stay with each criterion, and the record says which."""
    artifact = run(subject, keep=0.5, criterion=criterion)
    counts = units(artifact)
    assert sum(counts[::2]) == 4
    assert sum(counts[1::2]) == 64
    assert all(width % 8 == 0 for width in counts[1::2])
    facts = artifact.manifest.facts
    assert [(layer["layer"], len(layer["heads"]), layer["ffn"]) for layer in facts["kept"]] == [
        (0, counts[0], counts[1]),
        (1, counts[2], counts[3]),
    ]
    assert facts["layers"] == [1, 2]
    assert facts["parameters"]["after"] == surgery.parameter_count(checkpoint.load(artifact.path, task))
    assert facts["parameters"]["before"] == surgery.parameter_count(
        checkpoint.load(subject.loaded.path, task)
    )
    note = facts["rounds"][0]
    assert set(note["scores"]) == {"layer.0.heads", "layer.0.ffn", "layer.1.heads", "layer.1.ffn"}
    assert note["selection"].keys() == facts["selection_before"].keys()
    assert set(note["unexplained"]) <= set(note["scores"])
    assert (artifact.path / "tokenizer.json").is_file()


def test_what_is_kept_are_the_weights_of_the_source(subject: SimpleNamespace) -> None:
    """Without reconstruction, kept heads and neurons have exactly the source's weights."""
    artifact = run(subject, keep=0.5, reconstruct=False, scope="uniform")
    pruned, original = checkpoint.load(artifact.path, task), checkpoint.load(subject.loaded.path, task)
    layers = artifact.manifest.facts["kept"]
    for index, (ours, theirs) in enumerate(zip(parts_of(pruned), parts_of(original), strict=True)):
        if ours.kind == "heads":
            rows = surgery.rows_of(layers[index // 2]["heads"], ours.width)
        else:
            spans = [span.split("-") for span in layers[index // 2]["neurons"].split(",")]
            rows = [n for span in spans for n in range(int(span[0]), int(span[-1]) + 1)]
        assert torch.equal(ours.rows[0].weight, theirs.rows[0].weight[rows])
        assert torch.equal(ours.columns.weight, theirs.columns.weight[:, rows])
    assert pruned.config.intermediate_size == 32, "uniform widths are in the configuration"


def test_shares_of_each_kind(subject: SimpleNamespace) -> None:
    """Heads, neurons and layers have shares of their own; equal widths load with from_pretrained."""
    artifact = run(subject, heads=1.0, ffn=0.25, layers=0.5, scope="uniform")
    assert units(artifact) == [4, 16]
    assert not (artifact.path / "shapes.json").exists()
    auto = transformers.AutoModelForSequenceClassification.from_pretrained(artifact.path)
    assert (auto.config.num_hidden_layers, auto.config.intermediate_size) == (1, 16)
    assert len(artifact.manifest.facts["layers"]) == 1


def test_a_gpu_gets_widths_of_64_and_whole_heads(subject: SimpleNamespace) -> None:
    """FFN widths are multiples of 64 where layers differ, heads go whole, and their size stays."""
    folder = tiny.text_model(subject.root / "wide", ffn=320)
    artifact = building.run_stage(
        "prune",
        folder,
        options={"target": "gpu", "keep": 0.6, "rows": 64, "recover": {"epochs": 0}},
        data_config=subject.data,
        store=subject.store,
        threads=1,
    )
    before, after = checkpoint.load(folder, task), checkpoint.load(artifact.path, task)
    cut = 0
    for original, part in zip(parts_of(before), parts_of(after), strict=True):
        assert part.width == original.width, "a head keeps its size"
        if part.kind == "ffn":
            assert part.units % 64 == 0
        cut += part.units < original.units
        assert part.rows[0].out_features == part.units * part.width
    assert cut >= 2
    assert all(layer.attention.self.attention_head_size == 8 for layer in after.bert.encoder.layer)


def test_widths_that_tensor_cores_cannot_use_are_refused() -> None:
    """For a GPU, multiples of 16 at least; elsewhere any width."""
    with pytest.raises(RecipeError, match=r"multiples of 16, better 64, and round_to is 24"):
        validate(prune.Config, {"target": "gpu", "round_to": 24}, "prune")
    assert validate(prune.Config, {"target": "gpu", "round_to": 32}, "prune").targets.round_to == 32
    assert validate(prune.Config, {"target": "gpu"}, "prune").targets.round_to == 64
    assert validate(prune.Config, {"round_to": 24}, "prune").targets.round_to == 24
    assert validate(prune.Config, {}, "prune").targets.round_to == 32


def test_the_same_again_is_the_same(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Another store, the same bytes; another seed gives other units by chance."""
    first = run(subject, criterion="random")
    apart = SimpleNamespace(**{**vars(subject), "store": Store(tmp_path)})
    assert run(apart, criterion="random").id == first.id
    reseeded = building.run_stage(
        "prune",
        subject.loaded.path,
        options={**_FAST, "criterion": "random"},
        data_config=subject.data,
        seed=5,
        store=subject.store,
        threads=1,
    )
    assert reseeded.manifest.facts["kept"] != first.manifest.facts["kept"]


def test_rounds_with_recovery(subject: SimpleNamespace) -> None:
    """Two rounds remove half each and train after each; the history is recorded."""
    recover = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "precision": "fp32"}
    artifact = run(subject, keep=0.5, rounds=2, recover=recover)
    assert sum(units(artifact)[::2]) == 4
    rounds = artifact.manifest.facts["rounds"]
    assert [note["round"] for note in rounds] == [1, 2]
    assert rounds[0]["parameters"] > rounds[1]["parameters"]
    assert all(note["recovery"]["steps"] >= 3 for note in rounds)
    plain = run(subject, keep=0.5)
    ours = checkpoint.load(artifact.path, task).state_dict()["classifier.weight"]
    assert not torch.equal(ours, checkpoint.load(plain.path, task).state_dict()["classifier.weight"])


@pytest.mark.parametrize("harm", [None, "state.json", "model.safetensors"])
def test_a_killed_run_goes_on_after_the_last_round(
    subject: SimpleNamespace, tmp_path: Path, harm: str | None
) -> None:
    """What a finished round left in the scratch is taken up where it is whole; the result is the same."""
    options = {**_FAST, "rounds": 3, "criterion": "random"}
    config = validate(prune.Config, options, "prune")
    expected = run(subject, **options)
    facts: dict[str, Any] = {}
    calls: list[int] = []

    def context(out: str) -> Any:
        (tmp_path / out).mkdir()
        return SimpleNamespace(
            out=tmp_path / out,
            scratch=tmp_path / "scratch",
            task=task,
            data=building.data.load(subject.data, task, 0).training,
            seed=0,
            threads=1,
            device="cpu",
            record=facts.__setitem__,
            ancestors=(),
        )

    with pytest.MonkeyPatch.context() as patch:
        real = prune._Work.cut

        def cut(self: Any, number: int) -> None:
            calls.append(number)
            if calls == [1, 2]:
                raise KeyboardInterrupt
            real(self, number)

        patch.setattr(prune._Work, "cut", cut)
        with pytest.raises(KeyboardInterrupt):
            prune.run(subject.loaded, config, context("first"))
        if harm is not None:
            file = tmp_path / "scratch" / "done-1" / harm
            content = bytearray(file.read_bytes())
            content[-2] ^= 1
            file.write_bytes(content)
        prune.run(subject.loaded, config, context("second"))
    assert calls == ([1, 2, 2, 3] if harm is None else [1, 2, 1, 2, 3])
    assert facts["kept"] == expected.manifest.facts["kept"]
    ours = (tmp_path / "second" / "model.safetensors").read_bytes()
    assert ours == (expected.path / "model.safetensors").read_bytes()


def test_magnitude_needs_no_data(subject: SimpleNamespace) -> None:
    """A criterion of weights alone, without reconstruction and recovery, prunes without rows."""
    artifact = building.run_stage(
        "prune",
        subject.folder,
        options={**_FAST, "criterion": "magnitude", "reconstruct": False},
        store=subject.store,
        threads=1,
    )
    assert sum(units(artifact)[::2]) == 4


def test_missing_data_is_said_at_once(subject: SimpleNamespace) -> None:
    """Every option that asks for rows is named, with what leaves it out."""
    with pytest.raises(
        DataError, match=r"there is no data.*'fisher' needs rows.*'reconstruct: false'.*--data"
    ):
        building.run_stage("prune", subject.folder, options=_FAST, store=subject.store, threads=1)


def test_labels_are_never_made_up(subject: SimpleNamespace, tmp_path: Path) -> None:
    """With unlabelled rows alone, fisher is refused and activation works."""
    rows = [{"text": str(row["text"])} for row in tiny.sentences(40, 3)]
    tiny.write_jsonl(tmp_path / "data" / "unlabeled.jsonl", rows)
    data = DataConfig(unlabeled=str(tmp_path / "data" / "unlabeled.jsonl"))
    options = {**_FAST, "keep": 0.5}
    arguments: dict[str, Any] = {"data_config": data, "store": subject.store, "threads": 1}
    with pytest.raises(DataError, match="the rows have no labels"):
        building.run_stage("prune", subject.loaded.path, options=options, **arguments)
    artifact = building.run_stage(
        "prune", subject.loaded.path, options={**options, "criterion": "activation"}, **arguments
    )
    assert sum(units(artifact)[::2]) == 4


def test_options_that_do_not_go_together(subject: SimpleNamespace) -> None:
    """Wrong names, shares and combinations are refused with what is allowed."""
    with pytest.raises(UnknownName, match=r"Unknown criterion 'fischer'. Did you mean 'fisher'"):
        validate(prune.Config, {"criterion": "fischer"}, "prune")
    for options in ({"keep": 0.0}, {"keep": 1.5}, {"round_to": 0}, {"recover": {"epochs": -1}}):
        with pytest.raises(RecipeError, match="prune: "):
            validate(prune.Config, options, "prune")
    with pytest.raises(RecipeError, match="joint spends one budget"):
        validate(prune.Config, {"scope": "joint", "heads": 0.5}, "prune")
    with pytest.raises(RecipeError, match=r"scores of 'magnitude' do not compare.*fisher or taylor"):
        run(subject, scope="joint", criterion="magnitude")
    with pytest.raises(RecipeError, match=r"criterion 'fisher'.*unknown key 'norm'"):
        run(subject, criterion_options={"norm": "l1"})
    l1 = run(subject, criterion="magnitude", criterion_options={"norm": "l1"})
    assert sum(units(l1)[::2]) == 4


def test_joint_scope(subject: SimpleNamespace) -> None:
    """One budget over heads and neurons: at most the share of their parameters is left."""
    artifact = run(subject, keep=0.6, scope="joint")
    parts = parts_of(checkpoint.load(artifact.path, task))
    original = parts_of(checkpoint.load(subject.loaded.path, task))
    left, total = (sum(p.units * p.unit_parameters for p in model_parts) for model_parts in (parts, original))
    assert 0.5 * total < left <= 0.6 * total


def test_untrained_heads_are_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """A head that was never trained gives no importance, also where a sealed artifact has it."""
    base = tiny.base_model(tmp_path / "base")
    recipe = Recipe(model=str(base), task="text-classification", data=subject.data)
    fresh = building.run(recipe, subject.store)[-1].artifact
    with pytest.raises(ModelError, match=r"no trained head.*paredown finetune"):
        building.run_stage("prune", fresh.path, options=_FAST, store=subject.store, threads=1)


def test_keeping_everything_changes_nothing(subject: SimpleNamespace) -> None:
    """A share of 1 leaves the weights as they are, and says so."""
    artifact = run(subject, keep=1.0)
    ours = checkpoint.load(artifact.path, task).state_dict()
    theirs = checkpoint.load(subject.loaded.path, task).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_no_recovery_may_be_said_either_way() -> None:
    """``recover: null`` is no epoch of it, and hashes like that."""
    silent = prune.Config.model_validate({"recover": None})
    assert not silent.recover.wanted
    assert silent == prune.Config.model_validate({"recover": {"epochs": 0}})


def test_foreign_teachers_are_hashed_and_checked(subject: SimpleNamespace) -> None:
    """A teacher's folder is part of what the result depends on, and must exist."""
    config = prune.Config(teacher="some/folder")
    assert prune.reads(config) == (Path("some/folder"),)
    assert prune.reads(prune.Config()) == ()
    recover = {"epochs": 1, "batch_size": 64, "steps": 1, "precision": "fp32"}
    artifact = run(subject, teacher=str(subject.loaded.path), recover=recover)
    assert artifact.manifest.facts["rounds"][0]["recovery"]["steps"] == 1
    assert json.dumps(artifact.manifest.facts)


def test_recovery_knows_which_layer_came_from_where(
    subject: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the original as teacher, each layer imitates the original's layer that it came from."""
    recovery: dict[str, Any] = {}

    def note(_student: Any, teacher: Any, **arguments: Any) -> Any:
        recovery.update(arguments, depth=teacher.config.num_hidden_layers)
        return SimpleNamespace(facts=dict)

    monkeypatch.setattr(prune, "distill", note)
    recipe = Recipe.model_validate(
        {
            "model": str(subject.folder),
            "data": subject.data.model_dump(),
            "threads": 1,
            "stages": [
                {"distill": {"layers": [1], "steps": 1, "precision": "fp32"}},
                {"prune": {**_FAST, "teacher": "original", "recover": {"steps": 1, "epochs": 0}}},
            ],
        }
    )
    building.run(recipe, subject.store)
    assert (recovery["layer_map"], recovery["depth"]) == ((2,), 2)
    assert (recovery["training"].epochs, recovery["training"].steps) == (1, 1)
    run(subject, recover={"epochs": 2}, layers=0.5)
    assert len(recovery["layer_map"]) == 1
    assert recovery["depth"] == 2


def test_a_teacher_of_another_vocabulary_is_refused(subject: SimpleNamespace) -> None:
    """The original of a trimmed model reads the same rows as other ids: what it would teach is chance."""
    trim = {"pieces": 26, "unknown_at_most": 1}
    recover = {"steps": 1, "epochs": 0}
    stages = [
        {"load": {}},
        {"trim-vocabulary": trim},
        {"prune": {**_FAST, "teacher": "original", "recover": recover}},
    ]
    recipe = validate(
        Recipe,
        {"model": str(subject.folder), "data": subject.data.model_dump(), "stages": stages, "threads": 1},
        "it",
    )
    with pytest.raises(
        ModelError, match=r"different inputs .* a trimmed vocabulary .* take 'teacher: source'"
    ):
        building.run(recipe, subject.store)


def test_a_student_of_the_original_would_undo_a_trimming(subject: SimpleNamespace) -> None:
    """'distill: {teacher: original}' cuts its student out of the original, whole vocabulary and all."""
    stages = [
        {"load": {}},
        {"trim-vocabulary": {"pieces": 26, "unknown_at_most": 1}},
        {"distill": {"teacher": "original", "layers": 1, "steps": 1}},
    ]
    recipe = validate(
        Recipe,
        {"model": str(subject.folder), "data": subject.data.model_dump(), "stages": stages, "threads": 1},
        "it",
    )
    with pytest.raises(ModelError, match=r"a student of it would undo that: use 'teacher: source'"):
        building.run(recipe, subject.store)


def test_a_missing_teacher_is_said(subject: SimpleNamespace, tmp_path: Path) -> None:
    """A teacher's folder that is not there is an input error."""
    with pytest.raises(UserError, match=r"no-such-teacher"):
        run(subject, teacher=str(tmp_path / "no-such-teacher"), recover={"epochs": 1})


@pytest.mark.parametrize(
    ("family", "options", "refusal"),
    [
        ("gpt2", {"layers": 0.5}, r"cannot lose heads or FFN neurons: .*Conv1D.*'heads: 1' and 'ffn: 1'"),
        ("albert", {"keep": 1.0, "layers": 0.5}, r"cannot lose layers: it runs one layer again and again"),
        (
            "swin",
            {"reconstruct": True},
            r"built in stages.*'reconstruct: false' and 'recover: \{hidden_weight",
        ),
    ],
)
def test_what_a_family_cannot_lose_is_refused_at_once(
    family: str, options: dict[str, Any], refusal: str, tmp_path: Path
) -> None:
    """Before any row is read or scored, the refusal names the options that would do."""
    with pytest.raises(ModelError, match=refusal):
        building.run_stage(
            "prune",
            family_matrix.model_of(family, tmp_path),
            options={**_FAST, "criterion": "magnitude", "reconstruct": False, **options},
            task=task_of(family),
            store=Store(tmp_path / "store"),
            threads=1,
        )


def test_a_shared_layer_is_cut_solved_and_recovered(tmp_path: Path) -> None:
    """ALBERT's one layer loses heads and neurons, and learns from the hidden states of every run of it."""
    artifact = building.run_stage(
        "prune",
        family_matrix.model_of("albert", tmp_path),
        options={**_FAST, "rows": 16, "recover": {"steps": 1, "precision": "fp32"}},
        data_config=DataConfig(
            source=str(family_matrix.rows_of("text-classification", tmp_path / "data")), calibration=16
        ),
        task="text-classification",
        store=Store(tmp_path / "store"),
        threads=1,
    )
    assert units(artifact) == [2, 24]
    assert set(artifact.manifest.facts["rounds"][0]["unexplained"]) == {"layer.0.heads", "layer.0.ffn"}
