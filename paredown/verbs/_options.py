"""Options that several commands share, and how a command gives its result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from compress import outputs, processes
from compress.artifacts.store import Store
from compress.errors import RecipeError
from compress.reading import files
from compress.recipe import DataConfig, parse_value

Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="Folder, file or hub id of the rows, or 'sklearn:digits'.", show_default=False
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="ROLE=NAME, such as text=sentence, where a column is not found by name."),
]
Task = Annotated[str | None, typer.Option("--task", help="Task; inferred from the model when left out.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        parser=outputs.folder,
        metavar="<path>",
        help="Folder for the result; must not hold anything else.",
    ),
]
RunFolder = Annotated[Path, typer.Option("--out", parser=outputs.place, metavar="<path>", help="Run folder.")]
StoreRoot = Annotated[
    Path | None,
    typer.Option(
        "--store",
        parser=outputs.store,
        metavar="<path>",
        help="Folder of the store [default: $PAREDOWN_STORE or the cache folder].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result, and nothing else, as JSON on stdout.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE for any option of the stage or recipe; repeat as needed."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of everything random.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="Send stages, curves and report to tensorboard, mlflow or wandb, as NAME or NAME:LOCATION; "
        "repeat as needed.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="CPU threads; all when left out.")
]
Inconclusive = Annotated[
    Literal["pass", "fail"] | None,
    typer.Option("--inconclusive", help="What an open verdict counts as; exit 4 when left out."),
]
MaxLength = Annotated[
    str | None,
    typer.Option(
        "--max-length",
        help="Tokens (of sounds: samples) of a row: a number, or 'data' for the training rows' "
        "[default: the model's own].",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=16, max=10**9, help="Use at most this many training rows.")
]


def store(root: Path | None) -> Store:
    """The store that a command works with."""
    return Store(root)


def data_config(
    source: str | None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    max_length: str | None = None,
    *,
    plays: Literal["train", "eval"] = "train",
) -> DataConfig | None:
    """The data configuration that the options describe, or None without ``--data``.

    Args:
        source: what ``--data`` names.
        columns: each ROLE=NAME.
        limit: of the training rows.
        max_length: token limit, a number or ``data``.
        plays: the side that a single file has: rows to learn from, or rows to measure on.

    Raises:
        RecipeError: a ``--column`` that is not ROLE=NAME, a token limit that is none, or options that need
            ``--data``.
    """
    roles = {}
    for entry in columns or ():
        role, equals, name = entry.partition("=")
        if not (role and equals and name):
            raise RecipeError(f"--column takes ROLE=NAME, such as text=sentence; got '{entry}'")
        roles[role] = name
    if source is None:
        if roles or limit or max_length:
            raise RecipeError("--column, --limit and --max-length describe the data: give --data as well")
        return None
    most = None if max_length is None else tokens(max_length, 4)
    if files.is_file(files.located(source)):
        alone = DataConfig(train=source) if plays == "train" else DataConfig(eval=source)
        return alone.model_copy(update={"columns": roles, "limit": limit, "max_length": most})
    return DataConfig(source=source, columns=roles, limit=limit, max_length=most)


def tokens(text: str, least: int) -> int | Literal["data"]:
    """A limit of length: a number, or ``data``.

    Args:
        text: as given.
        least: the smallest number that is allowed.

    Raises:
        RecipeError: it is neither.
    """
    if text == "data":
        return "data"
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) < 10**8:
        raise RecipeError(
            f"--max-length is a number of tokens (of sounds: samples) from {least} on, or the word 'data'; "
            f"got '{text}'"
        )
    return int(text)


def settings(entries: Sequence[str] | None, **named: Any) -> dict[str, Any]:
    """Options of a stage: the named ones that were given, then ``KEY=VALUE`` entries over them.

    ``training.epochs=2`` reaches into a group. Values are read as YAML.

    Raises:
        RecipeError: an entry that is not KEY=VALUE.
    """
    tree: dict[str, Any] = {}
    flat = {key.replace("__", "."): value for key, value in named.items() if value is not None}
    for entry in entries or ():
        key, equals, text = entry.partition("=")
        if not (key and equals):
            raise RecipeError(f"--set takes KEY=VALUE, such as epochs=2; got '{entry}'")
        flat[key] = parse_value(text, entry)
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for step in parents:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise RecipeError(f"--set {key}: '{step}' is set to a value, so it has no '{last}'")
        node[last] = value
    return tree


def emit(payload: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Give a command's result: JSON on stdout, or what ``render`` prints for a person.

    Where several processes were launched together, the main one alone speaks.
    """
    if not processes.is_main():
        return
    if as_json:
        json.dump(payload, sys.stdout, indent=1, ensure_ascii=False, default=str)
        sys.stdout.write("\n")
    else:
        render()
