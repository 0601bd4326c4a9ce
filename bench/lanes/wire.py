"""Messages between the coordinator and a lane: a JSON header with raw arrays behind it, no pickle.

One message is an eight-byte length, that many bytes of JSON, and the arrays' bytes in the order in
which the header lists them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

Feed = Mapping[str, np.ndarray]
_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], header: Mapping[str, Any], feeds: Sequence[Feed] = ()) -> None:
    """Write one message.

    Raises:
        TypeError: an array of Python objects, which has no bytes of its own.
    """
    listing, chunks = [], []
    for feed in feeds:
        entries = []
        for name, array in feed.items():
            if array.dtype.hasobject:
                raise TypeError(f"array '{name}' holds Python objects and cannot travel")
            contiguous = np.ascontiguousarray(array)
            entries.append([name, contiguous.dtype.str, list(array.shape)])
            chunks.append(contiguous.tobytes())
        listing.append(entries)
    text = json.dumps({**header, "feeds": listing}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for chunk in chunks:
        stream.write(chunk)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]] | None:
    """Read one message, waiting for it without spinning; None where the other side is gone."""
    prefix = stream.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(prefix)
    text = stream.read(length)
    if len(text) < length:
        return None
    header = json.loads(text)
    feeds = []
    for entries in header.pop("feeds"):
        feed = {}
        for name, dtype, shape in entries:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            data = stream.read(size)
            if len(data) < size:
                return None
            # Of a bytearray, so that it can be written to, as PyTorch wants it.
            array = np.frombuffer(bytearray(data), dtype=dtype)
            feed[name] = array.reshape(shape)
        feeds.append(feed)
    return header, feeds
