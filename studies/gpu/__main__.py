"""The command line: ``python -m studies.gpu``. Standard library only, as on the machine with the GPU."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from compress.errors import ExitCode, UserError
from studies.gpu import run
from studies.gpu.plan import PLANS

# TensorRT 8.6 has a Python of its own, without torch: only what it can do, in a record of its own.
_ALIASES = {"trt86": ("facts", "tensorrt")}


def groups(text: str | None) -> tuple[str, ...]:
    """Which cells ``--only`` names.

    Raises:
        UserError: a name that is none.
    """
    if text is None:
        return run.GROUPS
    found: list[str] = []
    for name in text.split(","):
        if name in _ALIASES:
            found += _ALIASES[name]
        elif name in run.GROUPS:
            found += ["facts", name]
        else:
            known = ", ".join(sorted({*run.GROUPS, *_ALIASES}))
            raise UserError(f"--only {name}: there is no such group of cells. Known: {known}.")
    return tuple(name for name in run.GROUPS if name in found)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m studies.gpu", description=__doc__)
    made.add_argument("--artifacts", type=Path, help="folder that --prepare made")
    made.add_argument("--out", type=Path, required=True, help="folder of the state and the record")
    made.add_argument("--minutes", type=float, default=9.0, help="time limit of this call (default 9)")
    made.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    made.add_argument("--only", help="groups of cells: torch, ort, tensorrt, trt86 (with commas)")
    made.add_argument("--shapes", choices=sorted(PLANS), default="full", help="tiny is for trying it out")
    made.add_argument("--list", action="store_true", help="print the cells with their estimates, run nothing")
    made.add_argument("--prepare", action="store_true", help="make the artifacts, on the CPU machine")
    made.add_argument("--model", type=Path, help="with --prepare: the fine-tuned model's folder")
    made.add_argument("--data", type=Path, help="with --prepare: the data's folder")
    return made


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the progress of the command


def main(arguments: list[str]) -> int:
    """Prepare, list or run.

    Returns:
        0 done, 1 a cell failed, 2 something in the input, 4 cells are left for another call.
    """
    given = parser().parse_args(arguments)
    plan = PLANS[given.shapes]
    try:
        if given.prepare:
            if given.model is None or given.data is None:
                raise UserError("--prepare needs --model DIR and --data DIR")
            from studies.gpu.prepare import prepare

            prepare(given.model, given.data, given.out, plan, _say)
            return int(ExitCode.OK)
        chosen = groups(given.only)
        if given.list:
            for cell in plan.cells():
                if cell.group in chosen:
                    print(f"{cell.seconds:6.0f} s  {cell.group:9} {cell.id}")  # noqa: T201 - the answer
            return int(ExitCode.OK)
        job = run.Job(plan, given.artifacts, given.out, given.device, given.minutes, chosen)
        return run.run(job, _say)
    except UserError as mistake:
        _say(str(mistake))
        return int(ExitCode.INPUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
