"""Every finding on the shelf: its model is read back by its kind, and each part of it says what it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiny_bench
import tiny_damage

from bench.findings.calibration import Bin, Calibration, Reliability
from bench.findings.challenge import Challenge, ChallengeSet, Passed
from bench.findings.divergence import Divergence
from bench.findings.fairness import Fairness, Gap, Group
from bench.findings.flips import Matrix
from bench.findings.robustness import Perturbation, Robustness
from bench.record import document
from bench.record.finding import Finding
from bench.record.model import Interval
from bench.report import html, markdown
from bench.report.damage import markdown as damage_markdown
from compress import catalog

SPREAD = Interval(low=-0.1, high=0.1)


def samples() -> dict[str, Finding]:
    """One finding of each kind, with all that it can hold."""
    flips, slices = tiny_damage.finding()
    side = Reliability(ece=0.1, brier=0.2, nll=0.5, bins=(Bin(confidence=0.8, right=0.7, count=100),))
    change: dict[str, Any] = {"rows": 50, "agreement": 0.9, "reacted_before": 0.1, "reacted_after": 0.2}
    passed = Passed(
        name="suite",
        cases=40,
        before=0.9,
        after=0.8,
        difference=-0.1,
        interval=SPREAD,
        harmful=5,
        beneficial=1,
        p_value=0.2,
    )
    made: tuple[Finding, ...] = (
        flips.model_copy(
            update={
                "matrix": Matrix(labels=("negative", "positive"), counts=((40, 6), (1, 53))),
                "divergent": flips.worst[:1],
                "notes": ("a note on answers",),
            }
        ),
        slices,
        Calibration(
            decisions=100,
            before=side,
            after=side,
            changes={"ece": SPREAD},
            temperature_before=1.0,
            temperature_after=1.5,
            selection_rows=30,
            scaled_before=side,
            scaled_after=side,
            notes=("a note on confidence",),
        ),
        Divergence(rows=100, mean=0.01, mean_interval=SPREAD, p99=0.1, largest=0.2),
        Robustness(
            metric="accuracy",
            unit="share",
            better="higher",
            rows=60,
            changes=(
                Perturbation(
                    name="typos",
                    what="words are misspelled",
                    keeps_label=True,
                    clean_before=0.9,
                    clean_after=0.9,
                    before=0.8,
                    after=0.7,
                    extra=-0.1,
                    interval=SPREAD,
                    worst=(tiny_damage.row(9),),
                    **change,
                ),
                Perturbation(name="negation", what="a verb is negated", keeps_label=False, **change),
            ),
        ),
        Challenge(
            sets=tuple(
                ChallengeSet(
                    name=name,
                    layout="labeled",
                    whole=passed,
                    tests=(passed, passed),
                    worst=(tiny_damage.row(3),),
                    notes=("a note on cases",),
                )
                for name in ("one", "other")
            )
        ),
        Fairness(
            gaps=tuple(
                Gap(
                    of=of,
                    source="shade",
                    answer="accuracy",
                    before=0.1,
                    after=0.2,
                    difference=0.1,
                    interval=SPREAD,
                    swapped=4,
                    turned_before=0.1,
                    turned_after=0.2,
                    groups=tuple(Group(name=name, rows=20, before=0.8, after=0.9) for name in "ab"),
                )
                for of in ("metric", "score")
            )
        ),
    )
    return {one.kind: one for one in made}


SAMPLES = samples()


def test_every_finding_of_ours_has_a_sample_and_a_place_of_its_own() -> None:
    """The file's name is the model's kind; titles and ranks tell them apart."""
    names = catalog.names("finding")
    assert sorted(SAMPLES) == names
    entries = [catalog.finding(name) for name in names]
    assert [entry.MODEL.model_fields["kind"].default for entry in entries] == names
    assert len({entry.TITLE for entry in entries}) == len({entry.RANK for entry in entries}) == len(names)


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_a_finding_says_and_shows_what_it_holds(kind: str) -> None:
    """Sentences, tables as wide as their headers, drawings, cards and steps of texts; and it is read back."""
    entry, found = catalog.finding(kind), SAMPLES[kind]
    sentences = entry.sentences(found)
    assert sentences
    assert all(sentence.endswith(".") for sentence in sentences)
    brief = entry.brief(found)
    for table in (*entry.tables(found), *([brief] if brief else [])):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.header)}
    assert all(drawing.startswith("<svg") for _, drawing in entry.plots(found))
    assert all(card.title and card.value for card in entry.cards(found))
    assert all(isinstance(cell, str) for cell in entry.steps(found).values())
    highlight = entry.highlight(found)
    assert highlight is None or highlight.marks or highlight.rows
    held = tiny_bench.report(
        measurements=(tiny_bench.measurement("after", "x", 0.1, unit="share", finding=found),)
    )
    again = document.from_json(document.to_json(held), "it")
    assert again.measurements[0].finding == found
    assert type(again.measurements[0].finding) is entry.MODEL


def test_all_of_them_stand_on_the_page_and_in_markdown() -> None:
    """Every title, sentence, table and listed row; Markdown about more has the sentences and no row."""
    held = tiny_bench.report(
        measurements=tuple(
            tiny_bench.measurement("after", kind, 0.1, unit="share", finding=found)
            for kind, found in SAMPLES.items()
        )
    )
    page, text, brief = html.page(held), damage_markdown.page(held), markdown.page(held)
    for kind, found in SAMPLES.items():
        entry = catalog.finding(kind)
        assert f'<h2 id="{kind}">{entry.TITLE}</h2>' in page
        assert f"**{entry.TITLE}.** " in text
        assert f"- {entry.TITLE}: " in brief
        for table in entry.tables(found):
            assert table.rows[0][0].text in page
            assert table.rows[0][0].text in text
    for words in ("a note on answers", "a note on confidence", "one: a note on cases", "negation: a verb is"):
        assert words in page
        assert words in text
    assert "text of row 9" in page
    assert "text of row" not in brief


def test_json_of_a_finding_has_the_fields_of_its_model() -> None:
    """What stands in a report is every field of the kind, not of what all kinds share."""
    held = tiny_bench.report(
        measurements=(tiny_bench.measurement("after", "x", 0.1, unit="share", finding=SAMPLES["flips"]),)
    )
    tree = json.loads(document.to_json(held))["measurements"][0]["finding"]
    assert tree.keys() == type(SAMPLES["flips"]).model_fields.keys()
