"""The one training loop: fine-tuning, distillation and recovery after pruning all run on it.

AdamW with bias correction, warm-up, layer-wise rates, length buckets, bfloat16 where the hardware
has it, clipping, the best weights by the selection rows, and checkpoints from which a killed run
goes on to the same weights, bit for bit (same machine, same threads). What is minimized is the
caller's: ``objective(model, batch)`` gives a scalar loss.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from compress import environment, log, processes
from compress.errors import TrainingError
from compress.model.embeddings import input_embeddings
from compress.model.layers import find_stack
from compress.stage import StageConfig
from compress.tasks import Row
from compress.training import resume
from compress.training.batching import (
    Encode,
    EncodedRows,
    TorchBatch,
    apart,
    plan_epoch,
    plan_lists,
    steps_per_epoch,
)
from compress.training.dropout import DropoutSource, own_dropout
from compress.training.history import Evaluation, History, Progress, noted
from compress.training.objectives import Objective
from compress.training.schedule import Group, multiplier, parameter_groups
from compress.training.time_masks import MaskSource, own_time_masks

Evaluate = Callable[[nn.Module], dict[str, float]]

_LATEST = "training.safetensors"
_CURVE_POINTS = 200


class TrainingConfig(StageConfig):
    """How to train.

    Attributes:
        epochs: passes over the training rows.
        steps: optimizer steps in all; overrides ``epochs``.
        batch_size: rows a step, over all processes together.
        learning_rate: at its highest, after the warm-up.
        schedule: course of the learning rate after the warm-up, down to 0.
        warmup: share of the steps that warm up.
        layer_decay: factor of the learning rate from a layer to the one below; 1 for none.
        weight_decay: of matrices; biases and norms never decay.
        clip: largest gradient norm; None for no clipping.
        precision: ``auto`` is bfloat16 where the device multiplies it in hardware, else FP32.
        freeze_embeddings: leave the input embeddings as they are.
        evaluations_per_epoch: how often the selection rows are scored.
        keep: which weights: the ``best`` by the selection rows, or the ``last``, whatever those say. Where
            they are few, the best of several scores is partly luck, and a rate that decayed to 0 is not.
        checkpoint_seconds: at most this much work is lost to a kill.
    """

    epochs: int = Field(default=3, ge=1, le=10_000)
    steps: int | None = Field(default=None, ge=1, le=10**9)
    batch_size: int = Field(default=32, ge=1, le=65_536)
    learning_rate: float = Field(default=5e-5, gt=0, le=10)
    schedule: Literal["linear", "cosine"] = "linear"
    warmup: float = Field(default=0.06, ge=0, lt=1)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=100)
    clip: float | None = Field(default=1.0, gt=0, le=1e6)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    freeze_embeddings: bool = False
    evaluations_per_epoch: int = Field(default=1, ge=1, le=10_000)
    keep: Literal["best", "last"] = "best"
    checkpoint_seconds: float = Field(default=60.0, ge=0, le=1e6)


def better(candidate: dict[str, float], best: dict[str, float] | None) -> bool:
    """Whether figures are at least as good as the best so far: a tie goes to the later ones."""
    if best is None:
        return True
    main = next(iter(candidate))
    return not math.isnan(candidate[main]) and not candidate[main] < best[main]


def evaluation_steps(total: int, per_epoch: int, evaluations: int) -> frozenset[int]:
    """The steps after which the selection rows are scored: evenly in each epoch, and at the end."""
    points = range(1, math.ceil(total / per_epoch) * evaluations + 1)
    return frozenset({total} | {max(1, min(total, round(i * per_epoch / evaluations))) for i in points})


def train(
    model: nn.Module,
    *,
    rows: Sequence[Row],
    encode: Encode,
    lengths: np.ndarray | None,
    objective: Objective,
    evaluate: Evaluate | None,
    config: TrainingConfig,
    scratch: Path,
    seed: int,
    device: str,
    threads: int,
    description: str,
    groups: np.ndarray | None = None,
    encoded: EncodedRows | None = None,
    pads: bool = True,
    lists: np.ndarray | None = None,
) -> History:
    """Train a model in place and leave it with its best weights, in eval mode, where it was.

    Args:
        model: any module; a transformers model where ``layer_decay`` or ``freeze_embeddings`` is set.
        rows: the training rows.
        encode: rows -> arrays, padded to the longest of them.
        lengths: tokens of each row (after truncation), for batches of like length; None: no length.
        objective: (model, batch) -> scalar loss. The model it gets may be a wrapper: call it, do not
            look inside.
        evaluate: model -> figures of the selection rows, the main one first and higher is better;
            None keeps the last weights.
        config: how to train.
        scratch: folder for checkpoints; the same folder and arguments go on from what lies there.
        seed: of batch order and dropout.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads.
        description: shown in the progress bar.
        groups: a number for each row; rows of different groups never share a batch.
        encoded: the same rows, where the caller has encoded them already.
        pads: whether rows of several lengths may share a batch (see ``compress.model.padding``).
        lists: a number for each row; rows of one number always share a batch, which then holds whole lists
            of about ``batch_size`` rows. It goes with neither groups nor rows that may not be padded.

    Raises:
        TrainingError: no rows; a loss or gradient that is not finite; a checkpoint that cannot be
            written.
    """
    if len(rows) == 0:
        list(rows)  # rows that are missing for a reason say it here
        raise TrainingError(f"{description}: there are no training rows")
    team = processes.team(device)
    home = next(model.parameters()).device
    model.to(team.device)
    with _threads(threads), _frozen(model, config.freeze_embeddings), _random(team.device):
        source = encoded or EncodedRows(rows, encode, lengths, groups)
        run = _Run(model, source, objective, evaluate, config, scratch, seed, team, description, lists)
        with own_dropout(model, run.masks), own_time_masks(model, run.time_masks):
            history = run.go(len(rows), lengths, apart(lengths, groups, pads))
    model.to(home)
    model.eval()
    return history


class _Run:
    """One call of ``train``."""

    def __init__(
        self,
        model: nn.Module,
        source: EncodedRows,
        objective: Objective,
        evaluate: Evaluate | None,
        config: TrainingConfig,
        scratch: Path,
        seed: int,
        team: processes.Team,
        description: str,
        lists: np.ndarray | None,
    ) -> None:
        self.model = model
        self.lists = lists
        self.source = source
        self.objective = objective
        self.evaluate = evaluate
        self.config = config
        self.scratch = scratch
        self.seed = seed
        self.team = team
        self.description = description
        self.masks = DropoutSource()
        self.time_masks = MaskSource()
        self.precision = precision_of(config.precision, team.device)
        self.groups = _groups(model, config)
        self.names = tuple(name for group in self.groups for name in group.names)
        self.trained = [p for group in self.groups for p in group.parameters]
        self.optimizer = torch.optim.AdamW(
            [{"params": list(g.parameters), "weight_decay": g.weight_decay} for g in self.groups],
            lr=config.learning_rate,
            fused=all(p.is_floating_point() for p in self.trained),
        )

    def go(self, count: int, lengths: np.ndarray | None, groups: np.ndarray | None) -> History:
        """Train from the start or from the last checkpoint, to the end."""
        batch_size = self.config.batch_size
        per_epoch = steps_per_epoch(count, batch_size, groups, self.lists)
        total = self.config.steps or per_epoch * self.config.epochs
        due = evaluation_steps(total, per_epoch, self.config.evaluations_per_epoch)
        stride = max(1, total // _CURVE_POINTS)
        self.identity = self._identity(count, total)
        progress = self._restore()
        wrapped = self.team.wrap(self.model)
        began = perf_counter() - progress.seconds
        saved = perf_counter()
        with log.progress(self.description, total) as bar:
            bar.advance(progress.step)
            while progress.step < total:
                epoch, position = divmod(progress.step, per_epoch)
                if self.lists is None:
                    plan = plan_epoch(lengths, count, batch_size, self.seed, epoch, groups)
                else:
                    plan = plan_lists(lengths, self.lists, batch_size, self.seed, epoch)
                plan = plan[position : position + total - progress.step]
                shares = [self._share(indices) for indices in plan]
                batches = self.source.batches([part for part, _ in shares], self.team.device)
                self.model.train()
                for batch, (_, weight) in zip(batches, shares, strict=True):
                    loss = self._step(wrapped, batch, weight, progress.step, total, per_epoch)
                    progress = noted(progress, loss, stride, total)
                    bar.advance(1, note=f"loss {loss:.3f}")
                    progress = replace(progress, seconds=perf_counter() - began)
                    if progress.step in due:
                        progress = self._judge(progress, per_epoch)
                        progress = replace(progress, seconds=perf_counter() - began)
                        self._save(progress)
                        saved = perf_counter()
                    elif perf_counter() - saved >= self.config.checkpoint_seconds:
                        self._save(progress)
                        saved = perf_counter()
        self._take_best(progress)
        return History(
            steps=total,
            epochs=total / per_epoch,
            losses=progress.losses,
            evaluations=progress.evaluations,
            best_step=progress.best_step or total,
            seconds=progress.seconds,
            rows_per_second=total / per_epoch * count / max(progress.seconds, 1e-9),
            precision=self.precision,
            processes=self.team.count,
        )

    def _share(self, indices: np.ndarray) -> tuple[np.ndarray, float]:
        """This process's part of a batch, and the weight that makes the mean over processes right."""
        team = self.team
        # A unit is a row, or a list of rows that no process may take apart.
        units = np.arange(len(indices)) if self.lists is None else self.lists[indices]
        distinct = np.unique(units)
        mine = distinct[team.index :: team.count]
        if len(mine) == 0:  # fewer units than processes: take part in the step with no weight
            return indices[units == distinct[0]], 0.0
        return indices[np.isin(units, mine)], len(mine) * team.count / len(distinct)

    def _step(
        self, model: nn.Module, batch: TorchBatch, weight: float, step: int, total: int, per_epoch: int
    ) -> float:
        config = self.config
        rate = config.learning_rate * multiplier(config.schedule, step, total, config.warmup)
        for group, setting in zip(self.groups, self.optimizer.param_groups, strict=True):
            setting["lr"] = rate * group.factor
        # Seeds come from what names the step, so that a resumed run draws the same masks.
        entropy = [self.seed, self.team.index, step]
        self.masks.seed(entropy)
        self.time_masks.seed(entropy)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        kind = self.team.device.split(":", 1)[0]
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.objective(model, batch) * weight
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
        mean_loss, size = torch.stack([self.team.mean(loss.detach().float()), norm.detach()]).tolist()
        if not (math.isfinite(mean_loss) and math.isfinite(size)):
            figure = "loss" if not math.isfinite(mean_loss) else "gradient"
            raise TrainingError(
                f"{self.description}: the {figure} is not a finite number in epoch {step // per_epoch + 1}, "
                f"step {step + 1} of {total}, at learning rate {rate:.3g}: try a lower learning_rate, a "
                "longer warmup, precision fp32, or look for broken rows; nothing was written"
            )
        if config.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.trained, config.clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return mean_loss

    def _judge(self, progress: Progress, per_epoch: int) -> Progress:
        """Score the selection rows; keep the weights where they are the best so far, or the last anyhow."""
        if self.evaluate is None:
            return progress
        figures: dict[str, float] | None = None
        if self.team.main:
            self.model.eval()
            figures = self.evaluate(self.model)
        figures = self.team.share(figures)
        self.model.train()
        now = Evaluation(step=progress.step, epoch=progress.step / per_epoch, metrics=figures)
        best = next((e.metrics for e in progress.evaluations if e.step == progress.best_step), None)
        log.info(
            "%s: epoch %.2f, loss %.4f, selection %s",
            self.description,
            now.epoch,
            progress.losses[-1][1] if progress.losses else float("nan"),
            ", ".join(f"{name} {value:.4f}" for name, value in figures.items()),
        )
        progress = replace(progress, evaluations=(*progress.evaluations, now))
        if self.config.keep == "last" or better(figures, best):
            progress = replace(progress, best_step=progress.step)
            if self.team.main:
                resume.write(self._best(progress.step), self._weights(), {"step": progress.step})
        return progress

    def _best(self, step: int) -> Path:
        return self.scratch / f"best-{step}.safetensors"

    def _weights(self) -> dict[str, torch.Tensor]:
        """The tensors that training changes: trained parameters and persistent buffers."""
        trained = set(self.names)
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        state = self.model.state_dict()
        return {name: t for name, t in state.items() if name in trained or name not in parameters}

    def _save(self, progress: Progress) -> None:
        """Write where the run is; afterwards drop best weights that it no longer names."""
        if not self.team.main:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self._weights().items()}
        for name, parameter in zip(self.names, self.trained, strict=True):
            for kind, tensor in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{kind}.{name}"] = tensor
        state = {"identity": self.identity, **asdict(progress)}
        resume.write(self.scratch / _LATEST, tensors, state)
        for old in self.scratch.glob("best-*.safetensors"):
            if old != self._best(progress.best_step):
                old.unlink()

    def _restore(self) -> Progress:
        """Go back to the last checkpoint of this very run, if there is one."""
        tensors, state = self._read_latest() if self.team.main else ({}, None)
        state = self.team.share(state)
        if state is None:
            return Progress()
        progress = Progress.of(state)
        log.info("%s: going on after step %d", self.description, progress.step)
        # The weights of other processes follow from the main one's when the model is wrapped.
        self._load({k.removeprefix("model."): t for k, t in tensors.items() if k.startswith("model.")})
        stored = self.team.share([k for k in tensors if k.startswith("optimizer.step.")])
        for name, parameter in zip(self.names, self.trained, strict=True):
            if f"optimizer.step.{name}" in stored:
                moments = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
                for kind, tensor in moments.items():
                    if self.team.main:
                        tensor.copy_(tensors[f"optimizer.{kind}.{name}"])
                    self.team.spread(tensor)
                self.optimizer.state[parameter] = moments
        return progress

    def _read_latest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
        latest = resume.read(self.scratch / _LATEST)
        if latest is None:
            return {}, None
        tensors, state = latest
        if state.pop("identity", None) != self.identity:
            log.warning(
                "%s: the checkpoint in %s is of another run: starting anew", self.description, self.scratch
            )
            return {}, None
        return tensors, state

    def _load(self, weights: dict[str, torch.Tensor]) -> None:
        _, unexpected = self.model.load_state_dict(weights, strict=False)
        if unexpected:
            raise TrainingError(
                f"{self.description}: the checkpoint in {self.scratch} holds tensors that the model has "
                f"not ({', '.join(unexpected[:3])}): remove that folder and start again"
            )

    def _take_best(self, progress: Progress) -> None:
        if progress.best_step in (0, progress.step):
            return
        if self.team.main:
            best = resume.read(self._best(progress.best_step))
            if best is None:
                raise TrainingError(
                    f"{self.description}: the best weights (step {progress.best_step}) are missing from "
                    f"{self.scratch}: remove that folder and start again"
                )
            self._load(best[0])
        for tensor in self._weights().values():
            self.team.spread(tensor)

    def _identity(self, count: int, total: int) -> str:
        """What must be the same for a checkpoint to be of this run."""
        shapes = [(name, list(p.shape)) for name, p in self.model.named_parameters()]
        config = self.config.model_dump(mode="json", exclude={"checkpoint_seconds"})
        facts = [config, self.seed, count, total, self.team.count, self.precision, self.names, shapes]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def precision_of(setting: str, device: str) -> str:
    """``bf16`` or ``fp32``: what ``TrainingConfig.precision`` means on a device."""
    if setting != "auto":
        return setting
    return "bf16" if environment.bf16_is_fast(device) else "fp32"


def _groups(model: nn.Module, config: TrainingConfig) -> list[Group]:
    stack, layers = None, 1
    if config.layer_decay != 1.0:
        layer_stack = find_stack(model)
        stack, layers = layer_stack.name, len(layer_stack)
    return parameter_groups(
        model.named_parameters(),
        stack=stack,
        layers=layers,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _random(device: str) -> Iterator[None]:
    """Leave torch's global random state as it was: dropout has no generator of its own."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        yield


@contextmanager
def _frozen(model: nn.Module, embeddings: bool) -> Iterator[None]:
    """Without gradients for the input embeddings, where that is asked for."""
    if not embeddings:
        yield
        return
    module = input_embeddings(model, "freeze_embeddings")
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
