"""Stored reports to compare with later, kept apart by machine: in a folder, or on a git branch.

A figure of another machine is no baseline. So each report is filed under the fingerprint of the machine
that measured it (processor, number of CPUs, GPU, driver and CUDA, versions of the runtimes), and a lookup on
another machine finds nothing and says so. A branch is written without touching the working tree or the
index, and nothing is pushed: that is the user's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.record import document as reports
from bench.record.model import Report
from compress import outputs
from compress.errors import UserError
from compress.reading import files, utf8

GIT = "git:"
MAIN = "main"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MACHINE = re.compile(r"cpu|cpus|(gpu|cuda|driver|nvidia).*|torch|onnxruntime(-gpu)?|tensorrt.*|openvino")


class NoBaseline(UserError):  # noqa: N818 - reads as the sentence that it is
    """There is nothing to compare with yet: no baseline, or only one of another machine.

    No mistake of whoever asks for a comparison the first time, or on another machine of a pool: a gate turns
    it into a verdict.
    """


def machine(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes a machine the same one for timings, out of a report's environment."""
    return {key: value for key, value in sorted(environment.items()) if _MACHINE.fullmatch(key)}


def fingerprint(environment: Mapping[str, str]) -> str:
    """SHA-256 of ``machine``."""
    text = json.dumps(machine(environment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What differs between two machines, such as ``cpus 8 there, 2 here``; the old one is there."""
    then, now = machine(old), machine(new)
    return [
        f"{key} {then.get(key, 'absent')} there, {now.get(key, 'absent')} here"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]


class Place(Protocol):
    """Where baselines are kept: texts by path."""

    def read(self, path: str) -> str | None:
        """The text at a path, or None."""
        ...

    def write(self, path: str, text: str, message: str) -> None:
        """Put a text at a path."""
        ...

    def paths(self) -> list[str]:
        """All paths, sorted."""
        ...


@dataclass(frozen=True)
class Folder:
    """Baselines in a folder."""

    root: Path

    def read(self, path: str) -> str | None:
        """The text of a file, or None where there is none."""
        file = self.root / path
        return utf8.read(file) if files.exists(file) else None

    def write(self, path: str, text: str, message: str) -> None:
        """Write a file whole; a folder has no messages."""
        reports.write(self.root / path, text)

    def paths(self) -> list[str]:
        """Every file of a baseline, relative."""
        if not files.exists(self.root):
            return []
        if not files.is_folder(self.root):
            raise UserError(
                f"{files.shown(self.root)} is no folder: baselines are kept in one, or on a branch"
            )
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob("*/*.json"))


@dataclass(frozen=True)
class Branch:
    """Baselines on a branch of the git repository of the working folder."""

    name: str

    def _git(self, *arguments: str, text: str | None = None, index: str | None = None) -> str | None:
        """The output of a git command as text; None where it fails.

        Raises:
            UserError: git is not there or does not answer, or what it gives is no text.
        """
        environment = {**os.environ, **({"GIT_INDEX_FILE": index} if index else {})}
        try:
            process = subprocess.run(
                ["git", *arguments],
                input=None if text is None else text.encode(),
                capture_output=True,
                check=False,
                env=environment,
                timeout=60,
            )
        except subprocess.TimeoutExpired as cause:
            raise UserError(
                f"git {arguments[0]} gave no answer for {cause.timeout:.0f} s: see whether it waits for a "
                "lock or a password, or give a folder in place of git:BRANCH"
            ) from cause
        except OSError as cause:
            raise UserError(f"baselines on the branch '{self.name}' need git: {cause.strerror}") from cause
        return utf8.decode(process.stdout, f"git:{self.name}") if process.returncode == 0 else None

    def _must(self, *arguments: str, text: str | None = None, index: str | None = None) -> str:
        output = self._git(*arguments, text=text, index=index)
        if output is None:
            raise UserError(
                f"git {arguments[0]} failed for the branch '{self.name}': run this inside a git repository "
                "with user.name and user.email set, or give a folder in place of git:BRANCH"
            )
        return output.strip()

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.name}"

    def _in_repository(self) -> None:
        self._must("rev-parse", "--git-dir")

    def read(self, path: str) -> str | None:
        """The text of a file on the branch; of its remote copy where there is no local branch."""
        self._in_repository()
        for ref in (self._ref, f"refs/remotes/origin/{self.name}"):
            text = self._git("show", f"{ref}:{path}")
            if text is not None:
                return text
        return None

    def write(self, path: str, text: str, message: str) -> None:
        """Commit a file to the branch, which comes to be with its first baseline."""
        self._in_repository()
        blob = self._must("hash-object", "-w", "--stdin", text=text)
        parent = self._git("rev-parse", "--verify", "--quiet", self._ref)
        if parent is None:
            parent = self._git("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{self.name}")
        with tempfile.TemporaryDirectory() as folder:
            index = str(Path(folder) / "index")
            if parent is not None:
                self._must("read-tree", parent.strip(), index=index)
            self._must("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
            tree = self._must("write-tree", index=index)
        parents = ["-p", parent.strip()] if parent is not None else []
        commit = self._must("commit-tree", tree, *parents, "-m", message)
        # The old value makes two writers at once an error of the second, never a lost baseline.
        self._must(
            "update-ref", self._ref, commit, (self._git("rev-parse", self._ref) or "").strip() or "0" * 40
        )

    def paths(self) -> list[str]:
        """Every file of a baseline on the branch."""
        self._in_repository()
        for ref in (self._ref, f"refs/remotes/origin/{self.name}"):
            listing = self._git("ls-tree", "-r", "--name-only", ref)
            if listing is not None:
                return sorted(
                    line for line in listing.splitlines() if line.endswith(".json") and line.count("/") == 1
                )
        return []


def place(text: str) -> Place:
    """A folder, or ``git:BRANCH``.

    Raises:
        UserError: no branch is named, or with a name that is none.
    """
    if not text.startswith(GIT):
        return Folder(outputs.place(text))
    branch = text.removeprefix(GIT)
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", branch):
        raise UserError(f"'{text}' names no branch: write git:BRANCH, such as git:paredown-baselines")
    return Branch(branch)


def _path(environment: Mapping[str, str], name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' is no name for a baseline: letters, digits, '.', '_' and '-' are allowed")
    return f"{fingerprint(environment)[:16]}/{name}.json"


def save(report: Report, location: str, name: str = MAIN) -> str:
    """File a report as a baseline of its machine, in place of an earlier one of that name; its path.

    What stands behind the damage figures, which may quote rows of the evaluation data, is left out: a
    regression reads figures only, and a baseline may lie on a branch that is pushed.
    """
    path = _path(report.environment, name)
    figures = tuple(measurement.model_copy(update={"finding": None}) for measurement in report.measurements)
    baseline = report.model_copy(update={"measurements": figures})
    place(location).write(path, reports.to_json(baseline), f"Baseline {name}: {files.shown(report.title)}")
    return path


def first(report: Report, location: str, name: str = MAIN) -> tuple[str | None, str]:
    """File a report as the first baseline of its machine, where there is none and no gate failed.

    What a regression gate leaves open keeps no first baseline out, even where an inconclusive verdict was
    told to count as failed: the gate has nothing else to say until there is a baseline.

    Returns:
        The path, or None where the report is not kept; and why.
    """
    failing = {"fail", "anomalous"} | ({"inconclusive"} if report.inconclusive == "fail" else set())
    against = [
        f"{verdict.gate} ({verdict.status})"
        for verdict in report.verdicts
        if verdict.status in failing and not (verdict.gate == "regression" and verdict.value is None)
    ]
    if against:
        return None, f"the report is not kept as the first baseline, for its gates: {', '.join(against)}"
    path = _path(report.environment, name)
    if place(location).read(path) is not None:
        return None, f"{location}/{path} is there already, and only a report that passed takes its place"
    return save(report, location, name), f"the first baseline '{name}' of this machine"


@dataclass(frozen=True)
class Listed:
    """One stored baseline.

    Attributes:
        name: of it.
        fingerprint: of its machine, as its folder is called.
        report: the whole of it.
    """

    name: str
    fingerprint: str
    report: Report


def stored(location: str) -> list[Listed]:
    """Every baseline of a place.

    Raises:
        UserError: one that was edited or is no report.
    """
    store = place(location)
    entries = []
    for path in store.paths():
        folder, _, file = path.partition("/")
        text = store.read(path)
        if text is not None:
            entries.append(
                Listed(file.removesuffix(".json"), folder, reports.from_json(text, f"{location}/{path}"))
            )
    return entries


def load(source: str, environment: Mapping[str, str], name: str = MAIN) -> Report:
    """The baseline of that name for a machine, or a report file itself.

    Args:
        source: a place, or the file of a report.
        environment: of the report that is to be compared.
        name: of the baseline.

    Raises:
        NoBaseline: there is none for this machine; those of other machines are named.
        UserError: it was edited, or has no seal.
    """
    if not source.startswith(GIT) and files.is_file(Path(source)):
        report = reports.read(Path(source), must_be_sealed=True)
        changes = differences(report.environment, environment)
        if changes:
            raise NoBaseline(
                f"the baseline {source} was measured on another machine ({'; '.join(changes)}): times of two "
                "machines are not compared; save one of each machine with 'paredown baseline save REPORT "
                "--to FOLDER', and give that folder as the baseline"
            )
        return report
    path = _path(environment, name)
    text = place(source).read(path)
    if text is not None:
        return reports.from_json(text, f"{source}/{path}", must_be_sealed=True)
    listed = stored(source)
    digest = fingerprint(environment)[:16]
    mine = sorted(entry.name for entry in listed if entry.fingerprint == digest)
    same = next((entry for entry in listed if entry.name == name), None)
    if mine:
        hint = f"this machine has: {', '.join(mine)}"
    elif same is not None:
        changes = differences(same.report.environment, environment)
        hint = (
            f"the one of that name is of another machine ({'; '.join(changes)}), and those are not compared"
        )
    else:
        hint = "there is none at all" if not listed else f"{len(listed)} are of other machines"
    raise NoBaseline(
        f"{source} has no baseline '{name}' for this machine ({digest}): {hint}. Save one with 'paredown "
        f"baseline save REPORT --to {source} --name {name}'"
    )
