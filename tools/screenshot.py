"""Takes a picture of a report's first screen, for the README.

``python -m tools.screenshot REPORT.html --out docs/report.png`` asks an installed Chromium for what a reader
sees without scrolling, in the light theme or, with ``--dark``, in the dark one. No picture is made by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1200, 800


def take(page: Path, out: Path, *, dark: bool = False) -> None:
    """Write the first screen of a page as PNG.

    Args:
        page: an HTML file.
        out: where the picture goes.
        dark: in the dark theme.

    Raises:
        FileNotFoundError: no page, or no Chromium on the path.
        subprocess.CalledProcessError: it took no picture.
    """
    if not page.is_file():
        raise FileNotFoundError(f"{page} does not exist: 'paredown report REPORT --html {page}' writes it")
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise FileNotFoundError(f"a picture needs one of {', '.join(BROWSERS)} on the path")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                browser,
                "--headless=new",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to run as root otherwise
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={shot}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(shot) as picture:
            # Few colors are on the page: a palette keeps the file small, and what it shows the same.
            picture.convert("RGB").quantize(128).save(out, optimize=True)


def main(arguments: list[str]) -> int:
    """Parse the command line and take the picture."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshot", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args(arguments)
    try:
        take(options.page, options.out, dark=options.dark)
    except FileNotFoundError as cause:
        parser.error(str(cause))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
