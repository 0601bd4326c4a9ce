"""The command line: ``python -m studies.gpu``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from compress.errors import ExitCode, UserError
from studies.gpu import run
from studies.gpu.plan import GROUPS, PLANS, Group


def groups(text: str | None) -> tuple[Group, ...]:
    """Which cells ``--only`` names; the facts of the machine are always among them.

    Raises:
        UserError: a name that is none.
    """
    if text is None:
        return GROUPS
    names = ["facts", *text.split(",")]
    for name in names:
        if name not in GROUPS:
            raise UserError(
                f"--only {name}: there is no such group of cells. Known: {', '.join(sorted(GROUPS))}."
            )
    return tuple(name for name in GROUPS if name in names)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m studies.gpu", description=__doc__)
    options.add_argument(
        "--artifacts", type=Path, default=Path("artifacts"), help="folder that --prepare made"
    )
    options.add_argument("--out", type=Path, required=True, help="folder of the state and the record")
    options.add_argument("--minutes", type=float, default=9.0, help="time limit of this call (default 9)")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--only", help="groups of cells: torch, ort, tensorrt (with commas)")
    options.add_argument("--plan", choices=sorted(PLANS), default="full", help="tiny is for trying it out")
    options.add_argument(
        "--list", action="store_true", help="print the commands with their estimates, run nothing"
    )
    options.add_argument("--prepare", action="store_true", help="make the artifacts in --out; needs no GPU")
    options.add_argument("--model", type=Path, help="with --prepare: a fine-tuned text classifier's folder")
    options.add_argument("--data", type=Path, help="with --prepare: its data's folder")
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the progress of the command


def main(arguments: list[str]) -> int:
    """Prepare, list or run.

    Returns:
        0 done, 1 a cell failed, 2 something in the input, 4 cells are left for another call.
    """
    options = parser().parse_args(arguments)
    try:
        job = run.Job(
            PLANS[options.plan],
            options.artifacts,
            options.out,
            options.device,
            options.minutes,
            groups(options.only),
        )
        if (options.model is None) != (options.data is None):
            raise UserError("--model and --data belong together: the fine-tuned model and its rows")
        if options.prepare:
            run.make(
                dataclasses.replace(job, artifacts=options.out),
                None if options.model is None else (options.model, options.data),
                _say,
            )
            return int(ExitCode.OK)
        if options.list:
            for cell in job.plan.cells(job.device):
                if cell.group in job.groups:
                    words = " ".join(cell.command(job.places("REPORT")))
                    print(f"{cell.seconds:6.0f} s  {cell.id:36} paredown {words}")  # noqa: T201 - the answer
            return int(ExitCode.OK)
        return run.run(job, _say)
    except UserError as mistake:
        _say(str(mistake))
        return int(ExitCode.INPUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
