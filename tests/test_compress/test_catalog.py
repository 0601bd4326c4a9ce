"""The registry: a file is an entry; listing imports nothing; a wrong name is no broken entry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress import catalog
from compress.errors import EntryError, MissingPiece, UnknownName

ROOT = Path(catalog.__file__).parent.parent
STAGE = """
from pathlib import Path
from typing import Any

from compress.stage import Context, StageConfig

CONSUMES = frozenset({"torch"})
PRODUCES = "torch"
VERSION = 1
TOOLS = ()
DATA = frozenset()
NEEDS_DATA = False
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False


class Config(StageConfig):
    pass


def reads(config: Config) -> tuple[Path, ...]:
    return ()


def run(source: Any, config: Config, ctx: Context) -> None:
    pass
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A shelf of two packages in place of the stages; gives the first package's folder."""
    first, second = tmp_path / "shelf_one", tmp_path / "shelf_two"
    for folder in (first, second):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (first / "make_it_small.py").write_text(f'"""Makes it small.\n\nAnd more.\n"""\n{STAGE}SIZE = 1\n')
    (first / "_shared.py").write_text("")
    (second / "weigh.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(catalog._SHELVES, "stage", ("shelf_one", "shelf_two"))
    yield first
    for name in [name for name in sys.modules if name.startswith("shelf_")]:
        del sys.modules[name]


def test_a_file_is_an_entry(shelf: Path) -> None:
    """Both packages are listed, private files are not, and hyphens and underscores are alike."""
    assert catalog.names("stage") == ["make-it-small", "weigh"]
    assert catalog.path("stage", "Make_It-small ") == shelf / "make_it_small.py"
    assert catalog.load("stage", "make-it-small").SIZE == 1
    (shelf / "new_one.py").write_text("")
    assert "new-one" in catalog.names("stage")


def test_listing_imports_nothing(shelf: Path) -> None:
    """Names and summaries come from the files' text; code that would fail is not run."""
    (shelf / "explosive.py").write_text('"""Would fail."""\nraise SystemExit("it was imported")\n')
    assert "explosive" in catalog.names("stage")
    assert catalog.summary("stage", "explosive") == "Would fail."
    assert catalog.summary("stage", "make-it-small") == "Makes it small."
    assert catalog.summary("stage", "weigh") == ""


@pytest.mark.usefixtures("shelf")
def test_a_wrong_name_is_answered_with_the_known_ones() -> None:
    """A near name is suggested; a far one only gets the list."""
    with pytest.raises(UnknownName) as near:
        catalog.load("stage", "make-it-smal")
    assert str(near.value) == (
        "Unknown stage 'make-it-smal'. Did you mean 'make-it-small'? Known: make-it-small, weigh."
    )
    with pytest.raises(UnknownName) as far:
        catalog.path("stage", "xyz")
    assert str(far.value) == "Unknown stage 'xyz'. Known: make-it-small, weigh."
    for odd in ("../shelf_two/weigh", "__init__", "_shared", ""):
        with pytest.raises(UnknownName):
            catalog.load("stage", odd)


def test_a_broken_entry_is_not_an_unknown_one(shelf: Path) -> None:
    """An entry that fails to import says so with its cause; a missing library is its own sentence."""
    (shelf / "broken.py").write_text("\nimport no_such_library\n")
    with pytest.raises(EntryError) as broken:
        catalog.load("stage", "broken")
    assert str(broken.value) == (
        f"the stage 'broken' ({shelf / 'broken.py'}, line 2) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert isinstance(broken.value.__cause__, ModuleNotFoundError)
    (shelf / "wrong.py").write_text("x = 1\ny = (\n")
    file = shelf / "wrong.py"
    message = f"the stage 'wrong' ({file}, line 2) cannot be imported: SyntaxError: '(' was never closed"
    for ask in (catalog.load, catalog.summary):
        with pytest.raises(EntryError) as wrong:
            ask("stage", "wrong")
        assert str(wrong.value) == message
    (shelf / "bug.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):  # of our own packages: a bug, which keeps its traceback
        catalog.load("stage", "bug")
    (shelf / "optional.py").write_text(
        "from compress import environment\nenvironment.require('no_such_library', extra='tensorrt')\n"
    )
    with pytest.raises(MissingPiece, match=r"run pip install 'paredown\[tensorrt\]'"):
        catalog.load("stage", "optional")


def test_two_files_of_one_name(shelf: Path) -> None:
    """Two entries that canonize to one name are refused, with both files."""
    (shelf.parent / "shelf_two" / "make_it_small.py").write_text("")
    with pytest.raises(
        EntryError, match=r"two files claim the stage 'make-it-small': .*shelf_one.*shelf_two"
    ):
        catalog.names("stage")


@pytest.mark.parametrize("name", ["stage", "criterion", "task", "runtime", "probe", "gate", "recipe"])
def test_every_shelf_has_entries_with_a_summary(name: catalog.Shelf) -> None:
    """What is shipped can be listed, each entry with its first line."""
    entries = catalog.names(name)
    assert entries
    for entry in entries:
        assert catalog.summary(name, entry), entry


def test_listing_everything_imports_no_torch() -> None:
    """All shelves are listed in a fresh process without torch, transformers or onnxruntime."""
    script = (
        "import sys\nfrom compress import catalog\n"
        "for shelf in catalog._SHELVES:\n"
        "    for name in catalog.names(shelf):\n"
        "        catalog.summary(shelf, name)\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'datasets', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert process.returncode == 0, process.stderr


def test_options_with_their_meaning(shelf: Path) -> None:
    """An entry's options come with default and meaning, from its Config and that one's docstring."""
    (shelf / "tuned.py").write_text(
        STAGE + "\nclass Config(StageConfig):\n"
        '    """What to do.\n\n'
        "    Attributes:\n"
        "        keep: the share to keep,\n"
        "            at least one unit.\n"
        "        name: of it: required.\n\n"
        "    More text.\n"
        '    """\n\n'
        "    name: str\n"
        "    keep: float = 0.5\n"
        "    extra: list[int] = []\n"
    )
    assert catalog.options("stage", "tuned") == [
        ("name", "required", "of it: required."),
        ("keep", "0.5", "the share to keep, at least one unit."),
        ("extra", "[]", ""),
    ]


@pytest.mark.parametrize("name", ["stage", "criterion", "probe", "gate"])
def test_every_shipped_option_is_documented(name: catalog.Shelf) -> None:
    """No option of a shipped entry is without its meaning."""
    bare = [
        f"{entry}.{option}"
        for entry in catalog.names(name)
        for option, _, meaning in catalog.options(name, entry)
        if not meaning
    ]
    assert bare == []
