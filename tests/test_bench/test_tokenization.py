"""What a smaller vocabulary does to evaluation rows: unknown pieces and growth of length, and their gate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_bench
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bench.probes import Subject, tokenization
from bench.record.model import Interval, Measurement
from bench.statistics import stats
from compress import catalog
from compress.errors import NothingToMeasure
from compress.recipe import BenchConfig, validate
from compress.tasks import Head

TASK = catalog.task("text-classification")
HEAD = Head("single_label", ("negative", "positive"))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WHOLE = [*SPECIALS, "the", "film", "was", "good", "bad"]
# Without 'film' and 'bad': the first falls into three pieces, the second into none.
FEWER = [*SPECIALS, "the", "was", "good", "f", "##il", "##m"]
ROWS = [{"text": text, "label": 1} for text in ("the film was good", "the film was bad", "good", "good film")]


def lane(name: str, folder: Path, pieces: list[str]) -> Any:
    """A lane with a tokenizer of these pieces; nothing of it runs."""
    tiny.text_model(folder)
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=4,
    ).save_pretrained(folder)
    return SimpleNamespace(name=name, memo={}, spec=SimpleNamespace(artifact=tiny_bench.seal(folder)))


def subject(rows: list[dict[str, Any]]) -> Subject:
    """Rows of a text classifier."""
    return Subject(TASK, rows, HEAD, BenchConfig(), "whole", 0)


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The baseline, a smaller vocabulary, and the baseline's files once more."""
    folder = tmp_path_factory.mktemp("tokenization")
    pieces = {"whole": WHOLE, "fewer": FEWER, "copy": WHOLE}
    return [lane(name, folder / name, words) for name, words in pieces.items()]


def by_metric(measurements: list[Measurement], name: str) -> dict[str, Measurement]:
    """The figures of one candidate."""
    return {figure.metric: figure for figure in measurements if figure.candidate == name}


def test_unknown_pieces_and_growth_by_hand(lanes: list[Any]) -> None:
    """6, 6, 3 and 4 pieces become 8, 8, 3 and 6, one of them unknown, whatever the limit of 4 would cut."""
    measured = tokenization.measure(lanes, subject(ROWS), tokenization.Config())
    fewer = by_metric(measured, "fewer")
    assert set(fewer) == {"unknown_pieces", "length_growth"}
    assert fewer["unknown_pieces"].value == fewer["unknown_pieces"].difference == pytest.approx(1 / 25)
    assert fewer["length_growth"].value == fewer["length_growth"].difference == pytest.approx(25 / 19 - 1)
    assert fewer["length_growth"].notes == (
        "6.2 pieces a row and 4.8 by 'whole'; 3 rows get longer, 1 have more unknown pieces",
    )
    interval = fewer["length_growth"].interval
    assert interval is not None
    assert 0 <= interval.low < 25 / 19 - 1 < interval.high <= 0.5


def test_the_same_files_are_not_read_again(lanes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate with the baseline's tokenizer has the baseline's figures, exactly."""
    names: list[str] = []
    read = tokenization.read
    monkeypatch.setattr(
        tokenization, "read", lambda lane, subject: names.append(lane.name) or read(lane, subject)
    )
    measured = tokenization.measure(lanes, subject(ROWS), tokenization.Config())
    assert names == ["whole", "fewer"]
    copy = by_metric(measured, "copy")
    for metric in ("unknown_pieces", "length_growth"):
        assert (copy[metric].value, copy[metric].difference) == (0, 0)
        assert copy[metric].difference_interval == Interval(low=0.0, high=0.0)
        assert copy[metric].notes == ("the tokenizer of 'whole': 4.8 pieces a row",)


def test_nothing_unknown_in_few_rows_is_no_proof() -> None:
    """Another tokenizer that left nothing unknown in 100 rows has Wilson's bound for 100 rows."""
    before = np.tile([4.0, 0.0], (100, 1))
    after = before + np.array([[1.0, 0.0]])
    weights = stats.resample_weights(100, np.random.default_rng(0)).astype(np.float64)
    unknown, growth, tail = tokenization.figures("it", before, after, weights, ())
    assert unknown.value == 0
    assert unknown.difference_interval is not None
    assert unknown.difference_interval.high == pytest.approx(0.0370, abs=1e-4)
    assert growth.interval == Interval(low=0.25, high=0.25)
    assert (tail.metric, tail.value) == ("length_growth_p95", 0.25)


def test_the_longest_growth_is_of_rows() -> None:
    """Of 100 rows that grow by 1 to 100 percent, 95 grow by at most 95; ranks 91 to 100 bound it."""
    before = np.tile([100.0, 0.0], (100, 1))
    after = before + np.stack([np.arange(1.0, 101.0), np.zeros(100)], axis=1)
    weights = stats.resample_weights(100, np.random.default_rng(0)).astype(np.float64)
    *_, tail = tokenization.figures("it", before, after, weights, ())
    assert tail.value == pytest.approx(0.9505)
    assert tail.interval is not None
    assert (tail.interval.low, tail.interval.high) == (pytest.approx(0.90), pytest.approx(1.0))


def test_a_mark_is_no_unknown_piece() -> None:
    """GPT-2 has one token for the end of a text and for what is unknown; its bytes leave nothing unknown."""
    assert tokenization.unknown_id(SimpleNamespace(unk_token_id=7, eos_token_id=7)) is None
    assert tokenization.unknown_id(SimpleNamespace(unk_token_id=1, eos_token_id=7)) == 1
    assert tokenization.unknown_id(SimpleNamespace()) is None
    assert tokenization.counts([np.array([1, 5, 1]), np.array([5])], 1).tolist() == [[3, 2], [1, 0]]
    assert tokenization.counts([np.array([1, 5, 1])], None).tolist() == [[3, 0]]


def test_what_reads_no_text_has_no_tokenization(lanes: list[Any]) -> None:
    """Images have no pieces, which is said in place of figures."""
    images = Subject(catalog.task("image-classification"), [{}], HEAD, BenchConfig(), "whole", 0)
    with pytest.raises(NothingToMeasure, match="the model of this task reads none"):
        tokenization.measure(lanes, images, tokenization.Config())


def test_a_gate_takes_one_limit() -> None:
    """None and two are refused in one sentence."""
    module = catalog.gate("tokenization")
    for options in ({}, {"growth_at_most": "5%", "unknown_rise_at_most": "1pt"}):
        with pytest.raises(Exception, match="give one of unknown_rise_at_most, growth_at_most"):
            validate(module.Config, options, "gate 'tokenization'")
