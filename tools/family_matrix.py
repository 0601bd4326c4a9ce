"""Writes ``docs/families.md``: which model family goes through which stage, by running each on a tiny model.

Every cell is what the stage did: ``ok``, or the number of the sentence with which it refused. Whatever else
a stage does is a bug, and ends the run with its traceback. Each finished cell is kept in ``--work``, so that
a stopped run goes on where it was; a family is run anew with ``--again FAMILY``.

    python -m tools.family_matrix
    python -m tools.family_matrix --only bert gpt2 --work /tmp/matrix
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.tiny_families import CASES, OTHERS, build, task_of

PAGE: Final = Path("docs", "families.md")
FAMILIES: Final = sorted(CASES | OTHERS)
_WORK: Final = Path("build", "family-matrix")

_STEP: Final = {"steps": 1, "batch_size": 8, "precision": "fp32"}
_PRUNE: Final = {"round_to": 8, "rows": 16, "recover": _STEP}
# Column -> the stage, what it starts from, and its options.
COLUMNS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "finetune": ("finetune", "load", _STEP),
    "distill": ("distill", "finetune", {**_STEP, "layers": 1}),
    "prune heads": ("prune", "finetune", {**_PRUNE, "heads": 0.5, "ffn": 1.0}),
    "prune ffn": ("prune", "finetune", {**_PRUNE, "heads": 1.0, "ffn": 0.5}),
    "prune layers": ("prune", "finetune", {**_PRUNE, "keep": 1.0, "layers": 0.5}),
    "export-onnx": ("export-onnx", "finetune", {}),
    "quantize-onnx": ("quantize-onnx", "export-onnx", {}),
    "half-precision": ("half-precision", "export-onnx", {}),
}
# What a family needs said where others do not, as its refusal says.
_NEEDS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    (family, f"prune {kind}"): options
    for family, options in {
        "swin": {
            "reconstruct": False,
            "recover": {**_STEP, "hidden_weight": 0.0, "relation_weight": 0.0},
        }
    }.items()
    for kind in ("heads", "ffn")
}
_HEAD: Final = """# Families

What each stage does with a classifier of each model family. `python -m tools.family_matrix` makes the table
by running every stage on a tiny model of the family. **ok** means that the stage ran; a number, that it was
refused with the sentence of that number below; a number in brackets, that it ran with the options said there.

Only pruning needs to know a family's layers: of a family that is not in the table, `prune` is refused.
"""

_GOOD, _BAD = ("good", "fine", "lovely", "bright"), ("bad", "dull", "ugly", "dark")
_PLAIN = ("the", "a", "film", "story", "actor", "scene", "is", "was", "and", "very", "so", "ending")
_ROWS = {"train": 64, "validation": 16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, and write the page where every cell is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES, help="run these alone")
    parser.add_argument("--again", nargs="+", choices=FAMILIES, default=[], help="forget what these gave")
    parser.add_argument("--work", type=Path, default=_WORK, help="where finished cells are kept")
    options = parser.parse_args(arguments)
    cells = read(options.work)
    for family in options.again:
        cells.pop(family, None)
        shutil.rmtree(options.work / "models" / family, ignore_errors=True)
    for family in options.only:
        run(family, options.work, cells.setdefault(family, {}), lambda: write(options.work, cells))
    missing = [family for family in offered() if len(cells.get(family, {})) < len(COLUMNS)]
    if missing:
        sys.stderr.write(f"not yet run: {', '.join(missing)}\n")
        return 1
    PAGE.write_text(page({family: cells[family] for family in offered()}), encoding="utf-8")
    return 0


def offered() -> list[str]:
    """The families of texts and images; tiny models of sounds are no sign of what a real one does."""
    return [family for family in FAMILIES if task_of(family) != "audio-classification"]


def read(work: Path) -> dict[str, dict[str, str]]:
    """The cells that are there: family -> column -> ``ok`` or the refusal."""
    file = work / "cells.json"
    cells: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return cells


def write(work: Path, cells: Mapping[str, Any]) -> None:
    """Keep the cells."""
    work.mkdir(parents=True, exist_ok=True)
    temporary = work / "cells.json.part"
    temporary.write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(work / "cells.json")


def run(family: str, work: Path, cells: dict[str, str], keep: Callable[[], None]) -> None:
    """Fill the cells of a family; those that are there already are left as they are.

    Args:
        family: an entry of ``FAMILIES``.
        work: where models, data and artifacts are kept.
        cells: column -> ``ok`` or the refusal.
        keep: called after each new cell.
    """
    from compress.artifacts.store import Store
    from compress.errors import UserError
    from compress.pipeline import building
    from compress.recipe import DataConfig

    task = task_of(family)
    if family not in offered() or len(cells) == len(COLUMNS):
        return
    data = DataConfig(source=str(rows_of(task, work / "data")), calibration=16)
    store = Store(work / "store")
    sources: dict[str, Path] = {"load": model_of(family, work / "models")}
    for column, (stage, source, plain) in COLUMNS.items():
        if column in cells and column not in {before for _, before, _ in COLUMNS.values()}:
            continue  # nothing starts from it
        if source not in sources:
            cells.setdefault(column, cells[source])
            keep()
            continue
        options = {**plain, **_NEEDS.get((family, column), {})}
        sys.stderr.write(f"{family}: {column}\n")
        try:
            artifact = building.run_stage(
                stage, sources[source], options=options, data_config=data, task=task, threads=1, store=store
            )
        except UserError as refusal:
            cells[column] = " ".join(str(refusal).replace(str(work), "").split())
        else:
            sources[column] = artifact.path
            cells[column] = "ok"
        keep()


def page(cells: Mapping[str, Mapping[str, str]]) -> str:
    """The page of all cells."""
    notes: list[str] = []

    def number(note: str) -> int:
        if note not in notes:
            notes.append(note)
        return notes.index(note) + 1

    lines = [_HEAD, f"| family | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for family in offered():
        marks = []
        for column in COLUMNS:
            text, needs = cells[family][column], _NEEDS.get((family, column))
            if text != "ok":
                marks.append(f"{number(text)}")
            elif needs is not None:
                marks.append(f"ok ({number(f'With {shown(needs)}.')})")
            else:
                marks.append("ok")
        lines.append(f"| `{family}` | {' | '.join(marks)} |")
    return "\n".join([*lines, "", *(f"{index}. {note}" for index, note in enumerate(notes, 1)), ""])


def shown(options: Mapping[str, Any]) -> str:
    """Options as a recipe writes them, without those that only make the run short."""
    fields = {
        name: {k: v for k, v in value.items() if k not in _STEP} if isinstance(value, dict) else value
        for name, value in options.items()
    }
    return ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in fields.items())


def model_of(family: str, folder: Path) -> Path:
    """A tiny classifier with what reads its rows, as ``save_pretrained`` leaves them."""
    target = folder / family
    if (target / "done").exists():
        return target
    model = build(family)
    model.config.id2label, model.config.label2id = (
        {0: "negative", 1: "positive"},
        {"negative": 0, "positive": 1},
    )
    model.config.problem_type = "single_label_classification"
    model.save_pretrained(target)
    task = task_of(family)
    if task == "text-classification":
        save_tokenizer(target, model.config)
    elif task == "image-classification":
        from compress.tasks import image_classification

        image_classification.default_processor(model.config).save_pretrained(target)
    else:
        save_feature_extractor(target, model.config)
    (target / "done").touch()
    return target


def save_tokenizer(folder: Path, config: Any) -> None:
    """A word-level tokenizer whose padding is the model's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[CLS]", "[SEP]", "[UNK]", "[MASK]", *_GOOD, *_BAD, *_PLAIN]
    words.insert(config.pad_token_id or 0, "[PAD]")
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=24,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def save_feature_extractor(folder: Path, config: Any) -> None:
    """What turns samples into a speech model's inputs."""
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    if config.model_type == "whisper":
        seconds = config.max_source_positions * 2 * 160 / 16_000
        WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds).save_pretrained(
            folder
        )
    else:
        Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)


def rows_of(task: str, folder: Path) -> Path:
    """A folder of rows that a task reads: moods of words, bright and dark pictures, high and low tones."""
    target = folder / task
    if (target / "labels.json").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    writer = {"text-classification": text, "image-classification": picture, "audio-classification": tone}[
        task
    ]
    for split, count in _ROWS.items():
        source = random.Random(split)
        rows = [
            {**writer(target / f"{split}-{index}", index % 2, source), "label": index % 2}
            for index in range(count)
        ]
        (target / f"{split}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
    (target / "labels.json").write_text('["negative", "positive"]', encoding="utf-8")
    return target


def text(_file: Path, label: int, source: random.Random) -> dict[str, Any]:
    """A row whose words are of one mood."""
    words = [*source.choices((_BAD, _GOOD)[label], k=2), *source.choices(_PLAIN, k=source.randrange(2, 10))]
    source.shuffle(words)
    return {"text": " ".join(words)}


def picture(file: Path, label: int, source: random.Random) -> dict[str, Any]:
    """A row with a picture that is dark or bright."""
    from PIL import Image

    pixels = bytes(source.randrange(100) + 150 * label for _ in range(16 * 16 * 3))
    Image.frombytes("RGB", (16, 16), pixels).save(file.with_suffix(".png"))
    return {"image": file.with_suffix(".png").name}


def tone(file: Path, label: int, source: random.Random) -> dict[str, Any]:
    """A row with a fifth of a second of a low or a high tone."""
    import numpy as np
    import soundfile

    seconds = np.arange(3200) / 16_000
    samples = 0.3 * np.sin(2 * np.pi * (300 + 900 * label) * seconds + source.random())
    soundfile.write(file.with_suffix(".wav"), samples.astype(np.float32), 16_000)
    return {"audio": file.with_suffix(".wav").name}


if __name__ == "__main__":
    sys.exit(main())
