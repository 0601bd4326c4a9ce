"""Sounds: what a file, a member of an archive, encoded bytes or samples hold, for a model's sampling rate.

Several channels are mixed to one, their mean, and sounds of another sampling rate are resampled by a
polyphase filter: both as the usual speech pipelines do it, with soundfile and scipy alone.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from compress import environment, log
from compress.errors import DataError
from compress.tasks._images import ImageFile

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
RATES = (1_000, 768_000)
"""Sampling rates that sounds are recorded at, in Hz; what is outside is a damaged file."""
_MOST = 2**27  # values of one sound: a few kilobytes of FLAC silence can decode to more than fits


@dataclass(frozen=True, eq=False)
class Wave:
    """A sound that is decoded already.

    Attributes:
        samples: [frames] or [frames, channels], from -1 to 1.
        rate: frames a second.
    """

    samples: np.ndarray
    rate: int

    def __str__(self) -> str:
        """What a message calls it."""
        return f"of {len(self.samples)} samples"


@dataclass(frozen=True)
class Shape:
    """What the header of a sound says.

    Attributes:
        frames: samples of each channel.
        channels: how many there are.
        rate: frames a second.
    """

    frames: int
    channels: int
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate

    def at(self, rate: int) -> int:
        """Samples that it has when it is resampled."""
        return math.ceil(self.frames * rate / self.rate)


def from_cell(cell: Any) -> Any:
    """A cell as a sound: bytes and waves as they are, the forms of ``datasets`` unpacked; None for others.

    A path is none of these: whoever knows where it leads turns it into a file.
    """
    if isinstance(cell, Mapping) and isinstance(cell.get("bytes"), bytes):
        return cell["bytes"]
    if isinstance(cell, Mapping) and "array" in cell and "sampling_rate" in cell:
        try:
            return Wave(np.asarray(cell["array"], dtype=np.float32), int(cell["sampling_rate"]))
        except (TypeError, ValueError):
            return None
    return cell if isinstance(cell, bytes | Wave | ImageFile | Path) else None


def shape(sound: Any) -> Shape:
    """What a sound holds, from its header, checked.

    Raises:
        DataError: it is no sound, has no samples, or says a sampling rate that nothing is recorded at.
    """
    if isinstance(sound, Wave):
        channels = sound.samples.shape[1] if sound.samples.ndim == 2 else 1
        if sound.samples.ndim not in (1, 2) or not 1 <= channels <= 64:
            raise DataError(
                f"a sound has samples of the shape {sound.samples.shape}; allowed: (frames,) and "
                "(frames, channels)"
            )
        return _checked(Shape(len(sound.samples), channels, sound.rate), sound)
    return _checked(_opened(sound)[1], sound)


def read(sound: Any, rate: int) -> np.ndarray:
    """The samples of a sound as one channel at a rate, float32 [samples], from -1 to 1.

    Args:
        sound: a path, a file or a member of an archive, encoded bytes, or a ``Wave``.
        rate: samples a second that the model takes.

    Raises:
        DataError: it is no sound, is empty or holds samples that are no numbers.
    """
    if isinstance(sound, Wave):
        form, samples = shape(sound), np.asarray(sound.samples, dtype=np.float32)
    else:
        samples, form = _opened(sound, decode=True)
        _checked(form, sound)
    if not np.isfinite(samples).all():
        raise DataError(
            f"the {_name(sound)} holds samples that are no numbers (NaN or infinity): leave it out"
        )
    if samples.ndim == 2:
        if form.channels > 1:
            _say_mixed(form.channels)
        samples = samples.mean(axis=1, dtype=np.float32)
    if form.rate == rate:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(form.rate, rate)
    return np.asarray(resample_poly(samples, rate // common, form.rate // common), dtype=np.float32)


def digest(sound: Any) -> str:
    """SHA-256 of a sound's bytes, or of its samples with their shape and rate."""
    if isinstance(sound, Wave):
        head = f"{sound.rate} {sound.samples.shape}".encode()
        return hashlib.sha256(head + sound.samples.tobytes()).hexdigest()
    return hashlib.sha256(_bytes(sound)).hexdigest()


@cache
def _say_mixed(channels: int) -> None:
    """Said once a process: it is the same for every sound."""
    log.warning("sounds of %d channels are mixed to one, the mean of them: the model takes one", channels)


def _name(sound: Any) -> str:
    return "encoded sound" if isinstance(sound, bytes) else f"sound {sound}"


def _bytes(sound: Any) -> bytes:
    if isinstance(sound, bytes):
        return sound
    stored = sound if isinstance(sound, ImageFile) else ImageFile(Path(sound), noun="sound")
    return stored.read()


def _opened(sound: Any, *, decode: bool = False) -> tuple[np.ndarray, Shape]:
    """The samples of a sound, [frames, channels], where they are wanted, and what its header says."""
    library = environment.require("soundfile", extra="audio", purpose="to read sounds")
    content = _bytes(sound)
    if not content:
        raise DataError(f"the {_name(sound)} is an empty file: leave it out")
    try:
        with library.SoundFile(io.BytesIO(content)) as file:
            form = Shape(int(file.frames), int(file.channels), int(file.samplerate))
            if form.frames * form.channels > _MOST:
                raise DataError(
                    f"the {_name(sound)} has {form.frames:,} samples of {form.channels} channels, and "
                    f"{_MOST:,} are the most: cut it into parts"
                )
            samples = file.read(dtype="float32", always_2d=True) if decode else np.empty((0, 1), np.float32)
    except (library.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as cause:
        raise DataError(
            f"the {_name(sound)} cannot be read as a sound: {cause}. Give wav, flac, ogg or mp3"
        ) from cause
    return samples, form


def _checked(form: Shape, sound: Any) -> Shape:
    least, most = RATES
    if not least <= form.rate <= most:
        raise DataError(
            f"the {_name(sound)} says a sampling rate of {form.rate:,} Hz; allowed is {least:,} to {most:,}: "
            "write the rate that it was recorded at into the file"
        )
    if form.frames < 1:
        raise DataError(f"the {_name(sound)} lasts 0 seconds, so that there is nothing to hear: leave it out")
    return form
