"""A real browser for pages: headless Chromium through Selenium, in any theme and screen size."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DESKTOP = (1200, 800)
PHONE = (360, 740)

# For each element with text of its own: the contrast of its color with the nearest opaque background.
_CONTRASTS = """
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => {
  const numbers = text.match(/[\\d.]+/g).map(Number);
  return text.startsWith('color(srgb') ? numbers.map((v, i) => (i < 3 ? 255 * v : v)) : numbers;
};
const solid = color => color.length < 4 || color[3] === 1;
const ratio = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const background = element => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (solid(color)) return color;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.body.querySelectorAll('*')) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || element.closest('style, script') || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = parse(element.closest('svg') ? style.fill : style.color);
  found.push([ratio(ink, background(element)), element.textContent.trim().slice(0, 60)]);
}
for (const shape of document.querySelectorAll('svg path, svg use')) {
  if (shape.closest('defs, clipPath')) continue;
  const style = getComputedStyle(shape);
  for (const paint of [style.stroke, style.fill]) {
    const opacity = Math.min(...[style.opacity, style.strokeOpacity, style.fillOpacity].map(Number));
    if (!paint.startsWith('rgb') || opacity < 1) continue;
    found.push([-ratio(parse(paint), background(shape.closest('figure'))), paint]);
  }
}
return found;
"""
_BOXES = """
return [...document.querySelectorAll(arguments[0])].map(e => {
  const box = e.getBoundingClientRect();
  return {left: box.left, top: box.top, right: box.right, bottom: box.bottom, text: e.innerText};
});
"""


def missing() -> str | None:
    """Why there is no browser to test with; None where there is one."""
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed (pip install -c constraints.txt '.[dev]')"
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"no '{program}' on the path (apt-get install chromium chromium-driver)"
    return None


def skip_reason() -> str | None:
    """Why tests in a browser are skipped; None where they run.

    Raises:
        RuntimeError: there is no browser, and ``PAREDOWN_BROWSER=required`` says that there must be one.
    """
    reason = missing()
    if reason is not None and os.environ.get("PAREDOWN_BROWSER") == "required":
        raise RuntimeError(f"PAREDOWN_BROWSER=required, and {reason}")
    return reason


class Browser:
    """One browser tab."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def show(self, page: Path, size: tuple[int, int] = DESKTOP, theme: str = "light") -> None:
        """Open a page at a screen size, in a theme, with nothing left of the page before."""
        width, height = size
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        self._command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
        )
        self.requests()
        self.complaints()
        self._driver.get(page.as_uri())

    def _command(self, name: str, **parameters: Any) -> Any:
        return self._driver.execute_cdp_cmd(name, parameters)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        return self._driver.execute_script(script, *arguments)

    def boxes(self, selector: str) -> list[dict[str, Any]]:
        """Position in the window, and visible text, of each element that a selector finds."""
        rectangles: list[dict[str, Any]] = self.run(_BOXES, selector)
        return rectangles

    def contrasts(self) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
        """Contrast ratio and sample of each visible text, and of each opaque line and area of the plots."""
        samples = self.run(_CONTRASTS)
        texts = [(ratio, sample) for ratio, sample in samples if ratio > 0]
        return texts, [(-ratio, sample) for ratio, sample in samples if ratio < 0]

    def style(self, selector: str, name: str) -> str:
        """A computed style of the first element that a selector finds."""
        return str(
            self.run(
                "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, name
            )
        )

    def complaints(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, file: Path, *, full_page: bool = False) -> Path:
        """What the window shows, or the whole page, as PNG."""
        reply = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=full_page)
        file.write_bytes(base64.b64decode(reply["data"]))
        return file


@contextmanager
def opened() -> Iterator[Browser]:
    """A headless browser, closed at the end; it resolves no host name."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--hide-scrollbars",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses to run as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
