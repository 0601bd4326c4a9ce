"""Vectors stored as int8 and as bits: by hand, as sentence-transformers has it, with ranges of other rows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_embedders

from bench import session
from bench.answers import answers
from bench.probes import Subject, vector_storage
from bench.record.model import Measurement
from compress import catalog
from compress.errors import DataError, NothingToMeasure, UserError
from compress.recipe import BenchConfig, DataConfig, Named
from compress.tasks import Head, Prediction, Row

TASK = catalog.task("text-embedding")
HEAD = Head("vector", (), 2)
# Cosines of the pairs 1, 0.8 and 0; of their signs 1, 1 and 0.
PAIRS = [((1.0, 0.0), (2.0, 0.0)), ((4.0, 3.0), (1.0, 0.0)), ((1.0, 1.0), (1.0, -1.0))]
METRICS = ("ndcg_10", "recall_10")
SCORES = (1.0, 0.5, 0.0)


def predictions(pairs: list[Any]) -> list[Prediction]:
    """Answers of two vectors each."""
    vectors: list[Any] = [np.array(pair, dtype=np.float32) for pair in pairs]
    return [Prediction(value=rows, label=rows) for rows in vectors]


def rows(count: int = 3) -> list[dict[str, Any]]:
    """Scored pairs."""
    return [{"text": f"a{i}", "text_pair": f"b{i}", "label": SCORES[i % 3]} for i in range(count)]


def subject(selection: Any = None) -> Subject:
    """Three scored pairs."""
    return Subject(TASK, rows(), HEAD, BenchConfig(batch_sizes=(1,)), "it", 0, selection)


def lane(selection: list[Any] | None = None) -> Any:
    """A lane that has answered already; nothing runs."""
    memo: dict[Any, Any] = {("predictions", 1): predictions(PAIRS)}
    if selection is not None:
        answered = SimpleNamespace(predictions=predictions(selection))
        memo["answers", f"{answers.SELECTION} 1000", 1] = answered
    return SimpleNamespace(name="it", memo=memo)


def by_form(measured: list[Measurement], metric: str) -> dict[Any, Measurement]:
    """The measurements of a metric by the form of storage."""
    return {figure.conditions["storage"]: figure for figure in measured if figure.metric == metric}


def test_codes_are_steps_between_the_limits_of_each_dimension() -> None:
    """Of 0 to 255 a step is 1, of -1 to 1 it is 2 / 255; what lies beyond is the last step."""
    limits = vector_storage.ranges(np.array([[0.0, -1.0, 3.0], [255.0, 1.0, 3.0]]))
    vectors = np.array([[10.4, -1.0, 3.0], [300.0, 0.999, 3.0], [-7.0, 0.0, 3.0]], dtype=np.float32)
    stored = vector_storage.codes(vectors, limits)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[-118, -128, -128], [127, 126, -128], [-128, -1, -128]]
    numbers = vector_storage.values(stored, limits)
    np.testing.assert_allclose(numbers[:, 0], [10.5, 255.5, 0.5])
    np.testing.assert_allclose(numbers[:, 1], [-1 + 1 / 255, -1 + 509 / 255, 0], atol=1e-6)


def test_bits_are_signs_and_their_cosine_is_the_hamming_distance() -> None:
    """Ten dimensions take two bytes; three signs differ: 1 - 2 * 3 / 10, exactly the same in any order."""
    first = np.array([1, -1, 2, 0, 3, -2, 1, 1, -1, 5], dtype=np.float32)
    second = np.array([1, 1, -2, -1, 3, -2, 1, 1, -1, -5], dtype=np.float32)
    packed = vector_storage.bits(np.stack([first, second]))
    assert packed.tolist() == [[0b10101011, 0b01000000], [0b11001011, 0b00000000]]
    signs = vector_storage.signs(packed, 10)
    assert signs[0].tolist() == [1, -1, 1, -1, 1, -1, 1, 1, -1, 1]
    distance = int(np.unpackbits(packed[0] ^ packed[1]).sum())
    assert distance == 3
    assert float(signs[0] @ signs[1]) / 10 == pytest.approx(1 - 2 * distance / 10)


def test_documents_of_the_same_distance_tie() -> None:
    """384 signs of which 100 differ, wherever they stand: nobody is found by the rounding of a sum."""
    source = np.random.default_rng(0)
    query = np.ones(384, dtype=np.float32)
    documents = []
    for _ in range(200):
        document = query.copy()
        document[source.permutation(384)[:100]] = -1
        documents.append(document)
    pairs = predictions([(query, document) for document in documents])
    relevant = [{"text": "q", "text_pair": f"d{i}", "label": int(i == 0)} for i in range(200)]
    references = [TASK.reference(row, HEAD) for row in relevant]
    sums = TASK.statistics(pairs, references, HEAD).sum(axis=0)
    assert TASK.metrics(sums, HEAD)["mrr_10"] == 0
    scored = [{**row, "label": float(i % 2)} for i, row in enumerate(relevant)]
    alike = TASK.statistics(pairs, [TASK.reference(row, HEAD) for row in scored], HEAD)
    assert TASK.metrics(alike.sum(axis=0), HEAD)["spearman"] == 0


@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_codes_and_bits_are_those_of_sentence_transformers(precision: str) -> None:
    """The library's quantize_embeddings gives the same bytes, with the ranges of other vectors."""
    library = pytest.importorskip(
        "sentence_transformers.util.quantization", reason="sentence-transformers is not installed"
    )
    source = np.random.default_rng(1)
    vectors, calibration = (source.standard_normal((count, 37)).astype(np.float32) for count in (50, 30))
    theirs = library.quantize_embeddings(vectors, precision, calibration_embeddings=calibration)
    limits = vector_storage.ranges(calibration)
    ours = vector_storage.codes(vectors, limits) if precision == "int8" else vector_storage.bits(vectors)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_figures_are_those_of_the_stored_vectors() -> None:
    """Ranks 3, 2, 1 of the float vectors are 2.5, 2.5, 1 of their signs: Spearman's rho falls to 0.866."""
    wide = [((-10.0, -10.0), (10.0, 10.0))]
    spec = subject(lambda: rows(1))
    both = vector_storage.Config(metrics=("spearman", "pearson"))
    measured = vector_storage.measure([lane(wide)], spec, both)
    spearman = by_form(measured, "stored_spearman")
    assert {form: figure.conditions["bytes"] for form, figure in spearman.items()} == {
        "float32": 8,
        "int8": 2,
        "int8-codes": 2,
        "binary": 1,
    }
    assert spearman["float32"].value == pytest.approx(1)
    assert spearman["float32"].difference == 0
    assert spearman["binary"].value == pytest.approx(np.sqrt(0.75))
    assert spearman["binary"].difference == pytest.approx(np.sqrt(0.75) - 1)
    interval = spearman["binary"].difference_interval
    assert interval is not None
    assert interval.low <= np.sqrt(0.75) - 1 <= interval.high <= 0
    assert spearman["binary"].notes == (
        "3 rows",
        "against the float vectors of 'it'",
        "ranges from 2 vectors of selection rows",
    )
    # Of -10 to 10 a step is 0.078: the cosines 1, 0.8 and 0 become 0.9999, 0.8... and 0.
    pearson = by_form(measured, "stored_pearson")
    assert pearson["int8"].value == pytest.approx(pearson["float32"].value, abs=0.01)


def test_ranges_are_never_of_rows_that_measure(caplog: pytest.LogCaptureFixture) -> None:
    """Without selection rows there is no int8, which is said; bits need no ranges."""
    missing = rows(0)
    for selection in (None, lambda: missing):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "paredown"):
            measured = vector_storage.measure([lane()], subject(selection), vector_storage.Config())
        assert list(by_form(measured, "stored_spearman")) == ["float32", "binary"]
        assert "int8 needs ranges from selection rows and is left out" in caplog.text
        assert measured[-1].notes[-1].startswith("no int8: ")


def test_a_metric_that_these_rows_have_not_is_refused() -> None:
    """Scored pairs have no nDCG; the sentence names what they have."""
    with pytest.raises(UserError, match="names 'ndcg_10', and the figures of these rows are spearman"):
        vector_storage.measure([lane()], subject(), vector_storage.Config(metrics=METRICS))


def test_what_makes_no_vectors_stores_none() -> None:
    """Classes are refused in a word in the report, vectors without labels in a sentence."""
    with pytest.raises(NothingToMeasure, match="this task makes none"):
        vector_storage.measure([], replace(subject(), head=Head("ranking", ())), vector_storage.Config())
    bare: list[Row] = [{"text": "a", "text_pair": "b"}]
    with pytest.raises(DataError, match="no labels, which figures of stored vectors need"):
        vector_storage.measure([lane()], replace(subject(), rows=bare), vector_storage.Config())


def test_an_embedder_is_measured_and_judged(tmp_path: Path) -> None:
    """A real lane on queries: the ranges come of the selection rows, the gate takes the worst form."""
    import tiny_deploy

    from compress.model import checkpoint, pretrained

    source = tiny_embedders.folder(tmp_path / "source")
    model = pretrained.load(source, TASK, None, 0).model
    (tmp_path / "model").mkdir()
    checkpoint.save(model, tmp_path / "model", source=source)
    artifact = tiny_deploy.seal(tmp_path / "model", task="text-embedding")
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", tiny_embedders.searched(60, 1))
    tiny.write_jsonl(tmp_path / "data" / "validation.jsonl", tiny_embedders.searched(12, 2))
    bench = BenchConfig(
        threads=1, probes=(Named(name="vector-storage", options={"ranges": 4, "metrics": METRICS}),)
    )
    report = session.measure(
        [session.CandidateSpec("it", artifact.path)],
        DataConfig(source=str(tmp_path / "data"), calibration=16),
        bench,
        gates=[
            Named(name="vector-storage", options={"drop_at_most": "100pt"}),
            Named(
                name="vector-storage",
                options={"storage": "int8", "metric": "recall_10", "drop_at_most": "0pt"},
            ),
        ],
    )
    assert {figure.metric for figure in report.measurements} == {"stored_ndcg_10", "stored_recall_10"}
    figures = by_form(list(report.measurements), "stored_ndcg_10")
    assert [figure.conditions["bytes"] for figure in figures.values()] == [128, 32, 32, 4]
    assert figures["int8"].notes[0] == "12 queries"
    assert figures["int8"].notes[2] == "ranges from 8 vectors of selection rows"
    assert all(verdict.value is not None for verdict in report.verdicts)
    assert "against the float vectors of 'it'" in report.verdicts[0].reason
