"""Verbs that are one stage: their flags, their help and what they do come from the stage's ``Config``.

What people set most is a flag; ``--set`` takes every option, and ``--help`` lists them all with their
defaults. The stages are not imported for that: ``options.json`` is written from them
(``tools/stage_options.py``).
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from paredown.verbs import _options, _rendering

_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "Path": str}
_WIDTH = 78
# What every such verb has before and after its own flags.
_BEFORE = {
    "data": (_options.Data, None),
    "column": (_options.Columns, None),
    "limit": (_options.Limit, None),
    "max_length": (_options.MaxLength, None),
    "task": (_options.Task, None),
}
_AFTER = {
    "set_": (_options.Settings, None),
    "seed": (_options.Seed, None),
    "device": (_options.Device, "cpu"),
    "threads": (_options.Threads, None),
    "store": (_options.StoreRoot, None),
    "as_json": (_options.Json, False),
}


@cache
def listing() -> dict[str, list[dict[str, str]]]:
    """Stage -> its options as ``options.json`` holds them: name, type, default, meaning."""
    listed: dict[str, list[dict[str, str]]] = json.loads(
        Path(__file__).with_name("options.json").read_text(encoding="utf-8")
    )
    return listed


def described(verb: Callable[..., None], stages: Sequence[str]) -> str | None:
    """What ``--set`` takes beside a verb's own flags, one option a paragraph, for the end of its help.

    Args:
        verb: whose flags need no second mention.
        stages: that it runs; None is given where there is none.
    """
    _, *flags = inspect.signature(verb).parameters  # the first one is the argument
    parts = []
    for stage in stages:
        of = f", of the stage {stage}" if len(stages) > 1 else ""
        lines = [f"Other options, for --set KEY=VALUE{of}:"]
        for option in listing()[stage]:
            if option["name"] in flags:
                continue
            default = f" [default: {option['default']}]" if option["default"] else ""
            lines += textwrap.wrap(
                f"{option['name']} ({option['type']}): {option['meaning']}{default}",
                _WIDTH,
                initial_indent="  ",
                subsequent_indent="      ",
            )
        parts.append("\b\n" + "\n".join(lines))  # the mark keeps the lines as they are
    return "\n\n".join(parts) or None


def _flag(stage: str, name: str) -> Any:
    """The type of a flag that sets one option of a stage."""
    (option,) = (entry for entry in listing()[stage] if entry["name"] == name)
    kind = next((_TYPES[word] for word in option["type"].split(" | ") if word in _TYPES), str)
    one_of = kind is str and " | " in option["type"]
    choices = f" One of {option['type'].replace(' |', ',')}." if one_of else ""
    default = f" [default: {option['default']}]" if option["default"] else ""
    words = name.replace("_", "-")
    switch = f"--{words}/--no-{words}" if kind is bool else f"--{words}"
    flag = typer.Option(switch, help=option["meaning"] + choices + default, show_default=False)
    return Annotated[kind | None, flag]


def stage_verb(
    name: str, stage: str, source: tuple[str, str], out: str, flags: Sequence[str], summary: str
) -> Callable[..., None]:
    """A command that builds one artifact by one stage.

    Args:
        name: of the verb.
        stage: that it runs.
        source: name and help of its argument, the model that it starts from.
        out: the folder that the result goes to by default.
        flags: options of the stage that are flags of their own.
        summary: the first line of its help.
    """

    def verb(**values: Any) -> None:
        from compress.pipeline import building

        named = {flag: values[flag] for flag in flags}
        rows = _options.data_config(values["data"], values["column"], values["limit"], values["max_length"])
        artifact = building.run_stage(
            stage,
            values[source[0]],
            options=_options.settings(values["set_"], **named),
            data_config=rows,
            task=values["task"],
            seed=values["seed"],
            device=values["device"],
            threads=values["threads"],
            out=values["out"],
            store=_options.store(values["store"]),
        )
        _rendering.show_artifact(artifact, values["as_json"])

    parameters: dict[str, tuple[Any, Any]] = {
        source[0]: (Annotated[str, typer.Argument(help=source[1])], inspect.Parameter.empty),
        **_BEFORE,
        "out": (_options.Out, Path(out)),
        **{flag: (_flag(stage, flag), None) for flag in flags},
        **_AFTER,
    }
    verb.__name__ = name
    verb.__doc__ = summary
    verb.__annotations__ = {key: kind for key, (kind, _) in parameters.items()} | {"return": None}
    verb.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer reads a command from
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in parameters.items()
        ]
    )
    return verb
