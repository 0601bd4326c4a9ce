"""The picture in the README, and what the command that takes it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tools import screenshot

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_picture_in_the_readme_is_a_first_screen() -> None:
    """It has the size that the command takes, and less than 200 kB."""
    file = ROOT / "docs" / "report.png"
    with Image.open(file) as picture:
        assert picture.size == (screenshot.WIDTH, screenshot.HEIGHT)
    assert file.stat().st_size < 200_000


def test_without_a_page_or_a_browser_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the command that writes the page, or the programs of which it needs one."""
    with pytest.raises(SystemExit, match="2"):
        screenshot.main([str(tmp_path / "none.html"), "--out", str(tmp_path / "out.png")])
    assert "'paredown report REPORT --html" in capsys.readouterr().err
    page = tmp_path / "page.html"
    page.write_text("<p>page")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        screenshot.main([str(page), "--out", str(tmp_path / "out.png")])
    assert "needs one of chromium" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
