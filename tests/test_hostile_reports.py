"""Stored reports that are broken, or that somebody sealed anew with what no bench could have written."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import hostile
import pytest
from hostile import ABSENT, BYTES, DIGITS, HALF, changed, refused, run, sealed_anew, tree
from pydantic import ValidationError

from bench.record import document
from bench.record.finding import Finding
from bench.verdicts import baselines
from compress.errors import UserError

_VERDICT = {
    "gate": "size",
    "candidate": "after",
    "status": "pass",
    "metric": "size_bytes",
    "value": 1.0,
    "interval": None,
    "limit": "1MB",
    "reason": "small",
}
CHANGES: dict[str, tuple[str, Any]] = {
    "no candidates": ("candidates", []),
    "one candidate gone": ("candidates.1", ABSENT),
    "two of one name": ("candidates.1.name", "before"),
    "baseline elsewhere": ("baseline", "other"),
    "baseline empty": ("baseline", ""),
    "baseline null": ("baseline", None),
    "measurement of nobody": ("measurements.3.candidate", "nobody"),
    "value null": ("measurements.0.value", None),
    "value text": ("measurements.0.value", "fast"),
    "value list": ("measurements.0.value", [1.0]),
    "value 1e308": ("measurements.0.value", 1e308),
    "value -1e308": ("measurements.0.value", -1e308),
    "latency below zero": ("measurements.6.value", -1.0),
    "sample null": ("measurements.6.samples.0", None),
    "sample text": ("measurements.6.samples.0", "x"),
    "sample below zero": ("measurements.6.samples.0", -3.0),
    "sample 1e300": ("measurements.6.samples.0", 1e300),
    "samples a number": ("measurements.6.samples", 3),
    "rounds 0": ("measurements.6.rounds", 0),
    "rounds 10^18": ("measurements.6.rounds", 10**18),
    "rounds negative": ("measurements.6.rounds", -4),
    "interval turned": ("measurements.6.interval", {"low": 9.0, "high": 1.0, "level": 0.95}),
    "interval level": ("measurements.6.interval", {"low": 1.0, "high": 2.0, "level": 95}),
    "interval a list": ("measurements.6.interval", [1, 2]),
    "ratio 1e300": ("measurements.6.ratio", 1e300),
    "unit other": ("measurements.6.unit", "s"),
    "unit empty": ("measurements.6.unit", ""),
    "unit with markup": ("measurements.6.unit", "<b>"),
    "better sideways": ("measurements.6.better", "sideways"),
    "batch size 0": ("measurements.6.conditions.batch_size", 0),
    "batch size text": ("measurements.6.conditions.batch_size", "one"),
    "length negative": ("measurements.6.conditions.length", -1),
    "length text": ("measurements.6.conditions.length", "long"),
    "conditions null": ("measurements.6.conditions", None),
    "right no bitmap": ("measurements.0.right", "zz"),
    "right too short": ("measurements.0.right", "ff"),
    "paired too many": ("measurements.0.paired", {"rows": 3, "worse": 9, "better": 1, "p_value": 0.5}),
    "paired p 7": ("measurements.0.paired", {"rows": 30, "worse": 9, "better": 1, "p_value": 7}),
    "value a digit in a text": ("measurements.0.value", "8.0"),
    "value true": ("measurements.0.value", True),
    "rounds a text": ("measurements.6.rounds", "20"),
    "batch size true": ("measurements.6.conditions.batch_size", True),
    "interval of texts": ("measurements.6.interval", {"low": "1", "high": "2", "level": 0.95}),
    "flags a list": ("measurements.0.flags", ["unstable"]),
    "flag a text": ("measurements.0.flags.unstable", "no"),
    "flag a number": ("measurements.0.flags.host_bound", 1),
    "flag unknown": ("measurements.0.flags.late", True),
    "spoiled true": ("measurements.0.flags.spoiled", True),
    "rows of data a text": ("data.rows", "100"),
    "fingerprint a number": ("data.fingerprint", 5),
    "rounds of the setting a text": ("config.rounds", "20"),
    "chance allowed by a text": ("config.allow_chance", "yes"),
    "conditions of another moment": ("conditions.during", {}),
    "a condition a number": ("conditions.before", {"load": 0.1}),
    "labels unknown a text": ("candidates.0.labels", {"unknown": "yes"}),
    "rows cut true": ("candidates.0.truncation.cut", True),
    "notes a text": ("measurements.0.notes", "x"),
    "finding of no kind": ("measurements.0.finding", {"kind": "nothing"}),
    "measurements null": ("measurements", None),
    "measurements object": ("measurements", {"a": 1}),
    "facts of nobody": ("facts.nobody", {}),
    "facts a list": ("facts", []),
    "parity a text": ("facts.after.parity", "good"),
    "parity cases": ("facts.after.parity.cases", [{"small": 1}]),
    "parity text": ("facts.after.parity.cases.0.largest", "tiny"),
    "device a text": ("device", "gpu"),
    "device half": ("device", {"facts": {}}),
    "environment a number": ("environment.cpu", 3),
    "data null": ("data", None),
    "config null": ("config", None),
    "rows negative": ("data.rows", -1),
    "no rounds": ("config.rounds", 0),
    "no runs": ("config.runs", 0),
    "seed text": ("seed", "x"),
    "seed negative": ("seed", -1),
    "threads 0": ("candidates.0.threads", 0),
    "threads null": ("candidates.0.threads", None),
    "lineage a text": ("candidates.0.lineage", "load"),
    "verdict on nobody": ("verdicts", [_VERDICT | {"candidate": "nobody"}]),
    "verdict of 1e308": ("verdicts", [_VERDICT | {"value": 1e308}]),
    "verdict in a text": ("verdicts", [_VERDICT | {"value": "1"}]),
    "verdict turned": ("verdicts", [_VERDICT | {"interval": {"low": 2.0, "high": 1.0, "level": 0.95}}]),
    "chance 1e308": ("measurements.0.blind", 1e308),
    "verdict of no status": ("verdicts", [{"gate": "size"}]),
    "schema version 0": ("schema_version", 0),
    "schema version 3": ("schema_version", 3),
    "schema version true": ("schema_version", True),
    "schema version 1.5": ("schema_version", 1.5),
    "schema version text": ("schema_version", "one"),
    "unknown field": ("surprise", 1),
    "title gone": ("title", ABSENT),
    "created gone": ("created", ABSENT),
    "inconclusive maybe": ("inconclusive", "maybe"),
}


@pytest.mark.parametrize(("place", "value"), CHANGES.values(), ids=CHANGES)
def test_a_report_that_does_not_hold_together_is_refused(tmp_path: Path, place: str, value: Any) -> None:
    """Whoever writes a file can seal it: names, figures, units and types are looked at as well."""
    path = sealed_anew(tmp_path / "report.json", changed(tree(), place, value))
    with pytest.raises(UserError, match=r"report\.json"):
        document.read(path)


def test_the_unchanged_report_is_read(tmp_path: Path) -> None:
    """The tree that every change starts from is a report."""
    assert document.read(sealed_anew(tmp_path / "report.json", tree())).baseline == "before"


TEXTS = {
    "NaN": lambda text: text.replace('"value": 8.0', '"value": NaN', 1),
    "Infinity": lambda text: text.replace('"value": 8.0', '"value": Infinity', 1),
    "-Infinity": lambda text: text.replace('"value": 8.0', '"value": -Infinity', 1),
    "1e400": lambda text: text.replace('"value": 8.0', '"value": 1e400', 1),
    "digits": lambda text: text.replace('"seed": 0', f'"seed": {DIGITS}', 1),
    "a key twice": lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 1', 1),
    "half a pair": lambda text: text.replace('"after against before"', f'"{HALF}"', 1),
    "half a pair as a key": lambda text: text.replace('"cpu"', f'"{HALF}"', 1),
    "deep": lambda text: text.replace('"seed": 0', '"seed": ' + "[" * 9000 + "]" * 9000, 1),
    "deep and open": lambda text: "[" * 200_000,
    "cut off": lambda text: text[: len(text) // 2],
    "two": lambda text: text + text,
    "a list": lambda text: f"[{text}]",
    "null": lambda text: "null",
    "a number": lambda text: "3",
    "a text": lambda text: '"report"',
}


def _words(verb: str, path: Path, good: Path, folder: Path) -> list[object]:
    budget = folder / "budget.yaml"
    budget.write_text("- size: {at_most: 1GB}\n")
    return {
        "report": ["report", path],
        "gate": ["gate", path, "--budget", budget],
        "save": ["baseline", "save", path, "--to", folder / "kept"],
        "compare": ["baseline", "compare", path, "--from", good],
        "compare from": ["baseline", "compare", good, "--from", path],
    }[verb]


@pytest.mark.parametrize("verb", ["report", "compare from"])
@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
def test_what_is_no_json_of_a_report_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, verb: str
) -> None:
    """Every verb that reads a report says what is wrong with the file, and leaves nothing behind."""
    good = sealed_anew(tmp_path / "good.json", tree())
    path = tmp_path / "report.json"
    path.write_text(change(json.dumps(json.loads(good.read_text()))))
    assert "report.json" in refused(capsys, *_words(verb, path, good, tmp_path))
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("verb", ["gate", "save"])
@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_what_is_no_text_is_called_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, verb: str
) -> None:
    """UTF-16, binary and empty files in a report's place."""
    good = sealed_anew(tmp_path / "good.json", tree())
    path = tmp_path / "report.json"
    path.write_bytes(content)
    assert "report.json" in refused(capsys, *_words(verb, path, good, tmp_path))


@pytest.mark.parametrize("verb", ["report", "gate", "save", "compare"])
@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_what_is_no_regular_file_is_not_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, verb: str
) -> None:
    """A pipe would hang and a device never end."""
    good = sealed_anew(tmp_path / "good.json", tree())
    path = tmp_path / "report.json"
    make(path)
    refused(capsys, *_words(verb, path, good, tmp_path))


@pytest.mark.parametrize("place", ["x" * 5000, "x/" * 3000, "a\0b", "/proc/self/mem", "/dev/null", "", "."])
def test_paths_that_name_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too long for the system, with a NUL, a device, or nothing at all."""
    monkeypatch.chdir(tmp_path)
    refused(capsys, "report", place)


@pytest.mark.parametrize("place", ["x" * 5000, "a\0b", "/dev/null"])
def test_places_that_keep_no_baselines(capsys: pytest.CaptureFixture[str], place: str) -> None:
    """A place that is no folder and cannot be one."""
    refused(capsys, "baseline", "list", "--from", place)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_a_label_that_no_xml_can_hold_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup in names reach JUnit, Markdown and HTML as text."""
    content = tree()
    strange = 'a\x01\x1b<b>&"\ufffe'
    content["candidates"][1]["name"] = strange
    content["facts"] = {}
    for measurement in content["measurements"]:
        measurement["candidate"] = measurement["candidate"].replace("after", strange)
    path = sealed_anew(tmp_path / "report.json", content)
    out = [tmp_path / name for name in ("o.html", "o.md", "o.xml")]
    code, _, err = hostile.run(
        capsys, "report", path, "--html", out[0], "--markdown", out[1], "--junit", out[2]
    )
    assert code == 0, err
    assert "\\x01" not in err
    assert all(file.stat().st_size for file in out)
    assert "<b>&" not in out[0].read_text()


def test_brackets_of_a_report_are_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A title and a gate's name are shown as they are written, and a NUL goes into no commit message."""
    content = tree()
    content["title"] = "a[/]b\0"
    judged = {"candidate": content["baseline"], "status": "pass", "metric": "size_bytes", "value": 1.0}
    content["verdicts"] = [judged | {"gate": "size[/]", "interval": None, "limit": "1MB", "reason": "small"}]
    path = sealed_anew(tmp_path / "report.json", content)
    code, out, err = hostile.run(capsys, "report", path)
    assert (code, err) == (0, "")
    assert "size[/]" in out
    assert hostile.run(capsys, "baseline", "save", path, "--to", tmp_path / "kept")[0] == 0
    code, out, err = hostile.run(capsys, "baseline", "list", "--from", tmp_path / "kept")
    assert code == 0, err
    assert "a[/]b" in out
    assert "[/]" in hostile.run(capsys, "baseline", "list", "--from", tmp_path / "[/]")[1]

    monkeypatch.chdir(tmp_path)
    for key, value in {"NAME": "a", "EMAIL": "a@b"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{key}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{key}", value)
    subprocess.run(["git", "init", "-q", "."], check=True)
    code, out, err = hostile.run(capsys, "baseline", "save", path, "--to", "git:kept")
    assert code == 0, err


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b", "a\nb", ".", "-x", "ü", "x" * 300])
def test_names_of_baselines_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A name becomes a file's name: letters, digits and a few signs."""
    good = sealed_anew(tmp_path / "good.json", tree())
    if len(name) < 200:
        refused(capsys, "baseline", "save", good, "--to", tmp_path / "kept", "--name", name)
    refused(capsys, "baseline", "compare", good, "--from", tmp_path / "kept", "--name", name)


@pytest.mark.parametrize("place", ["git:", "git:-x", "git:a b", "git:../x", "git:a\nb"])
def test_branches_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch that cannot be one; one that is only not there yet is an open verdict."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q", "."], check=True)
    good = sealed_anew(tmp_path / "good.json", tree())
    refused(capsys, "baseline", "compare", good, "--from", place)
    code, out, err = run(capsys, "baseline", "compare", good, "--from", "git:nowhere")
    assert (code, err) == (4, "")
    assert "git:nowhere has no baseline" in out


@pytest.mark.parametrize("content", [*BYTES.values(), b"{}", b'{"a": NaN}', b"[" * 100_000])
def test_a_baseline_on_a_branch_that_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies on a branch is read like a file: UTF-16 and binary blobs are called by their name."""
    monkeypatch.chdir(tmp_path)
    good = sealed_anew(tmp_path / "good.json", tree())
    place = baselines._path(document.read(good).environment, "main")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", "-b", "kept", "."], check=True)
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    subprocess.run(["git", "add", place], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "a baseline"], check=True)
    refused(capsys, "baseline", "compare", good, "--from", "git:kept")
    refused(capsys, "baseline", "list", "--from", "git:kept")


@pytest.mark.parametrize("make", hostile.NO_FILES[:1] + hostile.NO_FILES[2:3])
def test_a_stored_baseline_that_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any
) -> None:
    """A pipe or a link to itself in a baseline's place."""
    good = sealed_anew(tmp_path / "good.json", tree())
    file = tmp_path / "kept" / baselines._path(document.read(good).environment, "main")
    file.parent.mkdir(parents=True)
    make(file)
    refused(capsys, "baseline", "compare", good, "--from", tmp_path / "kept")
    refused(capsys, "baseline", "list", "--from", tmp_path / "kept")


@pytest.mark.parametrize("key", ["candidate", "metric", "self"])
def test_a_condition_may_bear_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """A probe from elsewhere names its conditions as it likes, and so does whoever writes a file."""
    content = tree()
    for measurement in content["measurements"]:
        measurement["conditions"] |= {key: "x"}
    path = sealed_anew(tmp_path / "report.json", content)
    code, out, err = hostile.run(capsys, "report", path)
    assert (code, err) == (0, "")
    assert f"{key} x" in out


class _Moved(Finding):
    kind: str = "moved"
    by: dict[str, tuple[int, ...]]


@pytest.mark.parametrize("number", [-1, 10**15 + 1])
def test_a_finding_that_could_not_be_read_is_not_made(number: int) -> None:
    """An integer of a finding is a count for whoever writes it too: a report of it was refused on reading."""
    assert _Moved(by={"a": (0, 10**15)}).by == {"a": (0, 10**15)}
    with pytest.raises(ValidationError, match=f"by is {number}, which is no count"):
        _Moved(by={"a": (0, number)})


def test_a_finding_that_nobody_here_knows_is_kept_with_its_signs(tmp_path: Path) -> None:
    """Only the entry that wrote it could say whether an integer in it is a count."""
    finding = {"kind": "ranks", "schema_version": 1, "moved": [-3, 2]}
    path = sealed_anew(tmp_path / "report.json", changed(tree(), "measurements.0.finding", finding))
    kept = document.read(path).measurements[0].finding
    assert kept is not None
    assert kept.model_dump() == finding


def test_figures_are_finite_wherever_they_stand() -> None:
    """No report that is read holds a figure that is no number."""
    report = document.from_json(json.dumps(tree()), "here")
    assert all(math.isfinite(measurement.value) for measurement in report.measurements)
