"""Messages with arrays, without pickle."""

from __future__ import annotations

import io

import numpy as np
import pytest

from bench.lanes import wire


def test_a_message_comes_back_whole() -> None:
    """Header, names, dtypes, shapes and values survive; arrays can be written to."""
    feeds = [
        {"ids": np.arange(6, dtype=np.int64).reshape(2, 3), "mask": np.ones((2, 3), dtype=bool)},
        {"pixels": np.float32([[0.5]]), "empty": np.zeros((0, 4), dtype=np.float16)},
    ]
    stream = io.BytesIO()
    wire.send(stream, {"do": "keep", "key": "ä"}, feeds)
    wire.send(stream, {"do": "close"})
    stream.seek(0)
    received = wire.receive(stream)
    assert received is not None
    header, copies = received
    assert header == {"do": "keep", "key": "ä"}
    for feed, copy in zip(feeds, copies, strict=True):
        assert list(feed) == list(copy)
        for name, array in feed.items():
            assert copy[name].dtype == array.dtype
            np.testing.assert_array_equal(copy[name], array)
            assert copy[name].flags.writeable
    assert wire.receive(stream) == ({"do": "close"}, [])
    assert wire.receive(stream) is None


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_cut_message_is_the_other_side_gone(share: float) -> None:
    """Half a message, from a process that died while writing, reads as the end."""
    stream = io.BytesIO()
    wire.send(stream, {"do": "infer"}, [{"ids": np.arange(100)}])
    content = stream.getvalue()
    assert wire.receive(io.BytesIO(content[: int(share * len(content))])) is None


def test_python_objects_do_not_travel() -> None:
    """An array of objects is refused, since it would need pickle."""
    with pytest.raises(TypeError, match="'words' holds Python objects"):
        wire.send(io.BytesIO(), {}, [{"words": np.array(["a", None], dtype=object)}])
