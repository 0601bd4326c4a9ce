"""README and docs as a whole: size, links, completeness, and the reference that is made from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

from compress import catalog
from paredown.verbs.list_ import SHELVES
from tools import docs_reference, rooms

README = pages.ROOT / "README.md"
LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages that the hook makes."""
    return docs_reference.pages()


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_readme_is_a_door() -> None:
    """It is at most nine kilobytes, and its first lines say what this is, for whom, and with what."""
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= 9 * 1024
    first = text[: text.index("<!-- results:begin -->")]
    for word in ("Shrink", "classifiers, taggers, embedders, rerankers", "transformers 5"):
        assert word in first


def test_every_link_leads_somewhere(generated: dict[str, str]) -> None:
    """Files, pages that the hook makes, and headings; links leave docs only for what the site borrows."""
    checked = 0
    for page in [*pages.pages(), *(pages.ROOT / name for name in docs_reference.BORROWED)]:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target, _, anchor = link.partition("#")
            place = (page.parent / target).resolve() if target else page
            content = generated.get(place.relative_to(pages.DOCS).as_posix()) if is_of_docs(place) else None
            assert place.exists() or content, (pages.name(page), link)
            if anchor:
                assert anchor in anchors(content or place.read_text(encoding="utf-8")), (
                    pages.name(page),
                    link,
                )
            if is_of_docs(page) and not is_of_docs(place):
                assert pages.name(place) in docs_reference.BORROWED, (pages.name(page), link)
            checked += 1
    assert checked > 50


def is_of_docs(place: Path) -> bool:
    """Whether a path is below ``docs``."""
    return place.is_relative_to(pages.DOCS)


def test_links_of_generated_pages_lead_somewhere(generated: dict[str, str]) -> None:
    """They are written by the tool and count from ``reference/``."""
    for name, text in generated.items():
        for link in re.findall(r"(?<!\\)\[[^\]]*\]\(([^)]+)\)", text):
            target, _, anchor = link.partition("#")
            place = (pages.DOCS / name).parent / target
            assert place.resolve().is_file(), (name, link)
            assert not anchor or anchor in anchors(place.read_text(encoding="utf-8")), (name, link)


def test_the_site_shows_every_page(generated: dict[str, str]) -> None:
    """What lies in docs, what the hook makes and what it borrows is in the navigation, and nothing else."""
    files = {path.relative_to(pages.DOCS).as_posix() for path in pages.DOCS.rglob("*.md")}
    assert set(pages.navigation()) == files | generated.keys() | set(docs_reference.BORROWED.values())
    assert all((pages.ROOT / name).is_file() for name in docs_reference.BORROWED)


@pytest.mark.parametrize("shelf", SHELVES)
def test_the_reference_names_every_entry(shelf: str, generated: dict[str, str]) -> None:
    """Every entry of every shelf has a heading, with what it is and each of its options."""
    page = generated[f"reference/{docs_reference.plural(shelf)}.md"]
    names = catalog.names(shelf)  # type: ignore[arg-type] # a shelf is a word that list knows
    assert names
    for name in names:
        part = page.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
        summary = catalog.summary(shelf, name)  # type: ignore[arg-type] # as above
        assert docs_reference.markdown(summary)[:60] in " ".join(part.split()), name
        if shelf in docs_reference.CONFIGURED:
            for option, _, _ in catalog.options(shelf, name):  # type: ignore[arg-type] # as above
                assert f"| `{option}` |" in part, (name, option)
    assert page.count("\n## ") == len(names)


def test_the_reference_names_every_command_and_option(generated: dict[str, str]) -> None:
    """Every command that help shows, with each option that its help shows."""
    from spelling import COMMAND

    page = generated["reference/cli.md"]
    commands = docs_reference.commands(COMMAND)
    assert {"paredown run", "paredown baseline save", "paredown store prune"} <= {
        words for words, _ in commands
    }
    for words, command in commands:
        part = page.partition(f"## `{words}`\n")[2].partition("\n## ")[0]
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        for option in options:
            if not option.hidden:
                assert re.search(rf"^\| `[^`]*{option.opts[0]}\b", part, re.MULTILINE), (words, option.opts)
        arguments = len(command.params) - len(options)
        assert ("| argument | meaning |" in part) is (arguments > 0), words


def test_the_reference_has_every_public_name() -> None:
    """Each name that ``import paredown`` gives is rendered on the page of the Python API."""
    import paredown

    page = (pages.DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    rendered = {line.removeprefix("::: ") for line in page.splitlines() if line.startswith("::: ")}
    for name in set(paredown.__all__) - {"__version__"}:
        member = getattr(paredown, name)
        assert f"{member.__module__}.{member.__qualname__}" in rendered, name


def test_recipes_and_tasks_are_explained() -> None:
    """The pages of recipes and tasks have a line for each that ships."""
    for shelf in ("recipe", "task", "tracker", "runtime"):
        page = {"tracker": "measuring", "runtime": "gpu"}.get(shelf, f"{shelf}s")
        text = (pages.DOCS / f"{page}.md").read_text(encoding="utf-8")
        for name in catalog.names(shelf):  # type: ignore[arg-type] # a shelf is a word that list knows
            assert f"| `{name}` |" in text, name


def test_every_stage_has_its_line() -> None:
    """The page of stages names each."""
    text = (pages.DOCS / "stages.md").read_text(encoding="utf-8")
    for name in catalog.names("stage"):
        assert f"`{name}`" in text, name


def test_signs_of_docstrings_mean_nothing_to_markdown() -> None:
    """Stars, underscores and brackets stay what they are; literals become code; a bar stays in its cell."""
    assert docs_reference.markdown("a *b* ``x_y*`` c_d [x] <y>") == r"a \*b\* `x_y*` c\_d \[x] &lt;y>"
    assert docs_reference.cell("``a|b`` or\n  c|d") == r"`a\|b` or c\|d"
    assert docs_reference.code("<a|b>") == r"`<a\|b>`"
    assert docs_reference.paragraphs("One.\n\n    x = 1\n\nTwo_three.") == (
        "One.\n\n```text\nx = 1\n```\n\nTwo\\_three."
    )


def test_links_to_borrowed_pages_are_turned() -> None:
    """On the site they lead to the borrowed page's place, from every depth."""
    turned = docs_reference.turned("[a](../CONTRIBUTING.md) [b](../studies/results/README.md#x)", "a.md")
    assert turned == "[a](contributing.md) [b](results.md#x)"
    assert docs_reference.turned("[a](../../SECURITY.md)", "reference/api.md") == "[a](../security.md)"


def test_nothing_is_fetched_by_the_site() -> None:
    """No fonts, no plugin that asks the network, no address of a host."""
    text = (pages.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert not re.search(r"https?://|site_url|repo_url|social|privacy|extra_javascript", text)
    style = (pages.DOCS / "assets" / "pages.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", style)


def test_the_picture_of_the_house_is_the_one_that_is_checked() -> None:
    """Every room that import-linter orders has a line, in its order, with what it says of itself."""
    page = (pages.DOCS / "architecture.md").read_text(encoding="utf-8")
    table = rooms.table(pages.ROOT)
    assert table in page
    named = re.findall(r"^\| \d+ \| `([\w.]+)` \|", table, re.MULTILINE)
    assert named == [module for layer in rooms.layers(pages.ROOT) for module in layer]
    assert all(rooms.summary(pages.ROOT, module) for module in named)
