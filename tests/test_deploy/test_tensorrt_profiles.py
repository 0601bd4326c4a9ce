"""Optimization profiles: how they are written, made from lengths, checked, and chosen for a feed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from compress.errors import RecipeError, UserError
from deploy.tensorrt import profiles
from deploy.tensorrt.profiles import Profile, Range

INPUTS: dict[str, list[int | str]] = {"input_ids": ["batch", "length"], "mask": ["batch", "length"]}


def made(*texts: str) -> list[Profile]:
    """Profiles with shapes for two token inputs."""
    return [profiles.shape(profiles.parse(text), INPUTS) for text in texts]


def test_a_profile_reads_back_as_it_was_written() -> None:
    """Blanks do not matter, one number is a fixed size."""
    axes = profiles.parse(" batch=1:8:32, length=16:64:128")
    assert axes == {"batch": Range(min=1, opt=8, max=32), "length": Range(min=16, opt=64, max=128)}
    assert profiles.spell(axes) == "batch=1:8:32,length=16:64:128"
    assert profiles.parse("batch=8") == {"batch": Range(min=8, opt=8, max=8)}
    assert profiles.spell(profiles.parse("batch=8")) == "batch=8"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batch", "write AXIS=MIN:OPT:MAX"),
        ("batch=1:2", "has 'batch=1:2'; write AXIS=MIN:OPT:MAX"),
        ("batch=a:b:c", "such as batch=1:8:32,length=16:64:128"),
        ("batch=-1:2:3", "write AXIS=MIN:OPT:MAX"),
        ("batch=0:1:2", "sizes are 1 or more and rise"),
        ("batch=8:4:16", "rise from MIN over OPT to MAX"),
        ("batch=1,batch=2", "names batch twice"),
        ("", "write AXIS=MIN:OPT:MAX"),
    ],
)
def test_what_is_no_profile_is_refused(text: str, sentence: str) -> None:
    """The message shows the part that is wrong and how to write it."""
    with pytest.raises(RecipeError, match=sentence):
        profiles.parse(text)


def test_every_free_axis_must_be_named() -> None:
    """An axis that is missing, or that the graph does not have, with an example that fits the model."""
    axes = profiles.parse("length=1:8:16,batch=1:2:4")
    assert list(profiles.complete(axes, ["batch", "length"], 64)) == ["batch", "length"]
    with pytest.raises(
        RecipeError, match=r"length is missing.*for example batch=1:8:32,length=16:48:48"
    ) as error:
        profiles.complete(profiles.parse("batch=1:8:32"), ["batch", "length"], 48)
    example = str(error.value).rsplit(" ", 1)[1]
    profiles.complete(profiles.parse(example), ["batch", "length"], 48)
    with pytest.raises(RecipeError, match=r"no axis length.*Free axes: batch; for example batch=1:8:32"):
        profiles.complete(axes, ["batch"], None)


def test_boundaries_of_a_case_by_hand() -> None:
    """Three rows of 8, one of 32, two of 64: one bucket costs 384, two cost 24 + 192 or 32 * 4 + 128."""
    lengths = [5, 7, 8, 30, 60, 64]
    assert profiles.boundaries(lengths, 1) == [64]
    assert profiles.boundaries(lengths, 2) == [8, 64]
    assert profiles.boundaries(lengths, 3) == [8, 32, 64]
    assert profiles.boundaries(lengths, 9) == [8, 32, 64]
    assert profiles.boundaries([], 3) == []


def test_boundaries_are_the_best_of_all_choices() -> None:
    """Against trying every choice of ends, on random lengths."""
    rng = np.random.default_rng(0)
    for buckets in (1, 2, 3, 4):
        lengths = rng.geometric(0.04, size=60).clip(1, 120)
        ends = sorted({-(-int(length) // 8) * 8 for length in lengths})

        def cost(chosen: tuple[int, ...], lengths: np.ndarray = lengths) -> int:
            return sum(min(end for end in chosen if end >= length) for length in lengths)

        best = min(
            cost((*inner, ends[-1])) for count in range(buckets) for inner in combinations(ends[:-1], count)
        )
        assert cost(tuple(profiles.boundaries(list(lengths), buckets))) == best


def test_profiles_from_lengths_cover_what_the_model_takes() -> None:
    """Buckets follow each other without a gap, and a last one reaches the model's limit."""
    batch = Range(min=1, opt=8, max=32)
    spans = profiles.derive([5, 7, 8, 30, 60, 64], 128, batch, 3)
    assert [profiles.spell(span) for span in spans] == [
        "batch=1:8:32,length=1:8:8",
        "batch=1:8:32,length=9:32:32",
        "batch=1:8:32,length=33:64:64",
        "batch=1:8:32,length=65:128:128",
    ]
    cut = profiles.derive([5, 60], 60, batch, 2)  # a limit that is no multiple of 8
    assert [span["length"].max for span in cut] == [8, 60]
    assert profiles.derive(None, None, batch, 3) == [{"batch": batch}]


def test_shapes_of_every_input() -> None:
    """Fixed sizes stay, free ones take the profile's."""
    profile = profiles.shape(profiles.parse("batch=1:2:4"), {"pixels": ["batch", 3, 8, 8]})
    assert profile.inputs["pixels"].min == (1, 3, 8, 8)
    assert profile.inputs["pixels"].opt == (2, 3, 8, 8)
    assert profile.inputs["pixels"].max == (4, 3, 8, 8)
    assert str(profile) == "batch=1:2:4"
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_a_profile_beyond_the_export_is_refused() -> None:
    """With the axis, the limit and the option of the export."""
    spans = [profiles.parse("batch=1:8:32,length=1:64:256")]
    profiles.check_limits(spans, {"batch": 32, "length": 256})
    with pytest.raises(RecipeError, match=r"up to length 256, and the graph takes at most 128.*--max-length"):
        profiles.check_limits(spans, {"length": 128})
    with pytest.raises(RecipeError, match=r"up to batch 32, and the graph takes at most 16.*--max-batch"):
        profiles.check_limits(spans, {"batch": 16})


def test_a_profile_that_excludes_rows_is_refused() -> None:
    """How many rows, how long they are, and what would hold them; shorter rows are padded and fit."""
    spans = [profiles.parse("batch=1,length=16:32:64"), profiles.parse("batch=1,length=65:80:96")]
    profiles.check_lengths(spans, [3, 50, 96])
    with pytest.raises(
        RecipeError, match=r"leave out 2 of 4 rows: rows have up to 120 tokens.*Raise it to 120 or more"
    ):
        profiles.check_lengths(spans, [3, 97, 120, 40])
    with pytest.raises(RecipeError, match="rows have up to 120 samples, the profiles go up to length 96"):
        profiles.check_lengths(spans, [120], "samples")


def test_a_feed_takes_the_profile_with_the_least_padding() -> None:
    """Exact where it fits, padded up to the smallest length otherwise, and the smaller profile on a tie."""
    several = made(
        "batch=1:8:32,length=16:64:128", "batch=1:1:1,length=16:16:32", "batch=1:8:32,length=64:64:64"
    )
    feed = {"input_ids": (1, 20), "mask": (1, 20)}
    assert profiles.select(several, feed).index == 1
    assert profiles.select(several, feed).shapes == feed
    short = profiles.select(several, {"input_ids": (2, 5), "mask": (2, 5)})
    assert (short.index, short.shapes["mask"]) == (0, (2, 16))
    assert profiles.select(several, {"input_ids": (4, 64), "mask": (4, 64)}).index == 2


@pytest.mark.parametrize("shape", [(64, 20), (1, 200), (1,)])
def test_a_feed_outside_every_profile_is_refused(shape: tuple[int, ...]) -> None:
    """Batch, length or rank: what was asked, what is allowed, and the command."""
    several = made("batch=1:8:32,length=16:64:128", "batch=1,length=16:16:32")
    with pytest.raises(UserError) as error:
        profiles.select(several, {"input_ids": shape, "mask": shape}, "paredown build ONNX")
    text = str(error.value)
    assert f"input_ids {'x'.join(map(str, shape))}" in text
    assert "'batch=1:8:32,length=16:64:128' or 'batch=1,length=16:16:32'" in text
    assert "paredown build ONNX with a --profile that holds it" in text
