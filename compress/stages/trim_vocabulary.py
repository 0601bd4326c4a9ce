"""Keep the pieces of a tokenizer that given text needs, and the rows of the embedding that go with them.

A multilingual encoder is mostly a table: of the 118 million weights of multilingual-e5-small, 96 million are
rows for its 250,037 pieces, and text of one language uses a tenth of them. Text whose pieces all stay is read
and answered as before. Other text falls into smaller pieces, down to characters or bytes, which always stay:
what that does to held-out text is measured, said and bounded, and a distillation can mend what it costs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from compress import log
from compress.articles import a_type, with_article
from compress.artifacts import artifact
from compress.errors import DataError, ModelError
from compress.model import checkpoint, length, sample, tokenizer_files
from compress.model import limit as limits
from compress.pipeline.places import Place
from compress.reading import files
from compress.stage import Context, Role, StageConfig
from compress.vocabulary import choice, effect, folder, rows, texts
from compress.vocabulary.choice import Choice
from compress.vocabulary.effect import Effect
from compress.vocabulary.pieces import Pieces
from compress.vocabulary.texts import Text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.artifacts.artifact import Artifact
    from compress.tasks import Row, Task

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 1
TOOLS = ("torch", "transformers", "tokenizers")
DATA: frozenset[Role] = frozenset({"train", "selection", "unlabeled"})
NEEDS_DATA = False
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_CHECKED = 16
# The rows are the same numbers; sums over them may still be ordered otherwise.
_ROUNDING = 1e-5


class Config(StageConfig):
    """What stays, and what that may cost.

    Attributes:
        text: a text file (UTF-8, one text a line), or a folder of ``.txt`` files, whose pieces stay beside
            those of the training and unlabeled rows.
        count: occurrences in all that text which a piece needs to stay.
        pieces: the most that stay, specials and characters included; as many as the text needs when absent.
        growth_at_most: share by which held-out text may get longer in tokens; more is refused.
        unknown_at_most: share of held-out tokens that may become unknown; more is refused.
    """

    text: Place | None = None
    count: int = Field(default=1, ge=1, le=10**9)
    pieces: int | None = Field(default=None, ge=1, le=10**8)
    growth_at_most: float = Field(default=0.05, ge=0, le=100)
    unknown_at_most: float = Field(default=0.001, ge=0, le=1)


@dataclass(frozen=True)
class Sources:
    """The texts of a run.

    Attributes:
        chosen: whose pieces stay.
        held_out: where they are from -> texts that only measure.
    """

    chosen: list[Text]
    held_out: dict[str, list[Text]]


def reads(config: Config) -> tuple[Path, ...]:
    """The text.

    Raises:
        DataError: there is none.
    """
    if config.text is None:
        return ()
    path = files.located(config.text, error=DataError)
    if not files.exists(path, error=DataError):
        raise DataError(f"trim-vocabulary: there is no text at {files.shown(path)}: check the path")
    return (path,)


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Count, choose, cut the tokenizer, measure, cut the weights, check, save.

    Raises:
        ModelError: a model or tokenizer whose vocabulary cannot be cut, or a loss beyond the limits.
        DataError: there is no text, or none that the tokenizer has pieces for.
    """
    if source is None:
        raise ModelError("trim-vocabulary needs a model")
    torch.set_num_threads(ctx.threads)
    task = ctx.task
    before = _tokenizer(source.path, task)
    model = checkpoint.load(source.path, task)
    table = _table_rows(model)
    pieces = _lay_out(source.path, ctx.out, before)
    sources = _gather(config, ctx)
    chosen = _choose(pieces, model, before, sources, config)
    left_out = folder.cut(ctx.out, chosen.old_ids)
    after = task.load_processor(ctx.out)
    new_ids = chosen.new_ids(max(table, pieces.size))
    effects = {
        name: effect.measure(held_out, before, after, new_ids, pieces.unknown())
        for name, held_out in sources.held_out.items()
    }
    for name, measured in effects.items():
        _hold(measured, name, config)
    examples = _examples(ctx, task)
    parameters = _parameters(model)
    limit = limits.read_derived(source.path).tokens or length.longest(model.config, after)
    answers = _Answers(task, after, examples, limit)
    expected = answers.of(model, chosen.old_ids)
    rows.cut(model, task, chosen.old_ids)
    checkpoint.save(model, ctx.out, source=None)
    difference = _compare(expected, answers.of(checkpoint.load(ctx.out, task)))
    _record(ctx, pieces, table, chosen, effects, left_out, difference)
    ctx.record("parameters", {"before": parameters, "after": _parameters(model)})
    _say(chosen, table, effects, parameters, _parameters(model), left_out)


def _tokenizer(path: Path, task: Task) -> Any:
    """The tokenizer of a model, where it has a vocabulary that can be cut.

    Raises:
        ModelError: the task reads no text, or the tokenizer reads characters or bytes, or is all Python.
    """
    if not texts.roles(task):
        raise ModelError(
            f"trim-vocabulary: {task.NAME or 'this task'} reads no text, so that there is no vocabulary to "
            "trim: leave the stage out"
        )
    tokenizer = task.load_processor(path)
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        return tokenizer
    name = type(tokenizer).__name__
    if not getattr(tokenizer, "vocab_files_names", None):
        raise ModelError(
            f"trim-vocabulary: {with_article(name)} reads characters or bytes and has no vocabulary of "
            "pieces: leave the stage out; 'prune' and 'quantize' make this model smaller"
        )
    raise ModelError(
        f"trim-vocabulary: the tokenizer in {path} is {with_article(name)}, which has no "
        f"{tokenizer_files.TOKENIZER} and cannot give one: convert it to one with "
        f"{tokenizer_files.TOKENIZER}, or leave the stage out"
    )


def _table_rows(model: PreTrainedModel) -> int:
    """Rows of a model's table of token embeddings.

    Raises:
        ModelError: it has none.
    """
    count = getattr(model.get_input_embeddings(), "num_embeddings", None)
    if model.main_input_name != "input_ids" or not isinstance(count, int):
        raise ModelError(
            f"trim-vocabulary: {a_type(model)} has no table with a row for each piece: leave the stage out"
        )
    return count


def _lay_out(source: Path, out: Path, tokenizer: Any) -> Pieces:
    """Put the files of a model, but for its weights, where they are cut; what the tokenizer's file holds.

    Raises:
        ModelError: the file says something else than the tokenizer does.
    """
    checkpoint.copy_sidecars(source, out)
    shutil.copyfile(source / checkpoint.CONFIG, out / checkpoint.CONFIG)
    file = out / tokenizer_files.TOKENIZER
    if not file.is_file():
        tokenizer.backend_tokenizer.save(str(file))
        tokenizer_files.settle(out, limits.read(out).tokens)
    pieces = Pieces(folder.read(out), str(source / tokenizer_files.TOKENIZER))
    if pieces.ids != tokenizer.get_vocab():
        odd = min(pieces.ids.items() ^ tokenizer.get_vocab().items())[0]
        raise ModelError(
            f"{pieces.place}: the {type(tokenizer).__name__} of transformers reads the token '{odd}' "
            "otherwise than the file says: save the tokenizer anew with save_pretrained, and load it again"
        )
    return pieces


def _gather(config: Config, ctx: Context) -> Sources:
    """The texts that a configuration means: training and unlabeled rows, and the text that it names.

    Raises:
        DataError: there are none.
    """
    chosen: list[Text] = []
    held_out: dict[str, list[Text]] = {}
    if ctx.data is not None:
        rows_at_hand = [row for side in (ctx.data.train, ctx.data.unlabeled) if len(side) for row in side]
        chosen = texts.of_rows(rows_at_hand, ctx.task)
        if len(ctx.data.selection):
            held_out["selection rows"] = texts.of_rows(list(ctx.data.selection), ctx.task)
        elif chosen:
            chosen, held_out["rows"] = texts.divide(chosen)
    if config.text is not None:
        further, held_out["text"] = texts.divide(texts.of_place(config.text))
        chosen += further
    if not chosen:
        raise DataError(
            "trim-vocabulary: there is no text to trim to: give --data DIR (data: in a recipe), or a text "
            "file with --set text=FILE (text: FILE in a recipe)"
        )
    return Sources(chosen, {name: side for name, side in held_out.items() if side})


def _choose(
    pieces: Pieces, model: PreTrainedModel, tokenizer: Any, sources: Sources, config: Config
) -> Choice:
    """The pieces that stay.

    Raises:
        DataError: the text needs none of the pieces that may go.
        ModelError: fewer were asked for than always stay.
    """
    tokens = set(pieces.ids.values())
    always = (pieces.always() | set(tokenizer.all_special_ids) | rows.fixed(model.config)) & tokens
    if config.pieces is not None and config.pieces < len(always):
        raise ModelError(
            f"trim-vocabulary: pieces is {config.pieces}, and {len(always):,} of the {len(tokens):,} pieces "
            "always stay (specials, added tokens, characters, bytes): raise it"
        )
    counts = texts.count(sources.chosen, tokenizer, pieces.size)
    chosen = choice.choose(counts, always, pieces.needs(), count=config.count, pieces=config.pieces)
    if not chosen.needed and len(always) < len(tokens):
        raise DataError(
            f"trim-vocabulary: the text ({len(sources.chosen):,} texts) needs none of the "
            f"{len(tokens) - len(always):,} pieces beyond specials and characters (count is {config.count}): "
            "give text of the language that the model is for, or lower count"
        )
    return chosen


def _hold(measured: Effect, name: str, config: Config) -> None:
    """Refuse a loss beyond the limits.

    Raises:
        ModelError: held-out text gets longer, or unknown, by more than the options allow.
    """
    remedy = "give more text (text, data.unlabeled), raise pieces or lower count, or raise the limit"
    if measured.growth > config.growth_at_most:
        raise ModelError(
            f"trim-vocabulary: held-out text ({name}) gets {100 * measured.growth:.2f} % longer "
            f"({measured.tokens_before:,} to {measured.tokens_after:,} tokens of {measured.texts:,} texts), "
            f"and growth_at_most is {100 * config.growth_at_most:g} %: {remedy}"
        )
    if measured.unknown > config.unknown_at_most:
        raise ModelError(
            f"trim-vocabulary: of held-out text ({name}) {100 * measured.unknown:.3f} % of the tokens become "
            f"unknown ({measured.unknown_before:,} to {measured.unknown_after:,} of {measured.texts:,} "
            f"texts), and unknown_at_most is {100 * config.unknown_at_most:g} %: {remedy}"
        )


def _examples(ctx: Context, task: Task) -> list[Row]:
    """Rows to compare answers on: of the data, else texts of our own."""
    if ctx.data is not None:
        for side in (ctx.data.selection, ctx.data.train, ctx.data.unlabeled):
            if len(side):
                return list(side[:_CHECKED])
    return list(sample.rows(task))


class _Answers:
    """Answers of a model to rows as the new tokenizer reads them, one row at a time."""

    def __init__(self, task: Task, tokenizer: Any, examples: Sequence[Row], limit: int | None) -> None:
        self._task, self._tokenizer, self._examples, self._limit = task, tokenizer, examples, limit

    def of(self, model: PreTrainedModel, old_ids: Sequence[int] | None = None) -> list[np.ndarray]:
        """Every output of every row.

        Args:
            model: in eval mode, on the CPU.
            old_ids: old ids by their new ones, for the model before it was cut.
        """
        head = self._task.head_of(model.config.to_dict())
        outputs: list[np.ndarray] = []
        for row in self._task.pieces(self._examples, self._tokenizer, self._limit).rows:
            batch = self._task.encode([row], self._tokenizer, head, self._limit, labelled=False)
            feed = {name: torch.from_numpy(array) for name, array in batch.inputs.items()}
            if old_ids is not None:
                feed["input_ids"] = torch.tensor(list(old_ids))[feed["input_ids"]]
            with torch.inference_mode():
                answer = model(**feed, return_dict=True)
            arrays = [answer[name].float().numpy() for name in self._task.OUTPUTS]
            if (
                old_ids is not None and head.problem == "filling"
            ):  # a number for each piece, which goes with it
                arrays = [array[..., list(old_ids)] for array in arrays]
            outputs += arrays
        return outputs


def _compare(expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> float:
    """The largest difference between answers.

    Raises:
        ModelError: it is more than rounding.
    """
    difference = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(expected, actual, strict=True))
    largest = max(float(np.abs(a).max(initial=0)) for a in expected)
    if not difference <= _ROUNDING * max(1.0, largest):
        raise ModelError(
            f"trim-vocabulary: the same pieces are answered otherwise when the others are gone (by up to "
            f"{difference:.2g}): this family looks at ids beyond its table; leave the stage out"
        )
    return difference


def _parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _record(
    ctx: Context,
    pieces: Pieces,
    table: int,
    chosen: Choice,
    effects: dict[str, Effect],
    left_out: tuple[str, ...],
    difference: float,
) -> None:
    facts: dict[str, Any] = {
        "algorithm": pieces.algorithm,
        "pieces_before": len(pieces.ids),
        "rows_before": table,
        "pieces": len(chosen.old_ids),
        "always": chosen.always,
        "needed": chosen.needed,
        "without_room": chosen.left_out,
        "largest_difference": difference,
    }
    if left_out:
        facts["files_left_out"] = list(left_out)
    ctx.record("vocabulary", facts)
    ctx.record("held_out", {name: measured.facts() for name, measured in effects.items()})


def _say(
    chosen: Choice,
    table: int,
    effects: dict[str, Effect],
    before: int,
    after: int,
    left_out: tuple[str, ...],
) -> None:
    log.info(
        "trim-vocabulary: %s of %s rows of the embedding stay (%s always), %s of %s parameters",
        *(f"{number:,}" for number in (len(chosen.old_ids), table, chosen.always, after, before)),
    )
    for name, measured in effects.items():
        log.info("trim-vocabulary: held-out text (%s): %s", name, measured)
    if not effects:
        log.warning("trim-vocabulary: there was no text to hold out: nothing says how other text is read")
    if chosen.left_out:
        log.warning(
            "trim-vocabulary: %s pieces that the text needs have no room: raise pieces",
            f"{chosen.left_out:,}",
        )
    if left_out:
        log.warning(
            "trim-vocabulary: left out, since they hold the old vocabulary and cannot be cut here: %s",
            ", ".join(left_out),
        )
    if len(chosen.old_ids) == table:
        log.warning(
            "trim-vocabulary: nothing was removed: the text needs every piece; raise count, or set pieces"
        )
