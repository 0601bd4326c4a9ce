"""A browser that must be there and is not is an error, never a skip."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import browser
import pytest
from conftest import ROOT

BOTH = ("chromium", "chromedriver")


def look(folder: Path, *programs: str, user: int = 1000, **environment: str) -> tuple[int, str]:
    """Source ``.ci/browser`` on a machine with some programs: exit code, and what the tests are told."""
    place = folder / "bin"
    place.mkdir()
    scripts = dict.fromkeys(programs, "exit 0") | {"id": f"echo {user}"}
    if "apt-get" in programs:
        installer = "\n".join(
            f"printf '#!/bin/sh\\n' > {place}/{name}; {place}/chmod +x {place}/{name}" for name in BOTH
        )
        scripts["apt-get"] = f'[ "$1" = install ] || exit 0\n{installer}'
    for name, text in scripts.items():
        (place / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / name).chmod(0o755)
    (place / "chmod").symlink_to(shutil.which("chmod") or "")
    bash = shutil.which("bash") or ""
    process = subprocess.run(
        [bash, "-euo", "pipefail", "-c", f'. {ROOT}/.ci/browser; echo "told: ${{PAREDOWN_BROWSER:-}}"'],
        env={"PATH": str(place), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return process.returncode, process.stdout + process.stderr


def test_a_bare_machine_goes_on_without(tmp_path: Path) -> None:
    """Nobody asked for a browser, and nobody can install one: said, in a CI too."""
    code, output = look(tmp_path, CI="true")
    assert code == 0
    assert "no browser: going on without the page's tests\ntold: \n" in output


@pytest.mark.parametrize("programs", [BOTH, ("apt-get",)])
def test_a_browser_that_is_there_or_was_installed_must_be_used(
    tmp_path: Path, programs: tuple[str, ...]
) -> None:
    """The tests are told to fail where they would be skipped."""
    code, output = look(tmp_path, *programs, user=0)
    assert (code, output) == (0, "told: required\n")


def test_a_browser_that_was_asked_for_and_is_not_there_fails(tmp_path: Path) -> None:
    """One sentence, and nothing else runs."""
    code, output = look(tmp_path, PAREDOWN_BROWSER="required")
    assert code == 1
    assert "PAREDOWN_BROWSER=required, and chromium and chromedriver are not both there" in output
    assert "told" not in output


@pytest.mark.parametrize(("environment", "code"), [({"CI": "true"}, 1), ({}, 0)])
def test_half_a_browser_fails_in_a_ci_alone(tmp_path: Path, environment: dict[str, str], code: int) -> None:
    """There it was meant to be whole; a desk with Chromium and no driver goes on without."""
    assert look(tmp_path, "chromium", **environment)[0] == code


def test_the_page_s_tests_are_no_longer_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Required and missing is an error with the reason; otherwise the reason is that of a skip."""
    monkeypatch.setattr(browser.shutil, "which", lambda program: None)
    monkeypatch.delenv("PAREDOWN_BROWSER", raising=False)
    reason = browser.skip_reason()
    assert reason is not None
    monkeypatch.setenv("PAREDOWN_BROWSER", "required")
    with pytest.raises(RuntimeError, match="PAREDOWN_BROWSER=required, and no 'chromium' on the path"):
        browser.skip_reason()
    assert ". .ci/browser" in (ROOT / ".ci" / "run").read_text()
