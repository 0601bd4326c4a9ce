"""The recipe: which model, which data, which stages, how to bench and what to hold it to.

Strict pydantic: an unknown key, a wrong type or a stage of two names is refused with its place. A
recipe only validates; whether the named stages exist and chain is checked by ``planning.plan``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from compress import catalog
from compress.errors import RecipeError
from compress.reading import files, yaml_values
from compress.strict import Strict


class Named(Strict):
    """An entry of a catalog shelf with its options, written ``name: {options}`` or just ``name``."""

    name: str
    options: dict[str, Any] = Field(default={})


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": catalog.canonical(value)}
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        if isinstance(name, str) and (options is None or isinstance(options, dict)):
            return {"name": catalog.canonical(name), "options": options or {}}
    if isinstance(value, Named):
        return value
    raise ValueError("write an entry as 'name: {options}', one name each")


NamedEntry = Annotated[Named, BeforeValidator(_named)]


class StageEntry(Named):
    """A stage with its options, and its place where that is not simply after the stage before it.

    Attributes:
        source: label of the stage whose artifact it takes, written ``from: LABEL``; the stage before it
            when absent.
        label: what it is called in this run, written ``as: LABEL``; its name, with ``-2`` and so on
            where it recurs, when absent.
    """

    source: str | None = None
    label: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")] | None = None


_PLACES = {"from": "source", "as": "label"}


def _stage(value: Any) -> Any:
    if isinstance(value, Named):
        return value if isinstance(value, StageEntry) else StageEntry(**value.model_dump())
    if not isinstance(value, dict):
        return _named(value)
    places = {}
    for key, field in _PLACES.items():
        if key in value:
            if not isinstance(value[key], str) or value[key] != value[key].strip():
                raise ValueError(f"'{key}' is the label of a stage, without blanks around it")
            places[field] = catalog.canonical(value[key])
    return {**_named({key: option for key, option in value.items() if key not in _PLACES}), **places}


StageField = Annotated[StageEntry, BeforeValidator(_stage)]


def written(entry: Named) -> dict[str, Any]:
    """An entry as recipes write it."""
    places = {key: getattr(entry, field, None) for key, field in _PLACES.items()}
    return {entry.name: entry.options, **{key: value for key, value in places.items() if value is not None}}


class DataConfig(Strict):
    """Where the rows are.

    Attributes:
        source: a folder, a hub data set id, or ``sklearn:NAME``; files below may stand alone.
        train: file, or name of a split; ``train`` found by name where it is not given.
        selection: rows that pick checkpoints and sensitivities; carved from ``train`` when absent.
        eval: rows that only measure: ``validation``, ``dev`` or ``test`` found by name when absent.
        unlabeled: rows without labels, for distillation, calibration and agreement.
        columns: role -> column name, where they are not found by name.
        labels: label names by id, where the data does not say.
        calibration: how many training rows to calibrate on.
        selection_share: the share of training rows carved for selection, at most 2,000 rows.
        max_length: token limit of what is made of the model: a number, or ``data`` for the length of the
            training rows (their 99.9th percentile); the model's own when absent.
        limit: at most this many training rows (seeded sample, whole groups).
        revision: of a hub data set.
    """

    source: str | None = None
    train: str | None = None
    selection: str | None = None
    eval: str | None = None
    unlabeled: str | None = None
    columns: dict[str, str] = Field(default={})
    labels: tuple[str, ...] | None = None
    calibration: int = Field(default=256, ge=8, le=10**6)
    selection_share: float = Field(default=0.1, gt=0, lt=0.5)
    max_length: Annotated[int, Field(ge=4, le=10**6)] | Literal["data"] | None = None
    limit: int | None = Field(default=None, ge=16, le=10**9)
    revision: str | None = None


class BenchConfig(Strict):
    """What to measure and how.

    Attributes:
        probes: entries of ``bench/probes``; the defaults when empty.
        candidates: stage names (as in the run) to measure; every artifact of the run when empty.
        baseline: the candidate that ratios refer to; the first one when absent.
        ship: candidates of which the fastest at p50 ships, the first unless another is faster beyond chance;
            the last stage's artifact when empty.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads of each candidate; all CPUs when absent.
        batch_sizes: latency is measured at each.
        lengths: token lengths, or ``data`` for the evaluation rows' own mix.
        rounds: interleaved rounds.
        runs: runs a round and candidate.
        runtimes: kind of artifact -> runtime, where the default is not wanted.
        shared: whether a GPU that others use is measured all the same.
        allow_chance: whether gates judge beside a baseline that is no better than one answer for every row;
            anomalous where it is off.
        texts: whether the report may list rows of the evaluation data for a person to read.
    """

    probes: tuple[NamedEntry, ...] = ()
    candidates: tuple[str, ...] = ()
    baseline: str | None = None
    ship: tuple[str, ...] = ()
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)
    batch_sizes: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = (1,)
    lengths: tuple[Annotated[int, Field(ge=1, le=10**6)] | str, ...] = ("data",)
    rounds: int = Field(default=20, ge=2, le=10_000)
    runs: int = Field(default=8, ge=1, le=10_000)
    runtimes: dict[str, str] = Field(default={})
    shared: bool = False
    allow_chance: bool = False
    texts: bool = True

    @field_validator("lengths")
    @classmethod
    def _lengths(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if any(isinstance(entry, str) and entry != "data" for entry in value):
            raise ValueError("a length is a number of tokens or the word 'data'")
        return value


class Recipe(Strict):
    """A whole job.

    Attributes:
        model: a hub id, a Hugging Face folder, a LoRA adapter folder or a sealed artifact; absent
            when ``load`` builds one from an ``architecture``.
        task: a name in the catalog; inferred from the model when absent.
        data: where the rows are.
        seed: of everything random.
        stages: what is done, in order; ``load`` is put in front when it is not there. A stage with
            ``from: LABEL`` starts a branch at an earlier one.
        bench: what is measured.
        gates: what the result is held to.
        device: where training runs.
        threads: CPU threads of the stages; all CPUs when absent.
    """

    model: str | None = None
    task: str | None = None
    data: DataConfig | None = None
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    stages: tuple[StageField, ...] = ()
    bench: BenchConfig = BenchConfig()
    gates: tuple[NamedEntry, ...] = ()
    device: str = "cpu"
    threads: int | None = Field(default=None, ge=1, le=1024)


def _short(value: Any) -> str:
    """A value for a message; Python refuses to write a number of some thousand digits."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    return files.shown(repr(value))


# How pydantic names the branch of a union in the place of an error: a type, and no key that anybody wrote.
_BRANCH = re.compile(r"(?:constrained-)?(?:int|float|str|bool|none)|[a-z-]+\[.*\]", re.DOTALL)


def explain(error: ValidationError, origin: str) -> str:
    """One sentence from a validation error: the place, what is allowed, what was found."""
    allowed: dict[str, list[str]] = {}
    remarks: dict[str, str] = {}
    for item in error.errors():
        first, *steps = map(str, item["loc"] or ("",))
        place = ".".join([first, *(step for step in steps if not _BRANCH.fullmatch(step))])
        if item["type"] == "extra_forbidden":
            allowed[f"unknown key '{files.shown(place)}'"] = []
            continue
        place = place or "value"
        reason = item["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        allowed.setdefault(place, []).append(reason)
        if item["loc"] and isinstance(item["input"], str | int | float | bool | None):
            remarks[place] = f" (found {_short(item['input'])})"
    parts = [
        f"{place}: {' or '.join(reasons)}{remarks.get(place, '')}" if reasons else place
        for place, reasons in allowed.items()
    ]
    return f"{origin}: {'; '.join(parts)}"


def _known_keys(model: type[BaseModel], error: ValidationError) -> tuple[list[str], str | None]:
    """The keys that are allowed where the first unknown one is, and that one; the top keys where none is."""
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            *parents, wrong = (str(step) for step in item["loc"])
            inner: type[BaseModel] | None = model
            for step in parents:
                field = inner.model_fields.get(step) if inner else None
                inner = _model_in(field.annotation) if field else inner
            return list((inner or model).model_fields), wrong
    return list(model.model_fields), None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model class in an annotation such as ``DataConfig | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model_in(part) for part in get_args(annotation))
    return next((model for model in models if model is not None), None)


def validate(model: type[BaseModel], value: Any, place: str) -> Any:
    """A validated config, or one sentence that names the wrong keys and the known ones.

    Raises:
        RecipeError: the value does not fit.
    """
    try:
        return model.model_validate(value)
    except ValidationError as cause:
        keys, wrong = _known_keys(model, cause)
        near = difflib.get_close_matches(wrong, keys, n=1) if wrong else []
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise RecipeError(f"{explain(cause, place)}. Known keys: {', '.join(keys)}.{hint}") from cause


def parse_value(text: str, assignment: str) -> Any:
    """The value of a ``KEY=VALUE`` as YAML reads it.

    Raises:
        RecipeError: it is no YAML.
    """
    return yaml_values.parse(
        text, f"--set {files.shown(assignment)}: '{files.shown(text)}'", error=RecipeError
    )


_INDEX = re.compile("[0-9]{1,6}")


def _override(tree: dict[str, Any], assignment: str) -> None:
    option = files.shown(assignment)
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set takes KEY=VALUE, such as seed=3 or stages.1.prune.keep=0.4; got '{option}'")
    *parents, last = path.split(".")
    node: Any = tree
    for step in parents:
        if isinstance(node, list):
            if not _INDEX.fullmatch(step) or int(step) >= len(node):
                raise RecipeError(
                    f"--set {option}: there is no entry '{files.shown(step)}' (0 to {len(node) - 1})"
                )
            if isinstance(node[int(step)], str):
                node[int(step)] = {node[int(step)]: {}}
            node = node[int(step)]
        elif isinstance(node, dict):
            if node.get(step) is None:
                node[step] = {}
            node = node[step]
        else:
            raise RecipeError(f"--set {option}: '{files.shown(step)}' is a value, not a group of keys")
    value = parse_value(text, assignment)
    if isinstance(node, list) and _INDEX.fullmatch(last) and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError(f"--set {option}: there is no place '{files.shown(last)}'")


def load_yaml(path: Path) -> Any:
    """A YAML file's content.

    Raises:
        RecipeError: it cannot be read or is no YAML; the message names the line.
    """
    return yaml_values.read(path, error=RecipeError)


def read(reference: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a file or from the name of a shipped one, with ``KEY=VALUE`` overrides.

    Raises:
        RecipeError: the file is missing or does not hold together.
        UnknownName: no shipped recipe bears that name.
    """
    path = Path(reference)
    if files.is_folder(path, error=RecipeError) or not files.exists(path, error=RecipeError):
        if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
            raise RecipeError(
                f"There is no recipe file {files.shown(reference)}. Give a YAML file or a shipped recipe: "
                f"{', '.join(catalog.names('recipe'))}."
            )
        path = catalog.path("recipe", reference)
    tree = load_yaml(path)
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with keys such as model, data, stages")
    for assignment in overrides:
        _override(tree, assignment)
    recipe: Recipe = validate(Recipe, tree, str(path))
    return recipe
