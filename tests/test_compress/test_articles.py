"""The article that a name is spoken with."""

from __future__ import annotations

import pytest

from compress.articles import a_type, with_article


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AlbertForSequenceClassification", "an AlbertForSequenceClassification"),
        ("ElectraModel", "an ElectraModel"),
        ("ASTForAudioClassification", "an ASTForAudioClassification"),
        ("XLMRobertaModel", "an XLMRobertaModel"),
        ("MPNetModel", "an MPNetModel"),
        ("FNetModel", "an FNetModel"),
        ("BertModel", "a BertModel"),
        ("GPT2Model", "a GPT2Model"),
        ("HubertModel", "a HubertModel"),
        ("EuroBertModel", "a EuroBertModel"),
        ("UniSpeechModel", "a UniSpeechModel"),
        ("ViTModel", "a ViTModel"),
        ("int", "an int"),
        ("", "a "),
    ],
)
def test_names_are_read_aloud(name: str, words: str) -> None:
    """By their first sound: abbreviations letter by letter, 'eu' and 'uni' as 'you'."""
    assert with_article(name) == words


def test_things_are_named_by_their_class() -> None:
    """Without the module."""
    assert a_type(ValueError()) == "a ValueError"
    assert a_type(OSError()) == "an OSError"
