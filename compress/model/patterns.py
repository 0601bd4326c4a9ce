"""Patterns that an adapter holds against the names of a model's layers: tried out with a limit of time.

``target_modules`` and its kin may be regular expressions, and one like ``(a+)+$`` takes longer than anybody
waits on a name of thirty letters. Whether one ends is not seen by looking at it, so that each is matched
with the very names that it will meet, in a process that is ended where it does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import ModelError

_SECONDS = 20.0
# A text is a pattern in the first two, and a list holds names; in the others a list holds patterns too.
_FIELDS = ("target_modules", "exclude_modules")
_LISTS = ("layers_pattern", "modules_to_save")
_TABLES = ("rank_pattern", "alpha_pattern")
# As peft puts them together. What is no pattern is said by peft itself.
_PROGRAM = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    print(json.dumps(pattern), flush=True)
    for form in ("{}", r"(.*\\.)?({})$", r"(?:^|.*?\\.){}\\.(\\d+)\\.", r"(^|.*\\.){}($|\\..*)"):
        try:
            compiled = re.compile(form.format(pattern))
        except (re.error, OverflowError, RecursionError):
            continue
        for name in names:
            compiled.fullmatch(name)
            compiled.match(name)
"""


def check(file: Path, content: Mapping[str, Any], names: Iterable[str], seconds: float = _SECONDS) -> None:
    """Refuse a pattern that does not come to its end on the names that it is for.

    Args:
        file: the adapter's configuration, for the message.
        content: of it.
        names: of the model's modules.
        seconds: that all patterns together may take.

    Raises:
        ModelError: the pattern is named.
    """
    patterns = _patterns(content)
    if not patterns:
        return
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps([patterns, list(names)]),
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as cause:
        begun = cause.stdout.decode("utf-8", errors="replace").splitlines() if cause.stdout else []
        raise ModelError(
            f"{file}: the pattern {(begun or ['in it'])[-1][:120]} was not done with the names of the "
            f"model's layers after {seconds:.0f} s: write it without repeats inside of repeats, or list the "
            "layers"
        ) from cause


def _patterns(content: Mapping[str, Any]) -> list[str]:
    """What is a regular expression to peft: texts, and the keys of its tables; a list of names is none."""
    found = [content[field] for field in (*_FIELDS, *_LISTS) if isinstance(content.get(field), str)]
    for field in _LISTS:
        listed = content.get(field)
        found += [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    for field in _TABLES:
        table = content.get(field)
        found += list(table) if isinstance(table, dict) else []
    return found
