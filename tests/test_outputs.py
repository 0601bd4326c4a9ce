"""Where a command may write, over all verbs: refused in one line before any work, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_bench
import tiny_deploy

from bench.record import document as reports
from compress import outputs
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from paredown import app

ROOT = Path(__file__).resolve().parent.parent
Refuse = Callable[..., str]

FOLDERS = {
    "run": ("run", "text-int8", "--model", "{model}", "--data", "{data}"),
    "demo": ("demo",),
    "finetune": ("finetune", "{model}", "--data", "{data}"),
    "distill": ("distill", "{model}", "--data", "{data}"),
    "prune": ("prune", "{model}", "--data", "{data}"),
    "temperature": ("temperature", "{model}", "--data", "{data}"),
    "export": ("export", "{model}", "--data", "{data}"),
    "quantize": ("quantize", "{artifact}", "--data", "{data}"),
    "build": ("build", "{artifact}"),
    "bundle": ("bundle", "{artifact}"),
}
FILES = {
    "bench --json": ("bench", "{model}", "--data", "{data}", "--json"),
    "bench --html": ("bench", "{model}", "--data", "{data}", "--html"),
    "bench --markdown": ("bench", "{model}", "--data", "{data}", "--markdown"),
    "damage --junit": ("damage", "{model}", "{artifact}", "--data", "{data}", "--junit"),
    "gate --report": ("gate", "{report}", "--budget", "{budget}", "--report"),
    "report --html": ("report", "{report}", "--html"),
}
# Each makes the place's surroundings in the case's folder and gives the place.
PLACES: dict[str, Callable[[Path], str]] = {
    "empty": lambda folder: "",
    "blank": lambda folder: "  ",
    "long name": lambda folder: str(folder / ("a" * 300)),
    "name without room": lambda folder: str(folder / ("a" * 250)),
    "long path": lambda folder: str(folder) + "/a" * 3000,
    "below a file": lambda folder: str(write(folder / "file") / "never"),
    "far below a file": lambda folder: str(write(folder / "file") / "a" / "never"),
    "proc": lambda folder: "/proc/never",
    "below proc": lambda folder: "/proc/self/never/more",
    "sys": lambda folder: "/sys/never",
    "device": lambda folder: "/dev/full",
    "null": lambda folder: "/dev/null",
    "below a device": lambda folder: "/dev/null/never",
    "pipe": lambda folder: str(pipe(folder / "pipe")),
    "link to nowhere": lambda folder: str(link(folder / "link", "/nowhere/at/all")),
    "link to itself": lambda folder: str(link(folder / "loop", "loop")),
    "inside an artifact": lambda folder: str(folder / "artifact" / "never"),
    "deep inside an artifact": lambda folder: str(folder / "artifact" / "a" / "never"),
    "nobody's home": lambda folder: "~nobody-at-all/never",
    "nul": lambda folder: "a\0b",
}


def write(path: Path) -> Path:
    """A file."""
    path.write_text("something", encoding="utf-8")
    return path


def pipe(path: Path) -> Path:
    """A pipe that nobody reads."""
    os.mkfifo(path)
    return path


def link(path: Path, target: str) -> Path:
    """A symbolic link."""
    path.symlink_to(target)
    return path


@pytest.fixture
def words(tmp_path: Path, text_model: Path, text_data: Path, artifact: Artifact) -> dict[str, str]:
    """What the commands name, made here."""
    shutil.copytree(artifact.path, tmp_path / "artifact")
    report = tmp_path / "report.json"
    report.write_text(reports.to_json(tiny_bench.report()), encoding="utf-8")
    budget = tmp_path / "budget.yaml"
    budget.write_text("- size: {at_most: 1GB}\n", encoding="utf-8")
    return {
        "model": str(text_model),
        "data": str(text_data),
        "artifact": str(tmp_path / "artifact"),
        "report": str(report),
        "budget": str(budget),
    }


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed artifact."""
    return tiny_deploy.text_artifact(tmp_path_factory.mktemp("outputs") / "artifact")


@pytest.fixture
def refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Refuse]:
    """Run a command that must be refused with one line and leave every file as it was; gives the line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> str:
        before = listing(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main(list(arguments))
        streams = capsys.readouterr()
        assert left.value.code == 2, streams.err
        assert streams.out == ""
        lines = streams.err.splitlines()
        assert len(lines) == 1, streams.err
        assert lines[0].startswith("paredown: ")
        assert len(lines[0]) < 900
        assert listing(tmp_path) == before
        return lines[0]

    return run


def listing(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def filled(command: tuple[str, ...], words: dict[str, str]) -> list[str]:
    """A command with its words put in."""
    return [word.format(**words) for word in command]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", FOLDERS)
def test_a_folder_that_cannot_be_written(
    verb: str, place: str, tmp_path: Path, words: dict[str, str], refuse: Refuse
) -> None:
    """Every verb refuses it before it opens anything."""
    refuse(*filled(FOLDERS[verb], words), "--out", PLACES[place](tmp_path))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", FILES)
def test_a_file_that_cannot_be_written(
    verb: str, place: str, tmp_path: Path, words: dict[str, str], refuse: Refuse
) -> None:
    """Every verb refuses it before anything is measured; a device stays a device."""
    refuse(*filled(FILES[verb], words), PLACES[place](tmp_path))
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("verb", [*FOLDERS, "doctor", "store"])
@pytest.mark.parametrize("place", ["", "file", "file/below", "/dev/null", "a" * 300])
def test_a_store_that_is_no_folder(
    verb: str, place: str, words: dict[str, str], refuse: Refuse, tmp_path: Path
) -> None:
    """A file, what lies below one, a device, an empty or too long name."""
    write(tmp_path / "file")
    command = {"doctor": ["doctor"], "store": ["store", "list"]}.get(verb) or [
        *filled(FOLDERS[verb], words),
        "--out",
        "never",
    ]
    assert "store" in refuse(*command, "--store", place) or not place or len(place) > 255


@pytest.mark.parametrize("place", ["artifact", "artifact/never", "artifact/a/never"])
def test_a_store_in_an_artifact(place: str, words: dict[str, str], refuse: Refuse) -> None:
    """What a store holds would break the seal: at the artifact itself and anywhere below."""
    command = filled(FOLDERS["export"], words)
    assert "sealed artifact" in refuse(*command, "--out", "never", "--store", place)


@pytest.mark.parametrize("name", ["artifacts", "building", "scratch", "locks"])
def test_a_store_with_a_file_in_a_folders_place(
    name: str, words: dict[str, str], refuse: Refuse, tmp_path: Path
) -> None:
    """The folder is named before any stage starts."""
    (tmp_path / "kept").mkdir()
    write(tmp_path / "kept" / name)
    for sibling in ("artifacts", "building", "scratch", "locks"):
        if sibling != name:
            (tmp_path / "kept" / sibling).mkdir()
    command = filled(FOLDERS["export"], words)
    assert f"kept/{name}" in refuse(*command, "--out", "never", "--store", str(tmp_path / "kept"))


@pytest.mark.parametrize("verb", ["finetune", "export", "quantize", "bundle"])
def test_a_folder_that_holds_something_else(
    verb: str, words: dict[str, str], refuse: Refuse, tmp_path: Path
) -> None:
    """It is refused before the work and not after it."""
    (tmp_path / "full").mkdir()
    write(tmp_path / "full" / "file")
    assert "in use" in refuse(*filled(FOLDERS[verb], words), "--out", "full")
    assert "is a file" in refuse(*filled(FOLDERS[verb], words), "--out", "full/file")


def test_two_reports_in_one_file(words: dict[str, str], refuse: Refuse) -> None:
    """The last would be the only one."""
    message = refuse("bench", words["model"], "--data", words["data"], "--html", "a", "--markdown", "./a")
    assert "two outputs" in message


NUMBERS = [
    ("bench", "--threads", "1000000000"),
    ("bench", "--threads", "0"),
    ("bench", "--concurrency", "1000000000"),
    ("bench", "--concurrency", "-1"),
    ("bench", "--rate", "1e30/s"),
    ("bench", "--rate", "nan/s"),
    ("bench", "--rate", "0/s"),
    ("bench", "--rate", "1e-9/s"),
    ("bench", "--rate", "1e9/s"),
    ("bench", "--rate", "fast"),
    ("bench", "--lengths", "1000000000"),
    ("bench", "--lengths", "²"),
    ("bench", "--lengths", "1" * 5000),
    ("bench", "--lengths", "0"),
    ("bench", "--lengths", ""),
    ("bench", "--batch-sizes", "1000000000"),
    ("bench", "--batch-sizes", "1" * 5000),
    ("bench", "--batch-sizes", "-1"),
    ("bench", "--batch-sizes", "1,,2"),
    ("bench", "--rounds", "1000000000000000000"),
    ("bench", "--rounds", "1" * 5000),
    ("bench", "--runs", "1000000000000000000"),
    ("bench", "--seed", "-1"),
    ("bench", "--seed", "1" * 40),
    ("bench", "--budget-minutes", "nan"),
    ("bench", "--budget-minutes", "inf"),
    ("bench", "--budget-minutes", "1e300"),
    ("bench", "--device", "cuda:99999999999999999999"),
    ("bench", "--probes", "../../x"),
    ("bench", "--probes", ""),
    ("bench", "--baseline", "nobody"),
    ("bench", "--runtime", "model=os:system"),
    ("bench", "--runtime", "model=pytorch:device=cuda"),
    ("bench", "--runtime", "model=pytorch:threads=3"),
    ("bench", "--runtime", "model=pytorch:artifact=x"),
    ("bench", "--runtime", "model=pytorch:self=x"),
    ("bench", "--runtime", "model=pytorch:nothing=x"),
    ("bench", "--runtime", "model=pytorch:mode=[1]"),
    ("bench", "--runtime", "model=pytorch:mode={a: 1}"),
    ("bench", "--runtime", "model=nothing"),
    ("bench", "--runtime", "model"),
    ("bench", "--runtime", "other=pytorch"),
    ("export", "--threads", "1000000000"),
    ("export", "--limit", "1" * 40),
    ("export", "--seed", "1" * 40),
    ("export", "--max-batch", "1" * 40),
    ("export", "--max-length", "1"),
    ("damage", "--rows", "1" * 40),
    ("damage", "--cases", "1" * 40),
    ("damage", "--batch-size", "1" * 40),
    ("predict", "--batch-size", "1" * 40),
    ("predict", "--threads", "1000000000"),
    ("predict", "--device", "cuda:99999999999999999999"),
    ("predict", "--runtime", "os:system"),
    ("bundle", "--max-batch", "0"),
    ("bundle", "--name", "a" * 300),
    ("bundle", "--name", "../x"),
    ("store prune", "--days", "1" * 40),
]


@pytest.mark.parametrize(("verb", "option", "value"), NUMBERS)
def test_an_option_of_absurd_size_or_sense(
    verb: str, option: str, value: str, words: dict[str, str], refuse: Refuse
) -> None:
    """It is refused at once: nothing is built, and nothing hangs."""
    begins = {
        "bench": ["bench", f"model={words['artifact']}", "--data", words["data"]],
        "export": ["export", words["artifact"], "--data", words["data"], "--out", "never"],
        "damage": ["damage", f"a={words['artifact']}", f"b={words['artifact']}", "--data", words["data"]],
        "predict": ["predict", words["artifact"], "a film"],
        "bundle": ["bundle", words["artifact"], "--out", "never"],
        "store prune": ["store", "prune"],
    }
    refuse(*begins[verb], option, value)


def test_stdout_that_takes_nothing_is_no_success(tmp_path: Path) -> None:
    """``paredown list > /dev/full`` ends with exit code 2 and a sentence, not with 0."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "paredown.app", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("paredown: No space left on device")
    assert len(process.stderr.splitlines()) == 1


def test_an_output_is_given_as_it_was_named(tmp_path: Path) -> None:
    """Nothing is made by looking, and a folder with a sealed artifact may be this very result."""
    assert outputs.folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert outputs.file(str(tmp_path / "a" / "b.json")) == tmp_path / "a" / "b.json"
    assert listing(tmp_path) == set()
    sealed = tiny_deploy.text_artifact(tmp_path / "sealed")
    assert outputs.folder(sealed.path) == sealed.path


def test_a_folder_without_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says when a file is tried out is part of the sentence."""

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with pytest.raises(UserError, match=r"takes no file \(Permission denied\)"):
        outputs.file(tmp_path / "report.json")
