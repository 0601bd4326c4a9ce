"""A report names no place of the machine that it could name from the working folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_bench

from bench.record.portable import portable
from bench.session import CandidateSpec, measure
from compress.recipe import BenchConfig, DataConfig, Named


def test_what_lies_below_the_folder_becomes_relative() -> None:
    """At any depth; other paths, other texts and numbers stay."""
    value = {"source": "/work/data/sst2", "at": ["/work", "/works/x", "and/or", 3, None], "o": {"p": "/etc"}}
    assert portable(value, Path("/work")) == {
        "source": "data/sst2",
        "at": [".", "/works/x", "and/or", 3, None],
        "o": {"p": "/etc"},
    }


def test_a_report_has_relative_places(
    tmp_path: Path, text_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the data, of what stages recorded, and of the recipe."""
    artifact = tiny_bench.fake_artifact(tmp_path / "artifact")
    monkeypatch.chdir(text_data.parent)
    report = measure(
        [CandidateSpec("one", artifact.path, tiny_bench.FAKE)],
        DataConfig(source=str(text_data)),
        BenchConfig(probes=(Named(name="size"),), threads=1),
        recipe={"model": str(text_data)},
    )
    assert report.data.source == text_data.name
    assert report.recipe == {"model": text_data.name}
    assert str(text_data) not in report.model_dump_json()
