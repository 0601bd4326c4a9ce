"""Figures as SVG: colors of the page, no styles of their own, ids that do not meet, text escaped."""

from __future__ import annotations

import re

import pytest
from matplotlib.figure import Figure

from bench.display import svg


def drawn(title: str = "a <b> & c", index: int = 3, marker: str = "o") -> str:
    """A figure with a grid, a clipped line with markers, and a title."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=svg.color(index), marker=marker)
        axes.set_title(title)
        axes.grid()

    return svg.render(draw, 2.0, f"about {title}", "name")


def test_colors_are_the_pages() -> None:
    """Ink follows the text, a candidate's color is the page's variable; no stand-in is left."""
    text = drawn()
    assert 'stroke="var(--c3)"' in text
    assert "currentColor" in text
    assert "#0102" not in text


@pytest.mark.parametrize(("index", "variable"), [(0, "--c0"), (7, "--c7"), (8, "--c0"), (11, "--c3")])
def test_colors_come_again_after_the_last(index: int, variable: str) -> None:
    """Candidates beyond the eighth share colors."""
    assert f"var({variable})" in drawn(index=index)


def test_nothing_in_it_needs_an_inline_style() -> None:
    """A page whose policy allows no inline style shows it: attributes only, no namespaces, no metadata."""
    text = drawn()
    assert not re.search(r"\sstyle=|<style|<metadata|xmlns|xlink|font-family", text)
    assert 'font-size="12px"' in text
    assert 'text-anchor="middle"' in text


def test_names_are_escaped_in_text_and_label() -> None:
    """A hostile title is text, in the figure and for those who do not see it."""
    text = drawn('"><script>x</script>')
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2


def test_ids_of_two_figures_do_not_meet_and_all_are_used() -> None:
    """Each id is referred to in its own figure, and none is in both; the same figure has the same ids."""
    circles, squares = drawn(marker="o"), drawn(marker="s")
    id_sets = [set(re.findall(r' id="([^"]+)"', text)) for text in (circles, squares)]
    assert id_sets[0]
    assert not id_sets[0] & id_sets[1]
    for text, ids in zip((circles, squares), id_sets, strict=True):
        assert ids == set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert circles == drawn(marker="o")


def test_it_scales_with_the_page() -> None:
    """There is a view box and no width."""
    opening = drawn().split(">", 1)[0]
    assert 'viewBox="0 0 374.4 144"' in opening
    assert 'role="img"' in opening
    assert " width=" not in opening
