"""Files of rows that are broken, and the words of a command line that name rows, columns and sets."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
import tiny_bench
from hostile import DIGITS, HALF, refused

from bench.answers import challenges
from bench.findings import fairness
from compress import catalog, data
from compress.errors import DataError, UserError
from compress.recipe import DataConfig
from compress.tasks import Head, image_classification, text_classification
from compress.tasks import _images as images
from paredown.verbs import _options

ROWS = [{"text": f"a film {i}", "label": i % 2} for i in range(24)]
GOOD = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
PACKED = gzip.compress(GOOD.encode())


def _flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0xFF
    return bytes(changed)


LINES: dict[str, str | bytes] = {
    "half a pair": GOOD + f'{{"text": "a {HALF} film", "label": 1}}\n',
    "half a pair as a label": GOOD + f'{{"text": "a", "label": "{HALF}"}}\n',
    "half a pair in a column's name": GOOD + f'{{"text": "a", "label": 1, "{HALF}": 1}}\n',
    "digits as a label": GOOD + f'{{"text": "a", "label": {DIGITS}}}\n',
    "digits beside": GOOD + f'{{"text": "a", "label": 1, "id": {DIGITS}}}\n',
    "infinity as a label": GOOD + '{"text": "a", "label": Infinity}\n',
    "1e999 as a label": GOOD + '{"text": "a", "label": 1e999}\n',
    "an object as a label": GOOD + '{"text": "a", "label": {"a": 1}}\n',
    "an object in a list of labels": GOOD + '{"text": "a", "label": [{"a": 1}]}\n',
    "a key twice": GOOD + '{"text": "a", "text": "b", "label": 1}\n',
    "a list as text": GOOD + '{"text": ["a"], "label": 1}\n',
    "NaN as text": GOOD + '{"text": NaN, "label": 1}\n',
    "null as text": GOOD + '{"text": null, "label": 1}\n',
    "a list": GOOD + "[1, 2]\n",
    "a number": GOOD + "5\n",
    "a text": GOOD + '"a"\n',
    "two objects a line": GOOD + '{"text": "a", "label": 1}{"text": "b", "label": 0}\n',
    "deep": GOOD + '{"text": ' + "[" * 5000 + "]" * 5000 + ', "label": 1}\n',
    "deeper": GOOD + '{"text": ' + "[" * 200_000,
    "carriage returns": GOOD.replace("\n", "\r"),
    "nul bytes": GOOD.encode() + b"\x00\x00\n",
    "no UTF-8": GOOD.encode() + b'{"text": "\xff\xfe", "label": 1}\n',
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16 without a mark": GOOD.encode("utf-16-le"),
    "UTF-32": GOOD.encode("utf-32"),
    "gzip by another name": PACKED,
    "a zip": b"PK\x03\x04" + b"\x00" * 40,
    "a whole list": json.dumps(ROWS),
    "a list over lines": json.dumps(ROWS, indent=1),
    "empty": "",
    "blank lines": "\n\n\n",
    "mixed labels": GOOD + '{"text": "a", "label": "positive"}\n',
}
SEPARATED: dict[str, str | bytes] = {
    "a cell too few": CSV + "only\n",
    "cells too many": CSV + "a,1,2,3\n",
    "a column twice": CSV.replace("text,label", "text,text"),
    "two columns without a name": ",\n" + CSV,
    "an open quote": CSV + '"never closed,1\n',
    "a quote within": CSV + '"a" b,1\n',
    "Latin-1": CSV.encode() + "café,1\n".encode("latin-1"),
    "UTF-16": CSV.encode("utf-16"),
    "a header alone": "text,label\n",
    "empty": "",
    "digits as a label": CSV + f"a,{DIGITS}\n",
    "carriage returns": CSV.replace("\n", "\r"),
}
PACKAGES: dict[str, bytes] = {
    "cut off": PACKED[:-20],
    "cut in half": PACKED[: len(PACKED) // 2],
    "no gzip": GOOD.encode(),
    "empty": b"",
    "of nothing": gzip.compress(b""),
    "a bomb": gzip.compress(b" " * (70 * 2**20)),
} | {f"flipped at {place}": _flipped(PACKED, place) for place in (2, 12, 40, 60, -6, -2)}


def _load(folder: Path) -> None:
    splits = data.load(DataConfig(source=str(folder)), text_classification, 0)
    splits.training.for_head(text_classification, splits.training.infer_head(text_classification))


def _refused(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as error:
        _load(folder)
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize("content", LINES.values(), ids=LINES)
def test_lines_that_cannot_be_rows(tmp_path: Path, content: str | bytes) -> None:
    """Halves of pairs, digits, depth, duplicates, encodings: the sentence names the file."""
    _refused(tmp_path, "train.jsonl", content)


@pytest.mark.parametrize("content", SEPARATED.values(), ids=SEPARATED)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_cells_that_cannot_be_rows(tmp_path: Path, content: str | bytes, separator: str) -> None:
    """Ragged rows, headers that name nothing or one thing twice, quotes that close nothing."""
    tabs = separator == "\t"
    if tabs and isinstance(content, bytes):
        content = content.replace(b",", b"\t") if b"\x00" not in content else content
    if tabs and isinstance(content, str):
        content = content.replace(",", "\t")
    if tabs and isinstance(content, str) and '"' in content:
        pytest.skip("a quote is text there")
    _refused(tmp_path, f"train.{'tsv' if tabs else 'csv'}", content)


@pytest.mark.parametrize("content", PACKAGES.values(), ids=PACKAGES)
def test_gzip_files_that_are_damaged(tmp_path: Path, content: bytes) -> None:
    """A flipped byte, a cut, a bomb: no error of the library comes through."""
    _refused(tmp_path, "train.jsonl.gz", content)


@pytest.mark.parametrize("make", hostile.NO_FILES)
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.tsv.gz", "train.parquet"])
def test_rows_that_are_no_file(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    """Pipes, folders, devices and links that lead nowhere are refused before they are opened."""
    make(tmp_path / name)
    with pytest.raises(UserError):
        _load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_rows_that_may_not_be_read(tmp_path: Path) -> None:
    """A file without permission is a sentence."""
    path = tmp_path / "train.jsonl"
    path.write_text(GOOD)
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        _load(tmp_path)


LABELS: dict[str, str | bytes] = {
    "broken": "{",
    "deep": "[" * 200_000,
    "digits": f'{{"a": {DIGITS}}}',
    "superscript": '{"²": "a", "1": "b"}',
    "digits as a key": f'{{"{DIGITS}": "a", "1": "b"}}',
    "a number": "5",
    "an empty list": "[]",
    "twice": '["a", "a"]',
    "a key twice": '{"0": "a", "0": "b"}',
    "numbers": "[1, 2]",
    "nulls": '["a", null]',
    "UTF-16": '["a", "b"]'.encode("utf-16"),
    "half a pair": f'["{HALF}", "b"]',
    "empty": "",
}


@pytest.mark.parametrize("content", LABELS.values(), ids=LABELS)
def test_names_of_labels_that_cannot_be(tmp_path: Path, content: str | bytes) -> None:
    """``labels.json`` is read by the same rules."""
    (tmp_path / "train.jsonl").write_text(GOOD)
    _refused(tmp_path, "labels.json", content)


@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_names_of_labels_that_are_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe or a device beside the rows is not waited for, nor silently left out."""
    (tmp_path / "train.jsonl").write_text(GOOD)
    make(tmp_path / "labels.json")
    if make is hostile.dangling:
        _load(tmp_path)
        return
    with pytest.raises(DataError):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("head", "license_"),
    [
        ("license: mit", "mit"),
        ("license: 2001-13-45", "2001-13-45"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        (f"license: {DIGITS}", None),
        ("license: !!int x", None),
        ("? [a]\n: b", None),
        ("license: " + "[" * 5000, None),
        ('license: "\\ud800"', None),
        ("license: {a: b}", None),
        ("\x00", None),
    ],
)
def test_a_card_never_stands_in_the_way(tmp_path: Path, head: str, license_: str | None) -> None:
    """A card that cannot be read states no license, and the rows are not affected."""
    (tmp_path / "train.jsonl").write_text(GOOD)
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
    splits = data.load(DataConfig(source=str(tmp_path)), text_classification, 0)
    assert splits.facts["license"] == license_


def _parquet(path: Path, build: Callable[[Any], Any]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    parquet.write_table(build(arrow), path)


TABLES: dict[str, Callable[[Any], Any]] = {
    "dates": lambda pa: pa.table({"text": ["a"] * 9, "label": pa.array([1] * 9, pa.date32())}),
    "decimals": lambda pa: pa.table({"text": ["a"] * 9, "label": pa.array([1] * 9, pa.decimal128(5, 2))}),
    "durations": lambda pa: pa.table({"text": ["a"] * 9, "label": pa.array([1] * 9, pa.duration("s"))}),
    "bytes": lambda pa: pa.table({"text": pa.array([b"\xff"] * 9), "label": [0, 1, 0] * 3}),
    "structures": lambda pa: pa.table({"text": pa.array([{"a": 1}] * 9), "label": [0, 1, 0] * 3}),
    "no UTF-8": lambda pa: pa.table(
        {"text": pa.array([b"\xff"] * 9).view(pa.string()), "label": [0, 1, 0] * 3}
    ),
    "a column twice": lambda pa: pa.table(
        [pa.array(["a"])] * 2 + [pa.array([1])], names=["text", "text", "label"]
    ),
    "no rows": lambda pa: pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}),
    "no columns": lambda pa: pa.table({}),
    "bytes as labels": lambda pa: pa.table({"text": ["a"] * 9, "label": pa.array([b"a"] * 9)}),
}


@pytest.mark.parametrize("build", TABLES.values(), ids=TABLES)
def test_tables_of_types_that_are_no_rows(tmp_path: Path, build: Callable[[Any], Any]) -> None:
    """Parquet has types that no head can give."""
    _parquet(tmp_path / "train.parquet", build)
    with pytest.raises(UserError):
        _load(tmp_path)


@pytest.mark.parametrize("place", [0, 4, 60, 200, -3, -30, -100])
def test_damaged_tables(tmp_path: Path, place: int) -> None:
    """A flipped byte is a sentence, or was in what is not read."""
    path = tmp_path / "train.parquet"
    _parquet(
        path, lambda pa: pa.table({"text": [r["text"] for r in ROWS], "label": [r["label"] for r in ROWS]})
    )
    path.write_bytes(_flipped(path.read_bytes(), place))
    try:
        _load(tmp_path)
    except UserError as said:
        assert "train.parquet" in str(said)  # noqa: PT017 - either way is right


def _archive(path: Path, member: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)


@pytest.mark.parametrize(
    "reference", ["../x.png", "/etc/passwd", "a/../../x.png", "a\0b.png", "x" * 5000 + ".png"]
)
def test_images_outside_the_data(tmp_path: Path, reference: str) -> None:
    """A cell never leads out of the data's folder, and a path that cannot be is a sentence."""
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"image": reference, "label": i}) + "\n" for i in (0, 1))
    )
    _archive(tmp_path / "train.zip", "../x.png", b"x")
    with pytest.raises(DataError):
        data.load(DataConfig(source=str(tmp_path)), image_classification, 0)


def test_an_archive_that_swells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member's size unpacked is looked at before it is unpacked."""
    monkeypatch.setattr(images, "_LARGEST", 1000)
    _archive(tmp_path / "train.zip", "a.png", b"\0" * 100_000)
    with pytest.raises(DataError, match=r"100,000 bytes unpacked"):
        images.ImageFile(tmp_path / "train.zip", "a.png").read()


@pytest.mark.parametrize("place", range(0, 130, 7))
def test_damaged_pictures(tmp_path: Path, place: int) -> None:
    """Whatever a decoder raises of a damaged picture is a sentence."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (8, 8), 7).save(stream, format="PNG")
    content = _flipped(stream.getvalue(), place % len(stream.getvalue()))
    try:
        pixels = image_classification.to_pixels(content, 1)
    except DataError as said:
        assert "cannot be read" in str(said)  # noqa: PT017 - either way is right
    else:
        assert pixels.shape[-1] == 1


@pytest.mark.parametrize("word", ["text", "=", "=a", "text=", "", "a\udcff=b"])
def test_columns_that_cannot_be_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    """``--column`` is ROLE=NAME."""
    (tmp_path / "validation.jsonl").write_text(GOOD)
    artifact = tiny_bench.fake_artifact(tmp_path / "a", labels=("0", "1")).path
    refused(capsys, "bench", artifact, "--data", tmp_path, "--probes", "size", "--column", word)


@pytest.mark.parametrize(
    "word", ["txt=text", "text=nope", "label=text\0", "text=" + "x" * 3000, "text=label"]
)
def test_columns_that_are_not_there(tmp_path: Path, word: str) -> None:
    """A role that the task has not, or a column that the rows have not."""
    (tmp_path / "train.jsonl").write_text(GOOD)
    config = _options.data_config(str(tmp_path), [word])
    assert config is not None
    with pytest.raises(UserError):
        data.load(config, text_classification, 0)


@pytest.mark.parametrize(
    "place", ["x" * 5000, "x/" * 3000, "a\0b", "/dev/zero", "~nobody-here/x", "nowhere", ""]
)
def test_places_that_hold_no_rows(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``--data``, ``--challenge`` and ``--templates`` name is looked at in one way."""
    monkeypatch.chdir(tmp_path)
    head = Head("single_label", ("0", "1"))
    task = catalog.load("task", "text-classification")
    with pytest.raises(UserError):
        data.load(_options.data_config(place) or DataConfig(), text_classification, 0)
    with pytest.raises(UserError):
        challenges.read(place, task, head)
    with pytest.raises(UserError):
        fairness.read_swaps(place, task, None, most=2, seed=0)


@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_sets_that_are_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A challenge set or a set of templates that is a pipe, a device or a link to nothing."""
    path = tmp_path / "set.jsonl"
    make(path)
    task = catalog.load("task", "text-classification")
    with pytest.raises(UserError):
        challenges.read(str(path), task, Head("single_label", ("0", "1")))
    with pytest.raises(UserError):
        fairness.read_swaps(str(path), task, None, most=2, seed=0)


CHECKLISTS = {
    "names of a number": ("5", {}),
    "names broken": ("{", {}),
    "names of numbers": ("[1, 2]", {}),
    "a case of a number": (None, {"case": 5}),
    "a case of null": (None, {"case": None}),
    "a case of numbers": (None, {"case": [1]}),
    "expected text": (None, {"expected": "good"}),
    "expected 10^9": (None, {"expected": 10**9}),
    "a type of none": (None, {"type": None}),
    "a type of a list": (None, {"type": ["MFT"]}),
    "expected a list": (None, {"expected": [1]}),
}


@pytest.mark.parametrize(("names", "row"), CHECKLISTS.values(), ids=CHECKLISTS)
def test_checklists_that_cannot_be(tmp_path: Path, names: str | None, row: dict[str, Any]) -> None:
    """A suite's rows and the names of its labels are checked before anything is asked."""
    if names is not None:
        (tmp_path / "labels.json").write_text(names)
    case = {"case": "a film", "type": "MFT", "expected": 0, "test": "t", **row}
    (tmp_path / "suite.jsonl").write_text(json.dumps(case) + "\n")
    task = catalog.load("task", "text-classification")
    with pytest.raises(UserError):
        challenges.read(str(tmp_path / "suite.jsonl"), task, Head("single_label", ("negative", "positive")))
