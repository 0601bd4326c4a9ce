"""Every command and every line of code in README and docs works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pages
import pytest
import spelling
import tiny
import yaml

from bench.verdicts.judge import prepare
from compress import catalog
from compress.recipe import Named, Recipe, validate

PAGES = pages.pages()
EVERY = pytest.mark.parametrize("page", PAGES, ids=pages.name)
# .ci/run installs and tests from a fresh environment; the demo has a test of its own.
ELSEWHERE = (
    "pip install -c constraints.txt '.[cpu]' && paredown demo",
    "pip install -c constraints.txt '.[cpu,dev]' && pytest",
)
# The recipes' own gates may fail on an untrained model, or not tell on a few rows: 3, 4 and 5 are answers,
# not accidents.
ANSWERS = {"paredown run": (0, 3, 4, 5)}


@dataclass
class Desk:
    """A folder with a tiny model and its rows, in which the pages' blocks run one after the other.

    Attributes:
        folder: where they run.
        environment: in which.
        read: pages that ran.
        ran: commands and programs that ran; what an earlier page ran already does not run again.
    """

    folder: Path
    environment: dict[str, str]
    read: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)

    def until(self, last: Path) -> int:
        """Run the blocks of every page up to one, in the order of the site; gives how many that one has."""
        for page in PAGES[: PAGES.index(last) + 1]:
            if pages.name(page) not in self.read:
                self.read.add(pages.name(page))
                for block in pages.blocks(page):
                    self.do(block)
        return sum(block.language in {"bash", "python"} for block in pages.blocks(last))

    def do(self, block: pages.Block) -> None:
        """Write a block's file, or run its lines."""
        if block.file:
            (self.folder / block.file).write_text(block.text)
        elif block.language == "bash" and block.text.strip() not in ELSEWHERE:
            for line in pages.lines(block):
                answers = ANSWERS.get(" ".join(line.split()[:2]), (0,))
                self.call(line, ["bash", "-c", line], answers)
        elif block.language == "python":
            self.call(block.text, [sys.executable, "-c", block.text], (0,))

    def call(self, text: str, words: list[str], answers: tuple[int, ...]) -> None:
        """Run one command or program that did not run yet."""
        if text in self.ran:
            return
        self.ran.add(text)
        process = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert process.returncode in answers, f"{text}\n{process.stdout}\n{process.stderr}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with ``teacher``, ``data`` and the command ``paredown``."""
    folder = tmp_path_factory.mktemp("desk")
    tiny.text_model(folder / "teacher", layers=2)
    tiny.answer(folder / "teacher", tiny.text_data(folder / "data"))
    launcher = folder / "bin" / "paredown"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m compress "$@"\n')
    launcher.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{launcher.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(pages.ROOT), os.environ.get("PYTHONPATH", "")]),
        "PAREDOWN_STORE": str(folder / "store"),
    }
    return Desk(folder, environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
@EVERY
def test_every_block_runs_in_order(desk: Desk, page: Path) -> None:
    """Files are written, shell blocks and Python blocks run, in the order of the site, on a tiny model."""
    assert desk.until(page) == len(re.findall(r"^```(?:bash|python)$", page.read_text(), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_blocks_leave_what_the_pages_say(desk: Desk) -> None:
    """Reports, pages and artifacts are where the text says that they are."""
    desk.until(PAGES[-1])
    assert len(desk.ran) >= 20
    files = ("model", "report.html", "report.json", "report.md", "junit.xml", "recipe.yaml")
    assert [name for name in files if not (desk.folder / "runs" / "int8" / name).exists()] == []
    for name in ("junit.xml", "report.html", "damage.html", "handover/SHA256SUMS"):
        assert (desk.folder / name).is_file(), name


def test_blocks_are_of_known_languages() -> None:
    """Each is run, parsed or checked; what is none of it is a picture of text, and the pages count them."""
    languages = Counter(block.language for page in PAGES for block in pages.blocks(page))
    assert languages.keys() == {"bash", "sh", "python", "yaml", "text"}
    text = [pages.name(page) for page in PAGES for block in pages.blocks(page) if block.language == "text"]
    assert set(text) == {"docs/architecture.md"}


def test_every_command_of_a_shell_block_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs and options exist and values parse, in blocks that run and in blocks that do not."""
    monkeypatch.chdir(tmp_path)  # where nothing lies in the way of --out
    parsed = {"bash": 0, "sh": 0}
    for page in PAGES:
        for block in pages.blocks(page):
            if block.language in parsed:
                for line in pages.lines(block):
                    parsed[block.language] += spelling.check(line)
    assert parsed["bash"] >= 20
    assert parsed["sh"] >= 15


@pytest.mark.parametrize(
    "line",
    [
        "paredown shrink teacher",
        "paredown bench teacher --data data --speed 3",
        "paredown bench teacher --data data --rounds many",
        "paredown bench teacher --data data --runtime teacher=jax",
        "paredown bench teacher --data data --probes latency,colour",
        "paredown build onnx --profile batch",
        "paredown run text-int8 --track excel",
        "paredown prune teacher --set keeep=0.5",
        "paredown compare teacher",
        "paredown store",
        "python -m studies.gpu --out a --colour red",
        "python -m studies.none",
        "pip install -c constraints-none.txt '.[cpu]'",
        "pip install '.[quick]'",
        "pip install leftpad",
        "true && rm -r /",
    ],
)
def test_a_command_that_is_none_is_noticed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: wrong verbs, options, values, modules, extras and programs."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((Exception, pytest.fail.Exception, SystemExit)):
        spelling.check(line)


def options() -> set[str]:
    """Every option of every command."""
    names = {"--help"}
    waiting: list[Any] = [spelling.COMMAND]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            names |= {*parameter.opts, *parameter.secondary_opts}
    return names


def test_code_in_running_text_exists() -> None:
    """Every verb, option, module and file of ours that a page names in running text is there."""
    verbs = set(spelling.COMMAND.commands)
    flags = options()
    counts: Counter[str] = Counter()
    for code in [code for page in PAGES for code in pages.inline(page)]:
        words = code.split()
        if words[0] == "paredown" and len(words) > 1:
            assert words[1].split("|")[0] in verbs, code
            counts["verb"] += 1
        if words[0] in verbs | {"paredown"} or words[0].startswith("--"):
            named = {word.split("=")[0] for word in words if word.startswith("--")}
            assert named <= flags, (code, named - flags)
            counts["option"] += len(named)
        if words[0] == "--set" and "KEY" not in code:
            spelling.assignment(words[1])
            counts["assignment"] += 1
        if code.startswith("python -m "):
            spelling.check(code)
            counts["module"] += 1
        if re.fullmatch(r"(compress|deploy|bench|paredown|studies|tools|tests|docs)/[\w/.-]+", code):
            assert (pages.ROOT / code).exists() or "NAME" in code, code
            counts["file"] += 1
    assert counts["verb"] > 25
    assert counts["option"] > 50
    assert min(counts["assignment"], counts["module"], counts["file"]) >= 3


def test_yaml_blocks_are_recipes_budgets_or_workflows() -> None:
    """Stages and gates exist and take their options; a workflow gives the action inputs that it has."""
    action = yaml.safe_load((pages.ROOT / "action.yml").read_text(encoding="utf-8"))
    kinds: Counter[str] = Counter()
    for block in [block for page in PAGES for block in pages.blocks(page) if block.language == "yaml"]:
        tree = yaml.safe_load(block.text)
        if isinstance(tree, dict):
            recipe = validate(Recipe, tree, "recipe")
            for stage in recipe.stages:
                assert validate(catalog.load("stage", stage.name).Config, stage.options, stage.name)
            kinds["recipe"] += 1
        elif "uses" in tree[0]:
            assert tree[0]["with"].keys() <= action["inputs"].keys()
            kinds["workflow"] += 1
        else:
            gates = [Named(name=gate, options=settings) for entry in tree for gate, settings in entry.items()]
            assert len(prepare(gates)) == len(tree)
            kinds["budget"] += 1
    assert kinds == {"recipe": 2, "workflow": 2, "budget": 5}


def test_two_commands_stand_on_the_page() -> None:
    """The two commands that .ci/run executes are the ones that users read."""
    texts = [block.text.strip() for block in pages.blocks(pages.ROOT / "README.md")]
    script = (pages.ROOT / ".ci" / "run").read_text()
    for command in ELSEWHERE:
        assert command in texts
    assert "pip install --quiet --disable-pip-version-check -c constraints.txt '.[cpu,dev,docs]'" in script
