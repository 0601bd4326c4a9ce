"""A tiny classifier of every model family that is known to be pruned or served, built in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_COMMON = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
}
_AUDIO = {
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 8, 8),  # a position of 20 ms, as the real ones have it
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
}
_VISION = {"image_size": 8, "patch_size": 4}
_SWIN = {
    **{"embed_dim": 16, "depths": [2, 1], "num_heads": [4, 4], "window_size": 2, "image_size": 16},
    **{"patch_size": 2, "mlp_ratio": 3.0},
}
_WHISPER = {
    **{"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 48},
    **{"decoder_layers": 1, "decoder_ffn_dim": 48, "decoder_attention_heads": 4},
    **{
        "num_mel_bins": 8,
        "max_source_positions": 50,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    },
    **{"decoder_start_token_id": 0, "classifier_proj_size": 16},
}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_MODERNBERT = {**_TOKENS, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 4}
_GROUPED = {**_TOKENS, "num_key_value_heads": 4, "num_attention_heads": 8, "head_dim": 8}
_DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "camembert": ("camembert", {}),
    "roberta": ("roberta", {}),
    "xlm-roberta": ("xlm-roberta", {}),
    "electra": ("electra", {"embedding_size": 16}),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}),
    "deberta-v2": ("deberta-v2", {**_DEBERTA, "norm_rel_ebd": "layer_norm", "share_att_key": True}),
    "deberta-v2-own-keys": ("deberta-v2", {**_DEBERTA, "share_att_key": False}),
    "vit": ("vit", _VISION),
    "deit": ("deit", {**_VISION, "architectures": ["DeiTForImageClassification"]}),
    "wav2vec2": ("wav2vec2", _AUDIO),
    "wav2vec2-prenorm": (
        "wav2vec2",
        {**_AUDIO, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    ),
    "hubert": ("hubert", _AUDIO),
    "ernie": ("ernie", {}),
    "mpnet": ("mpnet", {}),
    "albert": ("albert", {"embedding_size": 16}),
    "modernbert": ("modernbert", _MODERNBERT),
    "nomic_bert": ("nomic_bert", {}),
    "eurobert": ("eurobert", {**_TOKENS, "mask_token_id": 3}),
    "dinov2": ("dinov2", {**_VISION, "mlp_ratio": 2}),
    "dinov2-gated": ("dinov2", {**_VISION, "mlp_ratio": 2, "use_swiglu_ffn": True}),
    "dinov2-registers": ("dinov2_with_registers", {**_VISION, "mlp_ratio": 2}),
    "swin": ("swin", _SWIN),
    "whisper": ("whisper", _WHISPER),
    "wavlm": ("wavlm", _AUDIO),
    "llama": ("llama", _GROUPED),
    "qwen2": ("qwen2", {**_TOKENS, "num_key_value_heads": 4}),
    "qwen3": ("qwen3", _GROUPED),
    "modernbert-decoder": ("modernbert-decoder", _MODERNBERT),
    "gpt2": (
        "gpt2",
        {"vocab_size": 40, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32, **_TOKENS},
    ),
}
_IMAGES = ("vit", "deit", "dinov2", "dinov2_with_registers", "swin", "beit", "convnext", "resnet")
_SOUNDS = ("wav2vec2", "hubert", "wavlm", "whisper", "audio-spectrogram-transformer")
_CLASSES = {
    "audio-classification": "AutoModelForAudioClassification",
    "image-classification": "AutoModelForImageClassification",
    "text-classification": "AutoModelForSequenceClassification",
}
_EAGER = ("deberta-v2", "mpnet", "wavlm")


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ast": ("audio-spectrogram-transformer", {"max_length": 48, "num_mel_bins": 32}),
    "beit": ("beit", _VISION),
    "convnext": ("convnext", {"image_size": 32, "depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}),
    "longformer": ("longformer", {"attention_window": 4}),
    "resnet": (
        "resnet",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    ),
}


def task_of(case: str) -> str:
    """The task that a case's classifier is for."""
    kind, _ = (CASES | OTHERS)[case]
    if kind in _IMAGES:
        return "image-classification"
    return "audio-classification" if kind in _SOUNDS else "text-classification"


def build(case: str) -> Any:
    """A tiny classifier of a family, with weights that make every unit matter."""
    kind, extra = (CASES | OTHERS)[case]
    common = {} if kind in ("swin", "whisper", "gpt2", "convnext", "resnet") else dict(_COMMON)
    if kind in _SOUNDS:
        common.pop("max_position_embeddings", None)  # a sound has no table of positions
    config = transformers.AutoConfig.for_model(kind, **{**common, **extra})
    attention = "eager" if kind in _EAGER or case in OTHERS else "sdpa"
    auto = getattr(transformers, _CLASSES[task_of(case)])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = auto.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()
