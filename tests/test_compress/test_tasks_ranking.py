"""Ranking by query: figures with ties, what is left out, the activation, and whose folder it is."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from sklearn.metrics import ndcg_score

from compress import catalog
from compress.errors import DataError, ModelError
from compress.model import architecture
from compress.tasks import Batch, Prediction
from compress.tasks import _ranking as ranking

task = catalog.task("text-ranking")
HEAD = task.infer_head([0, 1], None)
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


def by_force(scores: np.ndarray, grades: np.ndarray) -> list[float]:
    """MRR@10, nDCG@10, recall@1 and recall@10, as the mean over every order of tied documents."""
    figures = []
    for order in itertools.permutations(range(len(scores))):
        if any(scores[a] < scores[b] for a, b in itertools.pairwise(order)):
            continue
        ranked = grades[list(order)]
        first = next((place for place, grade in enumerate(ranked[:10], 1) if grade > 0), math.inf)
        dcg, best = (
            sum(grade / math.log2(1 + place) for place, grade in enumerate(row[:10], 1))
            for row in (ranked, np.sort(grades)[::-1])
        )
        relevant = (grades > 0).sum()
        figures.append(
            [1 / first, dcg / best, (ranked[:1] > 0).sum() / relevant, (ranked[:10] > 0).sum() / relevant]
        )
    return np.mean(figures, axis=0).tolist()


@pytest.mark.parametrize("seed", range(40))
def test_ties_get_the_mean_of_all_their_orders(seed: int) -> None:
    """In closed form what trying every order gives, for up to seven documents with few different scores."""
    source = np.random.default_rng(seed)
    count = int(source.integers(1, 8))
    scores = source.integers(0, 3, count).astype(float)
    grades = source.integers(0, 4, count).astype(float)
    grades[source.integers(count)] = 1.0
    assert ranking.of_query(scores, grades)[1:5].tolist() == pytest.approx(by_force(scores, grades))


@pytest.mark.parametrize("seed", range(10))
def test_the_gain_is_that_of_scikit_learn(seed: int) -> None:
    """Its ``ndcg_score`` averages ties too; lists longer than ten, with grades."""
    source = np.random.default_rng(seed)
    scores, grades = source.integers(0, 8, 30).astype(float), source.integers(0, 4, 30).astype(float)
    assert ranking.gain(scores, grades) == pytest.approx(ndcg_score([grades], [scores], k=10))


def test_a_constant_answer_gets_what_chance_gets() -> None:
    """One relevant document of four: MRR is (1 + 1/2 + 1/3 + 1/4) / 4, recall@1 a quarter, never 1."""
    statistics = ranking.of_query(np.zeros(4), np.array([1.0, 0, 0, 0]))
    assert statistics[1] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert statistics[3] == pytest.approx(0.25)
    assert statistics[-1] == statistics[1]
    assert ranking.reciprocal_rank(np.arange(12.0), np.eye(12)[1]) == 0.0  # eleventh place


def judged(*queries: tuple[list[float], list[float]]) -> tuple[list[Prediction], list[Any]]:
    """Predictions and references of queries, each as scores and grades."""
    predictions, references = [], []
    for number, (scores, grades) in enumerate(queries):
        predictions += [Prediction(value=score, label=score) for score in scores]
        rows = [{"query": f"q{number}", "document": "d", "label": grade} for grade in grades]
        references += [task.reference(row, HEAD) for row in rows]
    return predictions, references


def test_queries_that_tell_nothing_are_said_and_left_out() -> None:
    """One without a relevant document does not lower the mean; it and one of a single document are named."""
    predictions, references = judged(([2.0, 1.0], [1, 0]), ([1.0, 2.0], [0, 0]), ([1.0], [1]))
    totals = task.statistics(predictions, references, HEAD).sum(axis=0)
    assert task.metrics(totals, HEAD) == {"mrr_10": 1, "ndcg_10": 1, "recall_1": 1, "recall_10": 1}
    assert task.blind(totals, HEAD) == pytest.approx((0.75 + 1) / 2)
    without, alone = task.caveats(references)
    assert without.startswith("1 of 3 queries have no relevant document and are left out")
    assert alone.startswith("1 of 3 queries have one document")
    assert task.caveats(judged(([2.0, 1.0], [1, 0]))[1]) == []
    with pytest.raises(DataError, match="none of the 1 queries has a document with a relevance above 0"):
        task.statistics(*judged(([1.0, 2.0], [0, 0])), HEAD)


def test_rows_of_a_query_need_not_stand_together() -> None:
    """They are found by their text, or by ``query_id`` where one text stands for several queries."""
    rows = [{"query": text, "document": "d"} for text in ("a", "b", "a")]
    assert task.groups(rows).tolist() == [0, 1, 0]
    apart = [{**row, "query_id": key} for row, key in zip(rows, ("1", "2", "3"), strict=True)]
    assert task.groups(apart).tolist() == [0, 1, 2]
    references = [
        task.reference({**row, "label": grade}, HEAD) for row, grade in zip(rows, (0, 1, 1), strict=True)
    ]
    predictions = [Prediction(value=value, label=value) for value in (1.0, 0.0, 2.0)]
    assert task.statistics(predictions, references, HEAD)[:, 1].tolist() == [1, 1]


@pytest.mark.parametrize("cell", [-1, "high", float("nan"), [1]])
def test_a_relevance_that_is_none_is_refused_by_its_row(cell: Any) -> None:
    """The sentence says which row, and what a relevance is."""
    with pytest.raises(DataError, match=r"row 2 has the relevance .* 0 up"):
        task.align([0, cell], None, HEAD)
    assert task.align([True, None, 0.5, "2"], None, HEAD) == [1.0, None, 0.5, 2.0]


def test_a_head_needs_documents_of_different_relevance() -> None:
    """Nothing is learned from relevant documents alone."""
    with pytest.raises(DataError, match="every training row has the relevance 1"):
        task.infer_head([1, 1.0, None], None)
    with pytest.raises(DataError, match="no labels"):
        task.infer_head([None], None)


def test_the_loss_is_binary_cross_entropy() -> None:
    """A grade above 1 is as relevant as 1."""
    logits = torch.tensor([[0.5], [-1.0], [2.0]])
    loss = task.loss({"logits": logits}, torch.tensor([1.0, 0.0, 3.0]), HEAD, Batch({}, None))
    expected = [math.log1p(math.exp(-0.5)), math.log1p(math.exp(-1)), math.log1p(math.exp(-2))]
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, 2.0),
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, 1 / (1 + math.exp(-2))),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"}, math.tanh(2)),
        ({}, 1 / (1 + math.exp(-2))),
    ],
)
def test_the_activation_of_the_folder_is_shown_and_orders_nothing(
    fields: dict[str, Any], shown: float
) -> None:
    """As sentence-transformers prints it; the logit orders, and heads compare as equal."""
    head = task.head_of({"id2label": {"0": "LABEL_0"}, **fields})
    (prediction,) = task.decode({"logits": np.array([[2.0]])}, Batch({}, None), head)
    assert prediction.value == 2.0
    assert prediction.label == pytest.approx(shown)
    assert head == HEAD


@pytest.mark.parametrize("name", ["os.system", "torch.nn.modules.activation.Softmax", 3, None, "Sigmoid"])
def test_an_unknown_activation_is_refused_and_never_imported(name: Any) -> None:
    """The sentence has the name, the field and what is allowed."""
    with pytest.raises(ModelError, match=r"sentence_transformers.activation_fn.*allowed are .*Sigmoid"):
        task.head_of({"id2label": {"0": "LABEL_0"}, "sentence_transformers": {"activation_fn": name}})


def test_a_classifier_of_several_labels_does_not_rank() -> None:
    """The sentence names its labels and what to give."""
    with pytest.raises(ModelError, match=r"2 outputs \(negative, positive\).*cross-encoder"):
        task.head_of({"id2label": {"0": "negative", "1": "positive"}})


def test_the_activation_is_written_as_sentence_transformers_reads_it() -> None:
    """One field, the old one gone; what stands beside it stays."""
    config = SimpleNamespace(
        sbert_ce_default_activation_function=IDENTITY, sentence_transformers={"version": "5"}
    )
    task.configure(config, HEAD)
    assert config.sentence_transformers == {"version": "5", "activation_fn": SIGMOID}
    assert not hasattr(config, "sbert_ce_default_activation_function")
    assert config.num_labels == 1
    assert config.problem_type is None


@pytest.mark.parametrize(
    ("fields", "labels", "inferred"),
    [
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, 1, "text-ranking"),
        ({"sbert_ce_default_activation_function": IDENTITY}, 1, "text-ranking"),
        ({}, 1, "text-classification"),
        ({"sbert_ce_default_activation_function": IDENTITY}, 3, "text-classification"),
    ],
)
def test_a_folder_ranks_where_it_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    labels: int,
    inferred: str,
) -> None:
    """One output and a mark of sentence-transformers, which is said; an NLI cross-encoder classifies."""
    said: list[str] = []
    monkeypatch.setattr("compress.log.once", lambda message, *values: said.append(message % values))
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    content = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "id2label": names}
    (tmp_path / "config.json").write_text(json.dumps(content | fields))
    assert architecture.infer_task(tmp_path) == inferred
    field = task.is_made_for({**content, **fields})
    expected = [f"the configuration has {field}: the model is taken as one for text-ranking"] if field else []
    assert [line.removesuffix(" (--task says another)") for line in said] == expected
    assert (inferred == "text-ranking") is (field is not None)


def test_pairs_are_encoded_as_pairs(tmp_path: Path) -> None:
    """Query and document in two segments, grades beside them; the key is no input."""
    tiny.save_tokenizer(tmp_path)
    processor = task.load_processor(tmp_path)
    rows = [{"query": "the film", "document": "good", "query_id": "7", "label": 2.0}]
    batch = task.encode(rows, processor, HEAD, None)
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [2.0]
    assert task.lengths(rows, processor) is not None
    assert "query_id" not in batch.inputs
