"""The verb predict: answers for one row or a file of rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress import log
from compress.errors import UserError
from paredown.verbs import _options

if TYPE_CHECKING:
    from compress.tasks import Prediction
    from deploy.truncation import Truncation

Runtime = Annotated[str | None, typer.Option("--runtime", help="Runtime; the artifact's own when left out.")]


def predict(
    artifact: Annotated[str, typer.Argument(help="Artifact or model folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="A text; two where the model takes pairs; a question and its choices; the file of an image "
            "or a sound."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Rows as JSON lines; predictions come the same way.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=65_536, help="Rows at once.")] = 16,
    task: _options.Task = None,
    runtime: Runtime = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda or cuda:N; where the artifact runs when left out."),
    ] = None,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Predict one row, or every row of a file.

    Two texts are one pair. A model that is known to take single texts refuses them, as one that takes pairs
    refuses a single text.
    """
    from compress.data import files
    from compress.pipeline import building
    from deploy.predictor import Predictor

    if bool(texts) == (file is not None):
        raise UserError("give a text to predict, or --file with rows as JSON lines: one of the two")
    opened = building.open_artifact(artifact, task=task, store=_options.store(store))
    with Predictor(opened, runtime=runtime, device=device, threads=threads) as predictor:
        labels, unit = predictor.labels, predictor.unit
        if file is not None:
            rows = (row for _, row in files.objects(file))
            for prediction in predictor.stream(rows, batch_size):
                sys.stdout.write(json.dumps(as_json_row(prediction, labels, unit), ensure_ascii=False) + "\n")
            _warn_of_cuts(predictor.truncation)
            return
        arguments = tuple(texts or ())
        row = predictor.of_arguments(arguments)
        cells = 1 if isinstance(row, str) else len(row)
        if cells > len(predictor.may_have):
            raise UserError(
                f"{cells} arguments are given, and predict takes one row of at most "
                f"{len(predictor.may_have)} ({', '.join(predictor.may_have)}): "
                "for several rows give --file ROWS.jsonl"
            )
        at_once = cells > max(1, len(predictor.must_have)) and predictor.roles is None
        if at_once and not predictor.apart:
            log.warning(
                "The model does not say whether it takes pairs: the texts are read as one pair (%s). "
                "For several rows give --file ROWS.jsonl.",
                ", ".join(predictor.may_have),
            )
        (prediction,) = predictor.predict([row])
        _warn_of_cuts(predictor.truncation)
        _options.emit(
            as_json_row(prediction, labels, unit), as_json, lambda: _show_prediction(prediction, labels, unit)
        )


def _warn_of_cuts(cut: Truncation) -> None:
    if cut.cut:
        log.warning("%s: the answer is about what was left of them.", cut.sentence())


def as_json_row(prediction: Prediction, labels: tuple[str, ...], unit: str) -> dict[str, Any]:
    """A prediction as JSON values: the label, and the numbers behind it.

    ``candidates`` are the texts that may answer each thing that a row asks (each mask of a text; which choice
    is right), with their probabilities.
    Of an answer that is a part of a text, ``score`` is its probability, ``span`` its characters in the text
    (null: no answer, whose probability is ``no_answer``). ``probabilities`` are of one distribution,
    ``scores`` of labels that hold each by itself; a number, and scores, stand beside their ``unit``.
    ``truncated`` is there where the row was cut, and only there; a word that was cut off has the label null.
    A text has its ``vector``; a pair its ``vectors``, and their ``cosine``.
    """
    row: dict[str, Any] = _of_vectors(prediction.value) or {"label": prediction.label}
    if prediction.truncated:
        row["truncated"] = True
    if prediction.candidates is not None:
        row["candidates"] = [
            [{"text": text, "probability": float(share)} for text, share in texts]
            for texts in prediction.candidates
        ]
    if prediction.score is not None:
        row |= {"score": prediction.score, "span": prediction.span}
    if prediction.empty is not None:
        row["no_answer"] = prediction.empty
    if prediction.probabilities is not None:
        row["probabilities"] = dict(zip(labels, map(float, prediction.probabilities), strict=True))
    if prediction.scores is not None:
        row["scores"] = dict(zip(labels, map(float, prediction.scores), strict=True))
    if prediction.scores is not None or isinstance(prediction.label, float):
        row["unit"] = unit
    return row


def _of_vectors(value: Any) -> dict[str, Any]:
    """What there is to say of vectors [texts, size]; nothing of any other answer."""
    if not hasattr(value, "tolist"):
        return {}
    if len(value) == 1:
        return {"vector": value[0].tolist()}
    from bench.answers.equality import cosines

    return {"cosine": float(cosines(value[:1], value[1:2])[0]), "vectors": value.tolist()}


def _show_prediction(prediction: Prediction, labels: tuple[str, ...], unit: str) -> None:
    vectors = _of_vectors(prediction.value)
    if vectors:
        answer = vectors.get("cosine", vectors.get("vector"))
        sys.stdout.write(f"{json.dumps(answer)}\n")
        return
    text = str(prediction.label)
    if prediction.score is not None:
        text = f"{text or '(no answer)'} ({prediction.score:.4f})"
    if isinstance(prediction.label, float):
        text = f"{text} ({unit})"
    elif isinstance(prediction.label, tuple):
        words = ["(cut off)" if part is None else str(part) for part in prediction.label]
        text = (" " if prediction.scores is None else ", ").join(words)
        if prediction.scores is not None and not text:
            text = "none of the labels"
    sys.stdout.write(f"{text}\n")
    for number, candidates in enumerate(prediction.candidates or (), start=1):
        place = f" ({number})" if len(prediction.candidates or ()) > 1 else ""
        for answer, share in candidates:
            sys.stdout.write(f"  {share:.4f} {answer}{place}\n")
    shares = prediction.probabilities or prediction.scores
    if shares is not None:
        ranked = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])
        most = max(5, sum(share >= 0.5 for share in shares))  # every label that holds is there
        for label, share in ranked[:most]:
            sys.stdout.write(f"  {share:.4f} {label}\n")
