"""Trimming a vocabulary: text whose pieces stay is answered as before, the loss on other text is bounded."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import tiny_tokenizers
import torch
import transformers

from compress import catalog
from compress import data as rows
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ModelError, RecipeError
from compress.model import checkpoint
from compress.pipeline import chain
from compress.recipe import DataConfig, Recipe, validate
from compress.stage import Context
from compress.stages import trim_vocabulary
from compress.vocabulary import rows as weights

TEXT = catalog.task("text-classification")
Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the stage on a folder; gives its result and the recorded facts."""
    count = 0

    def _run(folder: Path, data: rows.TrainingData | None = None, task: Any = TEXT, **options: Any) -> Any:
        nonlocal count
        count += 1
        out = tmp_path / f"out-{count}"
        out.mkdir()
        facts: dict[str, Any] = {}
        context = Context(
            out=out,
            scratch=out,
            task=task,
            data=data,
            seed=0,
            threads=1,
            device="cpu",
            record=facts.__setitem__,
        )
        source = (
            tiny_deploy.seal(folder, task=task.NAME) if not (folder / "manifest.json").is_file() else None
        )
        config = validate(trim_vocabulary.Config, options, "the stage")
        trim_vocabulary.run(source or Artifact.open(folder), config, context)
        return SimpleNamespace(folder=out, facts=facts)

    return _run


def given(tmp_path: Path, texts: list[str], held_out: list[str] | None = None) -> rows.TrainingData:
    """Training rows of these texts, and selection rows where there are some."""
    files = {"train": texts, "selection": held_out or texts[:20]}
    for name, side in files.items():
        lines = [{"text": text, "label": number % 2} for number, text in enumerate(side)]
        tiny.write_jsonl(tmp_path / "data" / f"{name}.jsonl", lines)
    config = DataConfig(source=str(tmp_path / "data"), selection="selection", calibration=16)
    return rows.load(config, TEXT, 0).training


def logits(folder: Path, text: str) -> np.ndarray:
    """The answer of a folder as plain transformers gives it."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        answer: np.ndarray = model(**tokenizer(text, text, return_tensors="pt")).logits.numpy()
    return answer


@pytest.mark.parametrize("algorithm", tiny_tokenizers.BUILD)
def test_text_whose_pieces_stay_is_answered_as_before(algorithm: str, run: Run, tmp_path: Path) -> None:
    """Pairs too, in plain transformers; positions that begin after the padding id stay where they are."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", algorithm)
    texts = tiny_tokenizers.texts(200, 11)
    trimmed = run(folder, given(tmp_path, texts))
    facts, config = trimmed.facts["vocabulary"], json.loads((trimmed.folder / "config.json").read_text())
    assert facts["algorithm"] == algorithm
    assert facts["pieces"] < 0.8 * facts["rows_before"]
    assert config["vocab_size"] == facts["pieces"]
    assert not (trimmed.folder / "shapes.json").exists()
    assert trimmed.facts["parameters"]["after"] == trimmed.facts["parameters"]["before"] - 32 * (
        facts["rows_before"] - facts["pieces"]
    )
    held_out = trimmed.facts["held_out"]["selection rows"]
    assert (held_out["growth"], held_out["unknown"]) == (0, 0)
    assert held_out["unchanged"] == held_out["texts"] == 20
    assert facts["largest_difference"] == 0
    np.testing.assert_array_equal(logits(folder, texts[0]), logits(trimmed.folder, texts[0]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(trimmed.folder)
    assert config["pad_token_id"] == tokenizer.pad_token_id


def test_other_text_falls_into_smaller_pieces_and_that_is_said(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Held-out text of another language gets longer; the figures are recorded and shown."""
    caplog.set_level(logging.INFO, "paredown")
    folder = tiny_tokenizers.classifier(tmp_path / "model", "BPE")
    other = tiny_tokenizers.texts(40, 3, tiny_tokenizers.OTHERS)
    trimmed = run(folder, given(tmp_path, tiny_tokenizers.texts(200, 11), other), growth_at_most=5)
    held_out = trimmed.facts["held_out"]["selection rows"]
    assert held_out["growth"] == held_out["tokens_after"] / held_out["tokens_before"] - 1 > 0.5
    assert held_out["unknown"] == 0
    assert f"({held_out['tokens_before']:,} to {held_out['tokens_after']:,})" in caplog.text


def test_more_growth_than_allowed_is_refused(run: Run, tmp_path: Path) -> None:
    """Five percent by itself."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", "BPE")
    other = tiny_tokenizers.texts(40, 3, tiny_tokenizers.OTHERS)
    with pytest.raises(
        ModelError, match=r"selection rows\) gets .* % longer .* growth_at_most is 5 %: give more"
    ):
        run(folder, given(tmp_path, tiny_tokenizers.texts(200, 11), other))


def test_words_that_become_unknown_are_refused(run: Run, tmp_path: Path) -> None:
    """A vocabulary of whole words has no smaller pieces: what is not in the text is unknown."""
    folder = tiny.text_model(tmp_path / "model")
    data = given(tmp_path, ["good film", "bad film", "a good story"] * 20, ["a lovely film"] * 4)
    with pytest.raises(
        ModelError, match=r"20.000 % of the tokens become unknown .* unknown_at_most is 0.1 %"
    ):
        run(folder, data)
    trimmed = run(folder, data, unknown_at_most=0.5)
    assert trimmed.facts["held_out"]["selection rows"]["unknown_after"] == 1


def test_a_text_file_is_enough_and_every_tenth_line_measures(run: Run, tmp_path: Path) -> None:
    """A file, or a folder of them; lines that are blank or stand twice count once or not at all."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", "Unigram")
    lines = sorted(set(tiny_tokenizers.texts(300, 11)))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "it.txt").write_text("\n\n".join([*lines, lines[0]]))
    for place in ("texts", "texts/it.txt"):
        trimmed = run(folder, text=str(tmp_path / place))
        assert trimmed.facts["held_out"]["text"]["texts"] == len(lines) // 10
        assert trimmed.facts["vocabulary"]["pieces"] < trimmed.facts["vocabulary"]["rows_before"]


def test_a_number_of_pieces_keeps_the_frequent_ones(run: Run, tmp_path: Path) -> None:
    """At most so many stay, and it says how many had no room; fewer than always stay is refused."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", "BPE")
    data = given(tmp_path, tiny_tokenizers.texts(200, 11))
    trimmed = run(folder, data, pieces=300, growth_at_most=5)
    assert 290 <= trimmed.facts["vocabulary"]["pieces"] <= 300
    assert trimmed.facts["vocabulary"]["without_room"] > 0
    with pytest.raises(ModelError, match=r"pieces is 100, and 261 of the 481 pieces always stay"):
        run(folder, data, pieces=100)


def test_a_text_that_needs_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    """Text of another script has no pieces; so has nothing that occurs often enough."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", "WordPiece")
    data = given(tmp_path, ["猫は好き", "犬が走る"] * 20)
    with pytest.raises(DataError, match=r"needs none of the \d+ pieces beyond specials and characters"):
        run(folder, data)
    with pytest.raises(DataError, match="there is no text to trim to: give --data DIR"):
        run(folder)


def test_a_text_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything runs, and a folder without texts, or an empty one, when it is read."""
    with pytest.raises(DataError, match=r"there is no text at .*: check the path"):
        trim_vocabulary.reads(trim_vocabulary.Config(text=str(tmp_path / "no.txt")))
    (tmp_path / "empty.txt").write_text(" \n")
    for place, reason in (
        (tmp_path / "empty.txt", "holds no text: give"),
        (tmp_path / "sub", "no .txt file"),
    ):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=reason):
            trim_vocabulary.texts.of_place(str(place))


def test_an_artifact_of_another_kind_is_refused(text_data: Path) -> None:
    """The stage takes PyTorch models: a graph has its vocabulary cut before it is exported."""
    stages = [{"export-onnx": {}}, {"trim-vocabulary": {}}]
    recipe = validate(Recipe, {"model": "x", "data": {"source": str(text_data)}, "stages": stages}, "it")
    with pytest.raises(RecipeError, match="'trim-vocabulary' takes torch and export-onnx gives onnx"):
        chain.chain(recipe)


def test_a_model_of_characters_has_nothing_to_trim(run: Run, tmp_path: Path) -> None:
    """CANINE hashes characters: its tokenizer has no file at all."""
    config = transformers.CanineConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_hash_buckets=32
    )
    transformers.CanineForSequenceClassification(config).save_pretrained(tmp_path / "model")
    transformers.CanineTokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(
        ModelError, match=r"a CanineTokenizer reads characters or bytes .* leave the stage out"
    ):
        run(tmp_path / "model", given(tmp_path, ["a b"] * 20))


def test_a_task_without_text_has_nothing_to_trim(run: Run, tmp_path: Path) -> None:
    """Images have no vocabulary."""
    folder = tiny.text_model(tmp_path / "model")
    with pytest.raises(ModelError, match="image-classification reads no text"):
        run(folder, task=catalog.task("image-classification"))


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "gpt2", "t5", "bart", "electra", "llama"])
def test_output_layers_that_are_tied_follow(family: str) -> None:
    """Every parameter with a row a piece is cut alike; ties, biases and the padding row stay right."""
    sizes = {"d_model": 16, "n_embd": 16, "dim": 16, "d_ff": 16, "d_kv": 8, "n_head": 2, "n_layer": 1}
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=40,
        num_attention_heads=2,
        num_hidden_layers=1,
        pad_token_id=5,
        tie_word_embeddings=True,
        **({} if family in ("gpt2", "distilbert") else {"hidden_size": 16, "intermediate_size": 16}),
        **{name: size for name, size in sizes.items() if family in ("gpt2", "t5", "bart", "distilbert")},
    )
    kind = {"gpt2": "CausalLM", "llama": "CausalLM", "t5": "Seq2SeqLM", "bart": "Seq2SeqLM"}.get(
        family, "MaskedLM"
    )
    task: Any = SimpleNamespace(MODEL=f"AutoModelFor{kind}", NAME="it", model_class=lambda config: None)
    model = getattr(transformers, task.MODEL).from_config(config).eval()
    kept = [0, 1, 2, 3, *range(5, 30, 2)]
    ids = torch.tensor([[kept.index(k) for k in (7, 9, 21)]])
    feed = {"decoder_input_ids": ids} if kind == "Seq2SeqLM" else {}
    with torch.inference_mode():
        old = {name: torch.tensor(kept)[tensor] for name, tensor in {"input_ids": ids, **feed}.items()}
        expected = model(**old).logits
        weights.cut(model, task, kept)
        actual = model(input_ids=ids, **feed).logits
    np.testing.assert_allclose(actual.numpy(), expected[..., kept].numpy(), atol=1e-6)
    output, table = model.get_output_embeddings(), model.get_input_embeddings()
    assert table.weight.shape[0] == table.num_embeddings == model.config.vocab_size == len(kept)
    assert output.weight.shape[0] == output.out_features == len(kept)
    assert output.weight is table.weight
    assert model.config.pad_token_id == kept.index(5)
    assert table.padding_idx in (None, kept.index(5))


def test_an_id_that_no_piece_has_is_refused() -> None:
    """Left as it is, it would name another piece."""
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    config.eos_token_id = 7
    model = transformers.BertForSequenceClassification(config)
    with pytest.raises(
        ModelError, match="names 7 as eos_token_id, and no token of the tokenizer has that id"
    ):
        weights.cut(model, TEXT, [0, 1, 2, 3, 4, 5, 6, 8, 9])


def test_a_pruned_model_keeps_its_shapes(run: Run, tmp_path: Path) -> None:
    """What shapes.json says of other parameters stays; the table needs no mention."""
    folder = tiny_tokenizers.classifier(tmp_path / "model", "WordPiece")
    model = checkpoint.load(folder, TEXT)
    layer = model.bert.encoder.layer[0]
    layer.intermediate.dense = torch.nn.Linear(32, 8)
    layer.output.dense = torch.nn.Linear(8, 32)
    (tmp_path / "pruned").mkdir()
    checkpoint.save(model, tmp_path / "pruned", source=folder)
    trimmed = run(tmp_path / "pruned", given(tmp_path, tiny_tokenizers.texts(200, 11)))
    shapes = json.loads((trimmed.folder / "shapes.json").read_text())["parameters"]
    assert shapes["bert.encoder.layer.0.intermediate.dense.weight"] == [8, 32]
    assert not any("word_embeddings" in name for name in shapes)
    assert checkpoint.load(trimmed.folder, TEXT).config.vocab_size == trimmed.facts["vocabulary"]["pieces"]


@pytest.mark.parametrize("name", ["bert-base-uncased", "gpt2"])
def test_real_tokenizers_read_what_stays_as_before(name: str, shared: Path, tmp_path: Path) -> None:
    """30,522 pieces and 50,257 with their merges, from the files that their models are published with."""
    from compress.vocabulary import choice, folder
    from compress.vocabulary.pieces import Pieces
    from compress.vocabulary.texts import count, of_place, read

    place = shared / "data" / "tokenizers" / name
    if not place.is_dir():
        pytest.skip(f"no tokenizer at {place}")
    kind = transformers.BertTokenizer if name.startswith("bert") else transformers.GPT2Tokenizer
    before = kind.from_pretrained(place)
    before.save_pretrained(tmp_path)
    pieces = Pieces(folder.read(tmp_path), name)
    sample = (Path(__file__).parent.parent.parent / "README.md").as_posix()
    texts = of_place(sample)
    chosen = choice.choose(count(texts, before, pieces.size), pieces.always(), pieces.needs())
    assert len(chosen.old_ids) < 0.3 * len(pieces.ids)
    assert folder.cut(tmp_path, chosen.old_ids) == ()
    after = transformers.AutoTokenizer.from_pretrained(tmp_path)
    new_ids = chosen.new_ids(pieces.size)
    for old, new in zip(read(texts, before), read(texts, after), strict=True):
        assert new_ids[old].tolist() == new
    assert len(list(read(texts, after))) == len(texts)
