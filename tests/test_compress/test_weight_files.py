"""Safetensors files and their index are held against each other and the configuration, before any load."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compress.errors import ModelError
from compress.model import weight_files

Header = dict[str, Any]
WEIGHTS, INDEX = weight_files.WEIGHTS, weight_files.INDEX


def _file(path: Path, header: Header | bytes, body: int = 24) -> Path:
    """A safetensors file of a header and some bytes of tensors."""
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + b"\0" * body)
    return path


def _header(**fields: Any) -> Header:
    """Of two tensors, the first with other fields."""
    first = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **fields}
    return {"a": first, "b": {"dtype": "I64", "shape": [1], "data_offsets": [16, 24]}}


HEADERS: dict[str, tuple[Header | bytes, str]] = {
    "no JSON": (b"{'a': 1}", "this is not valid JSON"),
    "empty": (b"", "it is empty"),
    "not UTF-8": (b'{"\xff": {}}', "its header is not UTF-8"),
    "a list": (b"[]", "its header is no JSON object"),
    "null": (b"null", "its header is no JSON object"),
    "nested": (b"[" * 100_000, "nested deeper"),
    "a name twice": (
        json.dumps(_header()).replace('"b"', '"a"').encode(),
        "the key 'a' stands twice in one object",
    ),
    "no tensor": ({}, "its tensors take 0 bytes, and 24 follow the header"),
    "notes of numbers": ({**_header(), "__metadata__": {"format": 1}}, "__metadata__ .* no table of texts"),
    "notes of a list": ({**_header(), "__metadata__": []}, "__metadata__ .* no table of texts"),
    "a tensor of null": ({"a": None}, "gives a something else than dtype, shape, data_offsets"),
    "a tensor of two fields": ({"a": {"dtype": "F32", "shape": [6]}}, "gives a something else"),
    "a field too many": (_header(more=1), "gives a something else"),
    "an unknown type": (_header(dtype="F128"), "a is of the type F128, allowed are BOOL"),
    "a type of null": (_header(dtype=None), "a is of the type None"),
    "a shape of text": (_header(shape="4"), "a has the shape 4, which no tensor has"),
    "a negative shape": (_header(shape=[-2, -2]), r"a has the shape \[-2, -2\]"),
    "a broken shape": (_header(shape=[2.0, 2]), r"a has the shape \[2.0, 2\]"),
    "a shape of switches": (_header(shape=[True, 4]), r"a has the shape \[True, 4\]"),
    "a vast shape": (_header(shape=[2**40, 2**40]), "which no tensor has"),
    "a vast shape of nothing": (_header(shape=[0, 2**40, 2**40]), "which no tensor has"),
    "a thousand axes": (_header(shape=[1] * 1000), "which no tensor has"),
    "a shape that is too large": (
        _header(shape=[3, 2]),
        r"lies at 0 to 16, and F32 of the .* takes 24 bytes",
    ),
    "a type that is too wide": (_header(dtype="F64"), "takes 32 bytes"),
    "places of null": (_header(data_offsets=None), "a lies at None, which is no first and last byte"),
    "a place of one": (_header(data_offsets=[0]), "no first and last byte"),
    "a negative place": (_header(data_offsets=[-8, 8]), "no first and last byte"),
    "a turned place": (_header(data_offsets=[16, 0]), "lies at 16 to 0"),
    "overlapping": (_header(data_offsets=[8, 24]), "a leave a gap: byte 8 does not follow 0"),
    "twice the same": (
        {**_header(), "c": {"dtype": "U8", "shape": [8], "data_offsets": [16, 24]}},
        "b and c overlap: byte 16 does not follow 24",
    ),
    "beyond the end": (
        {"a": {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}},
        "its tensors take 4,194,304 bytes, and 24 follow the header",
    ),
    "bytes of nobody": ({"a": _header()["a"]}, "its tensors take 16 bytes, and 24 follow the header"),
}


@pytest.mark.parametrize(("header", "reason"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies_is_named(header: Header | bytes, reason: str, tmp_path: Path) -> None:
    """Every way in which a header may be wrong is one sentence with the file and the tensor."""
    file = _file(tmp_path / WEIGHTS, header)
    with pytest.raises(ModelError, match=rf"model\.safetensors is damaged.*{reason}"):
        weight_files.contents(tmp_path)
    with pytest.raises(ModelError, match="is damaged"):
        weight_files.read_file(file)


def test_a_good_header_is_read(tmp_path: Path) -> None:
    """Names, types and shapes, as safetensors reads them too; nothing at all is no weights."""
    _file(tmp_path / WEIGHTS, {**_header(), "__metadata__": {"format": "pt"}})
    entries = weight_files.contents(tmp_path)
    assert {name: (entry.dtype, entry.shape) for name, entry in entries.items()} == {
        "a": ("F32", (2, 2)),
        "b": ("I64", (1,)),
    }
    assert [entry.floating for entry in entries.values()] == [True, False]
    assert weight_files.read(tmp_path)["a"].shape == (2, 2)
    _file(tmp_path / WEIGHTS, {}, body=0)
    with pytest.raises(ModelError, match="holds no weights"):
        weight_files.contents(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has 0 bytes"),
        (b"\1\0\0", "it has 3 bytes"),
        (b"\0" * 64, "it is empty"),
        (b"\x40" + b"\0" * 7 + b"{}", "its header would be 64 bytes long, and the file has 10"),
        (b"\xff" * 8 + b"{}", r"its header would be 18,446,744,073,709,551,615 bytes long"),
        (b"PK\3\4" + b"\0" * 60, "its header would be"),
    ],
)
def test_files_that_are_none(content: bytes, reason: str, tmp_path: Path) -> None:
    """Empty, cut and foreign files are told by their first bytes."""
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        weight_files.contents(tmp_path)


def test_a_file_is_cut_anywhere(tmp_path: Path) -> None:
    """A file that lacks bytes, or has some too many, is damaged at every length."""
    file = tmp_path / WEIGHTS
    save_file({"a": torch.zeros(2, 2), "b": torch.ones(3)}, file)
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ModelError, match="is damaged"):
            weight_files.contents(tmp_path)
    file.write_bytes(content + b"\0")
    with pytest.raises(ModelError, match=r"take 28 bytes, and 29 follow"):
        weight_files.contents(tmp_path)


def test_no_flipped_bit_of_a_header_is_another_table(tmp_path: Path) -> None:
    """Whatever a flipped bit makes of a header is refused, or is what safetensors reads as well."""
    file = tmp_path / WEIGHTS
    save_file({"a": torch.zeros(2, 2), "b": torch.ones(3)}, file)
    content = bytearray(file.read_bytes())
    read = 0
    for place in range(len(content) - 28):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            try:
                entries = weight_files.contents(tmp_path)
            except ModelError:
                continue
            with safe_open(file, framework="pt") as stream:
                shapes = {name: tuple(stream.get_tensor(name).shape) for name in stream.keys()}  # noqa: SIM118 - no mapping
            assert {name: entry.shape for name, entry in entries.items()} == shapes, place
            read += 1
    assert read > 8  # the letters of names


@pytest.mark.parametrize("make", hostile.NO_FILES, ids=lambda make: make.__name__)
def test_what_is_no_file_is_not_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A folder, pipe, device or broken link in the place of the weights is called by its name."""
    make(tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=r"model\.safetensors (is a|cannot be read)|holds no weights"):
        weight_files.contents(tmp_path)


# --- shards -----------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with two shards and their index."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.zeros(2)}, folder / "one.safetensors")
    save_file({"b": torch.ones(2)}, folder / "two.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "outside.safetensors")
    _map(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    return folder


def _map(folder: Path, places: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


PLACES: dict[str, tuple[Any, str]] = {
    "null": (None, "weight_map is no table from tensors to files"),
    "a list": (["one.safetensors"], "weight_map is no table"),
    "numbers": ({"a": 1}, "weight_map is no table"),
    "lists": ({"a": ["one.safetensors"]}, "weight_map is no table"),
    "nothing": ({}, "its weight_map names no tensor"),
    "lost": ({"a": "lost.safetensors"}, r"names the shard lost\.safetensors, which is not in"),
    "above": ({"a": "../outside.safetensors"}, "a shard is a file of the same folder"),
    "absolute": ({"a": "/dev/zero"}, "a shard is a file of the same folder"),
    "the folder": ({"a": "."}, "a shard is a file of the same folder"),
    "no name": ({"a": ""}, "a shard is a file of the same folder"),
    "a NUL": ({"a": "one\0.safetensors"}, "a shard is a file of the same folder"),
    "a long name": ({"a": "x" * 5000}, "is longer than the system takes"),
    "a tensor that a shard lacks": (
        {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"},
        r"says that two\.safetensors holds the tensor c, which it does not",
    ),
    "tensors exchanged": (
        {"a": "two.safetensors", "b": "one.safetensors"},
        r"says that two\.safetensors holds the tensor a, which it does not",
    ),
}


@pytest.mark.parametrize(("places", "reason"), PLACES.values(), ids=PLACES)
def test_an_index_that_lies_is_named(places: Any, reason: str, shards: Path) -> None:
    """Wrong types, lost shards, places outside and promises that a shard breaks are each one sentence."""
    assert weight_files.contents(shards).keys() == {"a", "b"}
    _map(shards, places)
    with pytest.raises(ModelError, match=rf"model\.safetensors\.index\.json.*{reason}|{reason}"):
        weight_files.contents(shards)


def test_an_index_that_is_none(shards: Path) -> None:
    """No JSON, or no object."""
    for content, reason in (("{", "not valid JSON"), ("[]", "weight_map is no table"), ("", "it is empty")):
        (shards / INDEX).write_text(content)
        with pytest.raises(ModelError, match=reason):
            weight_files.contents(shards)


def test_a_tensor_in_two_shards_is_refused(shards: Path) -> None:
    """Which of the two is meant nobody knows."""
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, shards / "two.safetensors")
    with pytest.raises(ModelError, match=r"both one\.safetensors and two\.safetensors hold the tensor a"):
        weight_files.contents(shards)


def test_a_shard_may_be_a_link_in_the_folder_or_in_a_cache_of_the_hub(shards: Path, tmp_path: Path) -> None:
    """A link that leaves the folder is refused, but for the hub's, whose snapshots are all links."""
    (shards / "two.safetensors").unlink()
    (shards / "two.safetensors").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(
        ModelError, match=r"names the shard two\.safetensors, a link to .*outside of the folder"
    ):
        weight_files.contents(shards)
    (shards / "two.safetensors").unlink()
    (shards / "two.safetensors").symlink_to("nowhere.safetensors")
    with pytest.raises(ModelError, match="a link that leads nowhere"):
        weight_files.contents(shards)
    (shards / "two.safetensors").unlink()
    (shards / "kept.safetensors").write_bytes((tmp_path / "outside.safetensors").read_bytes())
    (shards / "two.safetensors").symlink_to("kept.safetensors")
    assert weight_files.contents(shards).keys() == {"a", "b"}
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    shutil.copytree(shards, snapshot, symlinks=True)
    (snapshot / "two.safetensors").unlink()
    os.replace(tmp_path / "outside.safetensors", blobs / "sha")  # noqa: PTH105 - the rename is the point
    (snapshot / "two.safetensors").symlink_to(blobs / "sha")
    assert weight_files.contents(snapshot).keys() == {"a", "b"}


# --- weights and configuration ----------------------------------------------------------------------


def _saved(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file(change(weights), folder / WEIGHTS, metadata={"format": "pt"})


KEY = "bert.encoder.layer.0.output.dense.weight"
CHANGES: dict[str, tuple[Any, str]] = {
    "another shape": (
        lambda weights: {**weights, KEY: torch.zeros(32, 60)},
        rf"model\.safetensors: {KEY} has the shape \[32, 60\], and the configuration asks for \[32, 64\]",
    ),
    "a turned shape": (
        lambda weights: {**weights, KEY: weights[KEY].T.contiguous()},
        rf"{KEY} has the shape \[64, 32\], and the configuration asks for \[32, 64\]",
    ),
    "whole numbers": (
        lambda weights: {**weights, KEY: weights[KEY].view(torch.int32)},
        rf"{KEY} holds numbers of the type I32, and a BertForSequenceClassification has floating-point",
    ),
    "another head": (
        lambda weights: {
            **weights,
            "classifier.weight": torch.zeros(3, 32),
            "classifier.bias": torch.zeros(3),
        },
        r"classifier\.(bias|weight) has the shape \[3.*the configuration asks for \[2",
    ),
    "NaN": (
        lambda weights: {**weights, KEY: torch.full_like(weights[KEY], float("nan"))},
        rf"the weight {KEY} holds 2048 values of 2048 that are no numbers",
    ),
    "one infinity": (
        lambda weights: {**weights, "classifier.bias": torch.tensor([0.0, float("-inf")])},
        r"the weight classifier\.bias holds 1 values of 2 that are no numbers",
    ),
    "half of the layers": (
        lambda weights: {name: tensor for name, tensor in weights.items() if "layer.1." not in name},
        r"weights are missing for bert\.encoder\.layer\.1\.",
    ),
    "names in bytes": (lambda weights: {**weights, "\x1b[31m": torch.zeros(1), KEY: torch.zeros(1)}, KEY),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_weights_of_another_model_are_refused_by_their_tensor(
    change: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, tensor and both shapes; what is no number is named too. ``plan`` sees what headers tell."""
    folder = tiny.text_model(tmp_path / "model")
    _saved(folder, change)
    rows = tiny.write_jsonl(tmp_path / "rows.jsonl", [{"text": "a good film"}])
    store = ("--store", tmp_path / "store")
    assert re.search(reason, hostile.refused(capsys, "predict", folder, "--file", rows, *store))
    if "shape" in reason or "type" in reason:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("stages: [calibrate]\n")
        data = tiny.text_data(tmp_path / "data", train=16, evaluate=4)
        words = ("plan", recipe, "--model", folder, "--data", data, *store)
        assert re.search(reason, hostile.refused(capsys, *words))


@pytest.mark.parametrize("verb", ["predict", "export", "prune", "distill", "finetune", "bench"])
def test_every_verb_reads_weights_through_the_same_check(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shape that is not the file's is the same sentence wherever a model is opened."""
    folder = tiny.text_model(tmp_path / "model")
    file = folder / WEIGHTS
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"shape":[32,64]', b'"shape":[33,64]'))
    data = tiny.text_data(tmp_path / "data", train=16, evaluate=4)
    arguments: list[object] = ["--data", data, "--store", tmp_path / "store"]
    if verb == "predict":
        arguments = ["--file", data / "validation.jsonl", "--store", tmp_path / "store"]
    elif verb != "bench":
        arguments += ["--out", tmp_path / "out"]
    sentence = hostile.refused(capsys, verb, folder, *arguments)
    assert "model.safetensors is damaged" in sentence
    assert "takes 8,448 bytes" in sentence
    assert not (tmp_path / "out").exists()
