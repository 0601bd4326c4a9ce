"""Matplotlib figures as inline SVG that takes its colors and its font from the page, light or dark.

Matplotlib writes fixed colors, ``style`` attributes and a style sheet for the whole document. Here

- the ink becomes ``currentColor``, and each candidate's color the page's variable ``--cN``;
- styles become presentation attributes, so that a page whose Content-Security-Policy allows no inline
  style shows them;
- ids that nothing refers to are dropped and the others are the figure's own, so that several figures
  share a page.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.display import xml_text

# How many candidates have a color of their own; then the colors come again.
COLORS = 8
# Stand for the page's colors until the SVG is written; nobody draws in these by chance.
INK = "#010203"
_STAND_INS = {INK: "currentColor"} | {f"#0102{16 + index:02x}": f"var(--c{index})" for index in range(COLORS)}
_WIDTH = 5.2
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
    "legend.frameon": False,
}
_REFERENCE = re.compile(r"#([\w.-]+)")


def color(index: int) -> str:
    """What to draw in for the candidate at an index: stands for the page's ``--cN``."""
    return f"#0102{16 + index % COLORS:02x}"


def render(draw: Callable[[Figure], None], height: float, label: str, name: str) -> str:
    """A figure as an ``<svg>`` element that scales with the page.

    Args:
        draw: puts axes and lines into the empty figure.
        height: in inches; the width is 5.2.
        label: what it shows, for those who do not see it.
        name: of the figure; the same figure has the same ids in every run.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        FigureCanvasSVG(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    root = ElementTree.fromstring(xml_text.clean(text))
    _without_namespaces(root)
    _drop(root, {"style", "metadata"})
    _follow_the_page(root)
    _own_ids(root, hashlib.sha256(text.encode()).hexdigest()[:8])
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {
        "viewBox": view,
        "role": "img",
        "aria-label": label,
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _without_namespaces(root: ElementTree.Element) -> None:
    """Plain names: inside HTML an ``<svg>`` needs no namespaces, and ``href`` has replaced ``xlink:href``."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))
        element.tail = None
        if element.tag not in {"text", "tspan"}:
            element.text = None


def _drop(root: ElementTree.Element, tags: set[str]) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _follow_the_page(root: ElementTree.Element) -> None:
    for element in root.iter():
        for entry in element.attrib.pop("style", "").split(";"):
            key, colon, value = (part.strip() for part in entry.partition(":"))
            if colon and key != "font-family":
                element.set(key, _STAND_INS.get(value, value))
        if "d" in element.attrib:
            element.set("d", " ".join(element.attrib["d"].split()))


def _own_ids(root: ElementTree.Element, prefix: str) -> None:
    """Drop ids that nothing refers to, and give the others a prefix."""
    used = {
        reference
        for element in root.iter()
        for key, value in element.attrib.items()
        if key in {"href", "clip-path"}
        for reference in _REFERENCE.findall(value)
    }
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}-{name}")
        for key in {"href", "clip-path"} & element.attrib.keys():
            element.set(key, _REFERENCE.sub(rf"#{prefix}-\1", element.attrib[key]))
