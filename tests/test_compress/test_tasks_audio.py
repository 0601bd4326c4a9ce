"""Sounds become the arrays that plain transformers makes of them; what is no sound is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_audio
import torch
import transformers

from bench.lanes.feeds import Point
from bench.report import summary
from compress import catalog, data, log
from compress.errors import DataError, ModelError
from compress.model import padding, sample
from compress.recipe import DataConfig
from compress.tasks import _audio as audio
from compress.tasks import audio_classification as task
from deploy.graph import constant_shapes
from deploy.predictor import as_row
from deploy.truncation import Truncation

SECOND = np.zeros(16_000, dtype=np.float32)


@pytest.mark.parametrize("name", tiny_audio.CONFIGS)
def test_logits_are_those_of_plain_transformers(name: str, tmp_path: Path) -> None:
    """A file of 8 kHz, resampled by scipy, through transformers' extractor and model: the same numbers."""
    from scipy.signal import resample_poly

    folder = tiny_audio.model(tmp_path / "model", name)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    plain = transformers.AutoFeatureExtractor.from_pretrained(folder)
    processor = task.load_processor(folder)
    head = task.head_of(model.config.to_dict())
    for number in range(4):
        wave = tiny_audio.tone(number % 2, number, 0.3 + 0.1 * number, rate=8_000)
        file = tmp_path / f"{number}.wav"
        soundfile.write(file, wave, 8_000, subtype="FLOAT")
        batch = task.encode([{"audio": file}], processor, head, None, labelled=False)
        given = plain(resample_poly(wave, 2, 1), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**given).logits
            logits = model(**{key: torch.from_numpy(array) for key, array in batch.inputs.items()}).logits
        assert torch.allclose(logits, expected, atol=1e-6, rtol=0)


def test_a_sound_is_the_same_in_every_form(tmp_path: Path) -> None:
    """A wav and a flac file, their bytes, and datasets' two forms hold the same samples."""
    wave = (tiny_audio.tone(1, 0) * 32_767).astype(np.int16)
    for kind in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{kind}", wave, 16_000, subtype="PCM_16")
    content = (tmp_path / "a.wav").read_bytes()
    expected = wave / np.float32(32_768)
    forms: list[Any] = [tmp_path / "a.wav", tmp_path / "a.flac", content, audio.from_cell({"bytes": content})]
    forms.append(audio.from_cell({"array": expected.tolist(), "sampling_rate": 16_000}))
    for form in forms:
        assert np.array_equal(audio.read(form, 16_000), expected)
        assert audio.shape(form) == audio.Shape(len(wave), 1, 16_000)
    assert audio.digest(forms[0]) == audio.digest(content) != audio.digest(forms[1])


def test_resampling_keeps_the_tone_and_the_length_that_was_said() -> None:
    """A tone of 300 Hz at 44.1 kHz is one of 300 Hz at 16 kHz, of as many samples as ``lengths`` counts."""
    time = np.arange(44_101) / 44_100
    wave = audio.Wave(np.sin(2 * np.pi * 300 * time).astype(np.float32), 44_100)
    heard = audio.read(wave, 16_000)
    assert len(heard) == audio.shape(wave).at(16_000) == 16_001
    assert np.abs(np.fft.rfft(heard[:16_000])).argmax() == 300


def test_channels_are_mixed_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stereo becomes the mean of both channels."""
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", lambda message, *values: warnings.append(message % values))
    audio._say_mixed.cache_clear()
    left, right = tiny_audio.tone(0, 1), tiny_audio.tone(1, 2)
    stereo = audio.Wave(np.stack([left, right], axis=1), 16_000)
    heard = [audio.read(stereo, 16_000) for _ in range(2)]
    assert np.allclose(heard[0], (left + right) / 2, atol=1e-6)
    assert warnings == ["sounds of 2 channels are mixed to one, the mean of them: the model takes one"]


BAD = {
    "not a sound": (b"RIFFno sound at all", "cannot be read as a sound"),
    "an empty file": (b"", "is an empty file"),
    "0 seconds": (tiny_audio.encoded(SECOND[:0]), "lasts 0 seconds"),
    "NaN": (audio.Wave(np.array([0.0, np.nan, 1.0], np.float32), 16_000), r"no numbers \(NaN or infinity\)"),
    "infinity": (audio.Wave(np.array([0.0, np.inf], np.float32), 16_000), r"no numbers \(NaN or infinity\)"),
    "a rate of 0": (audio.Wave(SECOND, 0), "says a sampling rate of 0 Hz; allowed is 1,000 to 768,000"),
    "an absurd rate": (audio.Wave(SECOND, 10**9), "says a sampling rate of 1,000,000,000 Hz"),
    "a cube": (audio.Wave(SECOND.reshape(10, 40, 40), 16_000), r"samples of the shape \(10, 40, 40\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused_in_a_sentence(name: str) -> None:
    """Each says what is wrong and what is allowed."""
    sound, message = BAD[name]
    with pytest.raises(DataError, match=message):
        audio.read(sound, 16_000)


def test_a_bad_sound_is_named_with_its_row(tmp_path: Path) -> None:
    """Where data is read, before anything is trained: the file and the row."""
    folder = tiny_audio.data(tmp_path / "data", train=16, evaluate=8)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for name, content, message in (
        ("silence.wav", tiny_audio.encoded(SECOND[:0]), "lasts 0 seconds"),
        ("text.wav", b"hello", "cannot be read as a sound"),
    ):
        (folder / name).write_bytes(content)
        rows[3]["file"] = name
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(DataError, match=rf"train\.jsonl.*{message}"):
            data.load(DataConfig(source=str(folder)), task, 0)
    rows[3]["file"] = "../outside.wav"
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="leads out of the data folder"):
        data.load(DataConfig(source=str(folder)), task, 0)


def test_sounds_beyond_a_spectrogram_are_cut_and_counted(tmp_path: Path) -> None:
    """Whisper hears its own number of seconds, AST its frames: the rest is cut, as the extractor cuts it."""
    long, short = ({"audio": audio.Wave(tiny_audio.tone(1, 0, seconds), 16_000)} for seconds in (1.5, 0.3))
    for name, extent in (("whisper", 16_000), ("ast", 400 + 160 * 48 - 1)):
        folder = tiny_audio.model(tmp_path / name, name)
        processor = task.load_processor(folder)
        head = task.head_of(tiny_audio.CONFIGS[name].to_dict())
        assert task.extent(processor) == extent
        batch = task.encode([long, short], processor, head, None, labelled=False)
        assert batch.truncated is not None
        assert batch.truncated.tolist() == [True, False]
        (array,) = batch.inputs.values()
        plain = processor(audio.read(long["audio"], 16_000), sampling_rate=16_000, return_tensors="np")
        assert np.allclose(array[0], next(iter(plain.values()))[0], atol=1e-6)
        assert task.lengths([long, short], processor).tolist() == [24_000, 4_800]
        assert task.export_spec({}, processor, head).length_axis is None


def test_padding_is_measured_on_sounds(tmp_path: Path) -> None:
    """One group norm over time and no mask: padding moves answers. Layer norms and a mask: it does not."""
    rows = [{"audio": audio.Wave(tiny_audio.tone(i % 2, i, 0.2 + 0.1 * i), 16_000)} for i in range(4)]
    moved = {}
    for name in ("wav2vec2", "wav2vec2 with masks", "whisper"):
        folder = tiny_audio.model(tmp_path / name, name)
        model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
        effect = padding.measure(model, task, task.load_processor(folder), rows, None)
        moved[name] = None if effect is None else effect.matters
    assert moved == {"wav2vec2": True, "wav2vec2 with masks": False, "whisper": None}


def test_feature_extractors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """None, of another kind, or of sizes of which none is made."""
    with pytest.raises(ModelError, match="has no feature extractor"):
        task.load_processor(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    for content, message in (
        ({"feature_extractor_type": "ClapFeatureExtractor"}, "is a ClapFeatureExtractor; those that"),
        ({"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 10**9}, "chunk_length is 1"),
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 0}, "sampling_rate is 0"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(ModelError, match=message):
            task.load_processor(tmp_path)


def test_predict_takes_a_path_bytes_or_samples(tmp_path: Path) -> None:
    """As the command line and a row of JSON give them."""
    content = tiny_audio.encoded(tiny_audio.tone(0, 0))
    assert as_row("a.wav", task.COLUMNS, "label", 1) == {"audio": Path("a.wav")}
    assert as_row({"file": "a.wav"}, task.COLUMNS, "label", 1) == {"audio": Path("a.wav")}
    assert as_row(content, task.COLUMNS, "label", 1) == {"audio": content}
    row = as_row({"audio": {"array": [0.0, 0.5], "sampling_rate": 8_000}}, task.COLUMNS, "label", 1)
    assert row["audio"].rate == 8_000
    with pytest.raises(DataError, match="must be the path of a sound file"):
        as_row({"audio": 3}, task.COLUMNS, "label", 1)


def test_rows_of_our_own_are_sounds_of_two_lengths() -> None:
    """What a model is tried with is a second of noise, and half of one."""
    lengths = [len(row["audio"].samples) for row in sample.rows(catalog.task("audio-classification"))]
    assert lengths == [16_000, 8_000]


def test_probing_sizes_follow_the_row_that_was_encoded() -> None:
    """A stack of convolutions takes thousands of samples; a limit is kept to, and no two sizes are alike."""
    for longest in (None, 24_000, 9_000):
        runs = constant_shapes.sizes(longest, 16_000)
        found = [length for _, length in runs if length is not None]
        assert len(set(found)) == len(runs) == 3
        assert min(found) >= 4_000
        assert longest is None or max(found) <= longest
    assert constant_shapes.sizes(None) == [(2, 7), (3, 11), (5, 13)]


def test_a_point_and_a_limit_say_what_they_count() -> None:
    """Samples are no tokens, wherever a length is said."""
    point = Point(1, 16_000, "samples")
    assert str(point) == "batch 1, 16000 samples"
    assert summary.where(point.conditions) == "batch 1, 16000 samples"
    assert summary.where(Point(8, 128).conditions) == "batch 8, 128 tokens"
    cut = Truncation(rows=10, cut=2, limit=16_000, unit="samples", whose="model")
    assert cut.sentence() == "2 of 10 rows (20.00 %) were cut to 16000 samples (the model's own limit)"
