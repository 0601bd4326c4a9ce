"""Sounds: one label, several labels, or a number.

Sounds are files, members of a zip archive, encoded bytes (wav, flac, ogg, mp3), or samples with their rate.
What is made of them is said by the model's ``preprocessor_config.json``, read by transformers' own feature
extractors: the samples themselves, normalized (wav2vec2, HuBERT, WavLM and their kin), whose length is free
and counted in samples, or a spectrogram of a fixed number of seconds (Whisper, AST), to which a shorter sound
is filled with silence and a longer one is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import fence, log
from compress.errors import ModelError
from compress.reading import json_values
from compress.tasks import Batch, Column, ExportSpec, Head, Row
from compress.tasks import _audio as audio
from compress.tasks._classification import (
    LABEL,
    LABEL_ALIASES,
    METRICS,
    align,
    blind,
    decode,
    infer_head,
    link,
    loss,
    metrics,
    positions,
    reference,
    statistics,
    targets,
)
from compress.tasks._heads import configure, head_of

__all__ = [
    "LABEL",
    "METRICS",
    "align",
    "blind",
    "configure",
    "decode",
    "head_of",
    "infer_head",
    "link",
    "loss",
    "metrics",
    "positions",
    "reference",
    "statistics",
]

MODEL = "AutoModelForAudioClassification"
COLUMNS = {
    "audio": Column(
        required=True, aliases=("sound", "speech", "file", "file_name", "audio_path", "path"), holds="audio"
    ),
    "label": Column(required=False, aliases=LABEL_ALIASES, holds="label"),
}
OUTPUTS = ("logits",)
UNIT = "samples"
_WAVES, _WHISPER, _SPECTROGRAM = "Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor", "ASTFeatureExtractor"
_SHORTEST = 0.05  # seconds: below, the usual stacks of convolutions have no two positions to normalize over
_LONGEST = 3600  # seconds of a spectrogram
_FRAME, _HOP = 0.025, 0.010  # seconds of an AST frame and from one to the next


def load_processor(folder: Path) -> Any:
    """The feature extractor of a model folder.

    Raises:
        ModelError: there is none, it is of a kind that is not known here, or it cannot be read.
    """
    from transformers import AutoFeatureExtractor

    file = folder / "preprocessor_config.json"
    if not file.is_file():
        raise ModelError(
            f"{folder} has no feature extractor (no preprocessor_config.json): save the feature extractor "
            "that the model was trained with into the same folder"
        )
    _check_numbers(file)
    with fence.reading(
        f"the feature extractor in {folder} cannot be read", "get the whole model folder again"
    ):
        processor = AutoFeatureExtractor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    kind = type(processor).__name__
    if kind not in (_WAVES, _WHISPER, _SPECTROGRAM):
        raise ModelError(
            f"the feature extractor in {folder} is a {kind}; those that are known are {_WAVES} (wav2vec2, "
            f"HuBERT, WavLM), {_WHISPER} and {_SPECTROGRAM}: take a model of one of these"
        )
    if getattr(processor, "dither", 0.0):
        log.warning("the feature extractor adds noise (dither): it is left out, so that answers repeat")
        processor.dither = 0.0
    if kind == _SPECTROGRAM and not hasattr(processor, "mel_filters"):
        log.warning(
            "torchaudio is installed, and transformers computes the spectrograms of this model with it: "
            "where it is not installed, they differ in rounding. Nothing here needs it"
        )
    return processor


def _check_numbers(file: Path) -> None:
    """Refuse sizes of which no feature extractor could be made.

    Raises:
        ModelError: the field is named, with what is allowed.
    """
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the whole model folder again")
    frames = round(_LONGEST / _HOP)
    bounds = {"sampling_rate": audio.RATES, "chunk_length": (1, _LONGEST), "feature_size": (1, 1024)}
    bounds |= {"num_mel_bins": (1, 1024), "max_length": (1, frames), "n_fft": (16, 2**16)}
    bounds |= {"hop_length": (1, 2**16)}
    for name, (least, most) in bounds.items():
        value = content.get(name, least)
        if type(value) is not int or not least <= value <= most:
            raise ModelError(
                f"{file}: {name} is {value!r:.60}, allowed is a whole number from {least:,} to {most:,}: get "
                "the whole model folder again"
            )


def default_processor(config: Any) -> Any:
    """A feature extractor for a model built from a config: 16 kHz, as the family's first models have it."""
    import transformers

    if config.model_type == "whisper":
        seconds, remainder = divmod(config.max_source_positions, 50)  # a position is two hops of 10 ms
        if remainder or not seconds:
            raise ModelError(
                f"max_source_positions is {config.max_source_positions}; a Whisper encoder hears whole "
                "seconds, 50 positions each: give a multiple of 50"
            )
        return transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)
    if config.model_type == "audio-spectrogram-transformer":
        return transformers.ASTFeatureExtractor(
            num_mel_bins=config.num_mel_bins, max_length=config.max_length
        )
    if not hasattr(config, "conv_stride"):
        raise ModelError(
            f"a feature extractor for a model of type '{config.model_type}' cannot be made from its "
            "configuration: give a folder that has one (preprocessor_config.json)"
        )
    # Those that normalize each layer were trained with masks, those with one group norm without.
    masked = getattr(config, "feat_extract_norm", "layer") == "layer"
    return transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masked)


def extent(processor: Any) -> int | None:
    """Samples of which a spectrogram of fixed size is made; None where sounds are as long as they are."""
    kind = type(processor).__name__
    if kind == _WHISPER:
        return int(processor.n_samples)
    if kind == _SPECTROGRAM:
        frame, hop = (round(part * processor.sampling_rate) for part in (_FRAME, _HOP))
        return int(frame + hop * processor.max_length - 1)  # the most that gives no further frame
    return None


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Samples of each sound at the model's rate, before anything is cut, int64 [rows]."""
    rate = processor.sampling_rate
    counts = [max(audio.shape(row["audio"]).at(rate), _least(rate)) for row in rows]
    return np.asarray(counts, dtype=np.int64)


def _least(rate: int) -> int:
    return round(_SHORTEST * rate)


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Samples [rows, samples], with a mask where the model wants one, or spectrograms of a fixed size.

    Sounds of less than a twentieth of a second are filled with silence up to it.
    """
    rate = processor.sampling_rate
    waves = [audio.read(row["audio"], rate) for row in rows]
    waves = [np.pad(wave, (0, max(0, _least(rate) - len(wave)))) for wave in waves]
    limits = [limit for limit in (max_length, extent(processor)) if limit is not None]
    most = min(limits, default=max(map(len, waves)))
    truncated = np.asarray([len(wave) > most for wave in waves])
    # With a mask each sound is normalized over its own samples; the model gets it where it knows one.
    padding = {"padding": True, "return_attention_mask": True} if extent(processor) is None else {}
    encoded = processor([wave[:most] for wave in waves], sampling_rate=rate, return_tensors="np", **padding)
    names = _inputs(processor)
    types = {"attention_mask": np.int64}
    return Batch(
        inputs={name: np.asarray(encoded[name], dtype=types.get(name, np.float32)) for name in names},
        labels=targets(rows, head) if labelled else None,
        truncated=truncated,
    )


def _inputs(processor: Any) -> list[str]:
    """What the model takes: a mask only of samples, and only where the feature extractor gives one."""
    names = [name for name in processor.model_input_names if name != "attention_mask"]
    masked = extent(processor) is None and processor.return_attention_mask
    return [*names, "attention_mask"] if masked else names


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """A free batch axis; samples are free too where the model takes them as they are."""
    free = {0: "batch"} | ({} if extent(processor) is not None else {1: "samples"})
    return ExportSpec(
        inputs={name: dict(free) for name in _inputs(processor)},
        outputs={"logits": {0: "batch"}},
        length_axis="samples" if 1 in free else None,
    )
