"""The division that settings are compared on: what is held out, and that nothing of it is trained on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from compress.data import grouping
from studies import held_out


def test_groups_are_taken_until_there_are_enough_sentences() -> None:
    """Five groups of two sentences each: three are needed for five sentences, all of them for twenty."""
    sentences = np.repeat(np.arange(5), 2)
    groups = held_out.held_groups(np.arange(5), sentences, 5, seed=0)
    assert len(groups) == len(set(groups)) == 3
    assert sorted(held_out.held_groups(np.arange(5), sentences, 20, seed=0)) == [0, 1, 2, 3, 4]


def test_a_group_that_is_too_large_stays_in_training() -> None:
    """301 rows of one group are never held out."""
    phrases = np.concatenate([np.zeros(300, dtype=int), [1]])
    assert held_out.held_groups(phrases, np.array([0, 1]), 2, seed=0).tolist() == [1]


def _write(folder: Path, count: int) -> None:
    """Sentences of eight words of their own, and two phrases of each."""
    texts = [" ".join(f"w{i}x{j}" for j in range(8)) for i in range(count)]
    sentences = [{"text": text, "label": 0} for text in texts]
    phrases = [{"text": " ".join(text.split()[a : a + 6]), "label": 0} for text in texts for a in (0, 2)]
    for name, rows in (("train", phrases), ("train_sentences", sentences)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "labels.json").write_text('["no", "yes"]', encoding="utf-8")


def _texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_held_out_sentence_shares_a_phrase_with_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten of forty sentences go with both their phrases; the rest is trained on; it happens twice alike."""
    _write(tmp_path, 40)
    monkeypatch.setattr(held_out, "SENTENCES", 10)
    assert held_out.main([str(tmp_path), str(tmp_path / "out")]) == 0
    train = _texts(tmp_path / "out" / "sentences" / "train.jsonl")
    sentences = _texts(tmp_path / "out" / "sentences" / "validation.jsonl")
    phrases = _texts(tmp_path / "out" / "phrases" / "validation.jsonl")
    learned = _texts(tmp_path / "out" / "sentences" / "train_sentences.jsonl")
    assert (len(train), len(learned), len(sentences), len(phrases)) == (60, 30, 10, 20)
    assert not set(learned) & set(sentences)
    assert all(any(phrase in sentence for sentence in sentences) for phrase in phrases)
    groups = np.asarray(grouping.group([(grouping.words(text),) for text in train + sentences]))
    assert not set(groups[:60]) & set(groups[60:])
    held_out.main([str(tmp_path), str(tmp_path / "again")])
    assert _texts(tmp_path / "again" / "sentences" / "validation.jsonl") == sentences


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with a sentence, for that as for a folder without rows."""
    _write(tmp_path, 4)
    (tmp_path / "out" / "phrases").mkdir(parents=True)
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SystemExit, match="2"):
            held_out.main([str(source), str(tmp_path / "out")])
        assert "a new folder to make" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["phrases"]
