"""Image classification: pixels by hand, processors that transformers reads back, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from compress import data
from compress.errors import DataError, ModelError
from compress.recipe import DataConfig
from compress.tasks import Head
from compress.tasks import image_classification as task
from compress.tasks._images import ImageFile, digest

HEAD = Head("single_label", ("a", "b"))
DIGITS = transformers.ViTConfig(image_size=8, patch_size=2, num_channels=1)


def encoded(image: Image.Image, form: str = "png") -> bytes:
    """An image file's bytes."""
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def test_one_gray_channel_by_hand() -> None:
    """8x8 pixels of 0 to 255 come out as value / 127.5 - 1, unresized, in one channel."""
    processor = task.default_processor(DIGITS)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    batch = task.encode(
        [{"image": pixels, "label": 1}, {"image": pixels.T, "label": 0}], processor, HEAD, None
    )
    pixel_values = batch.inputs["pixel_values"]
    assert (pixel_values.shape, pixel_values.dtype) == ((2, 1, 8, 8), np.float32)
    np.testing.assert_allclose(pixel_values[0, 0], pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(pixel_values[1, 0], pixels.T / 127.5 - 1, atol=1e-6)
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    assert (batch.truncated, task.lengths([], processor)) == (None, None)


def test_a_larger_image_is_resized_to_the_model(tmp_path: Path) -> None:
    """A constant picture of another size stays constant, in the model's size and channels."""
    config = transformers.ViTConfig(image_size=(6, 4), num_channels=3)
    processor = task.default_processor(config)
    image = Image.new("RGB", (32, 20), (255, 0, 51))
    batch = task.encode([{"image": image}], processor, HEAD, None)
    pixel_values = batch.inputs["pixel_values"]
    assert pixel_values.shape == (1, 3, 6, 4)
    np.testing.assert_allclose(pixel_values[0, :, 0, 0], [1.0, -1.0, -0.6], atol=1e-6)
    assert np.ptp(pixel_values[0], axis=(1, 2)).max() < 1e-6
    assert batch.labels is None


def test_transformers_reads_the_default_processor_back(tmp_path: Path) -> None:
    """AutoImageProcessor, as anybody would use it, gives the same values from the saved file."""
    task.default_processor(DIGITS).save_pretrained(tmp_path)
    DIGITS.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(
        Image.fromarray(pixels), return_tensors="np"
    )
    mine = task.encode([{"image": pixels}], task.load_processor(tmp_path), HEAD, None)
    np.testing.assert_array_equal(theirs["pixel_values"], mine.inputs["pixel_values"])
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert stored["size"] == {"height": 8, "width": 8}
    assert (stored["image_mean"], stored["image_std"]) == ([0.5], [0.5])


def test_every_form_of_an_image_gives_the_same_pixels(tmp_path: Path) -> None:
    """File, path, bytes, PIL, list, and arrays with the channel first, last or nowhere."""
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7), dtype=np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    forms: list[Any] = [
        pixels, pixels.tolist(), pixels[None], pixels[..., None], pixels.astype(np.float64),
        Image.fromarray(pixels),
        path, str(path), path.read_bytes(), ImageFile(path),
    ]  # fmt: skip
    for form in forms:
        np.testing.assert_array_equal(task.to_pixels(form, 1)[..., 0], pixels)
        np.testing.assert_array_equal(task.to_pixels(form, 3), np.stack([pixels] * 3, axis=-1))
    colored = np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(task.to_pixels(np.moveaxis(colored, -1, 0), 3), colored)
    gray = task.to_pixels(colored, 1)[..., 0].astype(float)
    np.testing.assert_allclose(gray, colored @ [0.299, 0.587, 0.114], atol=1)
    assert digest(ImageFile(path)) == digest(path.read_bytes()) != digest(pixels)


def test_a_camera_turned_on_its_side_is_turned_back() -> None:
    """The orientation in EXIF is applied, as transformers' own loader does."""
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    exif = image.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "png", exif=exif)
    assert task.to_pixels(stream.getvalue(), 1).shape == (3, 2, 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "the encoded image cannot be read"),
        ("nowhere.png", r"the image nowhere\.png cannot be read"),
        (np.zeros((2, 4, 5)), r"has the shape \(2, 4, 5\); allowed"),
        (np.full((2, 2), 300), "values from 300 to 300; pixels go from 0 to 255"),
        (np.full((2, 2), -1.0), "pixels go from 0 to 255"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    """Each in a sentence."""
    with pytest.raises(DataError, match=message):
        task.to_pixels(image, 3)


def test_a_processor_of_another_model_is_refused(tmp_path: Path) -> None:
    """Three means beside a model of one channel, a broken file, and channels that are no image."""
    DIGITS.save_pretrained(tmp_path)
    task.default_processor(transformers.ViTConfig()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"gives 3 channels .* takes 1 \(num_channels\)"):
        task.load_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"preprocessor_config\.json: this is not valid JSON"):
        task.load_processor(tmp_path)
    with pytest.raises(ModelError, match="gives 4 channels; 1"):
        task.to_pixels(np.zeros((2, 2)), 4)


def test_a_config_without_a_size_gets_the_usual_one() -> None:
    """Convolutional networks do not say their image size: 224, three channels."""
    processor = task.default_processor(transformers.ResNetConfig())
    assert (processor.size["height"], processor.size["width"]) == (224, 224)
    assert task.channels_of(processor) == 3
    bare = type("Processor", (), {"image_mean": 0.5})()
    assert task.channels_of(bare) == 3


def test_the_digits_reach_a_model(tmp_path: Path) -> None:
    """Rows of scikit-learn's digits go through the default processor into a small vision transformer."""
    rows = data.load(DataConfig(source="sklearn:digits"), task, 0).training.calibration[:4]
    config = transformers.ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, num_labels=10,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    batch = task.encode(rows, task.default_processor(config), Head("single_label", tuple("0123456789")), None)
    pixel_values = batch.inputs["pixel_values"]
    assert pixel_values.min() >= -1
    assert pixel_values.max() <= 1
    assert np.unique(np.rint((pixel_values + 1) * 8)).tolist() == list(range(17))
    import torch

    assert model(torch.from_numpy(pixel_values)).logits.shape == (4, 10)


def test_real_photographs_come_out_of_their_archive(shared: Path) -> None:
    """CIFAR-10 rows are 32x32 RGB members of train.zip; their pixels are PIL's."""
    config = DataConfig(source=str(shared / "data/cifar10_subset"))
    head = Head("single_label", tuple(json.loads((shared / "data/cifar10_subset/labels.json").read_text())))
    rows = data.evaluation(config, task, 0, head)[:3]
    processor = task.default_processor(transformers.ViTConfig(image_size=32))
    pixel_values = task.encode(rows, processor, head, None).inputs["pixel_values"]
    assert pixel_values.shape == (3, 3, 32, 32)
    pixels = np.asarray(Image.open(io.BytesIO(rows[0]["image"].read())))
    np.testing.assert_allclose(pixel_values[0], np.moveaxis(pixels / 127.5 - 1, -1, 0), atol=1e-6)
    assert str(rows[0]["image"]).endswith("test.zip:test/dog/0295.jpg")


def test_an_unreadable_archive_member_is_named(tmp_path: Path) -> None:
    """A member that is gone by the time it is read is an error with its name."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", b"")
    with pytest.raises(DataError, match=r"a\.zip:y\.png cannot be read"):
        ImageFile(tmp_path / "a.zip", "y.png").read()


def test_a_row_of_ours_has_the_shape_of_any_other() -> None:
    """ResNet and CLIP name no image_size at the top of their configuration: an encoded row says it."""
    from types import SimpleNamespace

    from compress.model import sample

    processor = task.default_processor(SimpleNamespace(image_size=(24, 40), num_channels=3))
    batch = sample.batch(task, processor, Head("single_label", ("a", "b")))
    assert batch.inputs["pixel_values"].shape == (2, 3, 24, 40)
