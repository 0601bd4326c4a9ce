"""Writes the reference pages of the docs from the command line and the catalog; no option is typed by hand.

mkdocs loads this file as a hook: the pages of ``reference/`` are made while the site is built and are kept
nowhere. Pages of the checkout that stand outside ``docs/`` (see ``BORROWED``) join the site under a name of
their own, and links to them are turned with them.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any, Final

import typer

from compress import catalog
from paredown.app import app
from paredown.verbs.list_ import SHELVES

ROOT: Final = Path(__file__).resolve().parent.parent
PLURALS: Final = {"criterion": "criteria"}
CONFIGURED: Final = ("stage", "criterion", "probe", "gate")
"""The shelves whose entries have a ``Config``."""
BORROWED: Final = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "studies/results/README.md": "results.md",
}
"""Pages outside ``docs/``, with the place that each has on the site."""
_SIGNS: Final = str.maketrans({"*": r"\*", "_": r"\_", "[": r"\[", "<": "&lt;"})


def plural(shelf: str) -> str:
    """The name of a shelf's page: of all that lies on it."""
    return PLURALS.get(shelf, f"{shelf}s")


def markdown(text: str) -> str:
    """A docstring's words as Markdown: its literals are code, and no other sign means anything."""
    spans = text.replace("``", "`").split("`")
    return "`".join(span if index % 2 else span.translate(_SIGNS) for index, span in enumerate(spans))


def cell(text: str) -> str:
    """A docstring's words in one cell of a Markdown table."""
    return markdown(" ".join(text.split())).replace("|", "\\|")


def code(text: str) -> str:
    """A word in a cell as it is typed."""
    return f"`{text}`".replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; nothing where there is no row."""
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commands(group: Any, words: tuple[str, ...] = ("paredown",)) -> list[tuple[str, Any]]:
    """Every command below a group that its help shows, in that order, with the words that call it."""
    every: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        path = (*words, name)
        if hasattr(command, "commands"):
            every += commands(command, path)
        else:
            every.append((" ".join(path), command))
    return every


def command_line() -> str:
    """The page of the command line: every command with what its ``--help`` says."""
    root = typer.main.get_command(app)
    parts = [
        "# Command line",
        "Results go to stdout and everything else to stderr. The options of `paredown` itself stand before "
        "the verb. What the exit codes mean is said under [Gates](../gates.md#exit-codes).",
        described("paredown", root),
        *(f"## `{words}`\n\n{described(words, command)}" for words, command in commands(root)),
    ]
    return "\n\n".join(parts) + "\n"


def described(words: str, command: Any) -> str:
    """The sentence, the usage, the arguments and the options of a command."""
    context = command.context_class(command, info_name=words)
    usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
    arguments: list[tuple[str, ...]] = []
    options: list[tuple[str, ...]] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            rows = arguments if parameter.param_type_name == "argument" else options
            rows.append((code(record[0]), cell(record[1])))
    parts = [
        inspect.cleandoc(command.help or ""),
        f"```text\n{usage}\n```",
        table(("argument", "meaning"), arguments),
        table(("option", "meaning"), options),
    ]
    return "\n\n".join(part for part in parts if part)


def shelf_page(shelf: Any) -> str:
    """The page of a shelf: every entry, what it is, and its options with their defaults."""
    parts = [f"# {plural(shelf).capitalize()}"]
    parts += [f"## `{name}`\n\n{entry(shelf, name)}" for name in catalog.names(shelf)]
    return "\n\n".join(parts) + "\n"


def entry(shelf: Any, name: str) -> str:
    """What an entry says of itself; a recipe is shown whole."""
    file = catalog.path(shelf, name)
    text = file.read_text(encoding="utf-8")
    if shelf == "recipe":
        return f"{markdown(catalog.summary(shelf, name))}\n\n```yaml\n{text.rstrip()}\n```"
    parts = [paragraphs(ast.get_docstring(ast.parse(text)) or "")]
    if shelf in CONFIGURED:
        parts.append(
            table(
                ("option", "default", "meaning"),
                [
                    (code(option), default if default == "required" else code(default), cell(meaning))
                    for option, default, meaning in catalog.options(shelf, name)
                ],
            )
        )
    elif shelf == "runtime":
        parts.append(table(("option", "default"), runtime_options(name)))
    return "\n\n".join(part for part in parts if part)


def runtime_options(name: str) -> list[tuple[str, ...]]:
    """The options that a runtime takes after its name, from what its ``Runner`` can be configured with."""
    runner: Any = catalog.load("runtime", name).Runner
    return [
        (code(option.name), code(option.default))
        for option in inspect.signature(runner.configure).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    ]


def paragraphs(docstring: str) -> str:
    """A docstring as Markdown: literals in backticks, indented parts as they stand."""
    parts = []
    for part in docstring.split("\n\n"):
        lines = part.splitlines()
        if lines and all(line.startswith("    ") for line in lines):
            parts.append("```text\n" + "\n".join(line[4:] for line in lines) + "\n```")
        else:
            parts.append(markdown(part))
    return "\n\n".join(parts)


def pages() -> dict[str, str]:
    """Every generated page by its place below ``docs/``."""
    shelves = {f"reference/{plural(shelf)}.md": shelf_page(shelf) for shelf in SHELVES}
    return {"reference/cli.md": command_line(), **shelves}


def turned(markdown: str, place: str) -> str:
    """A page of the site whose links to borrowed pages lead to their places on the site."""
    up = "../" * place.count("/")
    for file, page in BORROWED.items():
        markdown = markdown.replace(f"](../{up}{file}", f"]({up}{page}")
    return markdown


def on_files(files: Any, config: Any) -> Any:
    """Add the generated and the borrowed pages; mkdocs calls this with the files that it found."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for file, place in BORROWED.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn a page's links to what is borrowed; mkdocs calls this with each page."""
    return turned(markdown, page.file.src_uri)
