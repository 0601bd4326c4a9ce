"""Text that XML can hold: SVG and JUnit take most characters, and a few not even escaped."""

from __future__ import annotations

import re

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """The text with a question mark for each character that XML 1.0 has no way to write."""
    return _NOT_XML.sub("?", text)
