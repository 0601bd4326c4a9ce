"""From the words of a command line to what is measured: names, places, runtimes and their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.reading import files, yaml_values
from paredown.verbs import _options

if TYPE_CHECKING:
    from bench.session import CandidateSpec
    from compress.recipe import DataConfig


_LONGEST = 200


def split(text: str | None, option: str) -> list[str]:
    """The parts of a comma-separated option.

    Raises:
        RecipeError: an empty part, or one that is no value of any option.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise RecipeError(f"{option} takes values with commas between them; got '{text[:_LONGEST]}'")
    longest = max(parts, key=len)
    if len(longest) > _LONGEST:
        raise RecipeError(
            f"{option} takes values with commas between them, and one has {len(longest)} characters: "
            f"'{longest[:_LONGEST]}…'"
        )
    return parts


def parse_runtime(text: str) -> tuple[str, str, dict[str, Any]]:
    """Candidate, runtime and options of ``NAME=runtime:option=value,option=value``.

    Raises:
        RecipeError: the text is not of that form.
    """
    name, equals, choice = text.partition("=")
    runtime, colon, settings = choice.partition(":")
    if not (name and equals and runtime) or (colon and not settings):
        raise RecipeError(
            f"--runtime takes NAME=runtime or NAME=runtime:option=value,option=value, such as "
            f"teacher=pytorch:mode=compiled; got '{text}'"
        )
    options = {}
    for setting in split(settings, "--runtime") if settings else []:
        key, sign, value = setting.partition("=")
        if not (key and sign and value):
            raise RecipeError(f"--runtime {text}: '{setting}' is not option=value")
        options[key] = yaml_values.parse(value, f"--runtime {files.shown(text)}", error=RecipeError)
    return name, runtime, options


def parse_candidate(text: str) -> tuple[str, str]:
    """Name and place of ``NAME=PATH``, or of a path or hub id named by its last part."""
    name, equals, place = text.partition("=")
    exists = files.exists(Path(text))
    if equals and name and place and not exists:
        return name, place
    return Path(text).resolve().name if exists else text.rsplit("/", 1)[-1], text


def specs(
    candidates: list[str], runtimes: list[str], data: DataConfig, task: str | None, store: Path | None
) -> list[CandidateSpec]:
    """What to measure, out of the words of a command.

    Args:
        candidates: each an artifact, model folder or hub id, or ``NAME=PLACE``.
        runtimes: each ``NAME=runtime`` or ``NAME=runtime:option=value,option=value``.
        data: where the evaluation rows are.
        task: name; inferred when None.
        store: its root; the default when None.

    Raises:
        RecipeError: a runtime for something that is no candidate.
        UserError: a place that holds no model.
    """
    return open_specs([parse_candidate(text) for text in candidates], runtimes, data, task, store)


def open_specs(
    named: Sequence[tuple[str, str]],
    runtimes: Sequence[str],
    data: DataConfig,
    task: str | None,
    store: Path | None,
) -> list[CandidateSpec]:
    """As ``specs``, for candidates that have their names already."""
    from bench.session import CandidateSpec
    from compress.pipeline import building

    chosen = {name: (runtime, options) for name, runtime, options in map(parse_runtime, runtimes)}
    unknown = sorted(chosen.keys() - {name for name, _ in named})
    if unknown:
        names = ", ".join(name for name, _ in named)
        raise RecipeError(f"--runtime names {', '.join(unknown)}; the candidates are: {names}")
    specs = []
    for name, place in named:
        artifact = building.open_artifact(place, task=task, data_config=data, store=_options.store(store))
        runtime, options = chosen.get(name, (None, {}))
        specs.append(CandidateSpec(name=name, path=artifact.path, runtime=runtime, options=options))
    return specs
