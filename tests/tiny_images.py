"""Tiny sealed image classifiers of several families, and rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny_deploy

from compress.artifacts.artifact import Artifact

CLASSES = 4
SIZE = 32

_TRANSFORMER: dict[str, Any] = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "layer_type": "basic"},
    "mobilenet_v2": {"image_size": SIZE, "depth_multiplier": 0.25},
    "mobilenet_v1": {"image_size": SIZE, "depth_multiplier": 0.25},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8},
    "convnext": {"image_size": SIZE, "hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2},
    "swin": {"image_size": SIZE, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "beit": {**_TRANSFORMER, "intermediate_size": 64},
    "dinov2": {**_TRANSFORMER, "mlp_ratio": 2},
    "vit": {**_TRANSFORMER, "intermediate_size": 64},
    "deit": {**_TRANSFORMER, "intermediate_size": 64},
}


def config(family: str, **changes: Any) -> Any:
    """A tiny configuration of a family with four labels."""
    from transformers import AutoConfig

    names = {i: f"class {i}" for i in range(CLASSES)}
    return AutoConfig.for_model(
        family,
        **{**FAMILIES.get(family, {}), **changes},
        id2label=names,
        label2id={label: i for i, label in names.items()},
    )


def model(family: str, **changes: Any) -> Any:
    """A tiny model whose batch norms have seen images and whose answers differ from image to image."""
    import torch
    from transformers import AutoModelForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = AutoModelForImageClassification.from_config(config(family, **changes)).train()
        with torch.no_grad():
            for _ in range(20):
                built(pixel_values=torch.randn(16, 3, SIZE, SIZE))
            for name, parameter in built.named_parameters():
                if name.startswith("classifier") and parameter.dim() == 2:
                    parameter.mul_(5)
    return built.eval()


def artifact(folder: Path, family: str, **changes: Any) -> Artifact:
    """The model as a sealed artifact."""
    from compress.model import checkpoint
    from compress.tasks import image_classification

    folder.mkdir(parents=True)
    built = model(family, **changes)
    checkpoint.save(built, folder, source=None)
    built.config.image_size = SIZE
    image_classification.default_processor(built.config).save_pretrained(folder)
    return tiny_deploy.seal(folder, task="image-classification")


def rows(count: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Images of noise over a gradient, without labels."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, SIZE)[None, :, None]
    images = generator.uniform(0, 1, (count, 1, 1, 3)) * ramp + generator.normal(
        0, 40, (count, SIZE, SIZE, 3)
    )
    return [{"image": image} for image in np.clip(images, 0, 255).astype(np.uint8)]
