"""A query and a document: how relevant is the document to the query (rerankers, cross-encoders).

Columns are ``query``, ``document``, ``label`` (relevance: 0 or 1, or grades from 0 up) and, where one query
text stands for several queries, ``query_id``; else the rows of one query text are a query. The documents of
a query are scored together: MRR, nDCG and recall by query, ties as chance would resolve them
(``_ranking``). The model ends in one number. What is printed is that number put through the activation that
its ``config.json`` names, as sentence-transformers does it; order and figures do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError, ModelError
from compress.tasks import Batch, Column, ExportSpec, Head, Link, Metric, Prediction, Row
from compress.tasks import _activations as activations
from compress.tasks import _heads as heads
from compress.tasks import _ranking as ranking
from compress.tasks import _scores as scores
from compress.tasks import text_classification as texts
from compress.tasks._classification import positions
from compress.tasks._tokenizers import default_processor
from compress.tasks._tokenizers import load_tokenizer as load_processor

if TYPE_CHECKING:
    import torch

__all__ = ["default_processor", "load_processor", "positions"]

MODEL = "AutoModelForSequenceClassification"
LABEL = "label"
COLUMNS = {
    "query": Column(required=True, aliases=("question", "search", "anchor"), holds="text"),
    "document": Column(
        required=True, aliases=("passage", "paragraph", "context", "text"), holds="text", binds=False
    ),
    "label": Column(
        required=False, aliases=("relevance", "relevant", "labels", "score", "grade"), holds="label"
    ),
    "query_id": Column(required=False, aliases=("qid", "query-id", "group"), holds="key"),
}
OUTPUTS = ("logits",)
_BLIND = "what a random order gets"
METRICS = (
    Metric(f"mrr_{ranking.DEPTH}", blind=_BLIND, title=f"MRR@{ranking.DEPTH}"),
    Metric(f"ndcg_{ranking.DEPTH}", blind=_BLIND, title=f"nDCG@{ranking.DEPTH}"),
    *(Metric(f"recall_{depth}", blind=_BLIND, title=f"recall@{depth}") for depth in ranking.RECALLS),
)


class Grade(float):
    """How relevant a document is, above 0 for relevant, and to which query.

    Attributes:
        query: key of the query.
    """

    query: tuple[str, str]

    def __new__(cls, grade: float, query: tuple[str, str]) -> Grade:
        """A number that knows its query."""
        self = super().__new__(cls, grade)
        self.query = query
        return self

    def __getnewargs__(self) -> tuple[float, tuple[str, str]]:  # type: ignore[override] # float has one
        """What a copy is made from."""
        return float(self), self.query


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """One number, trained as the logit of being relevant.

    Raises:
        DataError: there are no labels, or none tells one document from another.
    """
    head = Head("ranking", (), activation=activations.DEFAULT)
    grades = {grade for grade in align(labels, names, head) if grade is not None}
    if not grades:
        raise DataError("the training rows have no labels, so they do not say which documents are relevant")
    if len(grades) == 1:
        raise DataError(
            f"every training row has the relevance {grades.pop():g}: a model learns to rank from relevant "
            "documents (1) and others (0)"
        )
    return head


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[float | None]:
    """Grades of relevance, from 0 up."""
    aligned: list[float | None] = []
    for row, cell in enumerate(cells):
        grade = None if cell is None else heads.number(int(cell) if isinstance(cell, bool) else cell)
        if cell is not None and (grade is None or grade < 0):
            raise DataError(
                f"row {row + 1} has the relevance {cell!r}; it must be a number from 0 up: 0 for a document "
                "that is not relevant, 1 or a grade for one that is"
            )
        aligned.append(grade)
    return aligned


def head_of(config: Mapping[str, Any]) -> Head:
    """One output, and the activation that the configuration names.

    Raises:
        ModelError: there are several outputs, or the activation is not known.
    """
    described = heads.head_of({**config, "problem_type": None})
    if described.labels:
        raise ModelError(
            f"config.json has {len(described.labels)} outputs ({heads.listed(described.labels, 5)}), and a "
            "model that ranks has one: give a cross-encoder, or fine-tune a base model without a head "
            "(--task text-ranking)"
        )
    return Head("ranking", (), activation=activations.named(config))


def configure(config: Any, head: Head) -> None:
    """One output without a name, and its activation as sentence-transformers reads it."""
    heads.configure(config, Head("regression", ()))
    config.problem_type = None  # the loss is none of transformers' own
    activations.write(config, head.activation)


def is_made_for(config: Mapping[str, Any]) -> str | None:
    """The field by which sentence-transformers marks a cross-encoder of one output."""
    field = activations.marks(config)
    try:
        return field if field is not None and not heads.head_of(config).labels else None
    except ModelError:
        return None


def groups(rows: Sequence[Row]) -> np.ndarray:
    """The query of each row, numbered from 0 in order of appearance."""
    return ranking.numbered([_query(row) for row in rows])


def _query(row: Row) -> tuple[str, str]:
    key = row.get("query_id")
    return ("text", row["query"]) if key is None else ("id", str(key))


def _pairs(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [{"text": row["query"], "text_pair": row["document"]} for row in rows]


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each pair before truncation, specials included."""
    return texts.lengths(_pairs(rows), processor)


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays of the pairs, cut from the longer text; grades as float32."""
    batch = texts.encode(_pairs(rows), processor, head, max_length, labelled=False)
    if not labelled or not all(LABEL in row for row in rows):
        return batch
    return replace(batch, labels=np.asarray([row[LABEL] for row in rows], dtype=np.float32))


def link(head: Head) -> dict[str, Link]:
    """The number itself.

    A student learns the teacher's logits by squared error, and not the sigmoids of them: a trained ranker
    gives most documents a probability so near 0 or 1 that their order no longer shows in it.
    """
    return {"logits": "identity"}


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Binary cross entropy of being relevant, a scalar; a grade above 1 is as relevant as 1."""
    from torch.nn import functional

    logits = outputs["logits"].float().reshape(-1)
    return functional.binary_cross_entropy_with_logits(logits, labels.float().clamp(max=1))


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The logit, which orders, and what the activation makes of it, which is shown."""
    values = scores.finite(outputs["logits"]).reshape(-1).tolist()
    return [Prediction(value=value, label=activations.of(value, head.activation)) for value in values]


def reference(row: Row, head: Head) -> Grade:
    """The row's grade, with its query."""
    return Grade(row[LABEL], _query(row))


def caveats(references: Sequence[Any]) -> list[str]:
    """Queries that tell nothing or little: without a relevant document, or with nothing to order."""
    queries = [[references[i] for i in rows] for rows in _members(references)]
    idle = sum(max(grades) == 0 for grades in queries)
    even = sum(min(grades) > 0 and len(set(grades)) == 1 for grades in queries)
    sentences = []
    if idle:
        sentences.append(
            f"{idle} of {len(queries)} queries have no relevant document and are left out of the figures"
        )
    if even:
        sentences.append(
            f"{even} of {len(queries)} queries have one document, or documents of one grade alone: any order "
            "of them is right"
        )
    return sentences


def _members(references: Sequence[Any]) -> list[np.ndarray]:
    return ranking.members(ranking.numbered([grade.query for grade in references]))


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """Additive statistics of each query, float64 [queries, 6]; see ``_ranking.of_query``.

    Raises:
        DataError: no query has a relevant document.
    """
    values = np.asarray([prediction.value for prediction in predictions], dtype=np.float64)
    grades = np.asarray(references, dtype=np.float64)
    rows = [ranking.of_query(values[picks], grades[picks]) for picks in _members(references)]
    table = np.stack(rows) if rows else np.zeros((0, 4 + len(ranking.RECALLS)))
    if len(table) and not table[:, 0].any():
        raise DataError(
            f"none of the {len(table)} queries has a document with a relevance above 0: there is nothing to "
            "find, and no figure"
        )
    return table


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """MRR, nDCG and recall: means over the queries that have a relevant document."""
    return {metric.name: scores.ratio(totals[1 + i], totals[0]) for i, metric in enumerate(METRICS)}


def blind(totals: np.ndarray, head: Head) -> float:
    """The MRR of a random order, which is what a constant score gets."""
    return scores.ratio(totals[-1], totals[0])


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one number a row."""
    return texts.export_spec(config, processor, head)
