"""The Markdown of a report at the end of GitHub's step summary, where a job runs there.

GitHub Actions names a file in ``$GITHUB_STEP_SUMMARY`` and shows what is appended to it on the page of the
run. The variable is set nowhere else, so that writing there is the default and ``--no-summary`` the way out.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.record.model import Report
from bench.report import markdown as reports
from compress.errors import UserError

VARIABLE = "GITHUB_STEP_SUMMARY"


def append(report: Report, requested: bool | None = None) -> Path | None:
    """Append the report to the summary; the file, or None where there is none or none is wanted.

    Args:
        report: to show.
        requested: True asks for it, False forbids it, None writes where the variable is set.

    Raises:
        UserError: it was asked for and the variable is not set, or the file cannot be written.
    """
    place = os.environ.get(VARIABLE)
    if requested is False or (not place and requested is None):
        return None
    if not place:
        raise UserError(
            f"--summary was asked for and ${VARIABLE} is not set: it is in a GitHub Actions job; elsewhere "
            "use --markdown FILE"
        )
    try:
        # Not to hang where a pipe lies that nobody reads.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o666)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(reports.page(report) + "\n")
    except OSError as cause:
        raise UserError(f"the step summary {place} cannot be written: {cause.strerror}") from cause
    return Path(place)
