"""What no figure shows is said in every face of a report: names that were guessed, rows never padded."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_bench
from rich.console import Console

from bench.record import document
from bench.record.model import Report
from bench.report import caveats, html, markdown, terminal
from bench.report.damage import markdown as damage_markdown
from bench.report.damage import terminal as damage_terminal
from bench.session import CandidateSpec, measure
from compress.label_names import LabelNames
from compress.recipe import BenchConfig, DataConfig, Named

WORDS = (
    "after: the labels have no names",
    "after: the names of the labels are those of the adapter's base",
    "by their order alone: no = LABEL_0, yes = LABEL_1",
    "with the head's by their order alone, which no figure can check: 0 = LABEL_0, 1 = LABEL_1",
    "after: its answers depend on how far a row is padded",
)


@pytest.fixture
def guessed() -> Report:
    """A report whose second candidate was given names by order, and may not be padded."""
    names = LabelNames(unknown=True, borrowed_from="base", by_order=("no = LABEL_0", "yes = LABEL_1"))
    report = tiny_bench.report()
    first, second = report.candidates
    changed = second.model_copy(update={"labels": names, "pads": False})
    order = ("0 = LABEL_0", "1 = LABEL_1")
    return report.model_copy(update={"candidates": (first, changed), "label_order": order})


def _shown(module: object, report: Report) -> str:
    console = Console(record=True, width=400)
    module.show(report, console)  # type: ignore[attr-defined]  # terminal, or that of damage
    return console.export_text()


def test_every_face_says_how_labels_got_their_names_and_what_padding_does(guessed: Report) -> None:
    """Names guessed by their order turned answers round with nothing to show for it (peft 1486)."""
    damaged = tiny_bench.damaged(guessed)
    faces = (
        _shown(terminal, guessed),
        markdown.page(guessed),
        html.page(guessed).replace("&#39;", "'"),
        _shown(damage_terminal, damaged),
        damage_markdown.page(damaged),
    )
    for text in faces:
        for words in WORDS:
            assert words in text


def test_a_model_with_names_of_its_own_needs_no_such_word() -> None:
    """Only the rows that are cut are said of the made report."""
    sentences = caveats.sentences(tiny_bench.report())
    assert all("were cut" in sentence or "was cut" in sentence for sentence in sentences)


def test_they_are_typed_in_the_json(guessed: Report) -> None:
    """And come back from it."""
    back = document.from_json(document.to_json(guessed), "here")
    assert back.candidates[1].labels == guessed.candidates[1].labels
    assert back.candidates[1].pads is False
    assert back.label_order == ("0 = LABEL_0", "1 = LABEL_1")


def test_a_run_reads_them_from_artifact_and_rows(tmp_path: Path) -> None:
    """Ids of the data, a head that names nothing, and an artifact whose rows may not be padded."""
    folder = tiny_bench.fake_artifact(tmp_path / "one", labels=("LABEL_0", "LABEL_1")).path
    (folder / "encoding.json").write_text('{"max_length": 16, "padding": false}')
    artifact = tiny_bench.seal(folder)
    rows = [{"text": f"a good film {i}", "label": i % 2} for i in range(8)]
    tiny.write_jsonl(tmp_path / "data" / "validation.jsonl", rows)
    report = measure(
        [CandidateSpec("one", artifact.path, tiny_bench.FAKE)],
        DataConfig(source=str(tmp_path / "data")),
        BenchConfig(probes=(Named(name="size"),), threads=1),
    )
    (candidate,) = report.candidates
    assert candidate.labels.unknown
    assert candidate.pads is False
    assert report.label_order == ("0 = LABEL_0", "1 = LABEL_1")
    assert "label_order" not in report.data.model_dump()
