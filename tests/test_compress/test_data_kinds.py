"""Data that is no table of texts: images, the bundled digits, tagged words, published sets."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_data import load, write

from compress import data
from compress.errors import DataError, UnknownName
from compress.recipe import DataConfig
from compress.tasks import image_classification, text_classification, token_classification


def picture(shade: int) -> bytes:
    """A small gray PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), shade, dtype=np.uint8)).save(stream, "png")
    return stream.getvalue()


def test_images_are_found_in_the_folder_and_in_a_zip_beside_it(tmp_path: Path) -> None:
    """Paths are relative to the data; an archive of the split's name serves its members unextracted."""
    (tmp_path / "images").mkdir()
    for i in range(4):
        (tmp_path / "images" / f"{i}.png").write_bytes(picture(i))
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        archive.writestr("test/a.png", picture(77))
    write(tmp_path / "train.jsonl", [{"file": f"images/{i}.png", "label": i % 2} for i in range(4)])
    write(tmp_path / "test.jsonl", [{"file": "test/a.png", "label": 0}])
    splits = load(image_classification, source=str(tmp_path))
    assert splits.eval[0]["image"].read() == picture(77)
    assert splits.training.train[0]["image"].read()[:4] == b"\x89PNG"
    assert not (tmp_path / "test").exists()
    before = data.fingerprint(DataConfig(source=str(tmp_path)), 0, "training")
    (tmp_path / "images" / "1.png").write_bytes(picture(200))
    assert data.fingerprint(DataConfig(source=str(tmp_path)), 0, "training") != before


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png"])
def test_an_image_path_never_leads_out_of_the_data(tmp_path: Path, path: str) -> None:
    """Absolute paths and parent folders are refused, also when the file is there."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1))
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        archive.writestr(path, picture(2))
    write(folder / "train.jsonl", [{"file": path, "label": 0}])
    with pytest.raises(DataError, match="leads out of the data folder"):
        load(image_classification, source=str(folder))


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    """File, line and what was found."""
    write(tmp_path / "train.jsonl", [{"file": "gone.png", "label": 0}])
    with pytest.raises(
        DataError, match=r"train\.jsonl, line 1: the column 'file' must hold an image.*gone\.png"
    ):
        load(image_classification, source=str(tmp_path))
    (tmp_path / "train.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"train\.zip cannot be read as a zip archive"):
        load(image_classification, source=str(tmp_path))


def test_images_inside_the_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    """Encoded bytes of a parquet file, as hub sets have them, and pixels of a jsonl file."""
    import datasets

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])}
    )
    rows = [{"img": {"bytes": picture(i), "path": None}, "label": i % 2} for i in range(12)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(tmp_path / "train.parquet"))
    write(tmp_path / "test.jsonl", [{"img": [[0, 255], [7, 9]], "label": 1}])
    splits = load(image_classification, source=str(tmp_path))
    training_rows = [*splits.training.train, *splits.training.selection]
    assert sorted(row["image"] for row in training_rows) == sorted(picture(i) for i in range(12))
    assert splits.eval[0]["image"].tolist() == [[0, 255], [7, 9]]
    assert splits.facts["columns"] == {"image": "img", "label": "label"}
    config = DataConfig(source=str(tmp_path))
    assert data.fingerprint(config, 0, "training") == data.fingerprint(config, 0, "training")


@pytest.mark.parametrize(
    "cell", [5, None, {"path": None}, {"path": "gone.png"}, [[300]], ["x"], [[1, 2], [3]]]
)
def test_a_cell_that_is_no_image_is_refused(tmp_path: Path, cell: Any) -> None:
    """The sentence says which forms an image may have."""
    write(tmp_path / "train.jsonl", [{"image": cell, "label": 0}])
    with pytest.raises(DataError, match=r"line 1: the column 'image' must hold an image \(a path"):
        load(image_classification, source=str(tmp_path))


def test_equal_images_stay_on_one_side(tmp_path: Path) -> None:
    """The same picture under many names is one group."""
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for i in range(60):
            archive.writestr(f"{i}.png", picture(i // 3))
    write(tmp_path / "train.jsonl", [{"file": f"{i}.png", "label": i % 2} for i in range(60)])
    training = load(image_classification, source=str(tmp_path)).training
    pictures = [{row["image"].read() for row in rows} for rows in (training.train, training.selection)]
    assert len(training.selection) == 6
    assert not pictures[0] & pictures[1]


def test_the_digits_are_split_alike_for_every_seed() -> None:
    """A quarter of the 1,797 images measures, every class by its share, and no seed moves it."""
    splits = load(image_classification, source="sklearn:digits")
    reseeded = load(image_classification, source="sklearn:digits", seed=5)
    assert (len(splits.eval), len(splits.training.train), len(splits.training.selection)) == (450, 1212, 135)
    assert np.bincount([row["label"] for row in splits.eval]).tolist() == [
        45,
        46,
        44,
        46,
        45,
        46,
        45,
        45,
        43,
        45,
    ]
    eval_images = [[row["image"].tobytes() for row in side.eval] for side in (splits, reseeded)]
    assert eval_images[0] == eval_images[1]
    assert splits.training.selection[0] is not reseeded.training.selection[0]
    learned = {row["image"].tobytes() for row in [*reseeded.training.train, *reseeded.training.selection]}
    assert not learned & set(eval_images[0])
    image = splits.eval[0]["image"]
    assert (image.shape, image.dtype, image.max() <= 255) == ((8, 8), np.uint8, True)
    assert splits.training.infer_head(image_classification).labels == tuple("0123456789")
    with pytest.raises(UnknownName, match="Did you mean 'digits'"):
        load(image_classification, source="sklearn:digit")


# Tags


def test_tags_must_be_as_many_as_words(tmp_path: Path) -> None:
    """Words and tags of different number are refused by line; lists may also stand in csv cells."""
    write(
        tmp_path / "train.jsonl",
        [{"tokens": ["a", "b"], "tags": ["O", "B-x"]}, {"tokens": ["c"], "tags": []}],
    )
    with pytest.raises(DataError, match="line 2: 1 words in 'tokens' and 0 tags in 'tags'"):
        load(token_classification, source=str(tmp_path))
    (tmp_path / "train.jsonl").unlink()
    rows = [{"tokens": json.dumps([f"w{i}", "x"]), "tags": json.dumps(["O", "B-x"])} for i in range(9)]
    write(tmp_path / "train.csv", rows)
    assert load(token_classification, source=str(tmp_path)).training.train[0]["tags"] == ["O", "B-x"]


@pytest.mark.parametrize("cell", ["text", [], [1], None])
def test_words_must_be_a_list_of_texts(tmp_path: Path, cell: Any) -> None:
    """Anything else is refused by line."""
    write(tmp_path / "train.jsonl", [{"tokens": cell, "tags": ["O"]}])
    with pytest.raises(DataError, match="line 1: the column 'tokens' must hold a list of words"):
        load(token_classification, source=str(tmp_path))


# Real data


@pytest.mark.parametrize(
    ("name", "task", "problem", "rows"),
    [
        ("rte", text_classification, "single_label", (2490, 277)),
        ("stsb", text_classification, "regression", (5749, 1500)),
        ("wnut17", token_classification, "tags", (3394, 1009)),
    ],
)
def test_real_sets_load_whole(
    shared: Path, name: str, task: Any, problem: str, rows: tuple[int, int]
) -> None:
    """Every row is on a side, labels align with the head that they ask for, nothing needs an option."""
    config = DataConfig(source=str(shared / "data" / name))
    splits = data.load(config, task, 0)
    head = splits.training.infer_head(task)
    aligned = splits.training.for_head(task, head)
    assert head.problem == problem
    assert len(aligned.train) + len(aligned.selection) == rows[0]
    assert len(aligned.selection) >= 0.09 * rows[0]
    assert len(data.evaluation(config, task, 0, head)) == rows[1]
    assert len(aligned.calibration) == 256


def test_the_license_of_a_card_is_a_fact(tmp_path: Path) -> None:
    """The YAML head of a README states it; a folder without one states none."""
    tiny.text_data(tmp_path)
    assert load(source=str(tmp_path)).facts["license"] is None
    (tmp_path / "README.md").write_text("---\nlicense: [mit, cc0-1.0]\n---\n# Data\n")
    assert load(source=str(tmp_path)).facts["license"] == "mit, cc0-1.0"
