"""The verb damage and its pages, on models that the fake runtime stands for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_bench
import tiny_damage
from typer.testing import CliRunner

from bench.answers.asking import Asker
from bench.findings.calibration import Calibration
from bench.findings.divergence import Divergence
from bench.findings.fairness import Fairness
from bench.findings.flips import Flips
from bench.findings.slices import Slices
from bench.record import document
from bench.record.model import Report
from bench.report import html
from bench.report.damage import markdown, page, view
from bench.session import CandidateSpec, measure
from compress import catalog
from compress.errors import UserError
from compress.recipe import BenchConfig, DataConfig, Named
from deploy.opening import RUNTIMES
from paredown.app import app


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def labeled(count: int, seed: int) -> list[dict[str, object]]:
    """Rows with a shade beside them; every sixth label is wrong, so that there is something to calibrate."""
    rows = tiny.sentences(count, seed)
    return [
        {**row, "label": row["label"] if i % 6 else 0, "shade": "light" if i % 2 else "dark"}
        for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of the same name in two folders, data with a text that tries to be HTML, and sets."""
    root = tmp_path_factory.mktemp("damage")
    first = tiny_bench.fake_artifact(root / "a" / "model")
    second = tiny_bench.fake_artifact(root / "b" / "model")
    wrong = tiny_bench.fake_graph(root / "c" / "model")
    data = root / "data"
    rows = labeled(90, 2)
    rows[0] = {"text": "<script>alert(1)</script> good good film", "label": 1, "shade": "dark"}
    tiny.write_jsonl(data / "train.jsonl", labeled(300, 1))
    tiny.write_jsonl(data / "validation.jsonl", rows)
    (data / "labels.json").write_text('["negative", "positive"]')
    suite = tiny.write_jsonl(
        root / "suite.jsonl",
        [
            {"text": f"the {word} film", "label": label, "test": "praise" if label else "blame"}
            for label, words in ((1, tiny.WORDS_GOOD), (0, tiny.WORDS_BAD))
            for word in words
        ],
    )
    templates = tiny.write_jsonl(
        root / "templates.jsonl",
        [
            {"text": f"the {term} is {word}", "identity": term}
            for term in ("actor", "film")
            for word in ("good", "bad")
        ],
    )
    return {
        "first": first.path,
        "second": second.path,
        "wrong": wrong.path,
        "data": data,
        "suite": suite,
        "templates": templates,
        "root": root,
    }


@pytest.fixture(scope="module")
def outcome(folders: dict[str, Path]) -> tuple[Report, str, str, int, str]:
    """One whole run: the report, HTML, Markdown, exit code and what the terminal showed."""
    root = folders["root"]
    budget = root / "budget.yaml"
    budget.write_text("- harmful-flips: {at_most: 15%}\n- fairness-gap: {rise_at_most: 100pt}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
        code, stdout = run(
            "damage", folders["first"], folders["second"], "--data", folders["data"], "--slice", "shade",
            "--groups", "shade", "--challenge", folders["suite"], "--templates", folders["templates"],
            "--threads", 1, "--seed", 3,
            "--json", root / "d.json", "--html", root / "d.html", "--markdown", root / "d.md",
            "--budget", budget,
        )  # fmt: skip
    report = document.read(root / "d.json")
    return report, (root / "d.html").read_text(), (root / "d.md").read_text(), code, stdout


@pytest.fixture(scope="module")
def broken(folders: dict[str, Path]) -> tuple[Report, int]:
    """The same with a candidate that is wrong at times."""
    root = folders["root"]
    budget = root / "strict.yaml"
    budget.write_text("- harmful-flips: {at_most: 1%}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
        patch.setitem(RUNTIMES, "onnx", "fake_runtime:Wrong")
        code, _ = run(
            "damage", f"big={folders['first']}", f"small={folders['wrong']}", "--data", folders["data"],
            "--threads", 1, "--json", root / "b.json",
            "--budget", budget,
        )  # fmt: skip
    return document.read(root / "b.json"), code


def test_two_equal_models_have_no_damage(outcome: tuple[Report, str, str, int, str]) -> None:
    """Nothing flips, every slice stays, gates pass; folders of one name become original and candidate."""
    report, _, _, code, stdout = outcome
    assert code == 0
    assert [candidate.name for candidate in report.candidates] == ["original", "candidate"]
    damage = view.collect(report)
    assert damage is not None
    assert damage.missing == ()
    flips, slices, calibration, fairness = (
        damage.findings[kind] for kind in ("flips", "slices", "calibration", "fairness")
    )
    assert isinstance(flips, Flips)
    assert flips.harmful == flips.beneficial == 0
    assert isinstance(slices, Slices)
    assert {one.difference for one in slices.slices} == {0}
    assert {one.holm for one in slices.slices} == {1}
    assert isinstance(calibration, Calibration)
    assert calibration.temperature_after == calibration.temperature_before
    assert calibration.selection_rows > 0
    assert isinstance(fairness, Fairness)
    assert [gap.of for gap in fairness.gaps] == ["metric", "equalized odds", "score"]
    assert "candidate against original: 0 of 90 answers went from right to wrong" in stdout


def test_a_worse_model_is_found_out(broken: tuple[Report, int]) -> None:
    """Flips, slices and divergence say so, words are weighed for the first rows, and the gate exits 3."""
    report, code = broken
    assert code == 3
    damage = view.collect(report)
    assert damage is not None
    flips, divergence = damage.findings["flips"], damage.findings["divergence"]
    assert isinstance(flips, Flips)
    assert flips.harmful > 5
    assert flips.p_value < 0.05
    assert isinstance(divergence, Divergence)
    assert divergence.mean > 0
    first = flips.worst[0]
    assert first.change == "harmful"
    assert first.attribution is not None
    assert len(first.attribution.words) == len(first.attribution.before) == len(first.attribution.after)
    assert set(damage.missing) == {"challenge", "fairness"}
    assert [(one.title, len(one.marks), len(one.rows)) for one in damage.highlights()] == [
        ("Worst slices", 3, 0),
        ("Changed answers, worst first", 0, 5),
    ]


class Reader(HTMLParser):
    """Tags, texts and references of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img", "br", "path", "use", "rect"}:
            self.open.append(tag)
        self.references += [
            value or "" for name, value in attributes if name in {"src", "href", "xlink:href"}
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def test_the_page_is_one_file_without_network_or_script(broken: tuple[Report, int]) -> None:
    """Plots are inline, references stay inside, light and dark are both styled, no row becomes a tag."""
    text = html.page(broken[0])
    read = Reader(text)
    assert "script" not in read.tags
    assert read.tags.count("svg") >= 4
    assert all(reference.startswith(("#", "data:image/png")) for reference in read.references)
    assert not re.search(r"https?://(?!www\.w3\.org)", text.replace("https://t.co/", ""))
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert read.open == []


def test_the_page_says_it_for_a_person(outcome: tuple[Report, str, str, int, str]) -> None:
    """Headline, cards, slices, gates and every section are there; what was passed is named."""
    text = outcome[1]
    for phrase in (
        "answers went from right to wrong",
        "Worst slices",
        "Where it changed",
        "Challenge sets",
        "suite.jsonl: of 12 rows",
        "Changed texts",
        "Confidence",
        "Groups",
        "Probabilities",
        "harmful-flips",
    ):
        assert phrase in text


def test_a_row_cannot_write_into_the_page() -> None:
    """Texts, labels and names of slices are escaped."""
    evil = "<img src=x onerror=alert(1)>"
    flips, slices = tiny_damage.finding()
    row = tiny_damage.row(1, cells={"text": evil}, truth=evil, before=evil, after=evil)
    worst = slices.slices[0].model_copy(update={"name": evil, "family": evil})
    measurements = [
        tiny_bench.measurement(
            "after", "harmful_flips", 0.1, probe="flips", finding=flips.model_copy(update={"worst": (row,)})
        ),
        tiny_bench.measurement(
            "after",
            "worst_slice",
            0.1,
            probe="slices",
            finding=slices.model_copy(update={"slices": (worst,)}),
        ),
    ]
    report = tiny_bench.report(measurements=tuple(measurements), title=evil)
    assert evil not in html.page(report)
    assert "&lt;img src=x" in html.page(report)
    assert "<img" not in markdown.page(report)


def test_markdown_has_the_tables(outcome: tuple[Report, str, str, int, str]) -> None:
    """A heading for each section and a table of slices."""
    text = outcome[2]
    assert text.startswith("# What changed from original to candidate")
    for phrase in (
        "## Where it changed",
        "| slice | rows |",
        "## Challenge sets",
        "## Changed texts",
        "## Groups",
        "## Gates",
    ):
        assert phrase in text


def test_a_report_without_damage_has_an_empty_page() -> None:
    """There is nothing to show, and the page says how to come by it."""
    plain = tiny_bench.report()
    assert view.collect(plain) is None
    assert markdown.page(plain) == ""
    assert page.sections(plain) == ""
    assert "paredown damage ORIGINAL CANDIDATE" in html.page(plain)


def test_highlights_are_the_first_of_each() -> None:
    """Three slices and five rows of the candidate that ships, or as many as asked."""
    highlights = view.collect(tiny_damage.report())
    assert highlights is not None
    slices, flips = highlights.highlights()
    assert [segment.name for segment in slices.marks] == [f"label: class {i}" for i in range(3)]
    assert [row.number for row in flips.rows] == [1, 2, 3, 4, 5]
    slices, flips = highlights.highlights(marks=1, rows=2)
    assert (len(slices.marks), len(flips.rows)) == (1, 2)
    assert view.collect(tiny_damage.report(), "before") is None


def test_the_first_screen_has_three_slices_and_five_rows() -> None:
    """The rest is in the sections below."""
    text = html.page(tiny_damage.report())
    first = text[text.index('<div class="damage">') : text.index("<h2>Plots</h2>")]
    assert first.count("label: class") == 3
    assert first.count('<p class="said">') == 5
    assert "text of row 6" not in first
    assert "text of row 6" in page.sections(tiny_damage.report())


def test_a_finding_is_read_back_as_it_was(broken: tuple[Report, int]) -> None:
    """JSON and back; a key that no finding has is refused."""
    report = broken[0]
    assert document.from_json(document.to_json(report), "here") == report
    tree = json.loads(document.to_json(report))
    holder = next(measurement for measurement in tree["measurements"] if measurement["finding"])
    holder["finding"]["extra"] = 1
    with pytest.raises(UserError, match="damaged"):
        document.from_json(json.dumps(tree), "here")


def test_json_on_stdout_is_alone(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """``--json -`` prints the report and nothing else; with ``--rows 0`` no text of any row is in it."""
    monkeypatch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
    code, stdout = run(
        "damage", folders["first"], folders["second"], "--data", folders["data"], "--json", "-", "--rows", 0
    )
    assert code == 0
    assert document.from_json(stdout, "stdout").title == "What changed from original to candidate"
    assert '"cells"' not in stdout


def test_mistakes_are_one_sentence(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other labels, two rows, a column or group that is not there, a set that does not fit, no labels."""
    monkeypatch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
    relabeled = tiny_bench.fake_artifact(tmp_path / "other", labels=("bad", "good"))
    two = tiny.write_jsonl(tmp_path / "two" / "validation.jsonl", tiny.sentences(2, 1)).parent
    bare = tiny.write_jsonl(
        tmp_path / "bare" / "validation.jsonl", [{"text": row["text"]} for row in tiny.sentences(30, 1)]
    ).parent
    odd = tiny.write_jsonl(tmp_path / "odd.jsonl", [{"text": "x", "label": "toxic"}])
    first, second, data = folders["first"], folders["second"], folders["data"]
    for arguments, reason in (
        ((first, relabeled.path, "--data", data), "has the labels bad, good"),
        ((first, second, "--data", two), "no slice of them has 20"),
        ((first, second, "--data", bare), "no labels, without which nothing says what is right"),
        ((first, second, "--data", data, "--slice", "topic"), "no column 'topic'; the columns are: shade"),
        ((first, second, "--data", data, "--groups", "gender"), "no column 'gender'; the columns are: shade"),
        ((first, second, "--data", data, "--challenge", odd), "which the model's head does not have"),
        ((first, second, "--data", data, "--templates", odd), "needs a text column and one with the group"),
        (
            (first, second, "--data", data, "--runtime", "third=ort"),
            "--runtime names third; the candidates are",
        ),
    ):
        with pytest.raises(UserError, match=reason):
            run("damage", *arguments, "--threads", 1)


def test_texts_beyond_the_length_limit_are_said(folders: dict[str, Path]) -> None:
    """A set of long texts is judged on their beginnings: the share and the limit are a note."""
    spec = SimpleNamespace(artifact=SimpleNamespace(path=folders["first"]))
    lane: Any = SimpleNamespace(name="x", spec=spec, memo={})
    subject: Any = SimpleNamespace(task=catalog.load("task", "text-classification"))
    ask = Asker(lane, lane, subject, 1, "test")
    assert ask.cut([{"text": "good " * 40}, {"text": "good"}]) == (
        "1 of 2 texts (50.00 %) was cut to 16 tokens (the artifact's limit)",
    )
    assert ask.cut([{"text": "good"}]) == ()


def test_the_verb_imports_nothing_heavy() -> None:
    """Help stays quick."""
    heavy = "('torch', 'numpy', 'matplotlib', 'transformers', 'scipy')"
    code = f"import sys, paredown.verbs.damage; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_a_recipe_can_keep_texts_out_of_its_report(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``texts: false`` no probe lists a row, whatever its own options say; figures are the same.

    Nor is there a place of this machine in it, where sets and models lie below the folder that it ran in.
    """
    monkeypatch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
    monkeypatch.setitem(RUNTIMES, "onnx", "fake_runtime:Wrong")
    monkeypatch.chdir(folders["root"])
    probes = (
        *(Named(name=name) for name in ("flips", "robustness")),
        Named(name="challenge", options={"sets": [str(folders["suite"])]}),
    )
    specs = [CandidateSpec(name, Path(folders[name])) for name in ("first", "wrong")]
    rows = DataConfig(source=str(folders["data"]))
    full, bare = (
        measure(specs, rows, BenchConfig(probes=probes, texts=texts), seed=0) for texts in (True, False)
    )
    assert '"cells"' in document.to_json(full)
    assert '"cells"' not in document.to_json(bare)
    assert str(folders["root"]) not in document.to_json(full)
    assert [measurement.value for measurement in bare.measurements] == [
        measurement.value for measurement in full.measurements
    ]
