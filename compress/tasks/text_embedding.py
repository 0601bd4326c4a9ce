"""Texts as vectors: pairs scored by how alike they are, or queries with the documents that answer them.

Columns are ``text``, for pairs ``text_pair``, and ``label``. Labels with a point are scores: the cosine of
the two vectors is held against them. Whole numbers are relevances: every ``text`` is a query, the documents
of the file are what it searches, and a row says that its ``text_pair`` answers it (0: it does not). Rows
without labels are texts to distill from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from compress import log
from compress.errors import DataError, RecipeError
from compress.tasks import (
    Batch,
    Column,
    ExportSpec,
    Head,
    Link,
    Metric,
    Pieces,
    Prediction,
    Row,
    refuse_foreign,
)
from compress.tasks import _embedding as embedding
from compress.tasks import _embedding_texts as embedding_texts
from compress.tasks import _heads as heads
from compress.tasks import _scores as scores
from compress.tasks import _tokenizers as tokenizers
from compress.tasks._embedding_texts import ROLE
from compress.tasks._embedding_texts import load_tokenizer as load_processor
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["default_processor", "load_processor"]

MODEL = "AutoModel"
COLUMNS = {
    "text": Column(
        required=True,
        aliases=("sentence1", "sentence", "query", "question", "anchor", "question1", "premise"),
        holds="text",
    ),
    "text_pair": Column(
        required=False,
        aliases=(
            "sentence2",
            "document",
            "passage",
            "context",
            "positive",
            "answer",
            "question2",
            "hypothesis",
        ),
        holds="text",
    ),
    "label": Column(
        required=False,
        aliases=("score", "similarity", "similarity_score", "relevance", "labels"),
        holds="label",
    ),
}
LABEL = "label"
OUTPUTS = ("embedding",)
WHOLE_ROWS = True
METRICS = (
    Metric("spearman", unit="correlation", blind="what vectors that are all alike get"),
    Metric("pearson", unit="correlation"),
    Metric("ndcg_10", blind="what documents in a random order get", title="nDCG@10"),
    Metric("mrr_10", title="MRR@10"),
    Metric("recall_1", title="recall@1"),
    Metric("recall_10", title="recall@10"),
)
_SCALE = 20.0  # of cosines in a loss, as sentence-transformers has it
_DEPTH = 10
_DIGITS = 12  # of a cosine, whose sum is rounded at the sixteenth
_AT_ONCE = 256  # queries whose cosines with all documents are held in memory


@dataclass(frozen=True)
class Truth:
    """What a row says of its two texts.

    Attributes:
        label: a score, or a relevance where it is a whole number.
        query: the first text.
        document: the second.
    """

    label: float
    query: str
    document: str

    def __str__(self) -> str:
        """As a reader wants it."""
        return str(self.label)


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """A vector, of whatever size the model has."""
    heads.align_numbers(labels)
    return Head("vector", ())


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """Cells as scores, or as relevances where all of them are whole numbers."""
    numbers = heads.align_numbers(cells)
    present = [cell for cell in cells if cell is not None]
    if not present or any(heads.whole(cell) is None or isinstance(cell, float) for cell in present):
        return numbers
    negative = next((row for row, cell in enumerate(numbers) if cell is not None and cell < 0), None)
    if negative is not None:
        raise DataError(
            f"row {negative + 1} has the label {cells[negative]!r}: whole numbers say how relevant a "
            "text_pair is to "
            "its text, from 0; write scores of likeness with a point (0.5)"
        )
    log.once(
        "the labels are whole numbers: they say whether a row's text_pair answers its text (0: not), and "
        "the file's "
        "documents are searched; scores of likeness are written with a point"
    )
    return [None if number is None else int(number) for number in numbers]


def head_of(config: Mapping[str, Any]) -> Head:
    """A vector of the size that the configuration describes."""
    return Head("vector", (), embedding.described(config).size(embedding.width(config)))


def is_made_for(config: Mapping[str, Any]) -> str | None:
    """The field in which pooling and what follows it are written; not where a classifier takes the vector."""
    return embedding.FIELD if embedding.FIELD in config and embedding.CLASSIFIER not in config else None


def configure(config: Any, head: Head) -> None:
    """Write a mean of the states into a configuration that says nothing."""
    if getattr(config, embedding.FIELD, None) is None:
        setattr(config, embedding.FIELD, embedding.PLAIN.written())


def model_class(config: Any) -> type[PreTrainedModel]:
    """The architecture's encoder with what follows it."""
    from compress.tasks import _embedding_model

    kind: type = type(config)
    return _embedding_model.model_class(kind)


def fields(
    folder: Path,
    content: Mapping[str, Any],
    options: Mapping[str, Any],
    head_of_data: Callable[[], Head | None],
) -> dict[str, Any]:
    """The description of an embedder with what options of ``load`` add.

    Raises:
        RecipeError: the folder says itself how texts are pooled, or it has no prompt of that name.
    """
    refuse_foreign(options, ("pooling", "normalize", "prompts"))
    requests = {name: value for name, value in options.items() if value is not None}
    modular = embedding.is_modular(folder)
    decided = modular or embedding.FIELD in content
    if decided and requests.keys() & {"pooling", "normalize"}:
        raise RecipeError(
            f"{folder} says itself how its texts are pooled ({_in_words(embedding.described(content))}): "
            "leave "
            "pooling and normalize out"
        )
    description = embedding.described(content)
    if not decided:
        named = requests.get("pooling")
        pooling = (named,) if isinstance(named, str) else tuple(named or ("mean",))
        after = ("normalize",) if requests.get("normalize", True) else ()
        description = description.model_copy(update={"pooling": pooling, "after": after})
        log.info(
            "%s says nothing of pooling: %s%s",
            folder,
            _in_words(description),
            ""
            if "pooling" in requests
            else " is taken (load: {pooling: ..., normalize: ...} says otherwise)",
        )
    prompts_by_name = embedding.modules(folder).prompts if modular else {}
    if "prompts" in requests:
        chosen = {role: _prompt(name, prompts_by_name, folder) for role, name in requests["prompts"].items()}
        description = description.model_copy(
            update={"prompts": {r: text for r, text in chosen.items() if text}}
        )
    elif any(prompts_by_name.values()) and not description.prompts:
        log.warning(
            "%s has prompts (%s) and none of them is its default: texts are taken without one. Name them "
            "with "
            "load: {prompts: {text: %s, text_pair: ...}}",
            folder,
            ", ".join(prompts_by_name),
            next(iter(prompts_by_name)),
        )
    return {embedding.FIELD: description.written()}


def _in_words(description: embedding.Description) -> str:
    return " and ".join(description.pooling) + (", normalized" if description.unit else "")


def _prompt(name: str, prompts_by_name: Mapping[str, str], folder: Path) -> str:
    """The prompt of a name, or the text itself where a folder names none."""
    if name in prompts_by_name:
        return prompts_by_name[name]
    if prompts_by_name:
        raise RecipeError(f"{folder} has no prompt '{name}'; it has: {', '.join(prompts_by_name)}")
    return name


def pieces(rows: Sequence[Row], processor: Any, max_length: int | None) -> Pieces:
    """The texts of rows, one below another."""
    parts: list[Row] = []
    owner: list[int] = []
    for number, row in enumerate(rows):
        for role in ("text", "text_pair"):
            if row.get(role) is not None:
                parts.append({"text": row[role], ROLE: row.get(ROLE, role)})
                owner.append(number)
    return Pieces(parts, np.asarray(owner, dtype=np.int64))


def joined(predictions: Sequence[Prediction], pieces: Pieces, head: Head) -> list[Prediction]:
    """The vectors of each row's texts, [texts, size]."""
    count = int(pieces.owner[-1]) + 1 if len(pieces.owner) else 0
    starts = np.searchsorted(pieces.owner, np.arange(count + 1))
    values: list[Any] = [prediction.value for prediction in predictions]
    together = [np.concatenate(values[a:b]) for a, b in pairwise(starts)]
    return [Prediction(value=vectors, label=vectors) for vectors in together]


def groups(rows: Sequence[Row]) -> np.ndarray | None:
    """The rows of a query; None where rows are scored by themselves."""
    labels = [row.get(LABEL) for row in rows]
    if not labels or not _relevances(labels):
        return None
    numbers: dict[str, int] = {}
    return np.asarray([numbers.setdefault(row["text"], len(numbers)) for row in rows], dtype=np.int64)


def _relevances(labels: Sequence[Any]) -> TypeGuard[Sequence[int]]:
    return all(isinstance(label, int) and not isinstance(label, bool) for label in labels)


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row's longer text before truncation, prompt and specials included."""
    counts = np.zeros(len(rows), dtype=np.int64)
    for role in ("text", "text_pair"):
        at = [i for i, row in enumerate(rows) if row.get(role) is not None]
        if at:
            texts = embedding_texts.texts([rows[i] for i in at], role, processor)
            encoded = tokenizers.encoded(processor, texts, truncation=False, verbose=False)
            counts[at] = np.maximum(counts[at], tokenizers.token_counts(encoded))
    return counts


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest text: [rows, length], or [rows, length, 2] for rows of two texts."""
    paired = bool(rows) and all(row.get("text_pair") is not None for row in rows)
    if not paired and labelled and rows and all(LABEL in row for row in rows):
        number = next(i for i, row in enumerate(rows) if row.get("text_pair") is None)
        raise DataError(
            f"row {number + 1} has a label and no text_pair: labels say how two texts go together; give the "
            "second "
            "text, or leave the label out to distill from single texts"
        )
    texts = embedding_texts.texts(rows, "text", processor)
    if paired:
        texts += embedding_texts.texts(rows, "text_pair", processor)
    encoded = tokenizers.encoded(
        processor,
        texts,
        truncation=max_length is not None,
        max_length=max_length,
        padding=True,
        verbose=False,
    )
    cut = np.zeros(len(texts), dtype=bool)
    if max_length is not None:
        cut = tokenizers.truncated(
            encoded, lambda: tokenizers.token_counts(tokenizers.encoded(processor, texts, truncation=False))
        )
    inputs = tokenizers.arrays(encoded, processor)
    if paired:
        inputs = {name: np.stack(np.split(array, 2), axis=2) for name, array in inputs.items()}
        cut = cut[: len(rows)] | cut[len(rows) :]
    labels = None
    if labelled and rows and all(LABEL in row for row in rows):
        cells = [row[LABEL] for row in rows]
        labels = np.asarray(cells, dtype=np.int64 if _relevances(cells) else np.float32)
    return Batch(inputs=inputs, labels=labels, truncated=cut)


def link(head: Head) -> dict[str, Link]:
    """Numbers as they are."""
    return {"embedding": "identity"}


def positions(batch: Batch) -> None:
    """One vector a text."""
    return


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """How the cosines of pairs fit their labels, a scalar.

    Scores: CoSENT, log(1 + sum of exp(20 (cos_i - cos_j)) over the pairs of rows with score_i < score_j).
    Relevances: each query's softmax over the documents of the batch, at 20 times the cosine; what answers the
    same query, or is the same document, is no wrong answer and left out. A row alone has nothing to be
    compared with: its loss is 1 - cos, whose gradient says how far its answer moves (pruning asks that).
    """
    import torch
    from torch.nn import functional

    vectors = functional.normalize(outputs["embedding"].float(), dim=-1)
    queries, documents = vectors[:, 0], vectors[:, 1]
    if len(labels) == 1:
        return 1 - (queries * documents).sum()
    if labels.is_floating_point():
        cosines = _SCALE * (queries * documents).sum(dim=-1)
        apart = cosines[:, None] - cosines[None, :]
        wrong = labels[:, None] < labels[None, :]
        terms = apart.masked_fill(~wrong, float("-inf")).reshape(-1)
        return torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), dim=0)
    anchors = torch.nonzero(labels > 0).reshape(-1)
    if len(anchors) == 0:
        return vectors.sum() * 0
    same_query, same_document = (_same(batch, text, anchors.tolist()) for text in (0, 1))
    relevant = (labels > 0).cpu().numpy()[None, :]
    left_out = (same_query & relevant) | same_document
    left_out[np.arange(len(anchors)), anchors.cpu().numpy()] = False
    logits = _SCALE * queries[anchors] @ documents.T
    logits = logits.masked_fill(torch.from_numpy(left_out).to(logits.device), float("-inf"))
    return functional.cross_entropy(logits, anchors)


def _same(batch: Batch, text: int, rows: Sequence[int]) -> np.ndarray:
    """Whether a text of some rows is that of each row of the batch, bool [some rows, rows]."""
    ids, mask = batch.inputs["input_ids"][:, :, text], batch.inputs["attention_mask"][:, :, text]
    keys = np.where(mask != 0, ids, -1)
    return np.asarray((keys[rows][:, None, :] == keys[None, :, :]).all(axis=-1))


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The vector of each text, as the only one of its row."""
    vectors = scores.finite(outputs["embedding"]).astype(np.float32)
    return [Prediction(value=vector[None], label=vector[None]) for vector in vectors]


def reference(row: Row, head: Head) -> Truth:
    """The label with the two texts that it is about.

    Raises:
        DataError: there is no second text.
    """
    if row.get("text_pair") is None:
        raise DataError(
            f"the row '{row['text'][:60]}' has a label and no text_pair: labels say how two texts go "
            "together; give the "
            "second text, or leave the label out"
        )
    return Truth(row[LABEL], row["text"], row["text_pair"])


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """Of scored rows the moments of cosine and score; of queries their own figures. [rows or queries, 18].

    Raises:
        DataError: a query has no relevant document.
    """
    if _relevances([true.label for true in references]):
        table = _retrieval(predictions, references)
        return np.concatenate([np.zeros((len(table), 12)), table], axis=1)
    pairs: list[Any] = [prediction.value for prediction in predictions]
    cosines = [float(_exact(_unit(pair)[0] @ _unit(pair)[1])) for pair in pairs]
    moments = scores.number_statistics(cosines, [float(true.label) for true in references])
    return np.concatenate([moments, np.zeros((len(moments), 6))], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = np.asarray(vectors, dtype=np.float64)
    size = np.linalg.norm(wide, axis=-1, keepdims=True)
    unit: np.ndarray = wide / np.where(size > 0, size, 1.0)
    return unit


def _exact(cosines: Any) -> np.ndarray:
    """Cosines without the rounding of their sums: those of vectors of bits tie where they are equal."""
    return np.round(cosines, _DIGITS)


def _retrieval(predictions: Sequence[Prediction], references: Sequence[Truth]) -> np.ndarray:
    """Of each query: 1, nDCG, reciprocal rank, recall at 1 and at 10, and the nDCG of a random order.

    Among documents of the same cosine the relevant ones are counted last: vectors that are all alike find
    nothing.
    """
    queries: dict[str, int] = {}
    documents: dict[str, int] = {}
    query_vectors: list[np.ndarray] = []
    document_vectors: list[np.ndarray] = []
    gains: list[dict[int, float]] = []
    for prediction, true in zip(predictions, references, strict=True):
        vectors: Any = prediction.value
        if true.query not in queries:
            queries[true.query] = len(queries)
            query_vectors.append(vectors[0])
            gains.append({})
        if true.document not in documents:
            documents[true.document] = len(documents)
            document_vectors.append(vectors[1])
        document = documents[true.document]
        judged = gains[queries[true.query]]
        judged[document] = max(judged.get(document, 0.0), float(true.label))
    for query, judged in zip(queries, gains, strict=True):
        if not any(judged.values()):
            raise DataError(
                f"the query '{query[:60]}' has no relevant document (no row of it has a label above 0): "
                "leave its "
                "rows out, or add the document that answers it"
            )
    if not queries:
        return np.zeros((0, 6))
    corpus = _unit(np.stack(document_vectors))
    lines = []
    for begin in range(0, len(gains), _AT_ONCE):
        cosines = _exact(_unit(np.stack(query_vectors[begin : begin + _AT_ONCE])) @ corpus.T)
        lines += [
            _query(line, judged)
            for line, judged in zip(cosines, gains[begin : begin + _AT_ONCE], strict=True)
        ]
    return np.asarray(lines, dtype=np.float64)


def _query(cosines: np.ndarray, gains: Mapping[int, float]) -> list[float]:
    """The figures of one query; see ``_retrieval``."""
    gain = np.zeros(len(cosines))
    gain[list(gains)] = list(gains.values())
    ranking = gain[np.lexsort((gain, -cosines))[:_DEPTH]]
    discounts = 1 / np.log2(np.arange(2, _DEPTH + 2))
    best = np.sort(gain)[::-1][:_DEPTH]
    ideal = float(best @ discounts[: len(best)])
    hits = np.flatnonzero(ranking > 0)
    relevant = float((gain > 0).sum())
    return [
        1.0,
        float(ranking @ discounts[: len(ranking)]) / ideal,
        1.0 / (1 + hits[0]) if len(hits) else 0.0,
        float(ranking[0] > 0) / relevant,
        len(hits) / relevant,
        float(gain.mean()) * float(discounts[: len(ranking)].sum()) / ideal,
    ]


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """Spearman's and Pearson's correlation of scored pairs; nDCG, MRR and recall of queries."""
    queries = float(totals[12])
    if queries:
        names = ("ndcg_10", "mrr_10", "recall_1", "recall_10")
        return {name: float(total) / queries for name, total in zip(names, totals[13:17], strict=True)}
    figures = scores.number_metrics(totals[:12])
    return {name: figures[name] for name in ("spearman", "pearson")}


def blind(totals: np.ndarray, head: Head) -> float:
    """Of vectors that are all alike, whose cosines say nothing; of queries that of a random order."""
    return scores.ratio(float(totals[17]), float(totals[12]))


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one vector a text."""
    return ExportSpec(
        inputs={name: {0: "batch", 1: "sequence"} for name in tokenizers.input_names(processor)},
        outputs={"embedding": {0: "batch"}},
        length_axis="sequence",
    )
