"""Runs a recipe many times in forked children and kills them at random moments; a script of its own.

Forking after the imports makes a try cost what the work costs, not what importing torch costs. The
parent computes nothing, so that the children inherit no threads.

    python kill_driver.py RECIPE FOLDER KILLS STEPS SEED

works in FOLDER/store and FOLDER/out. KILLS children are killed after a random time, mostly while a stage is
under way. Then STEPS children are killed at a random one of the steps (a file opened to be written, a folder
made, something renamed or removed) that a run takes in the output folder: what lasts milliseconds is never
hit by the clock. It prints one JSON object: how many children were killed after a time, how many of them
while a stage was under way, at which steps others were killed, the content ids by label and of what was
shipped, and what lies about in the end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.link"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def preload(recipe: str) -> None:
    """Import what the stages need, so that a child starts at once."""
    from compress import catalog
    from compress.recipe import read
    from paredown import workflow

    for entry in read(recipe).stages:
        catalog.load("stage", entry.name)
    catalog.load("task", "text-classification")
    import accelerate
    import datasets
    import sklearn.metrics
    import transformers.models.bert.modeling_bert

    import bench.session

    _ = (
        accelerate,
        datasets,
        sklearn.metrics,
        transformers.models.bert.modeling_bert,
        workflow,
        bench.session,
    )


def watch(out: Path, note: Path, at: int) -> None:
    """Write down every step that this process takes in a folder, and end it at one of them.

    Args:
        out: the folder.
        note: where the steps are written, one a line.
        at: number of the step before which the process is killed; 0 for none.
    """
    place = str(out)
    lines = note.open("w", buffering=1)
    count = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITES:
                return
        elif event not in CHANGES:
            return
        named = [str(argument) for argument in arguments[:2] if isinstance(argument, str | Path)]
        if not any(name == place or name.startswith(place + os.sep) for name in named):
            return
        count += 1
        lines.write(f"{event} {named[0].removeprefix(place)}\n")
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)


def spawn(recipe: str, folder: Path, at: int = 0) -> int:
    """Fork a child that runs the recipe once, up to a step in the output folder; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        import torch

        from compress.artifacts.store import Store
        from compress.recipe import read
        from paredown import workflow

        torch.set_num_threads(1)
        watch(folder / "out", folder / "steps.txt", at)
        workflow.run(read(recipe), folder / "out", Store(folder / "store"))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> bool:
    """Wait for a child: whether it came to its end; False where it was killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit("a child failed by itself")
    return code == 0


def kill_by_the_clock(recipe: str, folder: Path, kills: int, source: random.Random) -> int:
    """Kill so many children after a random time; gives how many of them while a stage was under way."""
    killed = under_way = 0
    while killed < kills:
        child = spawn(recipe, folder)
        time.sleep(source.uniform(0.02, 1.2))
        os.kill(child, signal.SIGKILL)
        if ended(child):
            # There is nothing left to kill: take the last artifact away.
            artifacts = (folder / "store" / "artifacts").iterdir()
            shutil.rmtree(max(artifacts, key=lambda path: path.stat().st_mtime_ns))
            continue
        killed += 1
        building = folder / "store" / "building"
        under_way += building.is_dir() and any(building.iterdir())
    return under_way


def kill_at_steps(recipe: str, folder: Path, kills: int, source: random.Random) -> list[str]:
    """Kill so many children at a random step in the output folder, from early to late; gives the steps."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    if not ended(spawn(recipe, folder)):
        raise SystemExit("a child was killed by somebody else")
    steps = len((folder / "steps.txt").read_text().splitlines())
    shutil.rmtree(folder / "out")
    events: list[str] = []
    while len(events) < kills:
        first, last = ((len(events) + part) * steps // kills + 1 - part for part in (0, 1))
        if ended(spawn(recipe, folder, source.randint(first, last))):
            # What killed children had done is not done again, so that there were fewer steps.
            shutil.rmtree(folder / "out")
        else:
            events.append((folder / "steps.txt").read_text().splitlines()[-1])
    return events


def main(recipe: str, folder: Path, kills: int, steps: int, seed: int) -> None:
    """Kill as often as asked, then let one child finish."""
    folder.mkdir(parents=True, exist_ok=True)
    preload(recipe)
    source = random.Random(seed)
    under_way = kill_by_the_clock(recipe, folder, kills, source) if kills else 0
    at = kill_at_steps(recipe, folder, steps, source) if steps else []
    if not ended(spawn(recipe, folder)):
        raise SystemExit("the final run was killed by somebody else")
    from compress.artifacts.artifact import Artifact

    out = folder / "out"
    run = json.loads((out / "run.json").read_text())
    shipped = [out / "model", *sorted((out / "branches").iterdir())]
    summary = {
        "killed": kills,
        "under_way": under_way,
        "steps": at,
        "ids": {artifact["label"]: artifact["id"] for artifact in run["artifacts"]},
        "shipped": {path.relative_to(out).as_posix(): Artifact.open(path).id for path in shipped},
        "out": sorted(path.relative_to(out).as_posix() for path in out.rglob("*")),
        "left": [path.name for path in (folder / "store" / "building").iterdir()],
    }
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
