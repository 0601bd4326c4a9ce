"""The command line: parse, one library call, render. The roof over compress, deploy and bench.

Nothing heavy is imported before a command runs. Results go to stdout, everything else to stderr;
``UserError`` becomes one sentence and exit code 2.
"""

from __future__ import annotations

import errno
import importlib.util
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import bench.cli
import deploy.cli
from compress import __version__, catalog, log, options
from compress.errors import ExitCode, UserError

if TYPE_CHECKING:
    from compress.artifact import Artifact
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
store_app = typer.Typer(help="Look at and tidy the store of built artifacts.", no_args_is_help=True)

SHELVES = ("recipe", "task", "stage", "criterion", "runtime", "probe", "gate")


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
                f"the package '{name}' comes from {origin}, not from {home}: another distribution installs the "
                "same name; install paredown into an environment of its own"
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


def _finish(outcome: Outcome, as_json: bool) -> None:
    """Show a run's result and leave with the gates' exit code."""
    from bench import judge, terminal

    payload = {
        "out": str(outcome.out),
        "artifacts": [
            {"label": each.label, "id": each.artifact.id, "path": str(each.artifact.path)}
            for each in outcome.built
        ],
        "report": outcome.report.model_dump(mode="json") if outcome.report else None,
    }

    def render() -> None:
        console = Console()
        if outcome.report is not None:
            terminal.show(outcome.report, console)
            console.print(f"Report: {outcome.out / 'report.html'}", soft_wrap=True)
        console.print(f"Model:  {outcome.out / 'model'}", soft_wrap=True)

    options.emit(payload, as_json, render)
    if outcome.report is not None:
        raise typer.Exit(judge.exit_code(outcome.report.verdicts))


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder, artifact or hub id.")] = None,
    data: options.Data = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/latest"),
    set_: options.Settings = None,
    seed: options.Seed = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Run a recipe whole: build every stage, bench, judge, report."""
    from compress import workflow

    chosen = _recipe(recipe, model, data, column, set_, seed, task, limit)
    _finish(workflow.run(chosen, out, options.store(store)), as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run folder.")] = Path("runs/demo"),
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Run the shipped recipe 'demo': train, shrink and bench a small image classifier, offline."""
    from compress import recipe, workflow

    _finish(workflow.run(recipe.read("demo"), out, options.store(store)), as_json)


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
    from compress import pipeline

    steps = pipeline.plan(_recipe(recipe, model, data, column, set_, seed, task, limit), options.store(store))

    def render() -> None:
        table = Table("stage", "state", "time", "disk", "estimated from", box=None, pad_edge=False)
        for step in steps:
            table.add_row(
                step.label,
                "in the store" if step.ready else "to do",
                "" if step.ready else _seconds(step.seconds),
                "" if step.ready else _megabytes(step.bytes),
                "" if step.ready else step.basis,
            )
        console = Console()
        console.print(table)
        todo = [step for step in steps if not step.ready]
        seconds = sum(step.seconds or 0 for step in todo)
        size = sum(step.bytes or 0 for step in todo)
        console.print(f"{len(todo)} of {len(steps)} stages to do, about {_seconds(seconds)} and {_megabytes(size)}")

    options.emit([vars(step) for step in steps], as_json, render)


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def _megabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.1f} MB"


def show_artifact(artifact: Artifact, as_json: bool) -> None:
    """Give an artifact: where it is, what it is, what the stage recorded."""
    manifest = artifact.manifest
    payload = {"path": str(artifact.path), "id": artifact.id, **manifest.model_dump(mode="json")}

    def render() -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_row("path", str(artifact.path))
        table.add_row("id", artifact.id)
        table.add_row("kind", manifest.kind)
        table.add_row("task", manifest.task)
        table.add_row("size", _megabytes(artifact.size_bytes))
        table.add_row("made by", " > ".join(step.stage for step in manifest.lineage))
        for name, value in sorted(manifest.facts.items()):
            text = str(value)
            table.add_row(name, text if len(text) <= 200 else text[:197] + "...")
        Console().print(table)

    options.emit(payload, as_json, render)


@app.command()
def finetune(
    base: Annotated[str, typer.Argument(help="Base model: a folder or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("finetuned"),
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Fine-tune a base model on labeled rows."""
    from compress import pipeline

    given = options.settings(
        set_, training__epochs=epochs, training__batch_size=batch_size, training__learning_rate=learning_rate
    )
    made = pipeline.run_stage(
        "finetune",
        base,
        options=given,
        data_config=options.data_config(data, column, limit),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    show_artifact(made, as_json)


@app.command()
def distill(
    teacher: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("distilled"),
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    layers: Annotated[int | None, typer.Option("--layers", min=1, help="Layers that the student keeps.")] = None,
    student: Annotated[str | None, typer.Option("--student", help="A given student model's folder.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs")] = None,
    control: Annotated[
        bool | None, typer.Option("--control", help="Also train the same student without the teacher.")
    ] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Train a smaller student to say what the teacher says."""
    from compress import pipeline

    given = options.settings(set_, layers=layers, student=student, training__epochs=epochs, control=control)
    made = pipeline.run_stage(
        "distill",
        teacher,
        options=given,
        data_config=options.data_config(data, column, limit),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    show_artifact(made, as_json)


@app.command()
def prune(
    model: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("pruned"),
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Share of heads and neurons to keep.")] = None,
    criterion: Annotated[str | None, typer.Option("--criterion", help="See 'paredown list'.")] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Cut attention heads, FFN neurons or layers, and recover."""
    from compress import pipeline

    made = pipeline.run_stage(
        "prune",
        model,
        options=options.settings(set_, keep=keep, criterion=criterion),
        data_config=options.data_config(data, column, limit),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    show_artifact(made, as_json)


@app.command(name="list")
def list_(as_json: options.Json = False) -> None:
    """List recipes, tasks, stages, criteria, runtimes, probes and gates."""
    found = {
        shelf: {name: catalog.summary(shelf, name) for name in catalog.names(shelf)}  # type: ignore[arg-type]
        for shelf in SHELVES
    }

    def render() -> None:
        table = Table("what", "name", "", box=None, pad_edge=False)
        for shelf, entries in found.items():
            for name, text in entries.items():
                table.add_row(shelf, name, text)
        Console().print(table)

    options.emit(found, as_json, render)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="An artifact's folder, or a name that 'list' gives.")],
    as_json: options.Json = False,
) -> None:
    """Show an artifact's passport, a recipe, or the options of a stage, criterion, probe or gate."""
    from compress.artifact import Artifact, is_sealed

    if is_sealed(Path(name)):
        show_artifact(Artifact.open(Path(name), verify=False), as_json)
        return
    shelves = [shelf for shelf in SHELVES if catalog.canonical(name) in catalog.names(shelf)]  # type: ignore[arg-type]
    if not shelves:
        if Path(name).exists():
            raise UserError(f"{name} is not a sealed artifact (no manifest.json): 'paredown show' takes one, or a name")
        every = {entry for shelf in SHELVES for entry in catalog.names(shelf)}  # type: ignore[arg-type]
        from compress.errors import UnknownName

        raise UnknownName("name", name, every)
    payload = [_describe(shelf, name) for shelf in shelves]

    def render() -> None:
        console = Console()
        for item in payload:
            console.print(f"{item['what']} {item['name']}: {item['summary']}")
            if item.get("text"):
                console.print(item["text"], markup=False, highlight=False)
            if item.get("options"):
                table = Table("option", "default", "meaning", box=None, pad_edge=False)
                for row in item["options"]:
                    table.add_row(row["name"], row["default"], row["meaning"])
                console.print(table)

    options.emit(payload, as_json, render)


def _describe(shelf: str, name: str) -> dict[str, Any]:
    wanted: Any = shelf
    described: dict[str, Any] = {
        "what": shelf,
        "name": catalog.canonical(name),
        "summary": catalog.summary(wanted, name),
    }
    if shelf == "recipe":
        described["text"] = catalog.path(wanted, name).read_text(encoding="utf-8")
    elif shelf in {"stage", "criterion", "probe", "gate"}:
        described["options"] = [
            {"name": option, "default": default, "meaning": meaning}
            for option, default, meaning in catalog.options(wanted, name)
        ]
    return described


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="A sealed artifact's folder.")], as_json: options.Json = False
) -> None:
    """Check every byte of an artifact against its manifest."""
    from compress.artifact import Artifact

    found = Artifact.open(artifact)
    payload = {"path": str(artifact), "id": found.id, "files": len(found.manifest.files), "verified": True}
    options.emit(
        payload, as_json, lambda: Console().print(f"{artifact}: {payload['files']} files unchanged, id {found.id}")
    )


@store_app.command(name="list")
def store_list(store: options.StoreRoot = None, as_json: options.Json = False) -> None:
    """List the artifacts of the store, the latest used first."""
    entries = options.store(store).entries()
    payload = [
        {
            "key": entry.key,
            "stage": entry.artifact.manifest.stage,
            "task": entry.artifact.task,
            "bytes": entry.artifact.size_bytes,
            "used": entry.used.isoformat(timespec="seconds"),
            "path": str(entry.artifact.path),
        }
        for entry in entries
    ]

    def render() -> None:
        table = Table("key", "stage", "task", "size", "last used", box=None, pad_edge=False)
        for item in payload:
            table.add_row(
                str(item["key"])[:16],
                str(item["stage"]),
                str(item["task"]),
                _megabytes(int(str(item["bytes"]))),
                str(item["used"]),
            )
        Console().print(table)
        total = sum(int(str(item["bytes"])) for item in payload)
        Console().print(f"{len(payload)} artifacts, {_megabytes(total)}")

    options.emit(payload, as_json, render)


@store_app.command(name="prune")
def store_prune(
    days: Annotated[int | None, typer.Option("--days", min=0, help="Remove what was not used for so long.")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what fails verification.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Remove leftovers of killed runs and, where asked, artifacts."""
    removed = options.store(store).prune(
        unused_for=timedelta(days=days) if days is not None else None, damaged=damaged, everything=everything
    )
    options.emit(
        [str(path) for path in removed], as_json, lambda: Console().print(f"{len(removed)} folders removed")
    )


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
    console = Console()
    table = Table("piece", "version", "state", box=None, pad_edge=False)
    for piece in found.pieces:
        table.add_row(piece.name, piece.version or "-", piece.state)
    console.print(table)
    for title, items in (("Missing", found.missing), ("Notes", found.notes), ("Problems", found.problems)):
        for item in items:
            console.print(f"{title}: {item}", soft_wrap=True, markup=False)
    if not found.problems:
        console.print("No problem found.")


app.add_typer(store_app, name="store")
deploy.cli.register(app)
bench.cli.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; a user's mistake is one sentence."""
    try:
        app(arguments)
    except UserError as mistake:
        _say(str(mistake))
        sys.exit(ExitCode.INPUT)
    except OSError as problem:
        if problem.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
            raise
        _say(
            f"{problem.strerror}: {problem.filename or 'while writing'}. Free space or choose another --store and "
            "--out; what was finished is kept, and the same command goes on from there."
        )
        sys.exit(ExitCode.INPUT)
    except KeyboardInterrupt:
        _say("interrupted: what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        _say("this is a bug of paredown: please report it with the lines above")
        sys.exit(ExitCode.BUG)


def _say(sentence: str) -> None:
    sys.stderr.write(f"paredown: {sentence}\n")


if __name__ == "__main__":
    main()
