"""Every folder of ``examples`` does what its README says, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny
import tiny_ranking
import yaml

from bench.verdicts.judge import load_budget
from compress import catalog

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ROWS = dict(
    re.findall(r"^\| `(\w+)/` \| .* \| `(.*)` \|$", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
)
# An untrained model on a few rows may fail a gate, or leave it open: an answer, not an accident.
ANSWERS = {0, 3, 4, 5}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, its rows, and the examples as they are."""
    folder = tmp_path_factory.mktemp("desk")
    tiny.text_model(folder / "teacher")
    tiny.text_data(folder / "data")
    shutil.copytree(EXAMPLES, folder / "examples")
    return folder


def run(desk: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the page, in the folder; ``paredown`` and ``python`` are those of this environment."""
    words = shlex.split(command)
    words[:1] = [sys.executable, "-m", "paredown"] if words[0] == "paredown" else [sys.executable]
    roots = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(ROOT)])
    return subprocess.run(
        words,
        cwd=desk,
        env={**os.environ, "PAREDOWN_STORE": str(desk / "store"), **environment, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_the_page_names_every_folder() -> None:
    """And no other."""
    assert ROWS.keys() == {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()}


def test_a_recipe_of_ones_own_and_its_gate(desk: Path) -> None:
    """The run leaves a report, which the example's budget then judges, with JUnit for GitLab."""
    ran = run(desk, ROWS["text_int8"])
    assert ran.returncode in ANSWERS, ran.stderr
    report = json.loads((desk / "runs" / "int8" / "report.json").read_text("utf-8"))
    tree = yaml.safe_load((EXAMPLES / "text_int8" / "recipe.yaml").read_text("utf-8"))
    gates = [next(iter(gate)) for gate in tree["gates"]]
    assert [verdict["gate"] for verdict in report["verdicts"]][: len(gates)] == gates
    judged = run(desk, ROWS["ci_gate"])
    assert judged.returncode in ANSWERS, judged.stderr
    script = yaml.safe_load((EXAMPLES / "ci_gate" / "gitlab.yaml").read_text())["model"]["script"][0]
    assert script.startswith(ROWS["ci_gate"])
    again = run(desk, script)
    assert again.returncode == judged.returncode
    junit = (desk / "junit.xml").read_text("utf-8")
    for gate in load_budget(EXAMPLES / "ci_gate" / "budget.yaml"):
        assert junit.count(f'name="{gate.name} ') == 1, junit


def test_a_reranker_and_its_gates(desk: Path) -> None:
    """The rows of the recipe's own comment are read, and both gates on the order of documents judge."""
    tiny_ranking.cross_encoder(desk / "reranker")
    tiny_ranking.data(desk / "queries", 20, 8)
    ran = run(desk, ROWS["ranking_int8"])
    assert ran.returncode in ANSWERS, ran.stderr
    report = json.loads((desk / "runs" / "ranking" / "report.json").read_text("utf-8"))
    verdicts = {verdict["gate"]: verdict for verdict in report["verdicts"]}
    assert {"accuracy-drop", "order-flips"} <= verdicts.keys()
    assert verdicts["accuracy-drop"]["metric"] == "mrr_10"
    comment = (EXAMPLES / "ranking_int8" / "recipe.yaml").read_text("utf-8").split("#   {")[1]
    row = json.loads("{" + comment.splitlines()[0])
    assert set(row) <= set(catalog.task("text-ranking").COLUMNS)


def test_the_job_for_github_gives_the_actions_own_inputs() -> None:
    """Names that the action does not have would be ignored with a warning."""
    steps = yaml.safe_load((EXAMPLES / "ci_gate" / "github.yaml").read_text())["jobs"]["budget"]["steps"]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert steps[-1]["with"].keys() <= inputs.keys()
    assert {name for name, spec in inputs.items() if spec.get("required")} <= steps[-1]["with"].keys()


def test_the_whole_way_in_a_program(desk: Path) -> None:
    """It prints a line a gate and the answer of what ships."""
    ran = run(desk, ROWS["from_python"])
    assert ran.returncode in {0, 3}, ran.stderr
    *lines, answer = ran.stdout.splitlines()
    verdicts = dict(line.split(": ") for line in lines if line.count(": ") == 1)
    assert {"accuracy-drop", "agreement", "size", "execution"} <= verdicts.keys()
    assert answer in {"negative", "positive"}


def test_a_criterion_from_a_distribution(desk: Path, tmp_path: Path) -> None:
    """Laid down as pip would, it is shown with where it comes from, and is CONTRIBUTING's criterion."""
    source = EXAMPLES / "own_criterion"
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    site = tmp_path / "site"
    shutil.copytree(source / "paths_for_paredown", site / "paths_for_paredown")
    info = site / f"paths_for_paredown-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (group, points), *_ = project["entry-points"].items()
    (info / "entry_points.txt").write_text(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    shown = run(desk, ROWS["own_criterion"].split("&& ")[1], PYTHONPATH=str(site))
    assert shown.returncode == 0, shown.stderr
    assert f"{project['name']} {project['version']}" in shown.stdout
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert (source / "paths_for_paredown" / "path_norm.py").read_text("utf-8") in page
