"""A Whisper encoder for sounds of so many seconds: the first 50 of its positions for each.

``python -m studies.whisper_seconds FOLDER OUT SECONDS``. Whisper hears 30 seconds, 1,500 positions, whatever
the length of a sound; the table of positions is sinusoids, so that its beginning is that of a shorter model.
What is written is a base to fine-tune: the decoder is left out, the original stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from compress.errors import UserError

_POSITIONS = 50  # a second


def shorten(folder: Path, out: Path, seconds: int) -> None:
    """Write the encoder of a Whisper folder for sounds of at most so many seconds.

    Args:
        folder: with ``config.json`` and ``model.safetensors`` of a ``WhisperForConditionalGeneration``.
        out: where it goes.
        seconds: at most as many as the model hears.

    Raises:
        UserError: it hears less.
    """
    from safetensors.torch import load_file, save_file
    from transformers import WhisperConfig, WhisperFeatureExtractor

    config = WhisperConfig.from_pretrained(folder, local_files_only=True)
    if not 1 <= seconds * _POSITIONS <= config.max_source_positions:
        raise UserError(f"{folder} hears {config.max_source_positions // _POSITIONS} seconds, not {seconds}")
    weights = load_file(folder / "model.safetensors")
    encoder = {
        name.removeprefix("model."): tensor.contiguous()
        for name, tensor in weights.items()
        if name.startswith("model.encoder.")
    }
    table = "encoder.embed_positions.weight"
    encoder[table] = encoder[table][: seconds * _POSITIONS].clone()
    config.max_source_positions = seconds * _POSITIONS
    config.architectures = ["WhisperForConditionalGeneration"]
    config.save_pretrained(out)
    save_file(encoder, out / "model.safetensors", metadata={"format": "pt"})
    WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds).save_pretrained(out)


if __name__ == "__main__":
    shorten(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
