"""The contract of every task on the shelf: labels, arrays, loss, predictions and scores fit together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_audio
import torch
import transformers
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers.loss.loss_utils import ForQuestionAnsweringLoss

from compress import catalog
from compress.errors import DataError, ModelError
from compress.tasks import Head, Prediction, Task
from compress.tasks import _activations as activations
from compress.tasks._audio import Wave

BERT = transformers.BertConfig(
    vocab_size=len(tiny.vocabulary()),
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=64,
)
VIT = transformers.ViTConfig(
    image_size=8,
    patch_size=4,
    num_channels=1,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
)
CLASSES = ("bad", "fair", "good")


@dataclass(frozen=True)
class Sample:
    """Rows of one task and problem, with raw label cells, and a small model for them."""

    task: str
    config: transformers.PretrainedConfig
    rows: Sequence[Mapping[str, Any]]
    names: tuple[str, ...] | None
    wrong: Any


def texts(labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of different lengths with these labels."""
    return [{"text": "the film is good " * (1 + i % 3), "label": label} for i, label in enumerate(labels)]


def pictures(labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Random gray images with these labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    return [{"image": image, "label": label} for image, label in zip(pixels, labels, strict=True)]


def sounds(labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Sounds of different lengths with these labels."""
    return [
        {"audio": Wave(tiny_audio.tone(i % 2, i, 0.2 + 0.1 * (i % 3)), tiny_audio.RATE), "label": label}
        for i, label in enumerate(labels)
    ]


SENTENCES = (
    (["the", "good", "film"], ["O", "B-work", "I-work"]),
    (["ugly"], ["B-person"]),
    (["a", "story", "and", "a", "film"], ["O", "B-work", "O", "O", "B-work"]),
    (["bad", "bad"], ["B-person", "I-person"]),
)
QUESTIONS = [
    {"question": "is it good", "context": context, "answers": {"text": texts, "answer_start": starts}}
    for context, texts, starts in (
        ("the film is good", ["film"], [4]),
        ("bad", [], []),
        ("a lovely and warm story", ["lovely and warm", "warm"], [2, 13]),
        ("the ending was cold", ["cold"], [15]),
    )
]
PAIRS = [{**row, "text_pair": "a scene"} for row in texts(["fair", "bad", "good", "fair"])]
RANKED = [
    {"query": query, "document": "the film is good " * (1 + i % 3), "label": grade}
    for i, (query, grade) in enumerate((("a", 1), ("a", 0), ("film", 0), ("film", 2)))
]
SAMPLES = {
    "text": Sample("text-classification", BERT, texts([0, 2, 1, 1]), CLASSES, 3),
    "pair": Sample("text-classification", BERT, PAIRS, None, "worse"),
    "several labels": Sample("text-classification", BERT, texts([["x"], [], ["y", "x"], ["z"]]), None, ["q"]),
    "number": Sample("text-classification", BERT, texts([0.5, 3.25, -1.0, 2.0]), None, "high"),
    "ranking": Sample("text-ranking", BERT, RANKED, None, "high"),
    "image": Sample("image-classification", VIT, pictures([0, 2, 1, 1]), CLASSES, 3),
    "sound": Sample("audio-classification", tiny_audio.CONFIGS["whisper"], sounds([0, 2, 1, 1]), CLASSES, 3),
    "sound as samples": Sample(
        "audio-classification", tiny_audio.CONFIGS["wavlm"], sounds([0, 2, 1, 1]), CLASSES, 3
    ),
    "tags": Sample(
        "token-classification",
        BERT,
        [{"tokens": words, "tags": tags} for words, tags in SENTENCES],
        None,
        ["O", "B-place"],
    ),
    "question": Sample("question-answering", BERT, QUESTIONS, None, "good"),
}
ALL = pytest.mark.parametrize("name", SAMPLES)
TESTS = Path(__file__).parents[1] / "test_compress"


class Case:
    """A sample with its task, head, aligned rows, processor, model and batch."""

    def __init__(self, name: str, folder: Path) -> None:
        sample = SAMPLES[name]
        self.sample = sample
        self.task: ModuleType = catalog.load("task", sample.task)
        self.cells = [row[self.task.LABEL] for row in sample.rows]
        self.head: Head = self.task.infer_head(self.cells, sample.names)
        self.config = type(sample.config).from_dict(sample.config.to_dict())
        self.task.configure(self.config, self.head)
        self.config.save_pretrained(folder)
        if sample.task in ("image-classification", "audio-classification"):
            self.task.default_processor(self.config).save_pretrained(folder)
        else:
            tiny.save_tokenizer(folder)
        self.folder = folder
        self.processor = self.task.load_processor(folder)
        self.rows = self.aligned(self.head)
        self.batch = self.task.encode(self.rows, self.processor, self.head, None)
        self.references = [self.task.reference(row, self.head) for row in self.rows]

    def aligned(self, head: Head) -> list[dict[str, Any]]:
        """The rows with labels in a head's order."""
        values = self.task.align(self.cells, self.sample.names, head)
        return [{**row, self.task.LABEL: value} for row, value in zip(self.sample.rows, values, strict=True)]

    def model(self) -> transformers.PreTrainedModel:
        """The model with seeded weights."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return getattr(transformers, self.task.MODEL).from_config(self.config).eval()

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> list[Prediction]:
        """What the task makes of outputs: of each row, out of what it makes of its one piece."""
        pieces = self.task.pieces(self.rows, self.processor, None)
        return self.task.joined(self.task.decode(outputs, self.batch, self.head), pieces, self.head)

    def planted(self) -> dict[str, np.ndarray]:
        """Outputs that say exactly what the labels say."""
        labels = self.batch.labels
        if self.head.problem == "span":
            ends = 9 * np.eye(self.batch.inputs["input_ids"].shape[1], dtype=np.float32)[labels]
            return {name: ends[:, side] for side, name in enumerate(self.task.OUTPUTS)}
        if self.head.answer == "number":
            return {"logits": labels[:, None]}
        if self.head.problem == "multi_label":
            return {"logits": 8 * labels - 4}
        eye = 9 * np.eye(len(self.head.labels), dtype=np.float32)
        return {"logits": eye[np.where(labels < 0, 0, labels)]}


@pytest.fixture
def case(name: str, tmp_path: Path) -> Case:
    """The case of a parametrized test."""
    return Case(name, tmp_path)


def test_every_task_on_the_shelf_is_here() -> None:
    """A task without a sample is a task without a contract test; some have a file of their own."""
    present = {file.stem for file in TESTS.glob("test_*.py")}
    apart = {name for name in catalog.names("task") if f"test_{name.replace('-', '_')}" in present}
    assert {sample.task for sample in SAMPLES.values()} | apart == set(catalog.names("task"))


@pytest.mark.parametrize("task", catalog.names("task"))
def test_a_task_defines_what_the_protocol_names(task: str) -> None:
    """Every name is there, functions take the protocol's arguments, and the docstring has a first line."""
    module = catalog.load("task", task)
    for name in (*Task.__annotations__, *(n for n in vars(Task) if not n.startswith("_"))):
        assert hasattr(module, name), name
        if name in vars(Task) and callable(getattr(module, name)):
            parameters = list(inspect.signature(getattr(Task, name)).parameters)
            assert list(inspect.signature(getattr(module, name)).parameters)[: len(parameters)] == parameters
    if module.LABEL:  # where rows are their own target, no column holds it
        assert module.LABEL in module.COLUMNS
        assert not module.COLUMNS[module.LABEL].required
    assert hasattr(transformers, module.MODEL)
    assert catalog.summary("task", task)


@ALL
def test_a_head_survives_its_configuration(case: Case) -> None:
    """What configure writes, head_of reads, from the config and from the saved file."""
    stored = type(case.config).from_pretrained(case.folder)
    assert case.task.head_of(case.config.to_dict()) == case.task.head_of(stored.to_dict()) == case.head


@ALL
def test_labels_follow_the_heads_order(case: Case) -> None:
    """With the head's labels turned around, every id is turned around, and a missing label stays missing."""
    turned = Head(case.head.problem, tuple(reversed(case.head.labels)))
    last = len(case.head.labels) - 1

    def mirror(value: Any) -> Any:
        if case.head.answer in ("number", "text"):
            return value
        if isinstance(value, tuple):
            mirrored = tuple(last - i for i in value)
            return tuple(sorted(mirrored)) if case.head.problem == "multi_label" else mirrored
        return last - value

    references = [case.task.reference(row, turned) for row in case.aligned(turned)]
    assert references == [mirror(reference) for reference in case.references]
    aligned = case.task.align([case.cells[0], None], case.sample.names, case.head)
    assert aligned == [case.rows[0][case.task.LABEL], None]


@ALL
def test_an_unknown_label_is_refused_by_its_row(case: Case) -> None:
    """The sentence names the row and, where there are labels, the head's labels."""
    with pytest.raises(DataError, match="row 2") as caught:
        case.task.align([case.cells[0], case.sample.wrong], case.sample.names, case.head)
    assert all(label in str(caught.value) for label in case.head.labels)


@ALL
def test_a_batch_is_what_the_graph_and_the_model_take(case: Case) -> None:
    """Names, ranks and free axes of the export are those of the arrays; the model runs on them."""
    spec = case.task.export_spec(case.config.to_dict(), case.processor, case.head)
    batch = case.batch
    assert set(batch.inputs) == set(spec.inputs)
    assert len(batch) == len(case.rows)
    with torch.no_grad():
        outputs = case.model()(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()})
    assert set(spec.outputs) == set(case.task.OUTPUTS) == set(case.task.link(case.head))
    arrays = {**batch.inputs, **{name: outputs[name].numpy() for name in spec.outputs}}
    sizes: dict[str, int] = {}
    for name, axes in {**spec.inputs, **spec.outputs}.items():
        for axis, symbol in axes.items():
            assert sizes.setdefault(symbol, arrays[name].shape[axis]) == arrays[name].shape[axis]
    assert sizes["batch"] == len(case.rows)
    has_length = spec.length_axis is not None or case.task.extent(case.processor) is not None
    assert has_length is (case.task.lengths(case.rows, case.processor) is not None)
    assert len(case.task.decode(arrays, batch, case.head)) == len(case.rows)


@ALL
def test_what_the_labels_say_is_decoded_unchanged(case: Case) -> None:
    """Outputs planted from the labels decode to the references, by id and by name; scores are perfect."""
    predictions = case.predictions(case.planted())
    assert all(map(case.task.right, predictions, case.references))
    for prediction in predictions:
        value, label = prediction.value, prediction.label
        if case.head.answer == "text":
            assert label == value
        elif case.head.answer == "number":
            assert label == activations.of(value, case.head.activation)
        elif isinstance(value, tuple):
            assert label == tuple(case.head.labels[i] for i in value)
        else:
            assert label == case.head.labels[value]
        if prediction.probabilities is not None:
            assert sum(prediction.probabilities) == pytest.approx(1)
    figures = case.task.metrics(
        case.task.statistics(predictions, case.references, case.head).sum(axis=0), case.head
    )
    assert figures.keys() <= {one.name for one in case.task.METRICS}
    assert next(iter(figures.values())) == pytest.approx(1)


@ALL
def test_scores_add_up_over_rows(case: Case) -> None:
    """Statistics are finite; weights on rows score as repeated rows do; wrong is worse than right."""
    predictions = case.predictions(case.planted())
    mixed = [*predictions[1:], predictions[0]]
    if case.head.labels and isinstance(case.references[0], tuple) and case.task.LABEL == "tags":
        mixed = case.task.decode({"logits": -case.planted()["logits"]}, case.batch, case.head)
    statistics = case.task.statistics(mixed, case.references, case.head)
    assert statistics.dtype == np.float64
    groups = case.task.groups(case.rows)
    units = len(case.rows) if groups is None else len(set(groups.tolist()))
    assert statistics.shape[0] == units
    assert np.isfinite(statistics).all()
    weights = np.array([2, 0, 1, 1])[:units]
    repeated = np.repeat(statistics, weights, axis=0).sum(axis=0)
    assert case.task.metrics(repeated, case.head) == pytest.approx(
        case.task.metrics(weights @ statistics, case.head)
    )
    right = case.task.statistics(predictions, case.references, case.head)
    main = [
        next(iter(case.task.metrics(table.sum(axis=0), case.head).values())) for table in (statistics, right)
    ]
    assert main[0] < main[1]


@ALL
def test_the_loss_is_that_of_the_model(case: Case) -> None:
    """The loss equals what transformers computes for the same labels, and gives gradients."""
    model = case.model()
    labels = torch.from_numpy(case.batch.labels)
    inputs = {name: torch.from_numpy(array) for name, array in case.batch.inputs.items()}
    if case.head.problem == "span":  # transformers counts the question and padding too
        counts = torch.from_numpy(case.task.positions(case.batch))
        outputs = model(**inputs)
        masked = [outputs[name].masked_fill(~counts, -1e9) for name in case.task.OUTPUTS]
        expected = ForQuestionAnsweringLoss(*masked, *labels.clone().unbind(1))
    else:
        outputs = model(**inputs, labels=labels)
        expected = outputs.loss
    if case.head.problem == "ranking":  # transformers would take the grades as numbers to predict
        expected = binary_cross_entropy_with_logits(outputs.logits[:, 0], labels.clamp(max=1))
    mine = case.task.loss(outputs, labels, case.head, case.batch)
    assert mine.shape == ()
    assert mine.item() == pytest.approx(expected.item(), rel=1e-5)
    mine.backward()
    assert any(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters()
    )


@ALL
def test_unlabeled_rows_encode_without_labels(case: Case) -> None:
    """Rows without a label, or asked for without, give the same inputs and no labels."""
    bare = [{role: cell for role, cell in row.items() if role != case.task.LABEL} for row in case.rows]
    for batch in (
        case.task.encode(bare, case.processor, case.head, None),
        case.task.encode(case.rows, case.processor, case.head, None, labelled=False),
    ):
        assert batch.labels is None
        for name, array in case.batch.inputs.items():
            np.testing.assert_array_equal(batch.inputs[name], array)
        assert len(case.task.decode(case.planted(), batch, case.head)) == len(case.rows)


@ALL
def test_positions_and_lengths_agree_with_the_arrays(case: Case) -> None:
    """Lengths count the real tokens or samples; positions, where there are any, lie on real tokens."""
    lengths = case.task.lengths(case.rows, case.processor)
    positions = case.task.positions(case.batch)
    fixed = case.task.extent(case.processor) is not None
    assert (lengths is None or fixed) is ("attention_mask" not in case.batch.inputs)
    if lengths is None:
        assert positions is None
        assert case.batch.truncated is None
        return
    assert case.batch.truncated.dtype == bool
    assert case.batch.truncated.tolist() == [False] * len(case.rows)
    most = 5 if case.task.UNIT == "tokens" else 4_000
    cut = case.task.encode(case.rows, case.processor, case.head, most)
    np.testing.assert_array_equal(cut.truncated, lengths > most)
    assert cut.truncated.any()
    assert len(case.task.lengths([], case.processor)) == 0
    if fixed:
        assert {k: v.shape for k, v in cut.inputs.items()} == {
            k: v.shape for k, v in case.batch.inputs.items()
        }
        return
    assert all(array.shape[1] <= most for array in cut.inputs.values())
    mask = case.batch.inputs["attention_mask"].astype(bool)
    np.testing.assert_array_equal(lengths, mask.sum(axis=1))
    if positions is not None:
        assert positions.shape == mask.shape
        assert positions.dtype == bool
        assert not (positions & ~mask).any()


@ALL
def test_outputs_that_are_no_numbers_are_refused(case: Case) -> None:
    """A NaN or an infinity is an error with its row, never a class."""
    for bad in (np.nan, np.inf):
        outputs = case.planted()
        name = case.task.OUTPUTS[0]
        outputs[name] = outputs[name].copy()
        outputs[name][2] = bad
        with pytest.raises(ModelError, match="row 3 of the batch is not a finite number"):
            case.task.decode(outputs, case.batch, case.head)


@pytest.mark.parametrize("task", catalog.names("task"))
def test_a_folder_without_a_processor_is_named(task: str, tmp_path: Path) -> None:
    """A model folder with a config and no processor files is refused, though transformers 5 makes one up."""
    (VIT if task == "image-classification" else BERT).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no (tokenizer|image processor|feature extractor)") as caught:
        catalog.load("task", task).load_processor(tmp_path)
    assert str(tmp_path) in str(caught.value)
