"""The command line: parse, one library call, render. The roof over compress, deploy and bench.

Nothing heavy is imported before a command runs. Results go to stdout, everything else to stderr;
``UserError`` becomes one sentence and exit code 2.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from compress import __version__, log
from compress.artifacts.store import default_root
from compress.errors import ExitCode, UserError
from compress.reading import files, utf8
from paredown.verbs import (
    _machine,
    _signals,
    _stage,
    _usage,
    baseline,
    bench,
    build,
    bundle,
    compare,
    damage,
    demo,
    distill,
    doctor,
    export,
    finetune,
    gate,
    list_,
    plan,
    predict,
    prune,
    quantize,
    report,
    run,
    show,
    store,
    temperature,
    trim,
    verify,
)

app = typer.Typer(
    name="paredown",
    help="Shrink a fine-tuned model before production: distill, prune, quantize, export, benchmark, gate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


_INTERRUPTED = 130
_ENDLESS = re.compile(r"\S{501,}")
_KEPT = "what was finished is kept, and the same command goes on from there"


def _show_version(requested: bool) -> None:
    if requested:
        sys.stdout.write(f"paredown {__version__}\n")
        raise typer.Exit


def _check_packages() -> None:
    """Refuse to run where another distribution's ``compress``, ``deploy`` or ``bench`` shadows ours."""
    home = Path(__file__).resolve().parent.parent
    for name in ("compress", "deploy", "bench"):
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
    os.environ.setdefault("MPLCONFIGDIR", str(default_root() / "caches" / "matplotlib"))
    _check_packages()


# The stages whose options ``--set`` takes, listed at the end of a verb's help.
_STAGES = {
    "finetune": ("finetune",),
    "distill": ("distill",),
    "prune": ("prune",),
    "trim": ("trim-vocabulary",),
    "export": ("export-onnx", "optimize-onnx"),
    "quantize": ("quantize-onnx", "half-precision"),
    "build": ("build-tensorrt",),
}
# In the order of a model's way: what --help shows.
for _verb in (
    run.run,
    demo.demo,
    plan.plan,
    doctor.doctor,
    list_.list_,
    show.show,
    finetune.finetune,
    distill.distill,
    prune.prune,
    trim.trim,
    export.export,
    quantize.quantize,
    temperature.temperature,
    build.build,
    predict.predict,
    compare.compare,
    bench.bench,
    damage.damage,
    gate.gate,
    report.report,
    bundle.bundle,
    verify.verify,
):
    _name = _verb.__name__.rstrip("_")
    app.command(name=_name, epilog=_stage.described(_verb, _STAGES.get(_name, ())))(_verb)
app.command(name="calibrate", hidden=True)(temperature.temperature)  # what temperature was called
app.add_typer(store.app, name="store")
app.add_typer(baseline.app, name="baseline")


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
        with _signals.heard():
            code = app(arguments, standalone_mode=False) or ExitCode.OK
            sys.stdout.flush()  # where that fails the result did not arrive, and the exit code says so
    except UserError as mistake:
        shortage = _machine.shortage(mistake)
        _say(f"{mistake}; {shortage}" if shortage else str(mistake))
        sys.exit(ExitCode.INPUT)
    except _usage.UsageError as error:
        if _usage.asks_for_help(error):
            error.show()
        else:
            _say(str(_usage.mistake(error)))
        sys.exit(ExitCode.INPUT)
    except KeyboardInterrupt:  # where Typer is not there to catch it
        code = _INTERRUPTED
    except _signals.Ended as end:
        _say(f"ended by {end.name}: {_KEPT}")
        sys.exit(end.code)
    except BrokenPipeError:
        _let_go_of_stdout()
        _say("whoever read the output went away before all of it was written")
        sys.exit(ExitCode.INPUT)
    except Exception as problem:
        if refusal := _machine.refusal(problem):
            _let_go_of_stdout()
            _say(f"{refusal}; {_KEPT}")
            sys.exit(ExitCode.INPUT)
        traceback.print_exc()
        _say("this is a bug of paredown: please report it with the lines above")
        sys.exit(ExitCode.BUG)
    if code == _INTERRUPTED:  # Typer catches Ctrl-C and gives this code
        _say(f"interrupted: {_KEPT}")
    sys.exit(code)


def _let_go_of_stdout() -> None:
    """Drop what could not be written, so that the interpreter does not try once more while it ends."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _say(sentence: str) -> None:
    """One line on stderr; a word that nobody reads to its end, as what was given may be, is cut."""
    sentence = _ENDLESS.sub(lambda word: f"{word[0][:80]}… ({len(word[0])} characters)", sentence)
    lines = (files.printable(line.strip()) for line in sentence.splitlines())
    sys.stderr.write(f"paredown: {' '.join(line for line in lines if line)}\n")


if __name__ == "__main__":
    main()
