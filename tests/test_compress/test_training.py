"""The training loop by what it must guarantee, and that it goes on after an interruption."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import training_driver as driver
from safetensors.torch import load_file

from compress import catalog
from compress.errors import ModelError, TrainingError
from compress.tasks import Batch, Head
from compress.training import resume
from compress.training.loop import TrainingConfig, train

DRIVER = Path(driver.__file__)


def run(model: torch.nn.Module, scratch: Path, **changes: Any) -> Any:
    """Train the driver's model on the driver's rows."""
    data = changes.pop("rows", driver.rows())
    arguments: dict[str, Any] = {
        "rows": data,
        "encode": driver.encode,
        "lengths": np.array([len(row["ids"]) for row in data]),
        "objective": driver.objective,
        "evaluate": driver.evaluate,
        "config": driver.CONFIG,
        "scratch": scratch,
        "seed": 11,
        "device": "cpu",
        "threads": 1,
        "description": "test",
    }
    return train(model, **{**arguments, **changes})


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# --- the loop ----------------------------------------------------------------------------------


class One(torch.nn.Module):
    """A single weight; its loss has the gradient that the row says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0]]))

    def forward(self, slope: torch.Tensor) -> torch.Tensor:
        return self.weight * slope


def slopes(rows: Any) -> Batch:
    """Each row is a number."""
    return Batch(inputs={"slope": np.array([[row["slope"]] for row in rows], dtype=np.float32)}, labels=None)


def train_one(tmp_path: Path, values: list[float], **config: Any) -> tuple[One, Any]:
    """Train the single weight on some slopes."""
    model = One()
    history = train(
        model,
        rows=[{"slope": value} for value in values],
        encode=slopes,
        lengths=None,
        objective=lambda m, batch: m(**batch.inputs).mean(),
        evaluate=None,
        config=TrainingConfig(precision="fp32", warmup=0, **config),
        scratch=tmp_path,
        seed=0,
        device="cpu",
        threads=1,
        description="one",
    )
    return model, history


def test_one_step_is_adamw_with_bias_correction(tmp_path: Path) -> None:
    """Step 1: w - lr wd w - lr g / (|g| + eps) = 1 - 0.1 * 0.5 * 1 - 0.1 * 1, whatever the slope."""
    for slope in (0.5, 2.0):
        model, _ = train_one(
            tmp_path / str(slope), [slope], epochs=1, learning_rate=0.1, weight_decay=0.5, clip=None
        )
        assert model.weight.item() == pytest.approx(1 - 0.05 - 0.1, abs=1e-6)


def test_the_gradient_is_clipped_to_the_norm(tmp_path: Path) -> None:
    """Two steps, slopes 1 and 1000 clipped to 1 each: both steps move by lr times the schedule."""
    model, _ = train_one(
        tmp_path, [1.0, 1000.0], epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0, clip=1.0
    )
    assert model.weight.item() == pytest.approx(1 - 0.1 - 0.05, abs=1e-5)


def test_weights_of_the_best_evaluation_come_back(tmp_path: Path) -> None:
    """The model ends with the weights that it had at the best selection score, not the last ones."""
    figures = iter([0.1, 0.9, 0.3, 0.9, 0.2])
    states: list[dict[str, torch.Tensor]] = []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        assert not model.training
        return {"accuracy": next(figures), "other": 0.0}

    model = driver.build()
    config = driver.CONFIG.model_copy(update={"epochs": 5, "evaluations_per_epoch": 1})
    history = run(model, tmp_path, evaluate=evaluate, config=config)
    assert history.best_step == 4 * 13  # the later one of the two with 0.9
    assert history.best.metrics["accuracy"] == 0.9
    assert same(model.state_dict(), states[3])
    assert not same(model.state_dict(), states[4])
    assert not model.training


def test_the_last_weights_stay_where_they_are_asked_for(tmp_path: Path) -> None:
    """Scored all the same, in the history as they were, and the worst of all scores if that is the last."""
    figures = iter([0.1, 0.9, 0.2])
    states: list[dict[str, torch.Tensor]] = []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"accuracy": next(figures)}

    model = driver.build()
    config = driver.CONFIG.model_copy(update={"epochs": 3, "evaluations_per_epoch": 1, "keep": "last"})
    history = run(model, tmp_path, evaluate=evaluate, config=config)
    assert history.best_step == 3 * 13
    assert [evaluation.metrics["accuracy"] for evaluation in history.evaluations] == [0.1, 0.9, 0.2]
    assert same(model.state_dict(), states[2])
    assert not same(model.state_dict(), states[1])


def test_training_learns_and_says_what_happened(tmp_path: Path) -> None:
    """The loss falls, the selection metric rises, and the history is JSON."""
    history = run(driver.build(), tmp_path)
    assert history.steps == 52
    assert history.losses[-1][1] < 0.5 * history.losses[0][1]
    assert history.best.metrics["accuracy"] > 0.85
    assert [e.step for e in history.evaluations] == [6, 13, 20, 26, 32, 39, 46, 52]
    assert json.loads(json.dumps(history.facts()))["precision"] == "fp32"
    assert history.rows_per_second > 0


def test_training_leaves_torch_as_it_was(tmp_path: Path) -> None:
    """Threads and the global random state are the same after training; the result does not use them."""
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = driver.build()
    run(first, tmp_path / "a", threads=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    second = driver.build()
    run(second, tmp_path / "b")
    assert same(first.state_dict(), second.state_dict())


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    """Batch order and dropout follow from the seed."""
    first, second = driver.build(), driver.build()
    run(first, tmp_path / "a")
    run(second, tmp_path / "b", seed=12)
    assert not same(first.state_dict(), second.state_dict())


def test_steps_override_epochs(tmp_path: Path) -> None:
    """``steps`` counts optimizer steps, across the end of an epoch where need be."""
    config = driver.CONFIG.model_copy(update={"steps": 20})
    history = run(driver.build(), tmp_path, config=config)
    assert history.steps == 20
    assert history.epochs == pytest.approx(20 / 13)
    assert history.evaluations[-1].step == 20


def test_bfloat16_trains_too(tmp_path: Path) -> None:
    """The bfloat16 path learns the same task, and the weights stay FP32."""
    model = driver.build()
    config = driver.CONFIG.model_copy(update={"precision": "bf16"})
    history = run(model, tmp_path, config=config)
    assert history.precision == "bf16"
    assert history.best.metrics["accuracy"] > 0.85
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_at_once(tmp_path: Path, bad: float) -> None:
    """The error names epoch, step, learning rate and what to try; the weights are not updated by it."""
    steps = []

    def objective(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        steps.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return driver.objective(model, batch) * (bad if len(steps) == 16 else 1.0)

    model = driver.build()
    with pytest.raises(TrainingError) as caught:
        run(model, tmp_path, objective=objective)
    message = str(caught.value)
    assert "the loss is not a finite number in epoch 2, step 16 of 52" in message
    assert "learning rate 0.0151" in message
    assert "lower learning_rate" in message
    assert same(model.state_dict(), steps[-1])


def test_a_gradient_that_is_no_number_stops_at_once(tmp_path: Path) -> None:
    """A finite loss with a gradient of NaN is found in the same step."""

    def objective(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        loss = driver.objective(model, batch)
        zero = loss - loss.detach()
        return loss.detach() + torch.sqrt(zero.clamp_min(0)) * 1.0

    with pytest.raises(TrainingError, match="the gradient is not a finite number in epoch 1, step 1 of 52"):
        run(driver.build(), tmp_path, objective=objective)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    """Training without rows says so."""
    with pytest.raises(TrainingError, match="there are no training rows"):
        train(
            One(),
            rows=[],
            encode=slopes,
            lengths=None,
            objective=driver.objective,
            evaluate=None,
            config=TrainingConfig(),
            scratch=tmp_path,
            seed=0,
            device="cpu",
            threads=1,
            description="test",
        )


def test_frozen_embeddings_do_not_move(text_model: Path, tmp_path: Path) -> None:
    """With ``freeze_embeddings`` the word table keeps its bits, and takes gradients again afterwards."""
    from transformers import AutoModelForSequenceClassification

    task = catalog.load("task", "text-classification")
    processor = task.load_processor(text_model)
    head = Head("single_label", ("negative", "positive"))
    model = AutoModelForSequenceClassification.from_pretrained(text_model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows = tiny.sentences(32, 1)
    train(
        model,
        rows=rows,
        encode=lambda part: task.encode(part, processor, head, None),
        lengths=task.lengths(rows, processor),
        objective=lambda m, batch: torch.nn.functional.cross_entropy(m(**batch.inputs).logits, batch.labels),
        evaluate=None,
        config=TrainingConfig(epochs=1, batch_size=8, freeze_embeddings=True, layer_decay=0.9),
        scratch=tmp_path,
        seed=0,
        device="cpu",
        threads=1,
        description="test",
    )
    after = model.state_dict()
    table = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[table], after[table])
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert model.get_input_embeddings().weight.requires_grad
    with pytest.raises(ModelError, match="names no input embeddings: leave freeze_embeddings off"):
        run(driver.build(), tmp_path / "x", config=TrainingConfig(freeze_embeddings=True))


# --- resume ------------------------------------------------------------------------------------


class InterruptedRunError(Exception):
    """Raised by a test's objective in the middle of training."""


def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Stopped after 5, 17 and 40 steps and started again each time: bit-identical to one go."""
    straight = driver.build()
    history = run(straight, tmp_path / "a")
    every_step = driver.CONFIG.model_copy(update={"checkpoint_seconds": 0})
    steps = 0
    for stop in (5, 12, 23):
        count = 0

        def objective(model: torch.nn.Module, batch: Any, stop: int = stop) -> torch.Tensor:
            nonlocal count
            if count == stop:
                raise InterruptedRunError
            count += 1
            return driver.objective(model, batch)

        with pytest.raises(InterruptedRunError):
            run(driver.build(), tmp_path / "b", objective=objective, config=every_step)
        steps += count
    assert steps == 40
    resumed = driver.build()
    again = run(resumed, tmp_path / "b", config=every_step)
    assert same(resumed.state_dict(), straight.state_dict())
    assert again.losses == history.losses
    assert again.evaluations == history.evaluations


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    """The same call in the same scratch gives the best weights back without a step."""
    first = driver.build()
    history = run(first, tmp_path)

    def refuse(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        raise InterruptedRunError

    second = driver.build()
    again = run(second, tmp_path, objective=refuse)
    assert same(first.state_dict(), second.state_dict())
    assert again.best_step == history.best_step


def test_scratch_holds_one_checkpoint_and_one_best(tmp_path: Path) -> None:
    """Old best weights are dropped, and nothing is a pickle."""
    history = run(driver.build(), tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"best-{history.best_step}.safetensors", "training.safetensors"]


def test_a_checkpoint_of_another_run_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another configuration in the same scratch starts anew, and says so."""
    run(driver.build(), tmp_path)
    config = driver.CONFIG.model_copy(update={"learning_rate": 1e-2})
    changed = driver.build()
    run(changed, tmp_path, config=config)
    fresh = driver.build()
    run(fresh, tmp_path.parent / "fresh", config=config)
    assert same(changed.state_dict(), fresh.state_dict())


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    """A cut file is noticed and training starts anew, to the same result."""
    straight = driver.build()
    run(straight, tmp_path)
    file = tmp_path / "training.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    again = driver.build()
    run(again, tmp_path)
    assert same(again.state_dict(), straight.state_dict())


def test_a_changed_byte_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    """Every flipped byte that safetensors reads without a word is found: nothing is trained from it."""
    file = tmp_path / "x.safetensors"
    resume.write(file, {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.bfloat16)}, {"step": 3})
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        restored = resume.read(file)
        # A blank that pads the header means nothing.
        assert restored is None or (
            restored[1] == {"step": 3} and torch.equal(restored[0]["a"], torch.arange(3.0))
        )
    file.write_bytes(content)
    assert resume.read(file) is not None


def test_a_checkpoint_keeps_tensors_and_state(tmp_path: Path) -> None:
    """What is written is read back, tied tensors included; nothing else is left in the folder."""
    shared = torch.arange(4.0)
    resume.write(tmp_path / "x.safetensors", {"a": shared, "b": shared}, {"step": 3, "loss": 0.1})
    restored = resume.read(tmp_path / "x.safetensors")
    assert restored is not None
    assert restored[1] == {"step": 3, "loss": 0.1}
    assert torch.equal(restored[0]["b"], shared)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: one sentence, and the old checkpoint stays."""
    file = tmp_path / "x.safetensors"
    resume.write(file, {"a": torch.ones(2)}, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be written .*make room on that disk"):
            resume.write(file, {"a": torch.zeros(1 << 20)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    restored = resume.read(file)
    assert restored is not None
    assert restored[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(DRIVER.parent.parent)}


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """SIGKILL at two moments, then on to the end: weights equal bit for bit to an unbroken run."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    out.mkdir()
    for steps in (9, 14):
        command = [sys.executable, str(DRIVER), str(scratch), str(out), "0.02"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment()) as process:
            for _ in range(steps):
                assert process.stdout is not None
                assert process.stdout.readline() == b"step\n"
            time.sleep(0.01)  # anywhere in a step, or in a checkpoint
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not list(out.iterdir())
    resumed, straight = driver.build(), driver.build()
    before = resume.read(scratch / "training.safetensors")
    assert before is not None
    assert 0 < before[1]["step"] < 52
    run(resumed, scratch)
    run(straight, tmp_path / "straight")
    assert same(resumed.state_dict(), straight.state_dict())


@pytest.mark.parametrize("push", [0.0, 0.1])
def test_two_processes_train_one_model(tmp_path: Path, push: float) -> None:
    """Under ``accelerate launch`` both ranks end with equal weights, and only the main one writes.

    Also where each step passes through the model twice, to learn adversarially.
    """
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    out.mkdir()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0", str(DRIVER), str(scratch), str(out), "0", str(push)]
    process = subprocess.run(launch, env=_environment(), capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr[-2000:]
    weights = [load_file(out / f"weights-{rank}.safetensors") for rank in (0, 1)]
    assert same(*weights)
    histories = [json.loads((out / f"history-{rank}.json").read_text()) for rank in (0, 1)]
    assert histories[0]["losses"] == histories[1]["losses"]
    assert histories[0]["processes"] == 2
    assert histories[0]["steps"] == 52  # as many as one process makes: the same effective batch
    losses = [value for _, value in histories[0]["losses"]]
    assert losses[-1] < 0.6 * losses[0]
    assert len(list(scratch.iterdir())) == 2
