"""Images: one label, several labels, or a number.

Images are files, members of a zip archive, encoded bytes, arrays (height, width), (height, width,
channels) or (channels, height, width) of 0 to 255, or PIL images. What is done with them is said by the
model's ``preprocessor_config.json``, read by transformers' PIL processors, whatever else is installed:
the same pixels in training and in production.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import fence
from compress.errors import DataError, ModelError
from compress.reading import json_values
from compress.tasks import Batch, Column, ExportSpec, Head, Row
from compress.tasks._classification import (
    LABEL,
    LABEL_ALIASES,
    METRICS,
    align,
    blind,
    decided,
    decode,
    fitted,
    infer_head,
    link,
    loss,
    metrics,
    positions,
    reference,
    statistics,
    targets,
)
from compress.tasks._heads import configure, head_of
from compress.tasks._images import ImageFile

__all__ = [
    "LABEL",
    "METRICS",
    "align",
    "blind",
    "configure",
    "decided",
    "decode",
    "fitted",
    "head_of",
    "infer_head",
    "link",
    "loss",
    "metrics",
    "positions",
    "reference",
    "statistics",
]

MODEL = "AutoModelForImageClassification"
COLUMNS = {
    "image": Column(required=True, aliases=("img", "file", "file_name", "image_path", "path"), holds="image"),
    "label": Column(required=False, aliases=("fine_label", *LABEL_ALIASES), holds="label"),
}
OUTPUTS = ("logits",)
_LARGEST = 2**14  # pixels of a side


def load_processor(folder: Path) -> Any:
    """The image processor of a model folder, on PIL.

    Raises:
        ModelError: there is none, it cannot be read, or it does not fit the model's channels.
    """
    from transformers import AutoConfig, AutoImageProcessor

    if not (folder / "preprocessor_config.json").is_file():
        raise ModelError(
            f"{folder} has no image processor (no preprocessor_config.json): save the processor that the "
            "model was trained with into the same folder"
        )
    remedy = "get the whole model folder again"
    _check_sizes(folder / "preprocessor_config.json")
    with fence.reading(f"the image processor in {folder} cannot be read", remedy):
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    if (folder / "config.json").is_file():
        with fence.reading(f"{folder}/config.json is refused by transformers", remedy):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        takes = getattr(config, "num_channels", None)
        if takes is not None and takes != channels_of(processor):
            raise ModelError(
                f"the image processor in {folder} gives {channels_of(processor)} channels (image_mean) "
                f"and the model takes {takes} (num_channels): one of the two files is of another model"
            )
    with fence.reading(f"the image processor in {folder} does not work", remedy):
        encoded = processor([_blank(processor)], return_tensors="np", input_data_format="channels_last")
        pixels = np.asarray(encoded["pixel_values"], dtype=np.float32)
    if pixels.ndim != 4 or not np.isfinite(pixels).all():
        raise ModelError(f"the image processor in {folder} gives no pixels that are numbers: {remedy}")
    return processor


def _check_sizes(file: Path) -> None:
    """Refuse an image size that no machine has the memory for, before anything is made of it.

    Raises:
        ModelError: the size is named, with what is allowed.
    """
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the whole model folder again")
    for name in ("size", "crop_size", "pad_size"):
        size = content.get(name)
        sides = size.items() if isinstance(size, dict) else [("", size)]
        for side, value in sides:
            if side.endswith("_pixels") or value is None or isinstance(value, dict | list):
                continue  # an area, or of a kind that transformers reads or refuses itself
            if not _is_size(value):
                raise ModelError(
                    f"{file}: {f'{name}.{side}'.rstrip('.')} is {value!r:.60}, allowed is a whole number "
                    f"from 1 to {_LARGEST:,}: get the whole model folder again"
                )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST


def default_processor(config: Any) -> Any:
    """A processor for a model built from a config: its size and channels, pixels from -1 to 1.

    Args:
        config: with ``image_size`` (224 where it has none) and ``num_channels`` (3 where it has none).
    """
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    size = getattr(config, "image_size", None) or 224
    height, width = (size, size) if isinstance(size, int) else size
    half = [0.5] * (getattr(config, "num_channels", None) or 3)
    return ViTImageProcessorPil(
        do_resize=True,
        size={"height": int(height), "width": int(width)},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=half,
        image_std=list(half),
    )


def channels_of(processor: Any) -> int:
    """How many channels a processor gives: as many as it has means, 3 where it has one for all."""
    mean = getattr(processor, "image_mean", None)
    return len(mean) if isinstance(mean, list | tuple) else 3


# What Pillow's readers raise of damaged files, besides a bomb of its own: each format has its ways.
_BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, LookupError, ArithmeticError, AttributeError)
_BROKEN += (MemoryError, NotImplementedError, RuntimeError, SyntaxError, TypeError, ValueError)
_BROKEN += (struct.error, zlib.error)


def _blank(processor: Any) -> np.ndarray:
    return np.zeros((64, 64, channels_of(processor)), dtype=np.uint8)


def to_pixels(image: Any, channels: int) -> np.ndarray:
    """An image as uint8 [height, width, channels], gray or RGB.

    Raises:
        DataError: it cannot be read as an image.
    """
    from PIL import Image, ImageOps

    if channels not in {1, 3}:
        raise ModelError(f"the image processor gives {channels} channels; 1 (gray) and 3 (RGB) are supported")
    mode = "L" if channels == 1 else "RGB"
    if isinstance(image, np.ndarray | list):
        image = _from_array(np.asarray(image))
    elif not isinstance(image, Image.Image):
        source = Path(image) if isinstance(image, str) else image
        broken: tuple[type[Exception], ...] = (*_BROKEN, Image.DecompressionBombError)
        try:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else _stream(source))
            image = ImageOps.exif_transpose(image)
            image = image if image.mode == mode else image.convert(mode)  # decoded here, not later
            image.load()
        except broken as cause:
            name = "encoded image" if isinstance(source, bytes) else f"image {source}"
            raise DataError(f"the {name} cannot be read: {cause}") from cause
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], channels)


def _stream(source: Any) -> Any:
    return source.open() if isinstance(source, ImageFile) else source


def _from_array(pixels: np.ndarray) -> Any:
    from PIL import Image

    if pixels.ndim == 3 and pixels.shape[-1] not in {1, 3} and pixels.shape[0] in {1, 3}:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)):
        raise DataError(
            f"an image array has the shape {pixels.shape}; allowed: (height, width), and 1 or 3 "
            "channels first or last"
        )
    if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise DataError(
            f"an image array has values from {pixels.min()} to {pixels.max()}; pixels go from 0 to 255"
        )
    return Image.fromarray(np.ascontiguousarray(np.rint(pixels).astype(np.uint8)))


def lengths(rows: Sequence[Row], processor: Any) -> None:
    """Images have no length."""
    return


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Pixel values, float32 [rows, channels, height, width]."""
    channels = channels_of(processor)
    images = [to_pixels(row["image"], channels) for row in rows]
    encoded = processor(images, return_tensors="np", input_data_format="channels_last")
    return Batch(
        inputs={"pixel_values": np.asarray(encoded["pixel_values"], dtype=np.float32)},
        labels=targets(rows, head) if labelled else None,
    )


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """A free batch axis; the image size is fixed."""
    return ExportSpec(
        inputs={"pixel_values": {0: "batch"}}, outputs={"logits": {0: "batch"}}, length_axis=None
    )
