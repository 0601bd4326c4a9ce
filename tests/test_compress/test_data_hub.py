"""Data sets of the hub, asked of a hub on loopback, in processes with their own caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_hub
import pytest
import tiny

_SCRIPT = """
import json, sys
from compress import catalog, data
from compress.errors import DataError
from compress.recipe import DataConfig

task = catalog.task("text-classification")

answers = []
for config in json.loads(sys.argv[1]):
    try:
        found = data.load(DataConfig(**config), task, 0)
        prints = [data.fingerprint(DataConfig(**config), 0, side) for side in ("training", "evaluation")]
        answers.append({"facts": found.facts, "names": found.label_names, "first": found.eval[0],
                        "train": len(found.training.train), "prints": prints})
    except DataError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""


def ask(endpoint: str, home: Path, configs: list[dict[str, Any]], *, offline: bool = False) -> list[Any]:
    """What a fresh process answers for each configuration."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(configs)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    answers: list[Any] = json.loads(process.stdout)
    return answers


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A data set repository ``acme/reviews`` as people upload them."""
    folder = tiny.text_data(tmp_path / "hub" / "datasets" / "acme" / "reviews", train=60, evaluate=10)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Reviews\n")
    return folder


def test_a_hub_set_is_loaded_pinned_and_served_from_the_cache(tmp_path: Path, repository: Path) -> None:
    """The commit is resolved and recorded; offline the cache serves that commit and no other."""
    home = tmp_path / "home"
    with fake_hub.serve(tmp_path / "hub") as (endpoint, _):
        first = fake_hub.commit_of(repository)
        online, missing, gated, branch = ask(
            endpoint,
            home,
            [
                {"source": "acme/reviews"},
                {"source": "acme/nothing"},
                {"source": "acme/gated-reviews"},
                {"source": "acme/reviews", "revision": "v2"},
            ],
        )
    assert online["facts"]["revision"] == first
    assert online["facts"]["splits"] == {"train": "train", "eval": "validation"}
    assert online["facts"]["license"] == "cc-by-4.0"
    assert online["names"] == ["negative", "positive"]
    assert online["first"] == tiny.sentences(10, 2)[0]
    assert online["train"] + online["facts"]["rows"]["selection"] == 60
    assert "there is no folder and no hub data set 'acme/nothing'" in missing["error"]
    assert "accept them on its page" in gated["error"]
    assert "has no revision 'v2'" in branch["error"]

    cached, unknown, uncached = ask(
        endpoint,
        home,
        [
            {"source": "acme/reviews"},
            {"source": "acme/unseen"},
            {"source": "acme/reviews", "revision": "0" * 40},
        ],
        offline=True,
    )
    assert cached["first"] == online["first"]
    assert cached["facts"]["rows"] == online["facts"]["rows"]
    assert cached["prints"] == online["prints"]
    assert "not in the local cache while HF_HUB_OFFLINE is set" in unknown["error"]
    assert "not in the local cache (its split" in uncached["error"]

    (repository / "validation.jsonl").write_text('{"text": "new", "label": 1}\n')
    with fake_hub.serve(tmp_path / "hub") as (endpoint, _):
        changed, old = ask(
            endpoint, home, [{"source": "acme/reviews"}, {"source": "acme/reviews", "revision": first}]
        )
    assert changed["first"] == {"text": "new", "label": 1}
    assert changed["facts"]["revision"] != first
    assert changed["prints"] != online["prints"]
    assert "has no revision" in old["error"] or old["first"] == online["first"]


def test_an_unreachable_hub_is_said(tmp_path: Path) -> None:
    """A refused connection is one sentence that says what else can be given."""
    (answer,) = ask("http://127.0.0.1:9", tmp_path / "home", [{"source": "acme/reviews"}])
    assert "not in the local cache while the hub cannot be reached: give a folder" in answer["error"]
