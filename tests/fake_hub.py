"""A hub on loopback: serves folders as model and data set repositories, the way huggingface_hub asks.

``root/models/OWNER/NAME`` and ``root/datasets/OWNER/NAME`` are repositories of one branch, ``main``; the
commit is a digest of the files. A name that starts with ``gated-`` asks for a login.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def files_of(repository: Path) -> list[Path]:
    """The repository's files, sorted."""
    return sorted(path for path in repository.rglob("*") if path.is_file())


def commit_of(repository: Path) -> str:
    """Forty hexadecimal digits from names and contents."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in files_of(repository):
        digest.update(path.relative_to(repository).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    requests: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(
            status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _fail(self, status: int, code: str) -> None:
        self._json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def do_HEAD(self) -> None:
        """Answer like GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer what huggingface_hub and datasets ask."""
        path = unquote(urlsplit(self.path).path).strip("/")
        self.requests.append(f"{self.command} /{path}")
        parts = path.split("/")
        if parts[0] == "api" and len(parts) >= 4:
            self._api(parts[1], "/".join(parts[2:4]), parts[4:])
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            segments = parts[1:] if kind == "datasets" else parts
            if len(segments) > 4 and segments[2] == "resolve":
                self._file(kind, "/".join(segments[:2]), segments[3], "/".join(segments[4:]))
            else:
                self._fail(404, "EntryNotFound")

    def do_POST(self) -> None:
        """``paths-info`` asks for some files by name."""
        length = int(self.headers.get("Content-Length", 0))
        query = json.loads(self.rfile.read(length) or b"{}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.requests.append(f"POST /{'/'.join(parts)}")
        repository = self._find(parts[1], "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        if repository is not None:
            paths = query.get("paths", [])
            self._json([entry for entry in self._tree(repository) if entry["path"] in paths])

    def _find(self, kind: str, name: str, revision: str) -> Path | None:
        repository = self.root / kind / name
        if name.split("/")[-1].startswith("gated-"):
            self._fail(403, "GatedRepo")
        elif not repository.is_dir():
            self._fail(404, "RepoNotFound")
        elif revision not in {"main", commit_of(repository)}:
            self._fail(404, "RevisionNotFound")
        else:
            return repository
        return None

    def _tree(self, repository: Path) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": path.relative_to(repository).as_posix(),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
            }
            for path in files_of(repository)
        ]

    def _api(self, kind: str, name: str, segments: list[str]) -> None:
        revision = segments[1] if len(segments) > 1 else "main"
        repository = self._find(kind, name, revision)
        if repository is None:
            return
        if segments and segments[0] == "tree":
            self._json(self._tree(repository))
            return
        siblings = [{"rfilename": entry["path"], "size": entry["size"]} for entry in self._tree(repository)]
        self._json(
            {
                "id": name,
                "modelId": name,
                "sha": commit_of(repository),
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "siblings": siblings,
                "lastModified": "2026-01-01T00:00:00.000Z",
            }
        )

    def _file(self, kind: str, name: str, revision: str, file: str) -> None:
        repository = self._find(kind, name, revision)
        if repository is None:
            return
        path = repository / file
        commit = {"X-Repo-Commit": commit_of(repository)}
        if not path.is_file():
            self._json({}, 404, {"X-Error-Code": "EntryNotFound", **commit})
            return
        body = path.read_bytes()
        etag = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        self._send(200, body, {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **commit})


@contextmanager
def serve(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve ``root`` on a free port; yields the endpoint's URL and the growing list of requests."""
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
