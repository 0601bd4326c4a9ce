"""Runs a recipe many times in forked children and kills them at random moments; a script of its own.

Forking after the imports makes a try cost what the work costs, not what importing torch costs. The
parent computes nothing, so that the children inherit no threads.

    python kill_driver.py RECIPE STORE KILLS SEED

prints one JSON object: how many children were killed, how many of them while a stage was under way,
and label -> content id of the final run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path


def preload(recipe: str) -> None:
    """Import what the stages need, so that a child starts at once."""
    from compress import catalog
    from compress.recipe import read

    for entry in read(recipe).stages:
        catalog.load("stage", entry.name)
    catalog.load("task", "text-classification")
    import accelerate
    import datasets
    import sklearn.metrics
    import transformers.models.bert.modeling_bert

    _ = (accelerate, datasets, sklearn.metrics, transformers.models.bert.modeling_bert)


def spawn(recipe: str, store: Path) -> int:
    """Fork a child that runs the recipe once; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        import torch

        from compress import pipeline
        from compress.recipe import read
        from compress.store import Store

        torch.set_num_threads(1)
        built = pipeline.run(read(recipe), Store(store))
        ids = {each.label: each.artifact.id for each in built}
        (store / "ids.json").write_text(json.dumps(ids))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(recipe: str, store: Path, kills: int, seed: int) -> None:
    """Kill as often as asked, then let one child finish."""
    store.mkdir(parents=True, exist_ok=True)
    preload(recipe)
    source = random.Random(seed)
    killed = under_way = 0
    while killed < kills:
        child = spawn(recipe, store)
        deadline = time.perf_counter() + source.uniform(0.02, 1.2)
        done = 0
        while time.perf_counter() < deadline and not done:
            done, status = os.waitpid(child, os.WNOHANG)
            if not done:
                time.sleep(0.005)
        if done:
            if os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit("a child failed by itself")
            # It got to the end: take the last artifact away, so that there is something left to kill.
            newest = max((store / "artifacts").iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for file in sorted(newest.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            newest.rmdir()
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        building = store / "building"
        under_way += building.is_dir() and any(building.iterdir())
    child = spawn(recipe, store)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("the final run failed")
    ids = json.loads((store / "ids.json").read_text())
    left = [path.name for path in (store / "building").iterdir()]
    sys.stdout.write(json.dumps({"killed": killed, "under_way": under_way, "ids": ids, "left": left}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
