"""The timing cache: measured tactics of earlier builds, kept in the store between builds.

A file for each TensorRT and GPU holds the checksum of its content in front of the content. A damaged
or missing file costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from compress import log

_DIGEST = 64


def file(folder: Path, flavor: str, version: str, gpu: str, compute_capability: str) -> Path:
    """Where the cache of a TensorRT and a GPU lies."""
    key = hashlib.sha256(f"{flavor} {version} {gpu} {compute_capability}".encode()).hexdigest()
    return folder / f"{key}.timing"


def read(path: Path | None) -> bytes:
    """The cache's content; empty where there is none or it is damaged."""
    if path is None:
        return b""
    try:
        stored = path.read_bytes()
    except OSError:
        return b""
    digest, content = stored[:_DIGEST], stored[_DIGEST:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        log.info("the timing cache %s is damaged: tactics are timed again", path.name)
        return b""
    return content


def write(path: Path, content: bytes) -> str:
    """Keep a cache's content, whole or not at all; gives its id, the SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(digest.encode() + content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest
