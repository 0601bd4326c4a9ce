"""Embedders: folders of sentence-transformers as they are, every pooling, losses and scores of vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_embedders
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from compress import catalog
from compress.distillation import losses
from compress.errors import DataError, ModelError, RecipeError
from compress.model import architecture, checkpoint, hub, identity, layers, pretrained
from compress.recipe import DataConfig
from compress.stages import load
from compress.tasks import Batch, Head, Pieces, Prediction
from compress.tasks import _embedding as embedding
from compress.tasks import _embedding_model as model_of

TASK = catalog.task("text-embedding")
TEXTS = ("the good film", "a", "the ending was very very dull and so was the story")
HEAD = Head("vector", (), 2)


def states_of(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """What the plain encoder of a folder says of the texts: states and mask."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(**encoded).last_hidden_state
    return states, encoded["attention_mask"]


def by_hand(mode: str, states: torch.Tensor) -> torch.Tensor:
    """The pooling of one text's real states, [length, width], written down as its name says."""
    count = len(states)
    return {
        "cls": states[0],
        "lasttoken": states[-1],
        "max": states.max(dim=0).values,
        "mean": states.sum(dim=0) / count,
        "mean_sqrt_len_tokens": states.sum(dim=0) / count**0.5,
        "weightedmean": sum((i + 1) * s for i, s in enumerate(states)) / (count * (count + 1) / 2),
    }[mode]


@pytest.mark.parametrize("mode", embedding.MODES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_pooling_is_what_its_name_says(mode: str, side: str) -> None:
    """Each pooling sees the real positions alone, wherever the padding is (sentence-transformers 6)."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(3, 6, 4, generator=generator)
    counts = (6, 1, 4)
    mask = torch.zeros(3, 6, dtype=torch.int64)
    expected = []
    for row, count in enumerate(counts):
        real = slice(0, count) if side == "right" else slice(6 - count, 6)
        mask[row, real] = 1
        expected.append(by_hand(mode, states[row, real]))
    torch.testing.assert_close(model_of.POOLINGS[mode](states, mask), torch.stack(expected))


def test_a_folder_of_sentence_transformers_is_taken_as_it_is(tmp_path: Path) -> None:
    """Two poolings, a dense layer, normalization: the loaded model gives what the modules give one by one."""
    dense = {"in_features": 64, "out_features": 8, "bias": True}
    dense["activation_function"] = "torch.nn.modules.activation.Tanh"
    folder = tiny_embedders.folder(
        tmp_path / "model",
        pooling={"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        dense=dense,
    )
    loaded = pretrained.load(folder, TASK, None, 0)
    assert not loaded.fresh
    states, mask = states_of(folder)
    pooled = torch.stack(
        [
            torch.cat([by_hand("cls", row[:count]), by_hand("mean", row[:count])])
            for row, count in zip(states, mask.sum(dim=1).tolist(), strict=True)
        ]
    )
    weights = load_file(folder / "2_Dense" / "model.safetensors")
    expected = functional.normalize(
        torch.tanh(pooled @ weights["linear.weight"].T + weights["linear.bias"]), dim=-1
    )
    processor = TASK.load_processor(folder)
    assert processor.model_max_length == 32
    batch = TASK.encode([{"text": text} for text in TEXTS], processor, HEAD, None)
    with torch.inference_mode():
        ours = loaded.model(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()})
    torch.testing.assert_close(ours["embedding"], expected, atol=1e-6, rtol=0)
    assert TASK.head_of(loaded.model.config.to_dict()) == Head("vector", (), 8)
    assert architecture.infer_task(folder) == "text-embedding"
    assert not identity.lacks_head(folder, architecture.read_config(folder), TASK)


def test_new_names_of_modules_are_read_too(tmp_path: Path) -> None:
    """The classes and the pooling's field as sentence-transformers 6 writes them."""
    folder = tiny_embedders.folder(tmp_path, pooling={"embedding_dimension": 32, "pooling_mode": "lasttoken"})
    listed = json.loads((folder / "modules.json").read_text())
    homes = ("base.modules.transformer", "sentence_transformer.modules.pooling", "base.modules.normalize")
    for entry, home in zip(listed, homes, strict=True):
        entry["type"] = f"sentence_transformers.{home}.{entry['type'].rpartition('.')[2]}"
    tiny_embedders.write(folder / "modules.json", listed)
    assert embedding.modules(folder).description.pooling == ("lasttoken",)


def test_an_encoder_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """As sentence-transformers before 1.0 wrote it: configuration, weights and tokenizer in 0_Transformer."""
    folder = tiny_embedders.folder(tmp_path / "model")
    expected = pretrained.load(folder, TASK, None, 0).model.state_dict()
    place = folder / "0_Transformer"
    place.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file()]:
        if file.name != "config_sentence_transformers.json":
            file.rename(place / file.name)
    tiny_embedders.write(folder / "modules.json", tiny_embedders.modules("0_Transformer", "Normalize"))
    loaded = pretrained.load(folder, TASK, None, 0).model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    assert TASK.load_processor(folder).model_max_length == 32
    assert {file.parent.name for file in hub.files(folder)} == {"model", "0_Transformer", "1_Pooling"}


def test_a_saved_embedder_is_the_encoder_to_everybody_else(tmp_path: Path) -> None:
    """It comes back as it was, AutoModel finds the encoder, and a classifier can be made of it."""
    folder = tiny_embedders.folder(tmp_path / "model")
    model = pretrained.load(folder, TASK, None, 0).model
    out = tmp_path / "out"
    out.mkdir()
    checkpoint.save(model, out, source=folder)
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    assert config["text_embedding"]["pooling"] == ["mean"]
    again = checkpoint.load(out, TASK)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    plain, theirs = AutoModel.from_pretrained(out), AutoModel.from_pretrained(folder)
    for name, tensor in plain.state_dict().items():
        if "pooler" not in name:
            assert torch.equal(tensor, theirs.state_dict()[name]), name
    classification = catalog.task("text-classification")
    classifier = pretrained.load(out, classification, Head("single_label", ("a", "b")), 0)
    assert classifier.fresh
    assert not hasattr(classifier.model.config, "text_embedding")


def refusal(folder: Path) -> str:
    """What is said of a folder that cannot be taken."""
    with pytest.raises(ModelError) as caught:
        pretrained.inspect(folder, TASK)
    return str(caught.value)


def test_what_no_module_of_ours_is_is_refused(tmp_path: Path) -> None:
    """Unknown modules, code of the folder's own, poolings, dense layers that do not fit: a sentence each."""
    folder = tiny_embedders.folder(tmp_path / "a")
    listed = json.loads((folder / "modules.json").read_text())
    for kind in ("sentence_transformers.models.LSTM", "custom_st.Transformer"):
        tiny_embedders.write(folder / "modules.json", [listed[0], {**listed[1], "type": kind}])
        assert kind in refusal(folder)
    tiny_embedders.write(folder / "modules.json", [listed[0], listed[2]])
    assert "a Transformer, then a Pooling" in refusal(folder)
    tiny_embedders.write(folder / "modules.json", [{**listed[0], "path": "../b"}, *listed[1:]])
    assert "leads out of the folder" in refusal(folder)
    median = tiny_embedders.folder(tmp_path / "b", pooling={"pooling_mode": "median"})
    assert "the pooling is median" in refusal(median)
    narrow = tiny_embedders.folder(tmp_path / "c", dense={"in_features": 16, "out_features": 8})
    assert "a dense layer of 16 inputs" in refusal(narrow)
    (narrow / "2_Dense" / "model.safetensors").rename(narrow / "2_Dense" / "pytorch_model.bin")
    assert "save_pretrained" in refusal(narrow)
    mute = tiny_embedders.folder(
        tmp_path / "d",
        pooling={"pooling_mode": "mean", "include_prompt": False},
        prompts={"query": "q: "},
        default="query",
    )
    assert "include_prompt" in refusal(mute)


def test_prompts_are_chosen_by_name(tmp_path: Path) -> None:
    """The default one for every text, others by their name; an unknown one is refused."""
    prompts = {"query": "the good ", "passage": "the bad "}
    folder = tiny_embedders.folder(tmp_path, prompts=prompts, default="query")
    content = architecture.read_config(folder)
    assert content["text_embedding"]["prompts"] == {"text": "the good ", "text_pair": "the good "}
    chosen = TASK.fields(
        folder, content, {"prompts": {"text": "query", "text_pair": "passage"}}, lambda: None
    )
    assert chosen["text_embedding"]["prompts"] == {"text": "the good ", "text_pair": "the bad "}
    with pytest.raises(RecipeError, match="no prompt 'document'; it has: query, passage"):
        TASK.fields(folder, content, {"prompts": {"text": "document"}}, lambda: None)
    with pytest.raises(RecipeError, match="says itself how its texts are pooled"):
        TASK.fields(folder, content, {"pooling": "cls"}, lambda: None)
    processor = TASK.load_processor(folder)
    rows = TASK.pieces([{"text": "film", "text_pair": "story"}], processor, None).rows
    ids = TASK.encode(rows, processor, HEAD, None).inputs["input_ids"]
    assert processor.decode(ids[0], skip_special_tokens=True) == "the good film"
    assert processor.decode(ids[1], skip_special_tokens=True) == "the good story"


def test_a_plain_encoder_gets_the_pooling_that_is_named(tmp_path: Path) -> None:
    """A mean where nobody says, which is said; another by an option; none for a task without vectors."""
    folder = tiny.base_model(tmp_path)
    content = architecture.read_config(folder)
    plain = TASK.fields(folder, content, {"pooling": None, "normalize": None, "prompts": None}, lambda: None)
    assert plain["text_embedding"]["pooling"] == ["mean"]
    assert plain["text_embedding"]["after"] == ["normalize"]
    chosen = TASK.fields(
        folder, content, {"pooling": ("cls", "max"), "normalize": False, "prompts": None}, lambda: None
    )
    model = pretrained.load(folder, TASK, None, 0, fields=chosen).model
    assert TASK.head_of(model.config.to_dict()).size == 64
    with pytest.raises(RecipeError, match="pooling is of models that make vectors"):
        catalog.task("text-classification").fields(folder, content, {"pooling": "cls"}, lambda: None)


def predictions(pairs: list[tuple[list[float], list[float]]]) -> list[Prediction]:
    """Predictions of rows of two texts."""
    return [Prediction(value=np.array(pair), label=np.array(pair)) for pair in pairs]


def test_scored_pairs_are_ranked_by_their_cosine() -> None:
    """Spearman and Pearson of cosine and score, whatever the vectors' lengths."""
    rows = predictions([([1, 0], [5, 0]), ([1, 0], [1, 1]), ([1, 0], [0, 2]), ([1, 0], [-1, 0])])
    truths = [TASK.reference({"text": "a", "text_pair": "b", "label": s}, HEAD) for s in (5.0, 4.0, 3.0, 0.5)]
    figures = TASK.metrics(TASK.statistics(rows, truths, HEAD).sum(axis=0), HEAD)
    assert list(figures) == ["spearman", "pearson"]
    assert figures["spearman"] == pytest.approx(1)
    cosines = [1, 2**-0.5, 0, -1]
    assert figures["pearson"] == pytest.approx(np.corrcoef(cosines, [5, 4, 3, 0.5])[0, 1])


def test_queries_search_the_documents_of_the_file() -> None:
    """nDCG@10, MRR@10 and recall by hand: one query finds its document first, one second."""
    rows = [
        {"text": "q1", "text_pair": "d1", "label": 1},
        {"text": "q2", "text_pair": "d2", "label": 1},
        {"text": "q2", "text_pair": "d3", "label": 0},
    ]
    vectors = predictions([([1, 0], [1, 0]), ([0, 1], [1, 1]), ([0, 1], [0, 1])])
    truths = [TASK.reference(row, HEAD) for row in rows]
    table = TASK.statistics(vectors, truths, HEAD)
    assert table.shape[0] == 2
    assert TASK.groups(rows).tolist() == [0, 1, 1]
    figures = TASK.metrics(table.sum(axis=0), HEAD)
    assert figures == pytest.approx(
        {"ndcg_10": (1 + 1 / np.log2(3)) / 2, "mrr_10": 0.75, "recall_1": 0.5, "recall_10": 1.0}
    )
    alike = predictions([([1, 0], [1, 0])] * 3)
    totals = TASK.statistics(alike, truths, HEAD).sum(axis=0)
    assert TASK.metrics(totals, HEAD)["recall_1"] == 0
    assert 0 < TASK.blind(totals, HEAD) < 1
    with pytest.raises(DataError, match="the query 'q2' has no relevant document"):
        TASK.statistics(vectors, [truths[0], truths[2], truths[2]], HEAD)


def test_labels_without_a_second_text_are_refused() -> None:
    """A label says how two texts go together."""
    with pytest.raises(DataError, match="a label and no text_pair"):
        TASK.reference({"text": "a", "label": 1.0}, HEAD)
    assert TASK.align([1, None, 0], None, HEAD) == [1, None, 0]
    assert TASK.align([1, 0.5], None, HEAD) == [1.0, 0.5]
    with pytest.raises(DataError, match="row 2 has the label -1"):
        TASK.align([1, -1], None, HEAD)


def test_pieces_are_joined_by_row() -> None:
    """Each row gets the vectors of its texts, in order."""
    pieces = TASK.pieces([{"text": "a", "text_pair": "b"}, {"text": "c"}], None, None)
    assert pieces.owner.tolist() == [0, 0, 1]
    outputs = {"embedding": np.arange(6, dtype=np.float32).reshape(3, 2)}
    decoded = TASK.decode(outputs, Batch(inputs={}, labels=None), HEAD)
    joined = TASK.joined(decoded, Pieces(pieces.rows, pieces.owner), HEAD)
    assert [answer.value.tolist() for answer in joined] == [[[0, 1], [2, 3]], [[4, 5]]]


def paired(ids: Any) -> Batch:
    """A batch of rows with two texts of one token each."""
    array = np.asarray(ids, dtype=np.int64)[:, None, :]
    return Batch(inputs={"input_ids": array, "attention_mask": np.ones_like(array)}, labels=None)


def test_the_loss_of_scores_is_cosent() -> None:
    """log(1 + sum of exp(20 (cos_i - cos_j)) over rows with a lower score): by hand on three rows."""
    cosines = torch.tensor([0.9, 0.2, 0.5])
    vectors = torch.stack(
        [torch.tensor([1.0, 0.0]).repeat(3, 1), torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)], dim=1
    )
    scores = torch.tensor([1.0, 0.5, 0.0])
    terms = [20 * (cosines[i] - cosines[j]) for i, j in ((1, 0), (2, 0), (2, 1))]
    expected = torch.log(1 + sum(term.exp() for term in terms))
    loss = TASK.loss({"embedding": 3 * vectors}, scores, HEAD, paired([[1, 2], [3, 4], [5, 6]]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_relevances_has_the_batch_for_wrong_answers() -> None:
    """A softmax over the batch's documents; the same document, and another answer, are left out."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, 2, 3, generator=generator)
    labels = torch.tensor([1, 1, 0, 1])
    batch = paired([[1, 10], [2, 20], [1, 30], [2, 10]])
    unit = functional.normalize(vectors, dim=-1)
    cosines = 20 * unit[:, 0] @ unit[:, 1].T
    # Rows 0 and 3 have one document, and rows 1 and 3 one query, so that these are no wrong answers.
    candidates = {0: [0, 1, 2], 1: [0, 1, 2], 3: [2, 3]}
    expected = np.mean(
        [
            (torch.logsumexp(cosines[row, at], dim=0) - cosines[row, row]).item()
            for row, at in candidates.items()
        ]
    )
    loss = TASK.loss({"embedding": vectors}, labels, HEAD, batch)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_rows_of_two_texts_are_one_batch(tmp_path: Path) -> None:
    """Both texts of a row go through the model together, as each does alone."""
    folder = tiny_embedders.folder(tmp_path)
    model = pretrained.load(folder, TASK, None, 0).model
    processor = TASK.load_processor(folder)
    rows = [{"text": a, "text_pair": b, "label": 0.5} for a, b in zip(TEXTS, reversed(TEXTS), strict=True)]
    batch = TASK.encode(rows, processor, HEAD, None)
    assert batch.inputs["input_ids"].shape[::2] == (3, 2)
    assert batch.labels.dtype == np.float32
    alone = TASK.encode(TASK.pieces(rows, processor, None).rows, processor, HEAD, None)

    def vectors(of: Batch) -> torch.Tensor:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(array) for name, array in of.inputs.items()})["embedding"]

    torch.testing.assert_close(vectors(batch).reshape(6, -1), vectors(alone), atol=1e-6, rtol=0)


def test_vectors_are_held_to_the_teachers_as_cosines_are() -> None:
    """For unit vectors the loss is 2 (1 - cos), however many numbers they have; numbers keep their error."""
    teacher = functional.normalize(torch.randn(5, 32, generator=torch.Generator().manual_seed(1)), dim=-1)
    student = functional.normalize(torch.randn(5, 32, generator=torch.Generator().manual_seed(2)), dim=-1)
    expected = (2 - 2 * (student * teacher).sum(dim=-1)).mean()
    assert losses.kl_loss(student, teacher, "identity").item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.kl_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]), "identity").item() == 4


def test_likeness_is_between_the_texts_of_a_batch() -> None:
    """A turned space is as good as the teacher's; what moves texts nearer to each other is not."""
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[0.0, 2.0], [-1.0, 0.0]])
    assert losses.likeness_loss(turned, teacher).item() == pytest.approx(0, abs=1e-12)
    nearer = torch.tensor([[1.0, 0.0], [3**0.5, 1.0]])
    assert losses.likeness_loss(nearer, teacher).item() == pytest.approx(0.75)
    assert losses.likeness_loss(teacher[:1], teacher[:1]).item() == 0


def test_a_row_alone_says_how_its_cosine_moves() -> None:
    """Fisher scores take rows one by one: a loss that compares rows would be 0, and so its gradient."""
    vectors = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for labels in (torch.tensor([0.4]), torch.tensor([1])):
        loss = TASK.loss({"embedding": vectors}, labels, HEAD, paired([[1, 2]]))
        cosine = functional.cosine_similarity(vectors[0, 0], vectors[0, 1], dim=0)
        assert loss.item() == pytest.approx(1 - cosine.item(), rel=1e-5)


def test_the_real_tokens_of_a_pair_are_those_of_its_texts() -> None:
    """Hidden states of a row of two texts lie text below text, and so does their mask."""
    mask = torch.tensor([[[1, 1], [1, 0]], [[1, 1], [0, 1]]])
    assert layers.real_tokens({"attention_mask": mask}, 2).tolist() == [
        [True, True],
        [True, False],
        [True, False],
        [True, True],
    ]


def test_an_encoder_with_labelled_texts_is_no_embedder_unless_that_is_said(tmp_path: Path) -> None:
    """Labelled texts still mean a classifier; a folder of sentence-transformers means vectors."""
    rows = DataConfig(source=str(tiny.text_data(tmp_path / "data")))
    plain = tiny.base_model(tmp_path / "plain")
    assert load.infer_task(load.Config(model=str(plain)), rows) == "text-classification"
    folder = tiny_embedders.folder(tmp_path / "embedder")
    assert load.infer_task(load.Config(model=str(folder)), rows) == "text-embedding"
