"""Tiny sounds and tiny models that hear them: tones of two pitches, in noise."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import transformers

RATE = 16_000
LABELS = ("low", "high")
_HEAD = {
    "num_labels": 2,
    "id2label": dict(enumerate(LABELS)),
    "label2id": {n: i for i, n in enumerate(LABELS)},
}
_WAVES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    **_HEAD,
}
CONFIGS: dict[str, transformers.PretrainedConfig] = {
    "whisper": transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_mel_bins=16,
        max_source_positions=50,
        vocab_size=20,
        pad_token_id=1,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        classifier_proj_size=8,
        **_HEAD,
    ),
    "ast": transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_length=48,
        num_mel_bins=32,
        **_HEAD,
    ),
    "wav2vec2": transformers.Wav2Vec2Config(**_WAVES),
    "wav2vec2 with masks": transformers.Wav2Vec2Config(
        **{**_WAVES, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
    ),
    "hubert": transformers.HubertConfig(**_WAVES),
    "wavlm": transformers.WavLMConfig(**{**_WAVES, "feat_extract_norm": "layer"}),
}


def tone(label: int, seed: int, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    """A tone of 300 or 2,000 Hz in noise, float32."""
    source = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (300.0, 2000.0)[label] * time + source.uniform(0, 6))
    return np.asarray(wave + 0.02 * source.standard_normal(len(time)), dtype=np.float32)


def encoded(samples: np.ndarray, rate: int = RATE, kind: str = "WAV") -> bytes:
    """Samples as the bytes of a file."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind)
    return stream.getvalue()


def data(folder: Path, train: int = 96, evaluate: int = 24, lengths: int = 4, **options: Any) -> Path:
    """A data folder: jsonl files whose sounds lie in a zip archive beside them, of a few lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 0), ("validation", evaluate, 10_000)):
        rows = []
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for i in range(count):
                name = f"{split}/{i}.wav"
                wave = tone(i % 2, seed + i, 0.25 + 0.05 * (i // 2 % lengths), **options)
                archive.writestr(name, encoded(wave, **options))
                rows.append({"file": name, "label": i % 2})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(LABELS), encoding="utf-8")
    return folder


def model(folder: Path, name: str, *, layers: int | None = None) -> Path:
    """A model folder of a family with seeded weights and its feature extractor."""
    import torch

    from compress import catalog

    config = CONFIGS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = transformers.AutoModelForAudioClassification.from_config(config)
    built.save_pretrained(folder)
    catalog.task("audio-classification").default_processor(config).save_pretrained(folder)
    return folder
