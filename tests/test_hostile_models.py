"""Every field of a model folder's JSON files, of every wrong kind: the right answer, or one sentence."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
import tiny
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from compress.errors import ModelError
from compress.model import architecture, identity, pretrained
from compress.tasks import image_classification, text_classification

VALUES: tuple[Any, ...] = (
    *("text", "", "3", None, [], [[1]], {}),
    *(1.5, 0, -7, float("nan"), 10**9, 2**40, True),
)
"""What a field may wrongly hold; each field gets some of them, each of them meets some fields."""
_EACH = 2
_TEXT = ("config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")
_IMAGE = ("config.json", "preprocessor_config.json")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny BERT and a tiny ViT, and a row for each."""
    root = tmp_path_factory.mktemp("hostile")
    words = tiny.text_model(root / "bert")
    special = {"pad_token": "[PAD]", "cls_token": {"content": "[CLS]", "lstrip": False}}
    (words / "special_tokens_map.json").write_text(json.dumps(special))
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        id2label={0: "a", 1: "b"},
        label2id={"a": 0, "b": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTForImageClassification(config).save_pretrained(root / "vit")
    transformers.ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(root / "vit")
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(pixels).save(root / "image.png")
    tiny.write_jsonl(root / "bert.jsonl", [{"text": "a good film"}])
    tiny.write_jsonl(root / "vit.jsonl", [{"image": str(root / "image.png")}])
    return {"bert": words, "vit": root / "vit", "root": root}


def _places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where every field is; of lists and of vocabularies the first two."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items()) if "[PAD]" not in value else list(islice(value.items(), 2))
    elif isinstance(value, list):
        inner = list(enumerate(value[:2]))
    for key, child in inner:
        yield (*above, key)
        yield from _places(child, (*above, key))


def _with(content: Any, place: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return changed


def _plain(folder: Path, name: str, root: Path) -> list[float] | None:
    """What plain transformers says; None where it raises."""
    try:
        if name == "bert":
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            inputs = tokenizer(["a good film"], return_tensors="pt")
            model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        else:
            processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
            inputs = processor([Image.open(root / "image.png")], return_tensors="pt")
            model = transformers.AutoModelForImageClassification.from_pretrained(folder)
        with torch.inference_mode():
            probabilities: list[float] = model.eval()(**inputs).logits.float().softmax(-1)[0].tolist()
    except Exception:  # whatever it raises, it has no answer
        return None
    return probabilities


@pytest.mark.parametrize(
    ("name", "file"), [*(("bert", file) for file in _TEXT), *(("vit", file) for file in _IMAGE)]
)
def test_every_field_of_every_wrong_kind_is_answered_or_refused(
    folders: dict[str, Path], name: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 with the answer of transformers, or 2 with one sentence and no traceback."""
    path, root = folders[name] / file, folders["root"]
    original = path.read_bytes()
    content = json.loads(original)
    usual = _plain(folders[name], name, root)
    faults: list[str] = []
    places = list(_places(content))
    assert len(places) > 2
    try:
        for number, place in enumerate(places):
            for turn in range(_EACH):
                value = VALUES[(number * _EACH + turn) % len(VALUES)]
                path.write_text(json.dumps(_with(content, place, value)))
                case = f"{'.'.join(map(str, place))} = {value!r}"
                words = ("predict", folders[name], "--file", root / f"{name}.jsonl", "--store", tmp_path)
                code, out, err = hostile.run(capsys, *words)
                sentences = [line for line in err.splitlines() if line.startswith("paredown: ")]
                if code == 2 and len(sentences) == 1 and not out and "Traceback" not in err:
                    continue
                if code != 0:
                    faults.append(f"{case}: exit {code}, {err[-300:]}")
                    continue
                row = json.loads(out)
                numbers = list(row.get("probabilities", row.get("scores", {})).values()) or [row["label"]]
                assert all(math.isfinite(figure) for figure in numbers), case
                if "probabilities" not in row or np.allclose(numbers, usual, atol=1e-5):
                    continue
                plain = _plain(folders[name], name, root)
                if plain is None or not np.allclose(numbers, plain, atol=1e-5):
                    faults.append(f"{case}: {numbers}, and transformers says {plain}")
    finally:
        path.write_bytes(original)
    assert not faults, "\n".join(faults)


_FAMILIES: dict[str, dict[str, Any]] = {
    "roberta": {"num_attention_heads": 4, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32},
    "distilbert": {"n_heads": 4, "dim": 32, "n_layers": 1, "hidden_dim": 32},
    "gpt2": {"n_head": 4, "n_embd": 32, "n_layer": 1},
    "deberta-v2": {
        "num_attention_heads": 4,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "intermediate_size": 32,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "conv_kernel_size": 3,
    },
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "image_size": 16},
}
_READ = 5


@pytest.mark.parametrize("family", _FAMILIES)
def test_every_field_of_other_families_is_read_or_refused(family: str, tmp_path: Path) -> None:
    """Whatever a config.json holds, what is read before any weight is a configuration, or one sentence."""
    images = family in ("resnet", "swin")
    task = image_classification if images else text_classification
    vocabulary = {} if images else {"vocab_size": 40}
    config = transformers.AutoConfig.for_model(family, **vocabulary, **_FAMILIES[family])
    with torch.device("meta"):
        model = architecture.build(config, task, "eager")
    save_file(
        {
            name: torch.zeros(tensor.shape)
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point()
        },
        tmp_path / "model.safetensors",
    )
    content = json.loads(json.dumps({**config.to_dict(), "architectures": [type(model).__name__]}))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    assert not identity.lacks_head(tmp_path, pretrained.inspect(tmp_path, task), task)
    refused = 0
    for number, place in enumerate(_places(content)):
        for turn in range(_READ):
            value = VALUES[(number * _READ + turn) % len(VALUES)]
            path.write_text(json.dumps(_with(content, place, value)))
            try:
                identity.lacks_head(tmp_path, pretrained.inspect(tmp_path, task), task)
            except ModelError:
                refused += 1
    assert refused > len(content)
