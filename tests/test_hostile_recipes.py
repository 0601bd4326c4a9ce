"""Recipes, ``--set`` and budgets that are broken: one sentence, and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hostile
import pytest
import tiny_bench
from hostile import BYTES, DIGITS, HALF, refused, sealed_anew, tree

BOMB = "[x, x, x, x, x, x, x, x, x]"
HEAD = "model: somewhere\ntask: text-classification\n"
STAGES = "stages:\n  - export-onnx: {}\n"


def _bomb(indent: str) -> str:
    names = "bcdefghi"
    lines = [f"{indent}a: &a {BOMB}"]
    lines += [
        f"{indent}{new}: &{new} [{', '.join(['*' + old] * 9)}]"
        for old, new in zip("abcdefgh", names, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _architecture(**fields: object) -> str:
    content = {"model_type": "vit", "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 64}
    content |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 8, **fields}
    inside = ", ".join(f"{key}: {value}" for key, value in content.items())
    stages = f"  - load: {{architecture: {{{inside}}}}}\n  - export-onnx: {{}}\n"
    return f"task: image-classification\nstages:\n{stages}"


RECIPES: dict[str, str | bytes] = {
    "bomb": _bomb("") + HEAD + STAGES,
    "bomb in an option": HEAD + "stages:\n  - export-onnx:\n" + _bomb("      "),
    "bomb in an architecture": HEAD + "stages:\n  - load:\n      architecture:\n" + _bomb("        "),
    "alias of itself": HEAD + "stages: &s [*s]\n",
    "alias of itself in a mapping": HEAD + "stages:\n  - export-onnx: &m {x: *m}\n",
    "alias of nothing": HEAD + "stages: *nope\n",
    "a key twice": HEAD + "model: other\n" + STAGES,
    "a key twice within": HEAD + "stages:\n  - export-onnx: {opset: 17, opset: 18}\n",
    "a list as a key": HEAD + "? [a, b]\n: c\n" + STAGES,
    "a mapping as a key": HEAD + "? {a: b}\n: c\n" + STAGES,
    "null as a key": HEAD + "~: x\n" + STAGES,
    "two documents": HEAD + STAGES + "---\nmodel: x\n",
    "python tag": HEAD + "seed: !!python/object/apply:os.getcwd []\n" + STAGES,
    "set tag": HEAD + "seed: !!set {1}\n" + STAGES,
    "binary tag": HEAD + "seed: !!binary '####'\n" + STAGES,
    "int tag": HEAD + "seed: !!int abc\n" + STAGES,
    "bool tag": HEAD + "seed: !!bool abc\n" + STAGES,
    "timestamp tag": HEAD + "seed: !!timestamp abc\n" + STAGES,
    "unknown tag": HEAD + "seed: !foo 3\n" + STAGES,
    "a date": HEAD + "seed: 2001-12-12\n" + STAGES,
    "no date": HEAD + "seed: 2001-13-45\n" + STAGES,
    "a time": HEAD + "seed: 2001-12-14t99:59:43Z\n" + STAGES,
    "digits": HEAD + f"seed: {DIGITS}\n" + STAGES,
    "float beyond": HEAD + "seed: 1.0e+999\n" + STAGES,
    "nan": HEAD + "seed: .nan\n" + STAGES,
    "infinity": HEAD + "seed: -.inf\n" + STAGES,
    "seed 2e19": HEAD + "seed: 20000000000000000000\n" + STAGES,
    "threads 1e9": HEAD + "threads: 1000000000\n" + STAGES,
    "rounds 10^18": HEAD + STAGES + "bench: {rounds: 1000000000000000000}\n",
    "runs 10^18": HEAD + STAGES + "bench: {runs: 1000000000000000000}\n",
    "batch size 1e9": HEAD + STAGES + "bench: {batch_sizes: [1000000000]}\n",
    "length 1e9": HEAD + STAGES + "bench: {lengths: [1000000000]}\n",
    "epochs 1e18": HEAD + "stages:\n  - finetune: {epochs: 1000000000000000000}\n",
    "learning rate 1e30": HEAD + "stages:\n  - finetune: {learning_rate: 1.0e+30}\n",
    "probe windows": HEAD + STAGES + "bench: {probes: [{throughput: {windows: 10000000000000}}]}\n",
    "half a pair": HEAD + f'device: "{HALF}"\n' + STAGES,
    "nul in the model": 'model: "a\\0b"\n' + STAGES,
    "long model": f"model: {'a' * 5000}\n" + STAGES,
    "long model path": f"model: {'a/' * 3000}\n" + STAGES,
    "nobody's home": "model: ~nobody-here/x\n" + STAGES,
    "long data": HEAD + f"data: {{source: {'a' * 5000}}}\n" + STAGES,
    "control character": HEAD.encode() + b"seed: \x01\n" + STAGES.encode(),
    "nul": HEAD.encode() + b"seed: \x00\n" + STAGES.encode(),
    "no UTF-8": HEAD.encode() + b"seed: \xff\n" + STAGES.encode(),
    "UTF-16": (HEAD + STAGES).encode("utf-16"),
    "deep": HEAD + "stages: " + "[" * 3000 + "]" * 3000 + "\n",
    "deeper": HEAD + "stages: " + "{a: " * 100_000,
    "deep blocks": HEAD + "stages:\n" + "".join(" " * i + "- \n" for i in range(1, 300)),
    "escape beyond Unicode": HEAD + 'seed: "\\UFFFFFFFF"\n',
    "tab": HEAD + "stages:\n\t- export-onnx: {}\n",
    "text": "hello\n",
    "list": "- a\n",
    "empty": "",
    "a module as a runtime": HEAD + STAGES + "bench: {runtimes: {onnx: 'os:system'}}\n",
    "a module that opens a page": HEAD + STAGES + "bench: {runtimes: {onnx: 'antigravity:x'}}\n",
    "label of the start": HEAD + "stages:\n  - export-onnx: {}\n    as: load\n",
    "label with a newline": HEAD + 'stages:\n  - export-onnx: {}\n    as: "a\\n"\n',
    "label with a path": HEAD + "stages:\n  - export-onnx: {}\n    as: a/../../b\n",
    "layers 10^9": _architecture(num_hidden_layers=10**9),
    "layers text": _architecture(num_hidden_layers="many"),
    "hidden 10^9": _architecture(hidden_size=10**9),
    "hidden list": _architecture(hidden_size="[1]"),
    "heads -10^9": _architecture(num_attention_heads=-(10**9)),
    "type list": _architecture(model_type="[vit]"),
    "type null": _architecture(model_type="~"),
}


@pytest.mark.parametrize("content", RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    """Dates, tags, bombs, depth, digits, encodings, numbers without bounds: refused before anything runs."""
    path = tmp_path / "r.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    out = tmp_path / "never"
    refused(capsys, "run", path, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_a_recipe_that_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any) -> None:
    """A pipe, a folder, a device and links that lead nowhere in a recipe's place."""
    path = tmp_path / "r.yaml"
    make(path)
    refused(capsys, "plan", path)


@pytest.mark.parametrize(
    "word",
    [
        "seed",
        "=1",
        "seed=2001-13-45",
        "seed=2001-12-12",
        f"seed={DIGITS}",
        "seed=[",
        "seed=!!int x",
        "seed=!!python/name:os.system",
        "seed={? [a]: b}",
        "seed=" + "[" * 3000,
        "seed=.nan",
        f'device="{HALF}"',
        "seed=*a",
        "seed=a: b: c",
        "stages.-1.export-onnx.opset=17",
        "stages.99.export-onnx.opset=17",
        "stages.\u00b2.export-onnx.opset=17",
        "stages." + "9" * 5000 + ".x=1",
        "seed.x.y=1",
        "...=1",
        "model=a\0b",
        "model=" + "x" * 5000,
        "bench.rounds=1e18",
        "bench.runtimes.onnx=os:system",
        "device=\udcff",
        "a" * 5000 + "=1",
    ],
    ids=lambda word: ascii(word)[:40],
)
def test_settings_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    """A ``--set`` is read as YAML of plain values, and its place is in the recipe."""
    path = tmp_path / "r.yaml"
    path.write_text(HEAD + "seed: 0\n" + STAGES)
    refused(capsys, "plan", path, "--set", word)


_REGRESSION = "- regression: {{baseline: {}, metric: size_bytes, worse_by_at_most: 5%}}\n"
BUDGETS = {
    "a date": "- size: {at_most: 2001-12-12}\n",
    "a tag": "- size: {at_most: !!timestamp abc}\n",
    "digits": f"- size: {{at_most: {DIGITS}}}\n",
    "digits of MB": f"- size: {{at_most: {DIGITS}MB}}\n",
    "1e400": "- size: {at_most: 1e400MB}\n",
    "nan": "- size: {at_most: nanMB}\n",
    "YAML's nan": "- size: {at_most: .nan}\n",
    "no unit": "- size: {at_most: 5}\n",
    "a list": "- size: {at_most: [1MB]}\n",
    "null": "- size: {at_most: ~}\n",
    "half a pair": f'- size: {{at_most: "{HALF}"}}\n',
    "half a pair as a candidate": f'- size: {{at_most: 1MB, candidate: "{HALF}"}}\n',
    "deep": "- size: " + "[" * 5000 + "\n",
    "bomb": "- size:\n" + _bomb("    "),
    "twice": "- size: {at_most: 1MB, at_most: 2MB}\n",
    "a mapping": "size: {at_most: 1MB}\n",
    "two names": "- size: {at_most: 1MB}\n  memory: {at_most: 1MB}\n",
    "unknown": "- sizes: {at_most: 1MB}\n",
    "a path": "- ../../size: {at_most: 1MB}\n",
    "a private module": "- __init__: {}\n",
    "a number": "- 5\n",
    "nulls": "- ~\n",
    "batch 10^18": "- latency: {p50_at_most: 1x, at: {batch_size: 1000000000000000000}}\n",
    "length 10^18": "- latency: {p50_at_most: 1x, at: {length: 1000000000000000000}}\n",
    "length text": "- latency: {p50_at_most: 1x, at: {length: long}}\n",
    "nobody": "- size: {at_most: 1MB, candidate: nobody}\n",
    "a regression against a long path": _REGRESSION.format("x" * 5000),
    "a regression against a device": _REGRESSION.format("/dev/zero"),
    "two documents": "- size: {at_most: 1MB}\n---\n- size: {at_most: 1MB}\n",
    "alias": "- size: *x\n",
}


@pytest.mark.parametrize("content", [*BUDGETS.values(), *BYTES.values()], ids=[*BUDGETS, *BYTES])
def test_a_budget_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
) -> None:
    """A budget that cannot be read or names what does not exist never judges."""
    report = sealed_anew(tmp_path / "report.json", tree())
    path = tmp_path / "budget.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    refused(capsys, "gate", report, "--budget", path)


@pytest.mark.parametrize("make", hostile.NO_FILES)
def test_a_budget_that_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any) -> None:
    """A pipe, a folder, a device and links that lead nowhere in a budget's place."""
    report = sealed_anew(tmp_path / "report.json", tree())
    path = tmp_path / "budget.yaml"
    make(path)
    refused(capsys, "gate", report, "--budget", path)


@pytest.mark.parametrize(
    "word",
    [
        "x",
        "=ort",
        "a=",
        "a=ort:",
        "a=ort:x",
        "a=ort:graph=!!int x",
        "a=ort:graph=[",
        f"a=ort:n={DIGITS}",
        "a=os:system",
    ],
    ids=lambda word: word[:30],
)
def test_runtimes_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    """A ``--runtime`` names a runtime of the catalog and plain options; it imports nothing."""
    artifact = tiny_bench.fake_artifact(tmp_path / "a")
    data = tmp_path / "validation.jsonl"
    data.write_text('{"text": "good", "label": "positive"}\n{"text": "bad", "label": "negative"}\n')
    refused(capsys, "bench", f"a={artifact.path}", "--data", data, "--probes", "size", "--runtime", word)
