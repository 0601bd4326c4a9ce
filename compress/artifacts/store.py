"""Where artifacts live: a key names a folder, and a folder is there whole or not at all.

Layout below the root::

    artifacts/KEY/       sealed artifacts
    building/KEY.NONCE/  what a stage is writing now; renamed to artifacts/KEY when sealed
    scratch/KEY/         what outlives a kill: checkpoints and caches of a stage under way
    locks/KEY.lock       one builder a key
    caches/STAGE/        what saves a stage time and changes no result (timings); may be lost at any time
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep

import psutil
from filelock import FileLock, Timeout

from compress import log, outputs
from compress.artifacts.artifact import MANIFEST, Artifact, Manifest, write_manifest
from compress.errors import ArtifactError, UserError
from compress.reading import files

_POLL_SECONDS = 0.05


def default_root() -> Path:
    """``$PAREDOWN_STORE``, or ``paredown`` in the user's cache folder."""
    chosen = os.environ.get("PAREDOWN_STORE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paredown"


@dataclass(frozen=True)
class Entry:
    """One sealed artifact of the store.

    Attributes:
        key: its folder's name.
        artifact: the artifact, unverified.
        used: when it was last built or reused.
    """

    key: str
    artifact: Artifact
    used: datetime


@dataclass(frozen=True)
class Building:
    """The folders of a stage under way."""

    out: Path
    scratch: Path


class Store:
    """Sealed artifacts by key, under one root folder."""

    def __init__(self, root: Path | None = None) -> None:
        """Open a store; nothing is created before something is built.

        Args:
            root: its folder; ``default_root()`` when None.
        """
        self.root = outputs.store(default_root() if root is None else root).absolute()

    def path(self, key: str) -> Path:
        """Where the sealed artifact of a key is, or would be."""
        return self.root / "artifacts" / key

    def cache(self, stage: str) -> Path:
        """Where a stage keeps what saves it time; not created here."""
        return self.root / "caches" / stage

    def has(self, key: str) -> bool:
        """Whether a key is built; nothing is read but the name."""
        return (self.path(key) / MANIFEST).is_file()

    def get(self, key: str) -> Artifact | None:
        """The artifact of a key with every byte checked, or None when it is not built.

        Raises:
            ArtifactError: it is there and was changed since it was sealed.
        """
        if not self.has(key):
            return None
        try:
            artifact = Artifact.open(self.path(key))
        except ArtifactError as cause:
            raise ArtifactError(f"{cause} (paredown store prune --damaged removes such entries)") from cause
        (self.path(key) / MANIFEST).touch()
        return artifact

    @contextmanager
    def building(self, key: str) -> Iterator[Building]:
        """An empty folder to write into and the key's scratch, with the key locked.

        The folder is removed on the way out, sealed or not; leftovers of a killed builder are removed
        on the way in. The scratch stays until ``seal``.
        """
        for name in ("artifacts", "building", "scratch", "locks"):
            _make_folder(self.root / name)
        lock = FileLock(self.root / "locks" / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is building %s: waiting for it", key[:12])
            lock.acquire()
        out = self.root / "building" / f"{key}.{secrets.token_hex(4)}"
        scratch = self.root / "scratch" / key
        try:
            for leftover in (self.root / "building").glob(f"{key}.*"):
                _remove(leftover)
            if scratch.is_symlink() or not scratch.is_dir():
                _remove(scratch)  # a link would have checkpoints written where it leads
            out.mkdir()
            scratch.mkdir(exist_ok=True)
            yield Building(out=out, scratch=scratch)
        finally:
            shutil.rmtree(out, ignore_errors=True)
            lock.release()

    @contextmanager
    def assisting(self, key: str) -> Iterator[Building]:
        """Folders for a process that takes part in a build without writing its result.

        Its ``out`` is thrown away; the scratch is the builder's.
        """
        out = self.root / "building" / f"assist.{secrets.token_hex(4)}"
        out.mkdir(parents=True)
        try:
            yield Building(out=out, scratch=self.root / "scratch" / key)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def await_builder(self, key: str) -> bool:
        """Return True once a builder of the key is at work, False once the key is sealed."""
        while not self.has(key):
            if any((self.root / "building").glob(f"{key}.*")):
                return True
            sleep(_POLL_SECONDS)
        return False

    def await_seal(self, key: str) -> Artifact:
        """Wait for a key's builder to seal it; gives the artifact."""
        while not self.has(key):
            sleep(_POLL_SECONDS)
        return Artifact.open(self.path(key))

    def seal(self, key: str, building: Building, manifest: Manifest) -> Artifact:
        """Write the manifest last, move the folder into place and drop the scratch."""
        write_manifest(building.out, manifest)
        final = self.path(key)
        _remove(final)
        building.out.rename(final)
        shutil.rmtree(building.scratch, ignore_errors=True)
        return Artifact(path=final, manifest=manifest)

    def entries(self) -> list[Entry]:
        """Every sealed artifact, the latest used first; unreadable ones are left out, with one warning."""
        readable, problems = [], []
        for folder in sorted((self.root / "artifacts").glob("*")):
            if not (folder / MANIFEST).is_file():
                continue
            try:
                artifact = Artifact.open(folder, verify=False)
            except ArtifactError as problem:
                problems.append(problem)
                continue
            used = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
            readable.append(Entry(key=folder.name, artifact=artifact, used=used))
        if problems:
            log.warning(
                "%d of the store's entries cannot be opened and are left out (paredown store prune --damaged "
                "removes them). The first: %s",
                len(problems),
                problems[0],
            )
        return sorted(readable, key=lambda entry: entry.used, reverse=True)

    def prune(
        self, *, unused_for: timedelta | None = None, damaged: bool = False, everything: bool = False
    ) -> list[Path]:
        """Remove leftovers of killed builders and, where asked, artifacts; give back what was removed.

        Args:
            unused_for: remove artifacts not built or reused for that long.
            damaged: remove artifacts that fail verification.
            everything: remove all artifacts, scratch and caches.

        Raises:
            UserError: a builder is at work.
        """
        removed = []
        for lock_file in sorted((self.root / "locks").glob("*.lock")):
            key = lock_file.stem
            lock = FileLock(lock_file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise UserError(
                    f"the store {self.root} is in use (key {key[:12]}): try again later"
                ) from None
            try:
                leftovers = list((self.root / "building").glob(f"{key}.*"))
                scratch = self.root / "scratch" / key
                doomed = leftovers + ([scratch] if scratch.is_dir() and (everything or self.has(key)) else [])
                if self._is_doomed(key, unused_for=unused_for, damaged=damaged, everything=everything):
                    doomed.append(self.path(key))
                for folder in doomed:
                    _remove(folder)
                    removed.append(folder)
            finally:
                lock.release()
        caches = self.root / "caches"
        if everything and caches.is_dir():
            shutil.rmtree(caches)
            removed.append(caches)
        return removed

    def _is_doomed(self, key: str, *, unused_for: timedelta | None, damaged: bool, everything: bool) -> bool:
        folder = self.path(key)
        if not folder.is_dir():
            return False
        if everything or not self.has(key):
            return True
        used = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
        if unused_for is not None and datetime.now(UTC) - used > unused_for:
            return True
        if not damaged:
            return False
        try:
            Artifact.open(folder)
        except ArtifactError:
            return True
        return False


def _remove(path: Path) -> None:
    """Remove what has a name in the store, be it a folder, a file or a link; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def hidden(name: str) -> str:
    """What a file is called until it is whole."""
    return f".{name}.tmp"


def write_whole(path: Path, text: str) -> None:
    """Write a text so that it is there whole or not at all."""
    temporary = path.with_name(hidden(path.name))
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # it may never have come to be
            temporary.unlink()
        raise


def is_copy(artifact: Artifact, folder: Path) -> bool:
    """Whether a folder holds this artifact, every byte of it."""
    try:
        present = Artifact.open(folder)
    except ArtifactError:
        return False
    return present.id == artifact.id and present.manifest == artifact.manifest


def deliver(artifact: Artifact, out: Path) -> Artifact:
    """Copy a sealed artifact to a folder of the user's, whole or not at all.

    Raises:
        UserError: the folder holds something else.
    """
    out = out.expanduser().absolute()
    if out.exists():
        if is_copy(artifact, out):
            return Artifact(path=out, manifest=artifact.manifest)
        if not out.is_dir() or any(out.iterdir()):
            raise UserError(
                f"the output folder {out} is in use (it holds something else): "
                "choose another --out or remove it"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out)
    temporary = out.parent / hidden(f"{out.name}.{os.getpid()}")
    try:
        shutil.copytree(artifact.path, temporary)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Artifact(path=out, manifest=artifact.manifest)


def _make_folder(path: Path) -> None:
    """Make a folder of the store, where there is none yet.

    Raises:
        UserError: something else lies there, or its file system takes no folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise UserError(
            f"the store cannot have the folder {files.shown(path)} ({cause.strerror}): remove what lies in "
            "its place, or choose another --store or $PAREDOWN_STORE"
        ) from cause


def sweep(out: Path) -> None:
    """Remove copies that a process which is no more left half done beside a folder."""
    before, after = hidden(f"{out.name}.\0").split("\0")
    for path in out.parent.glob(f"{glob.escape(before)}*{after}"):
        process = path.name.removeprefix(before).removesuffix(after)
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(path, ignore_errors=True)
