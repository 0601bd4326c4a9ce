"""The command line: parse, one library call, render. The roof over compress, deploy and bench.

Nothing heavy is imported before a command runs. Results go to stdout, everything else to stderr;
``UserError`` becomes one sentence and exit code 2.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import bench.cli
import deploy.cli
from compress import __version__, log, options, rendering, shelf_verbs, stage_verbs, store, usage
from compress.errors import ExitCode, UserError
from compress.reading import files, utf8

if TYPE_CHECKING:
    from compress.recipe import Recipe
    from compress.workflow import Outcome

app = typer.Typer(
    name="paredown",
    help="Shrink a fine-tuned model before production: distill, prune, quantize, export, benchmark, gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})
# What a file system says of a path or of its disk; a missing file is not here, since it may be one of ours.
_PLACE = _DISK | {
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EPERM,
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
}
_INTERRUPTED = 130
_SHOWN = 80


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"paredown {__version__}\n")
        raise typer.Exit


def _check_packages() -> None:
    """Refuse to run where another distribution's ``deploy`` or ``bench`` shadows ours."""
    home = Path(__file__).resolve().parent.parent
    for name in ("deploy", "bench"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != home:
            raise UserError(
                f"the package '{name}' comes from {origin}, not from {home}: another distribution "
                "installs the same name; install paredown into an environment of its own"
            )


@app.callback()
def root(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Shrink a fine-tuned model before production: distill, prune, quantize, export, benchmark, gate."""
    log.configure(-1 if quiet else int(verbose))
    # What matplotlib learns of this machine's fonts is kept with everything else that we keep.
    os.environ.setdefault("MPLCONFIGDIR", str(store.default_root() / "caches" / "matplotlib"))
    _check_packages()


def _recipe(
    reference: str,
    model: str | None,
    data: str | None,
    columns: list[str] | None,
    overrides: list[str] | None,
    seed: int | None,
    task: str | None = None,
    limit: int | None = None,
) -> Recipe:
    """A recipe with the command's own options over it."""
    from compress import recipe

    found = recipe.read(reference, overrides or ())
    changes: dict[str, Any] = {}
    if model is not None:
        changes["model"] = model
    if task is not None:
        changes["task"] = task
    if seed is not None:
        changes["seed"] = seed
    given = options.data_config(data, columns, limit)
    if given is not None:
        base = found.data.model_dump(exclude_defaults=True) if found.data else {}
        changes["data"] = recipe.DataConfig(**{**base, **given.model_dump(exclude_defaults=True)})
    return found.model_copy(update=changes)


def _finish(outcome: Outcome, as_json: bool, *, shows: bool = False) -> None:
    """Show a run's result and leave with the gates' exit code.

    Args:
        outcome: of the run.
        as_json: whether stdout is for the JSON alone.
        shows: whether the run only shows what there is, so that it ends well unless a gate failed.
    """
    from bench import judge, report, step_summary, terminal

    payload = {
        "out": str(outcome.out),
        "artifacts": [
            {"label": each.label, "id": each.artifact.id, "path": str(each.artifact.path)}
            for each in outcome.built
        ],
        "report": report.sealed(outcome.report) if outcome.report else None,
    }

    def render() -> None:
        console = rendering.console()
        if outcome.report is not None:
            terminal.show(outcome.report, Console())
            console.print(f"Report: {outcome.out / 'report.html'}", soft_wrap=True)
        console.print(f"Model:  {outcome.out / 'model'}", soft_wrap=True)

    options.emit(payload, as_json, render)
    if outcome.report is not None:
        step_summary.append(outcome.report)
        code = judge.exit_code(outcome.report.verdicts, outcome.report.inconclusive)
        if shows and code in {ExitCode.INCONCLUSIVE, ExitCode.ANOMALOUS}:
            log.warning(
                "The demo ran and no gate failed; what stayed open is said above. The exit code is 0, where "
                "'paredown run' gives %d.",
                code,
            )
            code = ExitCode.OK
        raise typer.Exit(code)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder, artifact or hub id.")] = None,
    data: options.Data = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    out: options.RunFolder = Path("runs/latest"),
    set_: options.Settings = None,
    seed: options.Seed = None,
    store: options.StoreRoot = None,
    track: options.Track = None,
    inconclusive: options.Inconclusive = None,
    as_json: options.Json = False,
) -> None:
    """Run a recipe whole: build every stage, bench, judge, report."""
    from compress import workflow

    chosen = _recipe(recipe, model, data, column, set_, seed, task, limit)
    outcome = workflow.run(chosen, out, options.store(store), track or (), inconclusive)
    _finish(outcome, as_json)


@app.command()
def demo(
    out: options.RunFolder = Path("runs/demo"),
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Run the shipped recipe 'demo': train, shrink and bench a small image classifier, offline.

    Exit 0 unless a gate failed: what a busy machine leaves open is said and is no failure of the demo.
    """
    from compress import recipe, workflow

    _finish(workflow.run(recipe.read("demo"), out, options.store(store)), as_json, shows=True)


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder, artifact or hub id.")] = None,
    data: options.Data = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Say what 'run' would do and what the store already has; touches nothing."""
    from compress import planning, workflow

    chosen = _recipe(recipe, model, data, column, set_, seed, task, limit)
    workflow.check(chosen, here=False)
    steps = planning.plan(chosen, options.store(store))

    def render() -> None:
        table = Table("stage", "from", "state", "time", "disk", "estimated from", box=None, pad_edge=False)
        for step in steps:
            table.add_row(
                step.label,
                step.source or "",
                "in the store" if step.ready else "to do",
                "" if step.ready else rendering.seconds(step.seconds),
                "" if step.ready else rendering.megabytes(step.bytes),
                "" if step.ready else step.basis,
            )
        console = rendering.console()
        console.print(table)
        todo = [step for step in steps if not step.ready]
        seconds = sum(step.seconds or 0 for step in todo)
        more = " and more (some were never run here)" if any(step.seconds is None for step in todo) else ""
        size = sum(step.bytes or 0 for step in todo)
        console.print(
            f"{len(todo)} of {len(steps)} stages to do, about {rendering.seconds(seconds)} "
            f"and {rendering.megabytes(size)}{more}"
        )
        if chosen.data is not None:
            measured = chosen.bench.candidates or planning.check(chosen, here=False).labels
            console.print(f"Then {len(measured)} candidates are measured, whose time is not in the estimate")

    options.emit([vars(step) for step in steps], as_json, render)


@app.command()
def doctor(store: options.StoreRoot = None, as_json: options.Json = False) -> None:
    """Say what is installed, what each missing piece would enable, and what does not work together."""
    import dataclasses

    from compress import doctor as examiner

    found = examiner.examine(options.store(store).root)
    options.emit(dataclasses.asdict(found), as_json, lambda: _show_examination(found))
    if found.problems:
        raise typer.Exit(ExitCode.INPUT)


def _show_examination(found: Any) -> None:
    console = rendering.console()
    table = Table("piece", "version", "state", box=None, pad_edge=False)
    for piece in found.pieces:
        table.add_row(piece.name, piece.version or "-", piece.state)
    console.print(table)
    for title, items in (("Missing", found.missing), ("Notes", found.notes), ("Problems", found.problems)):
        for item in items:
            console.print(f"{title}: {item}", soft_wrap=True, markup=False)
    if not found.problems:
        console.print("No problem found.")


stage_verbs.register(app)
shelf_verbs.register(app)
deploy.cli.register(app)
bench.cli.register(app)


def _check_words(words: list[str]) -> None:
    """Refuse words that are not UTF-8: no report, manifest or recipe could hold them.

    Raises:
        UserError: the first such word.
    """
    for word in words:
        if utf8.joined(word) is None:
            raise UserError(
                f"'{files.shown(word)}' is not UTF-8: rename the file, or write the word in UTF-8"
            )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; a user's mistake is one sentence."""
    try:
        _check_words(sys.argv[1:] if arguments is None else arguments)
        code = app(arguments, standalone_mode=False) or ExitCode.OK
        sys.stdout.flush()  # where that fails the result did not arrive, and the exit code says so
    except UserError as mistake:
        _say(str(mistake))
        sys.exit(ExitCode.INPUT)
    except usage.UsageError as error:
        if usage.asks_for_help(error):
            error.show()
        else:
            _say(str(usage.mistake(error)))
        sys.exit(ExitCode.INPUT)
    except BrokenPipeError:
        _let_go_of_stdout()
        _say("whoever read the output went away before all of it was written")
        sys.exit(ExitCode.INPUT)
    except Exception as problem:
        refusal = _refused_by_the_disk(problem) or _refused_by_the_place(problem)
        if refusal is None and isinstance(problem, MemoryError):
            refusal = "memory ran out: free some, or ask for less at once (batch sizes, lengths, rows); "
        if refusal:
            _let_go_of_stdout()
            _say(refusal + "what was finished is kept, and the same command goes on from there")
            sys.exit(ExitCode.INPUT)
        traceback.print_exc()
        _say("this is a bug of paredown: please report it with the lines above")
        sys.exit(ExitCode.BUG)
    if code == _INTERRUPTED:  # Typer catches Ctrl-C and gives this code
        _say("interrupted: what was finished is kept, and the same command goes on from there")
    sys.exit(code)


def _refused_by_the_disk(problem: BaseException | None) -> str | None:
    """What the file system said, where an error, or what caused it, is a disk that takes no more.

    Libraries written in Rust and C++ give a text in place of an ``OSError``.
    """
    while problem is not None:
        found = None
        if isinstance(problem, OSError) and problem.errno in _DISK:
            found = f"{problem.strerror} ({_named(problem)})"
        elif os.strerror(errno.ENOSPC) in str(problem):
            found = os.strerror(errno.ENOSPC)
        if found is not None:
            return f"{found}: free space or choose another --store and --out; "
        problem = problem.__cause__ or problem.__context__
    return None


def _refused_by_the_place(problem: Exception) -> str | None:
    """What the file system said of a path, where that is the error itself."""
    if isinstance(problem, OSError) and problem.errno in _PLACE:
        return f"{problem.strerror} ({_named(problem)}): give another path; "
    return None


def _named(problem: OSError) -> str:
    """The file that an error names, cut where it is long."""
    text = str(problem.filename or "while writing")
    return text if len(text) <= 4 * _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _let_go_of_stdout() -> None:
    """Drop what could not be written, so that the interpreter does not try once more while it ends."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _say(sentence: str) -> None:
    lines = (files.printable(line.strip()) for line in sentence.splitlines())
    sys.stderr.write(f"paredown: {' '.join(line for line in lines if line)}\n")


if __name__ == "__main__":
    main()
