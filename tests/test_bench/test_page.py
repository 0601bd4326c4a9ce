"""The HTML report in a real browser: first screen, themes, phone width, contrast, no network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import browser
import pytest
import tiny_bench
from browser import DESKTOP, PHONE, Browser
from PIL import Image

from bench.record import document
from bench.report import html
from bench.verdicts import judge
from compress.recipe import Named
from tools import screenshot

ROOT = Path(__file__).resolve().parent.parent.parent
GATES = [
    Named(name="size", options={"at_most": "10MB"}),
    Named(name="memory", options={"at_most": "10MiB"}),
    Named(name="latency", options={"p50_at_most": "1ms"}),
    Named(name="accuracy-drop", options={"at_most": "1pt"}),
]
LOOKS = [(size, theme) for size in (DESKTOP, PHONE) for theme in ("light", "dark")]

pytestmark = pytest.mark.skipif(browser.skip_reason() is not None, reason=f"no browser: {browser.missing()}")


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser.opened() as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with three failed gates and with damage: as much as a first screen has to hold."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    report = tiny_bench.damaged(judge.judge(tiny_bench.report(), GATES))
    file.write_text(html.page(report), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a recorded run with five candidates."""
    file = tmp_path_factory.mktemp("recorded") / "report.html"
    report = document.read(ROOT / "studies" / "results" / "text-small.json")
    file.write_text(html.page(report), encoding="utf-8")
    return file


def inside(boxes: list[dict[str, float]], size: tuple[int, int]) -> bool:
    """Whether every box lies whole in the window."""
    width, height = size
    return all(
        0 <= box["left"] < box["right"] <= width and 0 <= box["top"] < box["bottom"] <= height
        for box in boxes
    )


def test_the_first_screen_holds_what_decides(tab: Browser, page: Path) -> None:
    """At 1200 x 800, unscrolled: verdict, four figures, three slices and five flipped rows, each whole."""
    tab.show(page, DESKTOP)
    counts = {"#verdict": 1, ".card": 4, "#worst-slices li": 3, "#worst-rows li": 5}
    elements = {selector: tab.boxes(selector) for selector in counts}
    assert {selector: len(boxes) for selector, boxes in elements.items()} == counts
    assert {selector: inside(boxes, DESKTOP) for selector, boxes in elements.items()} == dict.fromkeys(
        counts, True
    )
    assert "after: FAILED 3 of 4 gates (size, memory, latency)" in elements["#verdict"][0]["text"]
    assert "20.00 MB on disk; allowed: at most 10MB" in elements["#verdict"][0]["text"]
    others = 'and latency (fail), accuracy-drop (inconclusive), under "Gates"'
    assert others in elements["#verdict"][0]["text"]
    speed, quality, memory, size = (" ".join(box["text"].split()) for box in elements[".card"])
    assert speed.startswith("Speed-up 4.00x clearly faster 95 % interval 3.20x to 5.00x")
    assert quality.startswith("Change in accuracy -1.00 pt no clear change 95 % interval -2.00 to +0.00")
    assert memory == "Peak memory 50 MiB 200 MiB before (0.250x)"
    assert size == "Size on disk 20.0 MB 80.0 MB before (0.250x)"
    worst = " ".join(elements["#worst-slices li"][0]["text"].split())
    assert "-12.0 pt" in worst
    assert "accuracy 92.0 % to 80.0 % on 25 rows; 95 % interval -16.0 to -8.0; beyond chance" in worst
    outcomes = [box["text"].splitlines()[-1].partition(":")[0] for box in elements["#worst-rows li"]]
    assert outcomes == [*["right before, wrong now"] * 3, "changed", "wrong before, right now"]


def test_the_top_of_a_phone_holds_verdict_and_figures(tab: Browser, page: Path) -> None:
    """At 360 x 740 the verdict and the four figures need no scrolling; slices and rows come before plots."""
    tab.show(page, PHONE)
    assert inside(tab.boxes("#verdict") + tab.boxes(".card"), PHONE)
    tops = [
        tab.boxes(selector)[0]["top"]
        for selector in ("#verdict", ".card", "#worst-slices", "#worst-rows", ".plots")
    ]
    assert tops == sorted(tops)


@pytest.mark.parametrize(("size", "theme"), LOOKS)
@pytest.mark.parametrize("name", ["page", "recorded"])
def test_the_page_fits_reads_well_and_is_quiet(
    tab: Browser,
    name: str,
    size: tuple[int, int],
    theme: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """In each look, all folds open: no sideways scrolling, WCAG AA contrast, no request, no complaint."""
    file: Path = request.getfixturevalue(name)
    tab.show(file, size, theme)
    tab.run("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert tab.run("return document.documentElement.scrollWidth") <= size[0]
    assert tab.run("return document.body.scrollWidth") <= size[0]
    texts, shapes = tab.contrasts()
    assert len(texts) > 100
    assert len(shapes) > 20
    assert [text for text in texts if text[0] < 4.5] == []
    assert [shape for shape in shapes if shape[0] < 3] == []
    assert tab.requests() == [file.as_uri()]
    assert tab.complaints() == []
    shot = tab.screenshot(tmp_path / f"{name}-{size[0]}-{theme}.png", full_page=True)
    assert shot.read_bytes().startswith(b"\x89PNG")


def test_a_wide_table_scrolls_in_its_own_box(tab: Browser, recorded: Path) -> None:
    """On a phone the table of candidates is wider than the window and its box is not; keys reach it."""
    tab.show(recorded, PHONE)
    tab.run("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    (table,) = tab.boxes("table.main")
    assert table["right"] - table["left"] > PHONE[0]
    assert tab.run("return document.querySelector('table.main').parentElement.clientWidth") <= PHONE[0]
    assert tab.run("return document.querySelector('table.main').parentElement.tabIndex") == 0


def test_the_theme_follows_the_reader(tab: Browser, page: Path) -> None:
    """Paper, ink and the plots' own lines and colors differ between light and dark."""
    styles = []
    for theme in ("light", "dark"):
        tab.show(page, DESKTOP, theme)
        styles.append(
            (
                tab.style("body", "backgroundColor"),
                tab.style("body", "color"),
                tab.style(".plots svg text", "fill"),
                tab.style(".plots svg path[stroke^=var]", "stroke"),
            )
        )
    light, dark = styles
    assert all(light_value != dark_value for light_value, dark_value in zip(light, dark, strict=True))
    assert light[1] == light[2]
    assert dark[1] == dark[2]


def test_tables_are_folded_and_open_by_a_click(tab: Browser, page: Path) -> None:
    """Plots are seen at once, tables after a click on their title; a long row is whole there."""
    tab.show(page, DESKTOP)
    visible = "return document.querySelector(arguments[0]).checkVisibility()"
    assert not tab.run(visible, "table.main")
    assert all(box["bottom"] > box["top"] for box in tab.boxes(".plots svg"))
    clipped = "const p = document.querySelector(arguments[0]); return p.scrollHeight > p.clientHeight + 1"
    assert tab.run(clipped, "#worst-rows .said")
    assert not tab.run(visible, ".row")
    tab.run("document.querySelector('details:has(> .row) > summary').click()")
    assert tab.run(visible, ".row")
    assert len(tab.boxes(".row")) == 6
    assert not tab.run(clipped, ".row")


def test_structure_and_names_are_there_for_assistive_technology(tab: Browser, page: Path) -> None:
    """One first heading, none skipped, a name for every plot and table box, no id twice."""
    tab.show(page, DESKTOP)
    levels = tab.run("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    unnamed = "return document.querySelectorAll('svg:not([aria-label]), .scroll:not([aria-label])').length"
    assert tab.run(unnamed) == 0
    ids = tab.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert tab.run("return document.documentElement.lang") == "en"


def test_a_recorded_run_shows_what_decides(tab: Browser, recorded: Path) -> None:
    """The recipe's own report: verdict, figures and slices on the first screen, and no row of the data."""
    tab.show(recorded, DESKTOP)
    for selector, count in {"#verdict": 1, ".card": 4, "#worst-slices li": 3}.items():
        boxes = tab.boxes(selector)
        assert len(boxes) == count, selector
        assert inside(boxes, DESKTOP), selector
    assert tab.boxes("#worst-rows li") == []
    assert tab.boxes("#hint") == []


def test_without_damage_the_page_says_how_to_find_it(tab: Browser, tmp_path: Path) -> None:
    """A report of a plain bench shows one line with the command, on the first screen."""
    file = tmp_path / "plain.html"
    plain = document.read(ROOT / "studies" / "results" / "sst2.json")
    file.write_text(html.page(plain), encoding="utf-8")
    tab.show(file, DESKTOP)
    (hint,) = tab.boxes("#hint")
    assert inside([hint], DESKTOP)
    assert "paredown damage ORIGINAL CANDIDATE --data DIR" in hint["text"]
    assert tab.boxes("#worst-slices") == []


def test_the_guards_of_this_file_can_trip(tab: Browser, page: Path, tmp_path: Path) -> None:
    """The policy refuses an image, a script and a style; without it, each is noticed by what it does."""
    poor = tmp_path / "poor.html"
    added = (
        '<img src="http://example.com/a.png" alt=""><p id="pale">pale words</p>'
        "<script>document.title = 1</script>"
        "<style>#pale { color: #bbb; min-width: 2000px }</style>"
    )
    text = page.read_text(encoding="utf-8").replace("<main>", f"<main>{added}", 1)
    poor.write_text(text, encoding="utf-8")
    tab.show(poor, PHONE)
    complaints = " ".join(tab.complaints())
    for directive in ("img-src", "script-src", "style-src"):
        assert directive in complaints
    poor.write_text(text.replace('http-equiv="Content-Security-Policy"', 'name="none"'), encoding="utf-8")
    tab.show(poor, (PHONE[0], 741))
    assert tab.run("return document.documentElement.scrollWidth") > PHONE[0]
    assert any(ratio < 4.5 for ratio, words in tab.contrasts()[0] if words == "pale words")
    assert "http://example.com/a.png" in tab.requests()


def test_a_picture_of_the_first_screen_is_taken_by_a_command(page: Path, tmp_path: Path) -> None:
    """``tools.screenshot`` gives the 1200 x 800 that a reader sees, small enough for a repository."""
    sizes = {}
    for theme in ([], ["--dark"]):
        out = tmp_path / "docs" / f"report{''.join(theme)}.png"
        assert screenshot.main([str(page), "--out", str(out), *theme]) == 0
        with Image.open(out) as picture:
            assert picture.size == DESKTOP
            sizes[out.name] = picture.convert("RGB").getpixel((2, 2))
        assert out.stat().st_size < 200_000
    assert sizes["report.png"] == (255, 255, 255)
    assert sum(sizes["report--dark.png"]) < 100
