"""Reports: JSON that is read back or refused, Markdown, HTML and JUnit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import tiny_bench

import bench
from bench.record import document
from bench.record.model import Candidate, Flags, Interval, Measurement, Report, Verdict
from bench.report import cards, forms, html, junit, markdown, plots, summary, tables
from bench.verdicts import judge
from compress import catalog
from compress.errors import UserError
from compress.recipe import Named

GATES = [
    Named(name="size", options={"at_most": "10MB"}),
    Named(name="accuracy-drop", options={"at_most": "2pt"}),
    Named(name="latency", options={"speedup_at_least": "3.2x"}),
]
EVIL = "<script>alert(1)</script>&$x_{1}$|`\"'"


@pytest.fixture(scope="module")
def judged() -> Report:
    """The hand-made report with three verdicts: size fails, the other two pass."""
    return judge.judge(tiny_bench.report(), GATES)


def renamed(report: Report, old: str, new: str) -> Report:
    """The report with another name for a candidate, everywhere."""
    text = report.model_dump_json(exclude={"conditions"})  # its "before" and "after" are no candidates
    return Report.model_validate_json(text.replace(json.dumps(old), json.dumps(new)))


def text_of(page: str) -> str:
    """The words that a reader sees, scripts and styles apart."""
    words: list[str] = []

    class Reader(HTMLParser):
        hidden = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.hidden += tag in {"style", "script", "title"}

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in {"style", "script", "title"}

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                words.append(data)

    Reader().feed(page)
    return " ".join(" ".join(words).split())


def test_json_is_read_back_as_it_was(judged: Report, tmp_path: Path) -> None:
    """Every figure, interval, sample and verdict survives the file."""
    document.write(tmp_path / "deep" / "report.json", document.to_json(judged))
    assert document.read(tmp_path / "deep" / "report.json") == judged
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["report.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda tree: tree.update(schema_version=3),
            "schema version 3; this paredown reads versions 1 and 2: measure again",
        ),
        (lambda tree: tree.pop("baseline"), r"damaged \(Field required at 'baseline'\)"),
        (lambda tree: tree["measurements"][0].update(value=None), "at 'measurements.0.value'"),
        (lambda tree: tree.update(surprise=1), "at 'surprise'"),
    ],
)
def test_a_report_of_another_shape_is_refused(judged: Report, change: object, reason: str) -> None:
    """A wrong version, a missing or an unknown field get a sentence that says where."""
    tree = json.loads(document.to_json(judged))
    change(tree)  # type: ignore[operator]
    with pytest.raises(UserError, match=reason):
        document.from_json(json.dumps(tree), "old.json")


def test_an_edited_report_is_refused(judged: Report, tmp_path: Path) -> None:
    """One figure changed by hand, in any place, and the file is refused in one sentence."""
    text = document.to_json(judged)
    assert document.from_json(text, "it") == judged
    for before, after in (
        ('"value": 20000000.0', '"value": 10000000.0'),
        ('"status": "fail"', '"status": "pass"'),
    ):
        assert before in text
        file = tmp_path / "report.json"
        file.write_text(text.replace(before, after, 1))
        with pytest.raises(UserError, match=r"report\.json was changed after it was written"):
            document.read(file)


def test_a_report_may_be_formatted_anew(judged: Report) -> None:
    """The checksum is of the content: other white space and another order of keys leave it whole."""
    tree = json.loads(document.to_json(judged))
    turned = dict(reversed(tree.items()))
    assert document.from_json(json.dumps(turned), "it") == judged


def test_a_report_without_a_checksum_is_said_to_be_unsealed(
    judged: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report from before checksums is read, and a warning says what is missing."""
    warnings: list[str] = []
    monkeypatch.setattr(
        document.seal.log, "warning", lambda text, *arguments: warnings.append(text % arguments)
    )
    assert document.from_json(judged.model_dump_json(), "old.json") == judged
    assert warnings == [
        "old.json has no checksum: nothing shows whether its figures are those that were measured"
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe\x00"])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, cut, foreign and binary files are refused by name."""
    file = tmp_path / "report.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"report\.json is not a paredown report"):
        document.read(file)
    with pytest.raises(UserError, match=r"none\.json cannot be read: No such file"):
        document.read(tmp_path / "none.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the way of a folder is a sentence, and nothing half-written is left."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out\.md cannot be written"):
        document.write(tmp_path / "file" / "out.md", "text")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="taken cannot be written"):
        document.write(tmp_path / "taken", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_everything_of_a_run_is_written(judged: Report, tmp_path: Path) -> None:
    """A run folder gets the report in four forms."""
    forms.write_all(judged, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.json",
        "report.html",
        "report.md",
        "junit.xml",
    }


def test_the_first_figures_are_those_that_decide(judged: Report) -> None:
    """Speed-up and accuracy change with their intervals, size and memory before and after."""
    figures = {card.title: (card.value, card.words) for card in cards.cards(judged)}
    assert figures == {
        "Speed-up": (
            "4.00x",
            "95 % interval 3.20x to 5.00x; clearly faster; p50 8.00 ms to 2.00 ms, batch 1, real rows",
        ),
        "Change in accuracy": (
            "-1.00 pt",
            "95 % interval -2.00 to +0.00; no clear change; 92.00 % to 91.00 %",
        ),
        "Peak memory": ("50 MiB", "200 MiB before (0.250x)"),
        "Size on disk": ("20.0 MB", "80.0 MB before (0.250x)"),
    }
    assert summary.headline(judged) == "after: FAILED 1 of 3 gates (size)"


def test_markdown_holds_table_verdict_and_reasons(judged: Report) -> None:
    """The verdict comes first, then the figures, the table of candidates, and the gates' reasons."""
    text = markdown.page(judged)
    assert (
        text.index("FAILED 1 of 3") < text.index("Speed-up: **4.00x**") < text.index("| before | pytorch |")
    )
    after = (
        "| after | pytorch | 91.00 % | -1.00 pt (-2.00 to +0.00) | 2.00 ms | 3.00 ms "
        "| 4.00x (3.20x to 5.00x) | 50 MiB | 20.0 MB |"
    )
    assert after in text
    assert after in markdown.table(judged)
    assert "| fail | size | after | 10MB | 20.00 MB on disk; allowed: at most 10MB |" in text
    assert "tokenization is not in it" in text


def test_a_name_cannot_break_the_markdown(judged: Report) -> None:
    """Bars and angle brackets in a name are escaped."""
    text = markdown.page(renamed(judged, "after", EVIL))
    assert "<script" not in text
    rows = [line for line in markdown.table(renamed(judged, "after", EVIL)).splitlines() if "alert" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 10


def test_junit_has_a_case_for_every_gate(judged: Report) -> None:
    """Failures carry their reason; open and odd verdicts are no passes either."""
    more = [
        Verdict(
            gate="latency",
            candidate="after",
            status=status,
            metric="m",
            value=1,
            interval=None,
            limit="1x",
            reason=f"{status} \x00\ud800 <&>",
        )
        for status in ("inconclusive", "anomalous")
    ]
    report = judged.model_copy(update={"verdicts": (*judged.verdicts, *more)})
    (suite,) = ElementTree.fromstring(junit.xml(report).encode())
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "5",
        "1",
        "1",
        "1",
    )
    first, second, *_ = list(suite)
    assert first.get("classname") == "after"
    assert first.get("name") == "size size_bytes 10MB"
    assert first[0].tag == "failure"
    assert first[0].get("message") == "20.00 MB on disk; allowed: at most 10MB"
    assert [child.tag for child in second] == ["system-out"]
    assert suite[3][0].get("message") == "inconclusive: inconclusive ?? <&>"


def test_the_page_needs_no_network_and_follows_the_theme(judged: Report) -> None:
    """No script, link, import or foreign address; both color schemes; a viewport for phones."""
    page = html.page(judged)
    assert not re.search(r"https?:|//[\w.]+\.", page)
    assert not re.search(r"<(script|link|iframe|img)\b|@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "currentColor" in page
    assert "#010203" not in page


def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else(judged: Report) -> None:
    """One style sheet, whose hash the policy names; no style attribute, script or handler anywhere."""
    page = html.page(tiny_bench.damaged(judged))
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page)


@pytest.mark.parametrize(
    ("low", "high", "certainty"),
    [(0.2, 0.4, "clearly faster"), (0.9, 1.1, "no clear difference"), (1.1, 1.3, "clearly slower")],
)
def test_a_figure_says_what_its_interval_allows(
    judged: Report, low: float, high: float, certainty: str
) -> None:
    """A speed-up is clear where its whole interval lies on one side; an unstable run is named."""

    def changed(measurement: Measurement, flags: Flags) -> Measurement:
        if (measurement.candidate, measurement.metric) != ("after", "latency_p50_ms"):
            return measurement
        return measurement.model_copy(update={"ratio_interval": Interval(low=low, high=high), "flags": flags})

    for flags, end in ((Flags(), ""), (Flags(unstable=True), ", but an unstable run")):
        measurements = tuple(changed(measurement, flags) for measurement in judged.measurements)
        figures = cards.cards(judged.model_copy(update={"measurements": measurements}))
        assert figures[0].sure == certainty + end


@pytest.mark.parametrize("candidate", ["before", "after"])
@pytest.mark.parametrize(
    ("change", "certainty"),
    [
        ({"flags": Flags(spoiled="the SM clock moved from 1980 to 1500 MHz")}, "but a spoiled run"),
        ({"flags": Flags(unstable=True)}, "but an unstable run"),
        ({"disturbed": 0.2}, "but a disturbed run"),
        ({"disturbed": 0.01}, "clearly faster"),
    ],
)
def test_either_side_can_take_a_figure_s_sureness(
    judged: Report, candidate: str, change: dict[str, Any], certainty: str
) -> None:
    """What spoiled the baseline's run, or took its CPU, is in the comparison as much."""
    measurements = tuple(
        measurement.model_copy(update=change)
        if (measurement.candidate, measurement.metric) == (candidate, "latency_p50_ms")
        else measurement
        for measurement in judged.measurements
    )
    figures = cards.cards(judged.model_copy(update={"measurements": measurements}))
    assert figures[0].sure.endswith(certainty)


def test_a_first_screen_without_latency_shows_damage_in_its_place(judged: Report) -> None:
    """A report of ``damage`` has at most four figures: those measured, then those of damage."""
    report = tiny_bench.damaged(judged)
    measurements = tuple(
        measurement for measurement in report.measurements if measurement.probe not in {"latency", "memory"}
    )
    words = text_of(html.page(report.model_copy(update={"measurements": measurements})))
    order = ["Change in accuracy", "Size on disk", "Worst slice -12.0 pt", "Right before, wrong now 3"]
    places = [words.index(part) for part in order]
    assert places == sorted(places)
    assert "3 of 100 answers went from right to wrong, 2 the other way" in words


def test_the_first_screen_holds_verdict_and_figures(judged: Report) -> None:
    """In the order of the page: verdict, speed-up, accuracy, size and memory, and only then the tables."""
    words = text_of(html.page(judged))
    order = [
        "after: FAILED 1 of 3 gates (size)",
        "size: 20.00 MB on disk; allowed: at most 10MB",
        "Speed-up 4.00x clearly faster 95 % interval 3.20x to 5.00x",
        "Change in accuracy -1.00 pt no clear change 95 % interval -2.00 to +0.00",
        "Peak memory 50 MiB 200 MiB before",
        "Size on disk 20.0 MB 80.0 MB before",
        "What got worse was not looked for here. paredown damage ORIGINAL CANDIDATE --data DIR",
        "100 evaluation rows",
        "Plots",
        "Before, each step, after",
        "Gates",
        "What was measured",
    ]
    places = [words.index(part) for part in order]
    assert places == sorted(places)


def test_all_text_of_the_page_is_escaped(judged: Report) -> None:
    """A hostile candidate name, title and note show as text, in the page and in its plots."""
    evil = renamed(judged, "after", EVIL).model_copy(update={"title": EVIL})
    notes = tuple(measurement.model_copy(update={"notes": (EVIL,)}) for measurement in evil.measurements)
    page = html.page(evil.model_copy(update={"measurements": notes}))
    assert "<script" not in page
    assert text_of(page).count("<script>alert(1)</script>") >= 5


def test_the_page_has_six_plots(judged: Report) -> None:
    """Two of intervals, trade-off with its front, latency boxes, memory, size; each scales with the page."""
    page = html.page(judged)
    opened = re.findall(r"<svg[^>]*>", page)
    assert len(opened) == 6
    assert all('role="img"' in tag and " width=" not in tag and "viewBox" in tag for tag in opened)
    assert "Pareto front" in page
    assert "<metadata>" not in page


def test_plots_are_the_same_for_the_same_report(judged: Report) -> None:
    """Neither a date nor a random id gets into the SVG."""
    assert plots.tradeoff(judged) == plots.tradeoff(judged)
    assert plots.drawn(judged) == plots.drawn(judged)


def test_a_report_with_few_measurements_still_renders(judged: Report) -> None:
    """Where a probe did not run there is neither a column nor a plot, in every form."""
    sizes = tuple(measurement for measurement in judged.measurements if measurement.probe == "size")
    thin = judged.model_copy(update={"measurements": sizes, "verdicts": ()})
    page = html.page(thin)
    assert len(re.findall("<svg", page)) == 1
    assert "after: measured, not judged (no gates)" in text_of(page)
    assert "| after | pytorch | 20.0 MB |" in markdown.page(thin)
    empty = judged.model_copy(update={"measurements": (), "verdicts": ()})
    assert "<svg" not in html.page(empty)
    assert "Latency" not in markdown.page(empty)
    assert ElementTree.fromstring(junit.xml(empty).encode()).findall("testsuite/testcase") == []


def test_the_worst_status_is_the_overall_one(judged: Report) -> None:
    """Fail before anomalous before inconclusive before pass; nothing judged is said as such."""
    by_status = {verdict.status: verdict for verdict in judged.verdicts}
    passed = by_status["pass"]
    for status, expected in (("inconclusive", "inconclusive"), ("anomalous", "anomalous")):
        report = judged.model_copy(
            update={"verdicts": (passed, passed.model_copy(update={"status": status}))}
        )
        assert summary.headline(report) == f"after: {expected} in 1 of 2 gates ({passed.gate})"
    assert summary.headline(judged.model_copy(update={"verdicts": (passed,)})) == "after: passed the gate"
    assert (
        summary.headline(judged.model_copy(update={"verdicts": (passed, passed)}))
        == "after: passed all 2 gates"
    )


def test_candidates_of_a_report_are_frozen(judged: Report) -> None:
    """Nobody changes a report in place."""
    with pytest.raises(ValueError, match="frozen"):
        judged.candidates[0].name = "other"  # type: ignore[misc]
    assert isinstance(judged.candidates[0], Candidate)


def test_figures_under_load_are_shown() -> None:
    """Load, execution and starting are further figures, in words; the terminal shows load alone."""
    more = (
        tiny_bench.measurement(
            "after",
            "open_loop_p95_ms",
            12.5,
            probe="open_loop",
            unit="ms",
            ratio=0.5,
            conditions={"batch_size": 1, "length": "data", "rate": "50/s"},
        ),
        tiny_bench.measurement("after", "cold_start_s", 1.5, probe="load_time", unit="s"),
    )
    report = tiny_bench.report(measurements=(*tiny_bench.report().measurements, *more))
    rows = [list(map(str, row)) for row in tables.further(report).rows]
    load = ["open loop p95", "batch 1, real rows, rate 50/s", "after", "12.5 ms", "", "0.500x"]
    assert load in rows
    assert ["cold start", "", "after", "1.50 s", "", "-"] in rows
    assert ["time of products in int8", "", "after", "80.00 %", "", "-"] in rows
    assert [list(map(str, row)) for row in tables.further(report, page=False).rows] == [load]
    assert "| cold start |  | after | 1.50 s |" in markdown.page(report)
    assert "open loop p95" in text_of(html.page(report))


def test_the_state_of_the_machine_is_shown() -> None:
    """Load before and after, and what could not be measured, stand with the machine."""
    states = {"before": {"load": "0.1"}, "not_measured": {"energy": "no counter"}}
    lines = dict(summary.machine(tiny_bench.report(conditions=states)))
    assert lines["load, before"] == "0.1"
    assert lines["energy, not measured"] == "no counter"


def test_labels_matched_by_their_order_alone_are_said_in_the_report(judged: Report) -> None:
    """MNLI's ids in another order than the head's give other figures with nothing else to show for it."""
    assert "by their order alone" not in markdown.page(judged)
    guessed = judged.model_copy(update={"label_order": ("0 = contradiction", "1 = entailment")})
    for text in (markdown.page(guessed), text_of(html.page(guessed))):
        assert "by their order alone" in text
        assert "0 = contradiction, 1 = entailment" in text


@pytest.mark.parametrize("place", ["report", "tracking.py", "verdicts/regression.py", "gates/regression.py"])
def test_no_face_knows_a_probe_or_a_finding_by_name(place: str) -> None:
    """What is shown and compared is what entries declare: none of their names stands in what shows them."""
    names = {name.replace("-", form) for name in catalog.names("probe") for form in "-_"}
    names |= {figure.metric for name in catalog.names("probe") for figure in catalog.probe(name).FIGURES}
    names |= {one.name for name in catalog.names("task") for one in catalog.task(name).METRICS}
    names |= set(catalog.names("finding"))
    root = Path(bench.__file__).parent / place
    files = [root] if root.is_file() else [one for one in root.rglob("*") if one.suffix in {".py", ".jinja"}]
    assert files
    for file in files:
        known = set(re.findall(r"""["']([\w*.-]+)["']""", file.read_text(encoding="utf-8"))) & names
        # The gate's default, which a recipe may leave out; an artifact's own size; a word for how exact.
        allowed = {"gates/regression.py": "latency_p50_ms", "tracking.py": "size_bytes"}.get(place, "memory")
        assert known <= {allowed}, file


def test_figures_of_tasks_and_of_patterns_have_titles_in_words() -> None:
    """A metric is called as its task declares it, and one of many of a probe by what tells it apart."""
    rows = [str(row[0]) for row in tables.further(tiny_bench.report()).rows]
    assert "macro F1" in rows
    assert rows.count("time of products in int8") == 1
    assert not [title for title in rows if "_" in title or "{" in title]
    unknown = tiny_bench.report(task="a task that is not here")
    assert "macro f1" in [str(row[0]) for row in tables.further(unknown).rows]
