"""Cut heads, neurons and layers, or channels of convolutions; recover by distillation from the whole model.

A criterion scores every unit on training rows; the best ones stay, within the shares that are asked
for; what is left is solved anew so that it takes over what it can of what went (``reconstruction``);
then the model is trained to answer as the unpruned one does. In rounds, a share goes in each.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from compress import catalog, log, processes
from compress.artifacts import artifact, seal
from compress.artifacts.artifact import Artifact
from compress.distillation import origins, reading
from compress.distillation.distill import DistillationConfig, distill
from compress.errors import DataError, ModelError, RecipeError, UserError
from compress.model import checkpoint, limit, padding
from compress.model.layers import first_is_fixed
from compress.pipeline.places import Teacher
from compress.pruning import channels, surgery
from compress.pruning import targets as pruning
from compress.pruning.anatomy import layers_of, parts_of
from compress.pruning.channels import ChannelLedger
from compress.pruning.choice import Scope
from compress.pruning.families import Cuttable, family_of
from compress.pruning.importance import Rows, measure
from compress.pruning.reconstruction import reconstruct
from compress.pruning.targets import Ledger, Targets
from compress.recipe import validate
from compress.stage import Context, Role, StageConfig
from compress.tasks import Head
from compress.training.loop import TrainingConfig
from compress.training.selection import Selection

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 4
TOOLS = ("torch", "transformers", "accelerate", "torch-pruning")
DATA: frozenset[Role] = frozenset({"train", "selection", "calibration", "unlabeled"})
NEEDS_DATA = False
# The same bytes on a CPU with the same threads; CUDA's sums are not ordered.
DETERMINISTIC = False
ANCESTORS = True
MAKES_HEAD = False

# Tensor cores multiply tiles of 64, and nothing narrower than 16 in INT8 (8 in FP16).
_GPU_WIDTH, _GPU_LEAST = 64, 16
_WIDTH = 32
_CHANNELS = 8  # kernels of convolutions take channels in blocks of 8 or 16
_STATE = "state.json"  # of a finished round

_JUDGED = 512  # selection rows for the figures between the steps; the recovery uses all


class Recovery(DistillationConfig, TrainingConfig):
    """How the pruned model is trained; see ``TrainingConfig`` and ``DistillationConfig``.

    Attributes:
        epochs: after each round; 0 for no recovery.
    """

    epochs: int = Field(default=1, ge=0, le=10_000)

    @property
    def wanted(self) -> bool:
        """Whether there is any recovery."""
        return self.epochs > 0 or self.steps is not None

    @property
    def training(self) -> TrainingConfig:
        """The part that the training loop takes."""
        values = self.model_dump(include=set(TrainingConfig.model_fields))
        return TrainingConfig(**values | {"epochs": max(1, self.epochs)})

    @property
    def loss(self) -> DistillationConfig:
        """The part that says what the student is held to."""
        return DistillationConfig(**self.model_dump(include=set(DistillationConfig.model_fields)))


class Config(StageConfig):
    """What goes, and how the rest recovers.

    Attributes:
        keep: share of the heads and of the FFN neurons that stays, at most 1; in a network of convolutions
            of the channels that no residual sum couples to others.
        heads: share of the heads, where it should differ from ``keep``.
        ffn: share of the FFN neurons, where it should differ from ``keep``.
        layers: share of the layers; the other shares count in the layers that stay.
        criterion: what scores the units: an entry of ``compress/criteria``.
        criterion_options: its options.
        scope: ``global``: all layers compete, heads with heads and neurons with neurons; ``uniform``:
            each layer keeps the same share; ``joint``: heads and neurons of all layers compete for one
            budget of parameters (criteria that measure the loss only).
        target: ``any``, or ``gpu``, where widths that are no multiples of 16 are refused.
        round_to: FFN widths are multiples of this; 32 when absent, 64 for a GPU. Heads go whole, at their
            size, so that attention still fuses. Channels are multiples of 8 when it is absent.
        rows: training rows that units are scored on.
        reconstruct: solve the cut layers of a transformer anew on the calibration rows.
        ridge: penalty of that solution, in units of the features' mean square.
        rounds: in how many steps units go.
        recover: training after each round; null for none.
        teacher: for the recovery: ``source``, ``original`` (the first fine-tuned model of this run) or
            a folder.
    """

    keep: float = Field(default=0.5, gt=0, le=1)
    heads: float | None = Field(default=None, gt=0, le=1)
    ffn: float | None = Field(default=None, gt=0, le=1)
    layers: float = Field(default=1.0, gt=0, le=1)
    criterion: str = "fisher"
    criterion_options: dict[str, Any] = Field(default={})
    scope: Scope = "global"
    target: Literal["any", "gpu"] = "any"
    round_to: int | None = Field(default=None, ge=1, le=65_536)
    rows: int = Field(default=512, ge=1, le=10**6)
    reconstruct: bool = True
    ridge: float = Field(default=1e-2, gt=0, le=1e6)
    rounds: int = Field(default=1, ge=1, le=1000)
    recover: Recovery = Recovery()
    teacher: Teacher = "source"

    @field_validator("criterion")
    @classmethod
    def _known(cls, value: str) -> str:
        catalog.path("criterion", value)
        return catalog.canonical(value)

    @field_validator("recover", mode="before")
    @classmethod
    def _none_is_no_epoch(cls, value: object) -> object:
        return {"epochs": 0} if value is None else value

    @model_validator(mode="after")
    def _one_budget(self) -> Config:
        if self.scope == "joint" and (self.heads, self.ffn) != (None, None):
            raise ValueError("scope joint spends one budget on heads and ffn: give keep alone")
        return self

    @model_validator(mode="after")
    def _fits_a_gpu(self) -> Config:
        if self.target == "gpu" and self.width % _GPU_LEAST:
            raise ValueError(
                f"target gpu wants FFN widths in multiples of {_GPU_LEAST}, better {_GPU_WIDTH}, and "
                f"round_to is {self.round_to}"
            )
        return self

    @property
    def width(self) -> int:
        """What FFN widths are multiples of."""
        return self.round_to or (_GPU_WIDTH if self.target == "gpu" else _WIDTH)

    @property
    def targets(self) -> Targets:
        """The shares, resolved."""
        heads = self.keep if self.heads is None else self.heads
        ffn = self.keep if self.ffn is None else self.ffn
        return Targets(heads, ffn, self.layers, self.scope, self.width)


def reads(config: Config) -> tuple[Path, ...]:
    """The folder of a given teacher."""
    return () if config.teacher in {"source", "original"} else (Path(config.teacher),)


def tools(config: Config) -> Mapping[str, str]:
    """The version of what brings the criterion, where another distribution does."""
    return catalog.criterion(config.criterion).BROUGHT_BY


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Prune in rounds, recover after each, save.

    Raises:
        RecipeError: options that do not go together, or a teacher that is not there.
        DataError: rows or labels are missing that the options ask for.
        ModelError: the family cannot be pruned.
    """
    if source is None:
        raise RecipeError("prune needs a model")
    work = _Work(source, config, ctx)
    for number in range(work.resume() + 1, config.rounds + 1):
        work.cut(number)
        work.recover(number)
        work.keep(number)
    work.finish()


class _Work:
    """One run of the stage: the model as it is now, and what was noted on the way."""

    def __init__(self, source: Artifact, config: Config, ctx: Context) -> None:
        self.source, self.config, self.ctx = source, config, ctx
        self.criterion = catalog.criterion(config.criterion)
        self.options = validate(
            self.criterion.Config, config.criterion_options, f"criterion '{config.criterion}'"
        )
        if config.scope == "joint" and not self.criterion.ACROSS_KINDS:
            raise RecipeError(
                f"prune: scope joint compares heads with neurons, and the scores of '{config.criterion}' do "
                "not compare between the two: use fisher or taylor, or scope global"
            )
        self.team = processes.team(ctx.device)
        self.model: PreTrainedModel = checkpoint.load(source.path, ctx.task)
        self.convolutional = channels.is_convolutional(self.model)
        if not self.convolutional:
            self._check_family()
        head: Head = ctx.task.head_of(self.model.config.to_dict())
        self.data: TrainingData | None = ctx.data.for_head(ctx.task, head) if ctx.data is not None else None
        self._check_data()
        self.head = head
        self.processor = ctx.task.load_processor(source.path)
        self.max_length = limit.read_derived(source.path).tokens
        self.pads = padding.in_training(source.path, ctx)
        self.rows = Rows(
            self.data, ctx.task, head, self.processor, self.max_length, self.team.device, self.pads
        )
        self.ledger: Ledger | ChannelLedger
        if self.convolutional:
            self._check_channels()
            self.ledger = ChannelLedger(channels.channels_of(self.model))
        else:
            self.ledger = Ledger(parts_of(self.model))
        self.notes: list[dict[str, Any]] = []
        self.before = surgery.parameter_count(self.model)
        self.judge = self._selection()
        self.figures = None if self.judge is None else self.judge(self.model.to(self.team.device))
        self.generator = torch.Generator().manual_seed(ctx.seed)

    def _check_family(self) -> None:
        """Refuse at once what the model's family cannot lose, or cannot recover from.

        Raises:
            ModelError: it cannot.
        """
        targets, family = self.config.targets, family_of(self.model)
        shares: dict[Cuttable, float] = {
            "heads": targets.heads,
            "ffn": targets.ffn,
            "layers": targets.layers,
        }
        surgery.check(self.model, [kind for kind, share in shares.items() if share < 1])
        recovery = self.config.recover
        compared = recovery.wanted and bool(recovery.hidden_weight or recovery.relation_weight)
        if family.staged and (compared or self.config.reconstruct):
            raise ModelError(
                f"prune: a {type(self.model).__name__} is built in stages, each of its own width, so its "
                "layers cannot be solved anew or compared one by one: say 'reconstruct: false' and 'recover: "
                "{hidden_weight: 0, relation_weight: 0}'"
            )

    def _check_channels(self) -> None:
        """Refuse what means nothing in a network of convolutions.

        Raises:
            RecipeError: such an option was given.
        """
        config = self.config
        recovery = config.recover
        options = [name for name in ("heads", "ffn") if getattr(config, name) is not None]
        options += ["layers"] if config.layers < 1 else []
        options += ["reconstruct"] if config.reconstruct and "reconstruct" in config.model_fields_set else []
        weights = ("hidden_weight", "relation_weight")
        set_here = recovery.model_fields_set
        options += [f"recover.{name}" for name in weights if name in set_here and getattr(recovery, name)]
        options += ["scope: joint"] if config.scope == "joint" else []
        if options:
            raise RecipeError(
                f"prune: {', '.join(options)} mean something in transformers alone, and a "
                f"{type(self.model).__name__} is a network of convolutions: its channels take keep, scope "
                "(global, uniform), criterion, round_to and recover"
            )

    def _check_data(self) -> None:
        """Refuse at once what would fail after minutes.

        Raises:
            DataError: rows are missing.
        """
        missing = []
        if self.criterion.NEEDS:
            missing.append(f"criterion '{self.config.criterion}' needs rows (magnitude and random do not)")
        if self.config.reconstruct and not self.convolutional:
            missing.append("reconstruct needs rows ('reconstruct: false' leaves it out)")
        if self.config.recover.wanted:
            missing.append("recovery needs rows ('recover: {epochs: 0}' leaves it out)")
        if self.data is None and missing:
            raise DataError(f"prune: there is no data, and {'; '.join(missing)}: give --data DIR")

    def _selection(self) -> Selection | None:
        if self.data is None or not len(self.data.selection):
            return None
        rows = list(self.data.selection)[:_JUDGED]
        return Selection(self.ctx.task, self.head, rows, self.processor, self.max_length, self.pads)

    def cut(self, number: int) -> None:
        """Remove what a round removes, layers first: what is left of the others is scored after that."""
        targets = self.config.targets.of_round(number, self.config.rounds)
        note: dict[str, Any] = {"round": number}
        self.model.to(self.team.device)
        if isinstance(self.ledger, ChannelLedger):
            self._cut_channels(self.ledger, targets.heads, note)
        else:
            self._cut_units(self.ledger, targets, note)
        note["parameters"] = surgery.parameter_count(self.model)
        note["layers"] = self.ledger.facts()
        if self.judge is not None:
            note["selection"] = self.judge(self.model)
        log.info("prune: round %d of %d, %s", number, self.config.rounds, self._said(note))
        self.notes.append(note)

    def _cut_channels(self, ledger: ChannelLedger, keep: float, note: dict[str, Any]) -> None:
        """Remove channels; their batch norms and what takes them follow."""
        scores = self._scores()
        note["scores"] = pruning.summarize(scores)
        units = channels.plan(
            channels.channels_of(self.model),
            scores,
            ledger.whole,
            keep=keep,
            scope=self.config.scope,
            multiple=self.config.round_to or _CHANNELS,
        )
        channels.cut(self.model, units)
        ledger.apply(units)

    def _cut_units(self, ledger: Ledger, targets: Targets, note: dict[str, Any]) -> None:
        """Remove layers, then heads and neurons of those that are left, and solve what is left anew."""
        if targets.layers < 1:
            parts = parts_of(self.model)
            fixed = first_is_fixed(layers_of(self.model))
            plan = pruning.plan_layers(parts, self._scores(), ledger, targets.layers, first_stays=fixed)
            if plan is not None:
                self._apply(ledger, plan)
        scores = self._scores()
        note["scores"] = pruning.summarize(scores)
        plan = pruning.plan_units(parts_of(self.model), scores, ledger, targets)
        if plan is not None:
            original = copy.deepcopy(self.model) if self.config.reconstruct else None
            self._apply(ledger, plan)
            if original is not None:
                batches = self.rows.calibration()
                note["unexplained"] = reconstruct(self.model, original, batches, ridge=self.config.ridge)

    def _said(self, note: Mapping[str, Any]) -> str:
        text = f"{note['parameters']:,} of {self.before:,} parameters are left"
        if self.figures is not None and "selection" in note:
            name, value = next(iter(note["selection"].items()))
            text += f", {name} {value:.4f} (before: {self.figures[name]:.4f})"
        return text

    def _apply(self, ledger: Ledger, plan: surgery.Plan) -> None:
        surgery.apply(self.model, plan)
        ledger.apply(plan)

    def _scores(self) -> pruning.Scores:
        """Every unit's score in the model as it is now."""
        return measure(
            self.model,
            self.criterion,
            self.options,
            self.rows,
            count=self.config.rows,
            seed=self.ctx.seed,
            generator=self.generator,
        )

    def recover(self, number: int) -> None:
        """Train the pruned model to answer as the teacher does."""
        recovery = self.config.recover
        if not recovery.wanted or self.data is None:
            return
        self.model.to("cpu")
        teacher, layer_map, pads = self._teacher()
        history = distill(
            self.model,
            teacher,
            task=self.ctx.task,
            head=self.head,
            processor=self.processor,
            data=self.data,
            max_length=self.max_length,
            training=recovery.training,
            loss=self._loss(),
            layer_map=layer_map,
            scratch=self._scratch(number),
            seed=self.ctx.seed,
            device=self.ctx.device,
            threads=self.ctx.threads,
            description=f"recover {number}/{self.config.rounds}",
            pads=self.pads and pads,
        )
        self.notes[-1]["recovery"] = history.facts()

    def _loss(self) -> DistillationConfig:
        """What the pruned model is held to: without a stack of layers, by what it answers alone."""
        loss = self.config.recover.loss
        if self.convolutional:
            return loss.model_copy(update={"hidden_weight": 0.0, "relation_weight": 0.0})
        return loss

    def _teacher(self) -> tuple[PreTrainedModel, tuple[int, ...] | None, bool]:
        """The teacher, which of its layers each layer imitates (None: spread evenly), whether it may pad."""
        chain = [member for member in (*self.ctx.ancestors, self.source) if member.kind == "torch"]
        origin = origins.teacher_artifact(self.config.teacher, chain)
        if origin is None:
            folder = Path(self.config.teacher)
            if not folder.is_dir():
                raise RecipeError(
                    f"prune: there is no teacher at {folder}; allowed are 'source', 'original' or a folder"
                )
            self._check_reading(folder)
            model = checkpoint.load_teacher(folder, self.ctx.task)
            return (
                model,
                None,
                padding.of_folder(folder, model, self.processor, self.max_length, self.ctx, "teacher"),
            )
        self._check_reading(origin.path)
        teacher = checkpoint.load(origin.path, self.ctx.task)
        pads = limit.read_padding(origin.path)
        steps = origins.layer_steps(chain[chain.index(origin) + 1 :])
        if not isinstance(self.ledger, Ledger):
            return teacher, None, pads
        depth = len(parts_of(teacher)) // 2
        traced = None if steps is None else origins.trace_layers(depth, steps)
        repeated = family_of(self.model).repeated  # its one layer is compared at each run
        if traced is None or repeated or len(traced) != self.ledger.depth:
            return teacher, None, pads
        return teacher, tuple(traced[layer] for layer in self.ledger.layers), pads

    def _check_reading(self, folder: Path) -> None:
        """Refuse a teacher of another tokenizer (one from before the vocabulary was trimmed) or image size.

        Raises:
            ModelError: it turns the same rows into other inputs than the model that is pruned.
        """
        if folder == self.source.path or self.data is None:
            return
        reading.check(
            self.ctx.task,
            self.head,
            self.data.calibration,
            self.ctx.task.load_processor(folder),
            self.processor,
            f"prune: the teacher at {folder} and the model that is pruned turn the same rows into different "
            "inputs (another tokenizer, a trimmed vocabulary or another image size): take 'teacher: source', "
            "or a teacher that reads rows as the model does",
        )

    def _scratch(self, number: int) -> Path:
        """The folder of a round; the teacher's answers move on from the round before."""
        folder = self.ctx.scratch / f"round-{number}"
        before = self.ctx.scratch / f"round-{number - 1}" / "teacher"
        same = number > 1 and len(self.notes[-2]["layers"]) == len(self.notes[-1]["layers"])
        if self.team.main and same and before.is_dir() and not (folder / "teacher").exists():
            folder.mkdir(parents=True, exist_ok=True)
            before.rename(folder / "teacher")
        self.team.wait()
        return folder

    def keep(self, number: int) -> None:
        """Keep a finished round, so that a kill loses only the one under way."""
        if number == self.config.rounds or not self.team.main:
            self.team.wait()
            return
        temporary, folder = self.ctx.scratch / f".done-{number}", self.ctx.scratch / f"done-{number}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        checkpoint.save(self.model, temporary, source=None)
        state = {
            "rounds": self.notes,
            "ledger": self.ledger.state(),
            "generator": self.generator.get_state().tolist(),
            "files": {name: entry.sha256 for name, entry in artifact.inventory(temporary).items()},
        }
        (temporary / _STATE).write_text(json.dumps(seal.sealed(state)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # of a round that was damaged
        temporary.rename(folder)
        self.team.wait()

    def resume(self) -> int:
        """Go on after the last round that was kept; how many rounds that is."""
        for number in range(self.config.rounds - 1, 0, -1):
            folder = self.ctx.scratch / f"done-{number}"
            state = _kept(folder)
            if state is None:
                continue
            self.model = checkpoint.load(folder, self.ctx.task)
            self.notes = state["rounds"]
            self.ledger.restore(state["ledger"])
            self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))
            log.info("prune: goes on after round %d of %d", number, self.config.rounds)
            return number
        return 0

    def finish(self) -> None:
        """Save the model, and what the manifest should say of it."""
        self.model.to("cpu")
        after = surgery.parameter_count(self.model)
        self.ctx.record("parameters", {"before": self.before, "after": after})
        # Counted from 1, as distill does, so that a later stage can tell which layer came from where.
        if isinstance(self.ledger, Ledger):
            self.ctx.record("layers", [layer + 1 for layer in self.ledger.layers])
        self.ctx.record("kept", self.ledger.facts())
        self.ctx.record("criterion", self.config.criterion)
        if self.figures is not None:
            self.ctx.record("selection_before", self.figures)
        self.ctx.record("rounds", [{k: v for k, v in note.items() if k != "layers"} for note in self.notes])
        if after == self.before:
            log.warning("prune: nothing was removed; lower keep, heads, ffn or layers, or round_to")
        if self.team.main:
            checkpoint.save(self.model, self.ctx.out, source=self.source.path)


def _kept(folder: Path) -> dict[str, Any] | None:
    """The state of a finished round; None where there is none, or where a byte of its folder changed."""
    if not (folder / _STATE).is_file():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        seal.check(state, str(folder / _STATE), must_be_sealed=True)
        files = {name: entry.sha256 for name, entry in artifact.inventory(folder).items()}
    except (OSError, ValueError, AttributeError, RecursionError, UserError) as cause:
        log.warning("%s is damaged (%s): that round is pruned anew", folder, cause)
        return None
    files.pop(_STATE, None)
    if files != state["files"]:
        log.warning("%s is damaged (a file changed): that round is pruned anew", folder)
        return None
    return state
