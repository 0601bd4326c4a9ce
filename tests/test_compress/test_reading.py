"""Reading files, text, JSON and YAML: what is given back, and what is refused with which words."""

from __future__ import annotations

import os
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from compress.errors import DataError, UserError
from compress.reading import files, front_matter, json_values, utf8, yaml_values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2001-12-12", {"a": "2001-12-12"}),
        ("a: 12:30:00", {"a": "12:30:00"}),
        ("[1, -2, +3, 0x1f, 0o17, 0b11, 1_000]", [1, -2, 3, 31, 15, 3, 1000]),
        ("[1.5, .5, 1., 1e-5, 1.0e+3, -2E2]", [1.5, 0.5, 1.0, 1e-5, 1000.0, -200.0]),
        ("[~, null, Null, true, yes, On, FALSE, no, off, '']", [None] * 3 + [True] * 3 + [False] * 3 + [""]),
        ("['1', \"2\", !!str 3, 'no']", ["1", "2", "3", "no"]),
        ("[!!int 3, !!float 3, !!bool yes, !!null '']", [3, 3.0, True, None]),
        ("1: a\nno: b\n~: c", {"1": "a", "no": "b", "~": "c"}),
        ("base: &b {x: 1, y: 2}\nmade: {<<: *b, y: 3}", {"base": {"x": 1, "y": 2}, "made": {"y": 3, "x": 1}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ('"\\ud83d\\ude00 \\U0001F600"', "😀 😀"),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("", None),
        ("# nothing", None),
    ],
)
def test_yaml_is_plain_json_types(text: str, value: Any) -> None:
    """Dates stay text, keys are text, numbers are those of YAML 1.2."""
    parsed = yaml_values.parse(text, "here")
    assert parsed == value
    assert repr(parsed) == repr(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", r"here is not valid YAML \(line 2\): the key 'a' stands twice"),
        ("\n\na: !!timestamp 2001-12-12", r"\(line 3\): the tag 'tag:yaml.org,2002:timestamp' is not taken"),
        ("a: !!python/name:os.system x", "the tag .* is not taken"),
        ("a: .nan", r"\.nan is no number"),
        ("a: " + "9" * 41, "a number of 41 digits, and 40 are the most"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("a: &a [*a]", r"'\*a' refers to what it stands in"),
        ("a: *b", r"'\*b' refers to nothing before it"),
        ("a: 1\n---\nb: 1", "a second document starts"),
        ("{[a]: b}", "a key is text"),
        ('"\\ud800"', "half of a surrogate pair"),
        ("a: [", r"\(line 1\): expected"),
        ("a\x01", r"the character \\x01 cannot stand in it"),
        ("{<<: 3}", "'<<' takes a mapping"),
    ],
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    """The line is named wherever the parser knows it."""
    with pytest.raises(DataError, match=reason):
        yaml_values.parse(text, "here", error=DataError)


def test_a_bomb_is_refused_by_what_it_amounts_to() -> None:
    """Ten lines can stand for a billion values; none of them is written out."""
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for old, new in pairwise(names):
        lines.append(f"{new}: &{new} [{', '.join(['*' + old] * 10)}]")
    with pytest.raises(UserError, match=r"more than 100,000 values"):
        yaml_values.parse("\n".join(lines), "here")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        ("9" * 41, "a number of 41 digits, and 40 are the most"),
        ("[1e999]", "larger than a float holds"),
        ("[NaN]", "NaN is no JSON number"),
        ('{"a": [{"b": "\\ud800"}]}', r"field 'a\.0\.b': \\ud800 is half of a surrogate pair"),
        ('{"\\udfff": 1}', "the name of a field"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("", "it is empty"),
        ('{"a": }', "Expecting value at column 7"),
        ('{"a":\n }', "Expecting value at line 2, column 2"),
    ],
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    """The field is named where the text itself is valid."""
    with pytest.raises(DataError, match=reason):
        json_values.parse(text, "here", error=DataError)


def test_json_that_is_taken() -> None:
    """Whole pairs are a character; constants are taken where rows may have them."""
    assert json_values.parse('{"a": "\\ud83d\\ude00", "b": [1, 2.5, null]}', "here") == {
        "a": "😀",
        "b": [1, 2.5, None],
    }
    assert str(json_values.parse("[NaN, 1]", "here", constants=True)) == "[nan, 1]"
    assert json_values.parse("[" * 64 + "]" * 64, "here")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("text".encode("utf-16"), "UTF-16"),
        ("text".encode("utf-32"), "UTF-32"),
        ("text é".encode("utf-16-le"), "UTF-16 without its mark"),
        (b"\x1f\x8b\x08\x00\xff", "a gzip file"),
        (b"PK\x03\x04\xff", "a zip file"),
        (b"PAR1\xff", "a parquet file"),
        (bytes(range(256)), "a binary file"),
        ("Größe".encode("latin-1"), "text in another encoding, such as Latin-1"),
    ],
)
def test_what_is_no_utf8_is_called_by_its_name(content: bytes, name: str) -> None:
    """The sentence says what the file looks like and what to do."""
    with pytest.raises(UserError, match=f"it looks like {name}: save it as UTF-8"):
        utf8.decode(content, "here")


def test_a_mark_is_no_text() -> None:
    """The byte order mark that some editors write in front is left out."""
    assert utf8.decode(b"\xef\xbb\xbfa", "here") == "a"


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(path.name)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "is a folder, and only regular files are read"),
        (lambda path: os.mkfifo(path), "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to(path), "is a link that leads back to itself"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read: it is a link that leads nowhere"),
        (lambda path: None, "cannot be read: No such file"),
        (_socket, "is a socket"),
    ],
)
def test_only_regular_files_are_opened(
    tmp_path: Path, make: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each other kind is called by its name."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    make(path)
    with pytest.raises(DataError, match=reason):
        files.read_bytes(path, error=DataError)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("x" * 5000, r"longer than the system takes"),
        ("a\0b", r"'a\\x00b' is no path"),
        ("a\udcff", r"a\\udcff is not UTF-8"),
    ],
)
def test_paths_that_the_system_does_not_take(place: str, reason: str) -> None:
    """Whoever asks whether something is there gets the sentence, too."""
    for ask in (files.exists, files.is_file, files.is_folder, files.check):
        with pytest.raises(UserError, match=reason):
            ask(Path(place))


def test_a_file_larger_than_its_kind_is_not_read(tmp_path: Path) -> None:
    """A limit is looked at before a byte is read."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="has 100 bytes, and such a file has at most 99"):
        files.read_bytes(path, limit=99)
    assert files.read_bytes(path, limit=100) == b"x" * 100


def test_a_card_without_a_head_states_nothing(tmp_path: Path) -> None:
    """Absent, without a head, or broken: no fields."""
    card = tmp_path / "README.md"
    assert front_matter.read(card) == {}
    card.write_text("# A card\n")
    assert front_matter.read(card) == {}
    card.write_bytes(b"---\r\nlicense: mit\r\n---\r\n\xff")
    assert front_matter.license_of(card) == "mit"
