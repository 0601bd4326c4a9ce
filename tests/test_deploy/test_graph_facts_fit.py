"""``graph.json`` is held against its graph: precision, target and fusion that the nodes do not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_deploy
from tiny_hostile import field, sealed_anew

from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError
from deploy import content
from deploy.graph import facts as graph_facts

# How each graph is made from another: stage, source, options.
GRAPHS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("export_onnx", "torch", {}),
    "fused": ("optimize_onnx", "plain", {}),
    "dynamic": ("quantize_onnx", "plain", {"mode": "dynamic"}),
    "static": ("quantize_onnx", "plain", {"mode": "static"}),
    "engine": ("quantize_onnx", "plain", {"mode": "static", "target": "tensorrt"}),
    "fp8": ("quantize_onnx", "plain", {"precision": "fp8", "target": "tensorrt"}),
    "half": ("half_precision", "plain", {"precision": "fp16"}),
    "both": ("half_precision", "dynamic", {"precision": "bf16"}),
}
VALUES: dict[str, tuple[Any, ...]] = {
    "precision": ("fp32", "fp16", "bf16", "int8", "fp8"),
    "rest": ("fp32", "fp16", "bf16"),
    "target": ("any", "cpu", "tensorrt"),
    "fused": (False, True),
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """One artifact of each way to make a graph."""
    root = tmp_path_factory.mktemp("facts")
    by_name = {"torch": tiny_deploy.text_artifact(root / "torch")}
    for name, (stage, source, options) in GRAPHS.items():
        by_name[name] = tiny_deploy.run(
            stage, by_name[source], root / name, tiny_deploy.text_rows(), **options
        ).artifact
    return by_name


@pytest.mark.parametrize("name", GRAPHS)
def test_facts_that_the_graph_contradicts(name: str, artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    """What paredown made fits; every other value of every fact is refused and named."""
    artifact = artifacts[name]
    content.check(artifact)
    facts = graph_facts.read(artifact)
    for fact, values in VALUES.items():
        for value in values:
            if value == getattr(facts, fact):
                continue
            change = field("graph.json", **{fact: value})
            bad = Artifact.open(sealed_anew(artifact, tmp_path / f"{fact}-{value}", change))
            with pytest.raises(ArtifactError, match=rf"graph\.json is not of this graph .*{fact} is "):
                content.check(bad)
