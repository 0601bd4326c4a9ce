"""The worked examples of CONTRIBUTING.md stand in a copy of the packages, and do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny_deploy

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages with the page's files in them."""
    root = tmp_path_factory.mktemp("checkout")
    for package in ("compress", "deploy", "bench", "paredown"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in re.findall(r"^```python file=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        assert not (root / name).exists(), f"{name} is there already"
        (root / name).write_text(text)
    return root


def run(copy: Path, *arguments: str, folder: Path | None = None) -> str:
    """What a module of the copy prints; it must end with 0."""
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder or copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_criterion_and_runtime_keep_their_contracts(copy: Path) -> None:
    """The contract suites pass on the new entries, by name."""
    log = run(
        copy,
        "pytest",
        "-q",
        "-n0",
        "-pno:cacheprovider",
        f"-c{ROOT / 'pyproject.toml'}",
        f"--rootdir={ROOT}",
        "--import-mode=importlib",
        "-kpath-norm or reference",
        str(ROOT / "tests" / "contracts" / "test_criteria.py"),
        str(ROOT / "tests" / "contracts" / "test_runtimes.py"),
    )
    passed = re.search(r"(\d+) passed", log)
    assert passed is not None, log
    assert int(passed[1]) >= 15, log
    assert "skipped" not in log, log


def test_probe_gate_and_runtime_serve_a_bench_run(copy: Path, tmp_path: Path) -> None:
    """A bench run in the new runtime measures by the new probe and is judged by the new gate."""
    import tiny

    source = tiny_deploy.text_artifact(tmp_path / "torch")
    tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(16))
    tiny.text_data(tmp_path / "data")
    (tmp_path / "budget.yaml").write_text("- download-size: {at_most: 1x}\n")
    shown = run(
        copy,
        "compress",
        *("bench", "plain=onnx", "slow=onnx", "--runtime", "slow=reference", "--data", "data"),
        *("--probes", "download-size,agreement", "--budget", "budget.yaml", "--json", "report.json"),
        folder=tmp_path,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    figures = {(m["candidate"], m["metric"]): m["value"] for m in report["measurements"]}
    assert figures["slow", "agreement"] == 1
    assert 0 < figures["slow", "download_bytes"] == figures["plain", "download_bytes"]
    assert [(v["gate"], v["status"]) for v in report["verdicts"]] == [("download-size", "pass")]
    assert shown.splitlines()[0].split() == ["candidate", "download"]


def test_the_task_is_inferred_and_answers_as_plain_transformers_does(copy: Path, tmp_path: Path) -> None:
    """A model with BERT's second head is exported under the new task; its answers are the model's own."""
    import tiny
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.BertConfig(
        vocab_size=len(tiny.vocabulary()), max_position_embeddings=64, initializer_range=1.0, **shape
    )
    model = transformers.BertForNextSentencePrediction(config).eval()
    model.save_pretrained(tmp_path / "model")
    tiny.save_tokenizer(tmp_path / "model")
    pairs = [("the film is good", "a story"), ("ugly", "the good film is bad"), ("a scene", "a film")]
    rows = [json.dumps({"text": text, "text_pair": pair}) for text, pair in pairs]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    run(copy, "compress", "export", "model", "--data", "rows.jsonl", "--out", "onnx", folder=tmp_path)
    answers = run(copy, "compress", "predict", "onnx", "--file", "rows.jsonl", folder=tmp_path).splitlines()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for pair, answer in zip(pairs, map(json.loads, answers), strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(*pair, return_tensors="pt")).logits.softmax(-1)[0]
        assert list(answer["probabilities"]) == ["next", "random"]
        assert list(answer["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
        assert answer["label"] == ("next", "random")[int(expected.argmax())]


def test_a_distribution_of_ones_own_brings_the_criterion(tmp_path: Path) -> None:
    """The page's criterion, in a distribution with the page's entry point, is listed with its origin."""
    toml = re.search(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    source = re.search(r"^```python file=compress/criteria/(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert toml is not None
    assert source is not None
    project = tomllib.loads(toml[1])["project"]
    ((group, points),) = project["entry-points"].items()
    ((name, module),) = points.items()
    package, _, file = module.partition(".")
    assert f"{file}.py" == source[1]
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / source[1]).write_text(source[2])
    information = tmp_path / f"{package}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    listed = json.loads(run(ROOT, "compress", "list", "criterion", "--json", folder=tmp_path))["criterion"]
    assert listed[name].endswith(f"(from {project['name']} {project['version']})")
    entries = json.loads(run(ROOT, "compress", "show", name, "--json", folder=tmp_path))
    assert entries[0]["from"] == f"{project['name']} {project['version']}"
