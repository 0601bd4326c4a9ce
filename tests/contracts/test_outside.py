"""Entries that other distributions bring: listed by name and origin, checked as ours, used as ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import outside
import pytest
import tiny
import tiny_baselines
import tiny_bench
from rich.console import Console

from bench import tracking
from bench.record import document
from bench.record.model import Measurement, Report
from bench.report import forms, html, markdown, terminal
from bench.report.damage import markdown as damage_markdown
from bench.report.damage import terminal as damage_terminal
from bench.verdicts import baselines, judge
from compress import catalog, distributions
from compress.errors import EntryError, UserError
from compress.recipe import Named
from paredown import app

KINDS: dict[str, Any] = {kind: name for kind, name in outside.NAMES.items() if kind != "recipe"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the distribution in it; what was imported from it is forgotten."""
    folder = tmp_path / "site"
    outside.install(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    distributions._all.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == outside.PACKAGE]:
        del sys.modules[name]


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as left:
        app.main(list(words))
    streams = capsys.readouterr()
    return int(str(left.value.code or 0)), streams.out, streams.err


@pytest.mark.usefixtures("site")
def test_list_names_them_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Every entry stands in ``list`` with its first line and what brings it; its module was not run."""
    code, out, _ = command(capsys, "list", "--json")
    assert code == 0
    listed = json.loads(out)
    for kind, name in outside.NAMES.items():
        first = outside.SOURCES[kind].splitlines()[0].strip('"# ')
        assert listed[kind][name] == f"{first} (from more-entries 1.2)"
    assert [name for name in sys.modules if name.partition(".")[0] == outside.PACKAGE] == []


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("kind", outside.NAMES)
def test_show_says_what_it_is_and_where_from(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``show`` gives first line, origin, and what it takes."""
    code, out, err = command(capsys, "show", outside.NAMES[kind], "--json")
    assert code == 0, err
    (description,) = [entry for entry in json.loads(out) if entry["what"] == kind]
    assert description["from"] == "more-entries 1.2"
    if kind == "gate":
        assert description["options"][-1] == {
            "name": "at_most",
            "default": "required",
            "meaning": "so many files.",
        }
    if kind == "probe":
        assert description["figures"][0] == {"figure": "files", "shown as": "files of it", "exact": "counted"}
    if kind == "task":
        assert description["metrics"][0] == {"metric": "surprise", "unit": "squared", "better": "lower"}
    if kind == "recipe":
        assert description["text"] == outside.SOURCES["recipe"]
    else:
        assert "from more-entries 1.2" in command(capsys, "show", outside.NAMES[kind])[1]


@pytest.mark.slow
def test_one_run_uses_every_kind(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe runs: all that it names from outside does its part, and what brought it is recorded."""
    model, data = (
        tiny.text_model(tmp_path / "model"),
        tiny.text_data(tmp_path / "data", train=60, evaluate=24),
    )
    code, _, err = command(
        capsys,
        *("run", "all-of-it", "--model", str(model), "--data", str(data)),
        *("--out", str(tmp_path / "out"), "--track", f"notes:{tmp_path / 'notes.txt'}"),
    )
    assert code == 0, err
    report = json.loads(next((tmp_path / "out").rglob("report.json")).read_text())
    assert report["task"] == "moods"
    assert {candidate["runtime"] for candidate in report["candidates"]} == {"plain"}
    assert {measurement["metric"] for measurement in report["measurements"]} >= {"files", "agreement"}
    found = {verdict["metric"]: verdict["finding"] for verdict in report["measurements"]}
    assert found["folders"] == {"kind": "folders", "schema_version": 1, "names": ["onnx"]}
    assert [(each["gate"], each["status"]) for each in report["verdicts"]] == [("file-count", "pass")]
    assert (tmp_path / "notes.txt").read_text().splitlines()[:3] == ["load", "prune", "copy-files"]
    manifests = {path: json.loads(path.read_text()) for path in (tmp_path / "out").rglob("manifest.json")}
    copied = [each for each in manifests.values() if each["stage"] == "copy-files"]
    assert copied[0]["facts"]["brought_by"] == {"more-entries": "1.2"}


def report(**changes: Any) -> Report:
    """What a run with the entries from outside reports, on the machine of the tests of baselines."""
    counts = [
        Measurement(
            probe="file-count", candidate=name, metric=metric, value=value, unit="count", better="lower"
        )
        for name, files in (("before", 12.0), ("after", 7.0))
        for metric, value in (("files", files), ("folders", 3.0))
    ]
    scores = [
        tiny_bench.measurement(
            name, metric, value, probe="accuracy", unit=unit, better=better, difference=value - 0.5
        )
        for name, value in (("before", 0.5), ("after", 0.25))
        for metric, unit, better in (("accuracy", "share", "higher"), ("surprise", "squared", "lower"))
    ]
    return tiny_baselines.measured(**{"task": "moods", "measurements": (*scores, *counts), **changes})


@pytest.mark.usefixtures("site")
def test_what_they_measure_and_judge_stands_in_every_face(tmp_path: Path) -> None:
    """A figure by its column, its card and its row, a metric of the task, and a verdict."""
    judged = judge.judge(report(), [Named(name="file-count", options={"at_most": 5})])
    console = Console(width=200)
    with console.capture() as captured:
        terminal.show(judged, console)
    faces = {"terminal": captured.get()}
    forms.write_all(judged, tmp_path)
    faces |= {name: (tmp_path / name).read_text() for name in forms.FILES}
    for name in ("terminal", forms.MARKDOWN, forms.HTML):
        for words in ("files of it", "folders of it", "7 files; allowed: at most 5"):
            assert words in faces[name], name
    for name in (forms.MARKDOWN, forms.HTML):
        for words in ("Number of files", "Files are counted by name.", "surprise", "0.2500"):
            assert words in faces[name], name
    assert "| after | pytorch | 25.00 % | -25.00 pt | 7 |" in faces[forms.MARKDOWN]
    assert faces[forms.HTML].count("<svg") == 2  # the change of the main metric, and a bar for its own card
    assert '"metric": "files"' in faces[forms.JSON]
    assert "7 files; allowed: at most 5" in faces[forms.JUNIT]
    assert "FAILED 1 of 1 gates (file-count)" in faces["terminal"]
    assert tracking.figures(judged)["after/files"] == 7


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("files", "status"), [(7.0, "pass"), (8.0, "fail")])
def test_what_they_measure_is_compared_with_a_baseline(files: float, status: str, tmp_path: Path) -> None:
    """A count that is declared as exact needs no interval; the gate knows which probe yields it."""
    baselines.save(report(), str(tmp_path))
    made = [
        one.model_copy(update={"value": files}) if (one.candidate, one.metric) == ("after", "files") else one
        for one in report().measurements
    ]
    options = {"baseline": str(tmp_path), "metric": "files", "worse_by_at_most": "5%"}
    prepared = judge.prepare([Named(name="regression", options=options)])
    assert prepared[0].looks_at() == "file-count"
    (verdict,) = judge.judge(report(measurements=tuple(made)), prepared).verdicts
    assert verdict.status == status, verdict.reason


def found_by_them() -> Report:
    """The report with the finding from outside behind one of its figures, for two candidates."""
    folders = catalog.finding("folders").MODEL.model_validate({"names": ["<b>onnx</b>", "data"]})
    made = [
        one.model_copy(update={"finding": folders}) if one.metric == "folders" else one
        for one in report().measurements
    ]
    return report(measurements=tuple(made))


@pytest.mark.usefixtures("site")
def test_what_they_find_stands_in_every_face() -> None:
    """Sentence, table, plot, card, step and note of the finding, escaped; and it is read back as it was."""
    found = found_by_them()
    assert document.from_json(document.to_json(found), "it") == found
    console = Console(width=200)
    with console.capture() as captured:
        damage_terminal.show(found, console)
    faces = {
        "terminal": captured.get(),
        "page": html.page(found),
        "markdown": markdown.page(found),
        "damage": damage_markdown.page(found),
    }
    for name, text in faces.items():
        assert "Folders of it" in text, name
        assert "There are 2 folders." in text, name
        assert "onnx" in text, name
        assert "<b>onnx" not in text or name == "terminal", name
    for words in (
        "after against before: folders were looked for",
        "All folders",
        "<svg/>",
        "links are no folders",
    ):
        assert words in faces["page"]
    assert "| before | 2 |" in faces["markdown"]
    assert "not looked at: calibration, challenge" in faces["damage"]


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("finding", "said"),
    [
        ({"kind": "folders", "names": ["a", "a"]}, "a folder that is there twice"),
        ({"kind": "folders"}, r"Field required at 'names'"),
        ({"kind": "folders", "names": [], "more": 1}, r"Extra inputs are not permitted at 'more'"),
    ],
)
def test_a_finding_that_does_not_hold_together_is_refused(finding: dict[str, Any], said: str) -> None:
    """The model of the entry and its own checks are those of a report that is read."""
    tree = json.loads(found_by_them().model_dump_json())
    tree["measurements"][-1]["finding"] = finding
    with pytest.raises(UserError, match=said):
        document.from_json(json.dumps(tree), "it")


def test_a_finding_that_nothing_here_knows_is_kept(site: Path) -> None:
    """A report with it is read, shown with a note, and written as it was."""
    text = document.to_json(found_by_them())
    for file in site.glob("*.dist-info/entry_points.txt"):
        file.write_text("")
    distributions._all.cache_clear()
    kept = document.from_json(text, "it", must_be_sealed=True)
    assert json.loads(document.to_json(kept)) == json.loads(text)
    assert "'folders' was found by what is not installed here" in damage_markdown.page(kept)
    broken = json.loads(text)
    del broken["checksum"]
    broken["measurements"][-1]["finding"]["names"] = 1e30
    with pytest.raises(UserError, match=r"names is 1e\+30, which is no figure"):
        document.from_json(json.dumps(broken), "it")


def test_a_report_is_shown_where_what_measured_it_is_not_installed(tmp_path: Path) -> None:
    """The figures of a probe and a task that are not here stand in rows of their own."""
    forms.write_all(report(), tmp_path)
    for name in (forms.MARKDOWN, forms.HTML):
        text = (tmp_path / name).read_text()
        assert "files" in text
        assert "folders" in text


def test_a_new_version_of_the_distribution_is_another_key(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage, the criterion that it scores by and the task enter the key with what brings them."""
    from compress.pipeline.job import Job
    from compress.recipe import Recipe

    model, data = (
        tiny.text_model(tmp_path / "model"),
        tiny.text_data(tmp_path / "data", train=60, evaluate=24),
    )

    def keys(task: str, *stages: Any) -> list[str]:
        job = Job(
            Recipe.model_validate(
                {"model": str(model), "task": task, "data": {"source": str(data)}, "stages": stages}
            )
        )
        return [job.key(link, None, ()) for link in job.links]

    def all_keys() -> tuple[list[str], ...]:
        magnitude = {"prune": {"criterion": "magnitude", "recover": {"epochs": 0}}}
        first = {"prune": {"criterion": "first-units", "recover": {"epochs": 0}}}
        return (
            keys("text-classification", magnitude, "copy-files"),
            keys("text-classification", first),
            keys("moods", magnitude),
        )

    before = all_keys()
    assert before == all_keys()
    outside.install(site, version="1.3")
    distributions._all.cache_clear()
    catalog._checked.clear()
    for name in [name for name in sys.modules if name.startswith(f"{outside.PACKAGE}.")]:
        del sys.modules[name]
    after = all_keys()
    changed = [
        [old != new for old, new in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)
    ]
    assert changed == [[False, False, True], [False, True], [True, True]]


@pytest.mark.parametrize("kind", [*KINDS, "recipe"])
def test_a_name_of_ours_is_refused(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry that bears the name of one of ours is refused in a sentence, whoever asks for the shelf."""
    name = catalog.names(kind)[0]
    outside.install(tmp_path, names={kind: name})
    monkeypatch.syspath_prepend(str(tmp_path))
    pattern = (
        rf"^more-entries 1\.2 brings a {kind} '{name}' \(more_entries.*\), and paredown has its own: "
        rf"uninstall more-entries, or have its entry point in 'paredown\.{outside.GROUPS[kind]}' renamed$"
    )
    for ask in (catalog.path, catalog.load):
        with pytest.raises(EntryError, match=pattern):
            ask(kind, name)
    code, out, err = command(capsys, "list", kind)
    assert (code, out) == (2, "")
    assert f"brings a {kind} '{name}'" in err


FAULTS: dict[str, dict[str, tuple[str, str]]] = {
    "stage": {
        "missing": ("del VERSION", "'VERSION' is missing (int is wanted)"),
        "type": ("TOOLS = ['torch']", "'TOOLS' is ['torch'], and tuple[str, ...] is wanted"),
        "value": (
            "PRODUCES = 'keras'",
            "'PRODUCES' is 'keras', and Optional[Literal['torch', 'onnx', 'tensorrt']]",
        ),
        "flag": ("NEEDS_DATA = 1", "'NEEDS_DATA' is 1, and bool is wanted"),
        "config": (
            "class Config: pass",
            "'Config' is Config, and type[compress.stage.StageConfig] is wanted",
        ),
        "function": ("del run", "'run(source, config, ctx)' is missing"),
        "parameter": (
            "def run(source, config, context): pass",
            "'run(source, config, context)' takes other parameters, and 'run(source, config, ctx)' is wanted",
        ),
        "hook": (
            "def machine(): pass",
            "'machine()' takes other parameters, and 'machine(config)' is wanted",
        ),
    },
    "criterion": {
        "missing": ("del NEEDS", "'NEEDS' is missing"),
        "type": ("NEEDS = {'gradients'}", "'NEEDS' is {'gradients'}, and frozenset["),
        "parameter": (
            "def score(structure, signals, config): pass",
            "'score(structure, signals, config, generator)' is wanted",
        ),
    },
    "task": {
        "missing": ("del LABEL", "'LABEL' is missing (str is wanted)"),
        "type": ("OUTPUTS = 'logits'", "'OUTPUTS' is 'logits', and tuple[str, ...] is wanted"),
        "parameter": ("def loss(outputs, labels): pass", "'loss(outputs, labels, head, batch)' is wanted"),
        "keyword": (
            "def encode(rows, processor, head, max_length): pass",
            "'encode(rows, processor, head, max_length, *, labelled=True)' is wanted",
        ),
    },
    "runtime": {
        "missing": ("del Runner", "'Runner' is missing"),
        "type": ("Runner = 3", "'Runner' is 3, and type[deploy.runtimes.Runner] is wanted"),
        "parameter": (
            "class Runner(Base):\n    def run(self, data): pass",
            "'Runner.run(self, data)' takes other parameters, and 'Runner.run(self, feed)' is wanted",
        ),
        "abstract": (
            "from deploy.runtimes import Runner as Bare\nclass Runner(Bare):\n    pass",
            "'Runner.open' is missing",
        ),
    },
    "probe": {
        "missing": ("del UNIT", "'UNIT' is missing (str is wanted)"),
        "type": ("BETTER = 'smaller'", "'BETTER' is 'smaller', and Literal['lower', 'higher'] is wanted"),
        "parameter": ("def measure(lanes, subject): pass", "'measure(lanes, subject, config)' is wanted"),
        "figures": ("FIGURES = ('files',)", "'FIGURES' is ('files',), and tuple[bench.record.figure.Figure"),
        "hook": ("def extend(lanes): pass", "'extend(lanes, subject, config, found, at)' is wanted"),
    },
    "gate": {
        "missing": ("del PROBE", "'PROBE' is missing"),
        "type": ("PROBE = 3", "'PROBE' is 3, and "),
        "parameter": ("def check(report, config): pass", "'check(report, candidate, config)' is wanted"),
        "hook": ("ready = True", "'ready' is True, and 'ready(config, environment)' is wanted"),
    },
    "finding": {
        "missing": ("del MODEL", "'MODEL' is missing (type[bench.record.finding.Finding] is wanted)"),
        "type": ("MODEL = dict", "'MODEL' is dict, and type[bench.record.finding.Finding] is wanted"),
        "function": ("del sentences", "'sentences(finding)' is missing"),
        "hook": ("def plots(): pass", "'plots(finding)' is wanted"),
    },
    "tracker": {
        "missing": ("del start", "'start(run, location)' is missing"),
        "type": ("start = 3", "'start' is 3, and 'start(run, location)' is wanted"),
        "parameter": ("def start(run): pass", "'start(run)' takes other parameters"),
    },
}


@pytest.mark.parametrize(
    ("kind", "fault"), [(kind, fault) for kind, faults in FAULTS.items() for fault in faults]
)
def test_a_broken_entry_is_refused_by_file_and_member(kind: Any, fault: str, site: Path) -> None:
    """What breaks the contract is one sentence with the entry's kind, name and file, and the member."""
    line, reason = FAULTS[kind][fault]
    file = site / outside.PACKAGE / f"{kind}_entry.py"
    file.write_text(f"{outside.SOURCES[kind]}\n\n{line}\n")
    with pytest.raises(EntryError) as refused:
        catalog.load(kind, outside.NAMES[kind])
    home, protocol = catalog._PROTOCOLS[kind]
    start = f"the {kind} '{outside.NAMES[kind]}' ({file}) does not keep the contract of {home}.{protocol}: "
    assert str(refused.value).startswith(start)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


BREAKS = {
    "import": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "name": ("from compress.stage import Nothing", "ImportError: cannot import name 'Nothing'"),
    "syntax": ("x = (", "SyntaxError: '(' was never closed"),
    "exception": ("1 / 0", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cause", BREAKS)
def test_an_entry_that_cannot_be_imported_is_refused_by_file_and_line(
    kind: Any, cause: str, site: Path
) -> None:
    """Whatever a distribution's module raises is a sentence with its cause, its file and its line."""
    line, reason = BREAKS[cause]
    file = site / outside.PACKAGE / f"{kind}_entry.py"
    file.write_text(f'"""First."""\n\n{line}\n')
    with pytest.raises(EntryError) as refused:
        catalog.load(kind, outside.NAMES[kind])
    start = f"the {kind} '{outside.NAMES[kind]}' ({file}, line 3) cannot be imported: {reason}"
    assert str(refused.value).startswith(start)
    assert refused.value.__cause__ is not None


def test_a_broken_one_is_told_on_the_command_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``list`` goes on with the others and says what is wrong; ``show`` leaves with 2 and no traceback."""
    (site / outside.PACKAGE / "gate_entry.py").write_text("x = (\n")
    (site / outside.PACKAGE / "task_entry.py").unlink()
    code, out, _ = command(capsys, "list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert (
        "cannot be imported: SyntaxError: '(' was never closed (from more-entries 1.2)"
        in (listed["gate"]["file-count"])
    )
    assert listed["task"]["moods"].startswith(
        "more-entries 1.2 names 'more_entries.task_entry' as the task 'moods', and that is not a module here"
    )
    code, _, err = command(capsys, "show", "moods")
    assert code == 2
    assert "Traceback" not in err
    assert "bug" not in err


def _lay(site: Path, points: str, module: str, content: bytes) -> None:
    info = site / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[paredown.criteria]\n{points}\n")
    (site / f"{module}.py").write_bytes(content)
    distributions._all.cache_clear()


def test_entry_points_that_are_none_name_their_distribution(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line without '=' is no bug of the verb that comes across it."""
    _lay(site, "no-value", "odd_points", b"")
    code, out, err = command(capsys, "list")
    assert (code, out) == (2, "")
    assert "the entry points of odd_points 1 cannot be read" in err


def test_an_entry_that_ends_the_program_is_refused(site: Path) -> None:
    """Its exit code would be taken for a verdict."""
    _lay(site, "leaver = odd_leaver", "odd_leaver", b'"""Leaves."""\nraise SystemExit(3)\n')
    with pytest.raises(EntryError, match=r"'leaver' .*line 2\) cannot be imported: SystemExit: 3"):
        catalog.load("criterion", "leaver")


def test_the_first_line_of_an_entry_in_any_encoding(site: Path) -> None:
    """Python reads the encoding that a file declares; a file in none is a sentence."""
    _lay(site, "old = odd_latin", "odd_latin", '# coding: latin-1\n"""Größe."""\n'.encode("latin-1"))
    assert catalog.summary("criterion", "old") == "Größe."
    (site / "odd_latin.py").write_bytes(b'"""\xff\xfe"""\n')
    with pytest.raises(EntryError, match=r"odd_latin\.py.* cannot be imported: SyntaxError"):
        catalog.summary("criterion", "old")
