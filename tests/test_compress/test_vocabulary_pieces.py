"""Which pieces stay, and what they are cut from: merges, choices and files, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_tokenizers
from tokenizers import Tokenizer

from compress.errors import ModelError
from compress.vocabulary import choice, folder, special_ids, tokenizer_json
from compress.vocabulary.merges import Merges
from compress.vocabulary.pieces import Pieces

FULL = 10**6
MERGES = [("a", "b"), ("c", "d"), ("ab", "c"), ("ab", "cd"), ("b", "c"), ("x", "ab")]


def test_a_piece_needs_what_its_merges_pass_through() -> None:
    """'abcd' is joined from 'ab' and 'cd', never by way of 'abc': the merges of lower rank come first."""
    merges = Merges(MERGES)
    assert merges.parts("abcd") == {"abcd", "ab", "cd", "a", "b", "c", "d"}
    assert merges.parts("abc") == {"abc", "ab", "a", "b", "c"}
    assert merges.parts("q") == {"q"}


def test_a_piece_that_no_text_reaches_needs_itself_alone() -> None:
    """'bcd' has no merge, and 'bc' joined with 'd' none either; a part with an empty half is no merge."""
    assert Merges([("b", "c"), ("c", "d"), ("bc", "d")]).parts("bcd") == {"b", "c", "d", "bc", "bcd"}
    assert Merges([("c", "d"), ("b", "c"), ("bc", "d")]).parts("bcd") == {"bcd"}
    assert Merges([("", "aa"), ("a", "a")]).parts("aa") == {"aa", "a"}


def test_a_prefix_within_words_is_dropped_by_a_merge() -> None:
    """'un' and '##do' make 'undo'."""
    merges = Merges([("##d", "##o"), ("u", "##n"), ("un", "##do")], "##")
    assert merges.parts("undo") == {"undo", "un", "##do", "u", "##n", "##d", "##o"}


COUNTS = np.array([0, 5, 3, 9, 1, 3, 0])


def _needs(piece: int) -> tuple[int, ...]:
    return {3: (2,)}.get(piece, ())


@pytest.mark.parametrize(
    ("options", "kept", "left_out"),
    [
        ({}, (0, 1, 2, 3, 4, 5), 0),
        ({"count": 3}, (0, 1, 2, 3, 5), 0),
        ({"pieces": 3}, (0, 2, 3), 4),
        ({"pieces": 4}, (0, 1, 2, 3), 2),
        ({"pieces": 2}, (0,), 5),
        ({"count": 10}, (0,), 0),
    ],
)
def test_the_frequent_pieces_stay_with_what_they_need(
    options: dict[str, int], kept: tuple[int, ...], left_out: int
) -> None:
    """Piece 0 always; 3 is the most frequent and needs 2; a piece without room keeps no rarer one."""
    chosen = choice.choose(COUNTS, {0}, _needs, **options)
    assert (chosen.old_ids, chosen.left_out, chosen.always) == (kept, left_out, 1)


def test_new_ids_are_places_among_those_that_stay() -> None:
    """-1 where a piece goes."""
    chosen = choice.Choice((0, 2, 5), 1, 2, 0)
    assert chosen.new_ids(6).tolist() == [0, -1, 1, -1, -1, 2]


def content(algorithm: str) -> dict[str, Any]:
    """A trained tokenizer's file, parsed."""
    parsed: dict[str, Any] = json.loads(tiny_tokenizers.written(algorithm))
    return parsed


@pytest.mark.parametrize("algorithm", tiny_tokenizers.BUILD)
def test_text_whose_pieces_stay_is_read_as_before(algorithm: str) -> None:
    """Every text that the pieces were chosen from, and every other one that they cover, id by id."""
    before = tiny_tokenizers.read(algorithm)
    parsed = content(algorithm)
    pieces = Pieces(parsed, "it")
    given = tiny_tokenizers.texts(150, 7)
    counts = np.zeros(pieces.size, dtype=np.int64)
    for text in given:
        np.add.at(counts, before.encode(text).ids, 1)
    chosen = choice.choose(counts, pieces.always(), pieces.needs())
    assert len(chosen.old_ids) < 0.8 * len(pieces.ids)
    after = Tokenizer.from_str(json.dumps(tokenizer_json.cut(parsed, chosen.old_ids, "it")))
    new_ids = chosen.new_ids(pieces.size)
    covered = 0
    for text in [
        *given,
        *tiny_tokenizers.texts(300, 8),
        *tiny_tokenizers.texts(100, 9, tiny_tokenizers.OTHERS),
    ]:
        mapped = new_ids[before.encode(text).ids]
        if (mapped >= 0).all():
            covered += 1
            assert after.encode(text).ids == mapped.tolist(), text
        assert after.encode(text, text).tokens.count("[SEP]" if algorithm == "WordPiece" else "</s>") >= 2
    assert covered > 150
    assert [after.id_to_token(new) for new in range(len(chosen.old_ids))] == [
        before.id_to_token(old) for old in chosen.old_ids
    ]


def test_scores_stay_and_with_them_the_price_of_an_unknown_character() -> None:
    """Unigram: the least likely piece stays, from whose score that of an unknown character is taken."""
    parsed = content("Unigram")
    pieces = Pieces(parsed, "it")
    scores = dict(map(tuple, parsed["model"]["vocab"]))
    cut = tokenizer_json.cut(parsed, sorted(pieces.always()), "it")
    fresh = dict(map(tuple, cut["model"]["vocab"]))
    assert fresh == {piece: scores[piece] for piece in fresh}
    assert min(fresh.values()) == min(scores.values())
    assert cut["model"]["vocab"][cut["model"]["unk_id"]][0] == "<unk>"


@pytest.mark.parametrize("algorithm", tiny_tokenizers.BUILD)
def test_characters_bytes_and_specials_always_stay(algorithm: str) -> None:
    """A vocabulary without any text still reads every character that it read before."""
    before = tiny_tokenizers.read(algorithm)
    parsed = content(algorithm)
    pieces = Pieces(parsed, "it")
    after = Tokenizer.from_str(json.dumps(tokenizer_json.cut(parsed, sorted(pieces.always()), "it")))
    text = "straßen wanderless brückened"
    assert before.decode(before.encode(text).ids) == after.decode(after.encode(text).ids)
    mask = "[MASK]" if algorithm == "WordPiece" else "<mask>"
    assert after.encode(mask).tokens[1] == mask


def test_merges_in_lines_of_text_stay_in_lines() -> None:
    """Older files write a merge as one text; it stays that."""
    parsed = content("BPE")
    parsed["model"]["merges"] = [" ".join(merge) for merge in parsed["model"]["merges"]]
    pieces = Pieces(parsed, "it")
    (first, *_) = parsed["model"]["merges"]
    joined = pieces.vocabulary[first.replace(" ", "")]
    cut = tokenizer_json.cut(parsed, sorted({*pieces.always(), joined}), "it")
    assert cut["model"]["merges"] == [first]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": None}, "has no model"),
        ({"model": {"type": "Sentence", "vocab": {}}}, "vocabularies of WordPiece, BPE"),
        ({"model": {"type": "WordPiece", "vocab": {"a": "b"}}}, "no list of pieces"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "has no vocabulary"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}}, "no pair of pieces"),
        ({"added_tokens": [{"id": "0"}]}, "no list of tokens with ids"),
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, Any], reason: str) -> None:
    """The sentence names the file and the part."""
    with pytest.raises(ModelError, match=f"it.*{reason}"):
        Pieces({**content("WordPiece"), **change}, "it")


def test_an_algorithm_that_no_field_names_is_known_by_its_parts() -> None:
    """Files of old versions name no type."""
    for algorithm in tiny_tokenizers.BUILD:
        parsed = content(algorithm)
        parsed["model"].pop("type")
        assert Pieces(parsed, "it").algorithm == algorithm


def files_of(algorithm: str, path: Path) -> Pieces:
    """A folder with the tokenizer's files, and those that repeat its vocabulary."""
    fast = tiny_tokenizers.save(tiny_tokenizers.read(algorithm), path)
    parsed = content(algorithm)
    model = parsed["model"]
    if algorithm == "WordPiece":
        (path / "vocab.txt").write_text(
            "".join(f"{p}\n" for p in sorted(model["vocab"], key=model["vocab"].get))
        )
    elif algorithm == "BPE":
        (path / "vocab.json").write_text(json.dumps(model["vocab"]))
        (path / "merges.txt").write_text(
            "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"])
        )
    else:
        (path / "sentencepiece.bpe.model").write_bytes(b"old")
    config = json.loads((path / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(fast.mask_token_id): {"content": fast.mask_token, "special": True},
        "99999": {"content": "gone"},
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "added_tokens.json").write_text(json.dumps({fast.mask_token: fast.mask_token_id}))
    (path / "generation_config.json").write_text(
        json.dumps({"pad_token_id": fast.pad_token_id, "eos_token_id": [2]})
    )
    return Pieces(parsed, "it")


@pytest.mark.parametrize("algorithm", tiny_tokenizers.BUILD)
def test_every_file_of_the_tokenizer_is_cut_alike(algorithm: str, tmp_path: Path) -> None:
    """vocab.txt, vocab.json, merges.txt, added tokens by id; another library's model is left out."""
    pieces = files_of(algorithm, tmp_path)
    kept = tuple(sorted(pieces.always()))
    mask = "[MASK]" if algorithm == "WordPiece" else "<mask>"
    new = kept.index(pieces.ids[mask])
    left_out = folder.cut(tmp_path, kept)
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert list(config["added_tokens_decoder"]) == [str(new)]
    assert json.loads((tmp_path / "added_tokens.json").read_text()) == {mask: new}
    assert left_out == (("sentencepiece.bpe.model",) if algorithm == "Unigram" else ())
    assert not (tmp_path / "sentencepiece.bpe.model").exists()
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [kept.index(2)]
    if algorithm == "WordPiece":
        lines = (tmp_path / "vocab.txt").read_text().splitlines()
        assert {line: number for number, line in enumerate(lines)} == model["vocab"]
    elif algorithm == "BPE":
        assert json.loads((tmp_path / "vocab.json").read_text()) == model["vocab"]
        assert (tmp_path / "merges.txt").read_text().splitlines()[1:] == [
            " ".join(m) for m in model["merges"]
        ]


def test_a_generation_that_lists_ids_in_its_own_ways_is_left_out(tmp_path: Path) -> None:
    """What cannot be rewritten is not left as it was."""
    pieces = files_of("WordPiece", tmp_path)
    (tmp_path / "generation_config.json").write_text('{"suppress_tokens": [7, 8]}')
    assert folder.cut(tmp_path, tuple(sorted(pieces.always()))) == ("generation_config.json",)
    assert not (tmp_path / "generation_config.json").exists()


def test_a_file_whose_tokens_would_get_other_ids_is_refused(tmp_path: Path) -> None:
    """The library gives an added token the first id after the vocabulary, whatever the file says."""
    files_of("WordPiece", tmp_path)
    file = tmp_path / "tokenizer.json"
    parsed = json.loads(file.read_text())
    parsed["model"]["vocab"]["late"] = 400
    parsed["added_tokens"].append({**parsed["added_tokens"][0], "content": "[NEW]", "id": 300})
    file.write_text(json.dumps(parsed))
    kept = tuple(sorted({*Pieces(parsed, "it").always(), 400}))
    with pytest.raises(ModelError, match=r"'\[NEW\]' would have the id .* leave trim-vocabulary out"):
        folder.cut(tmp_path, kept)


def test_fields_that_name_ids() -> None:
    """One id, several, none; a field that only sounds like it keeps what it says."""
    config = {
        "pad_token_id": 9,
        "eos_token_id": [3, 4],
        "bos_token_id": None,
        "vocab_size": 4,
        "pad_index": 3,
    }
    assert dict(special_ids.named(config)) == {"pad_token_id": 9, "eos_token_id": 4, "pad_index": 3}
    assert special_ids.moved(config, {9: 2, 3: 0}) == {
        "pad_token_id": 2,
        "eos_token_id": [0, 4],
        "pad_index": 0,
    }
