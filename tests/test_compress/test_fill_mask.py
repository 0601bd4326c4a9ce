"""What stands at a mask: which words are masked, loss, figures and refusals, without a stage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_filling
import tiny_tokenizers
import torch

from compress import catalog
from compress.errors import DataError, ModelError
from compress.pipeline import building
from compress.recipe import DataConfig, Named, Recipe
from compress.stages import load
from compress.tasks import Prediction
from compress.tasks import _masks as masks
from deploy.predictor import Predictor

TASK = "fill-mask"


def test_the_text_chooses_its_masks() -> None:
    """By hand: of eight words one is masked, with all its pieces, and of none none; the same every time."""
    words = [None, 0, 1, 2, 2, 3, 4, 5, 6, 7, None]
    first = masks.chosen("a text", words)
    assert (first == masks.chosen("a text", words)).all()
    assert len({words[i] for i in np.flatnonzero(first)}) == 1
    assert not masks.chosen("", [None, None]).any()
    counts = [masks.chosen(f"text {i}", list(range(40))).sum() for i in range(9)]
    assert counts == [6] * 9
    assert len({tuple(masks.chosen(f"text {i}", list(range(40)))) for i in range(9)}) == 9


def test_figures_by_hand() -> None:
    """Places 1 and 4 with probabilities 1/2 and 1/8: half found, MRR 5/8, perplexity 4."""
    task = catalog.task(TASK)
    head = task.head_of({"vocab_size": 8})
    prediction = Prediction("a b", "a b", truth=((1, 0.5), (4, 0.125)))
    figures = task.metrics(task.statistics([prediction], [("x",)], head).sum(axis=0), head)
    assert figures == pytest.approx({"accuracy": 0.5, "mrr": 0.625, "pseudo_perplexity": 4.0})
    assert not task.right(prediction, ("x",))
    with pytest.raises(DataError, match="has a mask in it, and nobody knows what stood there"):
        task.statistics([Prediction("a", "a")], [("a [MASK]",)], head)


def test_the_loss_is_that_of_the_model(tmp_path: Path) -> None:
    """Of masked pieces alone, as transformers computes it; a text with its own masks teaches nothing."""
    from transformers import BertForMaskedLM

    task = catalog.task(TASK)
    folder = tiny_filling.model(tmp_path / "model")
    network = BertForMaskedLM.from_pretrained(folder).eval()
    head, processor = task.head_of(network.config.to_dict()), task.load_processor(folder)
    batch = task.encode(tiny_filling.texts(6, 3), processor, head, 12)
    labels = torch.from_numpy(batch.labels)
    outputs = network(
        **{name: torch.from_numpy(array) for name, array in batch.inputs.items()}, labels=labels
    )
    assert task.loss(outputs, labels, head, batch).item() == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert (task.positions(batch) == (batch.labels != -100)).all()
    masked = task.encode([{"text": "the [MASK] is"}], processor, head, None)
    assert task.positions(masked).sum() == 1
    assert math.isclose(
        task.loss(
            {"logits": torch.zeros(1, 5, head.width)}, torch.from_numpy(masked.labels), head, masked
        ).item(),
        0,
    )


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    """The sentence says what is wanted."""
    folder = tiny_filling.model(tmp_path / "model")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content["mask_token"] = None
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has no mask_token, and fill-mask asks what stands at a mask"):
        catalog.task(TASK).load_processor(folder)


def test_a_model_without_a_trained_output_is_refused(tmp_path: Path) -> None:
    """Its output is its table of pieces: none is made new, of a base model or in place of a trained one."""
    rows = [{"text": "the film is good"}, {"text": "a bad story"}]
    tiny.write_jsonl(tmp_path / "rows.jsonl", rows)
    data = DataConfig(train=str(tmp_path / "rows.jsonl"))

    def finetune(model: Path, **options: str) -> None:
        stages = (Named(name="load"), Named(name="finetune", options={"epochs": 1, **options}))
        building.run(Recipe(model=str(model), task=TASK, data=data, threads=1, stages=stages))

    with pytest.raises(ModelError, match="fill-mask keeps the trained outputs of its model"):
        finetune(tiny.base_model(tmp_path / "base"))
    with pytest.raises(ModelError, match="fill-mask keeps the trained outputs of its model"):
        finetune(tiny_filling.model(tmp_path / "model"), head="new")
    config = load.Config(model=str(tmp_path / "base"))
    with pytest.raises(ModelError, match="A new one for fill-mask is not trained here"):
        load.require_head(config, catalog.task(TASK))


def test_a_trimmed_vocabulary_is_compared_piece_by_piece(tmp_path: Path) -> None:
    """The output has a number a piece, so that it is cut with them: what stays keeps its odds."""
    words = ("good", "bad", "dark", "warm")
    rows = [{"text": f"the film is {first} and {second}"} for first in words for second in words]
    tiny.write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = Recipe(
        model=str(tiny_filling.model(tmp_path / "model")),
        task=TASK,
        data=DataConfig(train=str(tmp_path / "rows.jsonl")),
        threads=1,
        stages=(Named(name="load"), Named(name="trim-vocabulary")),
    )
    odds = []
    for step in building.run(recipe):
        with Predictor(step.artifact) as predictor:
            (answer,) = predictor.predict(["the film is [MASK]"])
        odds.append(dict(answer.candidates[0]) if answer.candidates else {})
    facts = step.artifact.manifest.facts["vocabulary"]
    assert facts["pieces"] < facts["pieces_before"]
    assert facts["largest_difference"] < 1e-5
    common = sorted(odds[0].keys() & odds[1].keys())
    assert len(common) > 1
    ratios = [odds[1][piece] / odds[0][piece] for piece in common]
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-4)


@pytest.mark.parametrize("algorithm", ["WordPiece", "BPE", "Unigram"])
def test_pieces_are_shown_as_the_pipeline_shows_them(algorithm: str, tmp_path: Path) -> None:
    """BERT's, RoBERTa's and XLM-R's kinds of vocabulary against transformers: texts and probabilities."""
    from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast, pipeline

    config = AutoConfig.from_pretrained(tiny_tokenizers.classifier(tmp_path / "classifier", algorithm))
    folder = tmp_path / "model"
    tokenizer = tiny_tokenizers.save(tiny_tokenizers.read(algorithm), folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = AutoModelForMaskedLM.from_config(config).eval()
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    mask = tokenizer.mask_token
    text = f"{tiny_tokenizers.texts(1, 0)[0]} {mask} {tiny_tokenizers.texts(1, 1)[0]}"
    task = catalog.task(TASK)
    head, processor = task.head_of(config.to_dict()), task.load_processor(folder)
    batch = task.encode([{"text": text}], processor, head, None)
    with torch.no_grad():
        logits = network(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()}).logits
    (answer,) = task.decode({"logits": logits.numpy()}, batch, head)
    pipe = pipeline(TASK, model=network, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder))
    expected = pipe(text)
    assert answer.candidates is not None
    assert [piece for piece, _ in answer.candidates[0]] == [
        mask_answer["token_str"] for mask_answer in expected
    ]
    shares = [share for _, share in answer.candidates[0]]
    assert shares == pytest.approx([mask_answer["score"] for mask_answer in expected], abs=1e-6)
    assert answer.label == expected[0]["token_str"].strip()
