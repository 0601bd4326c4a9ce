"""What really ran, from ONNX Runtime's own profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_bench
import tiny_deploy

from bench.gates import execution as gate
from bench.probes import execution
from bench.record.model import Report
from bench.session import CandidateSpec, measure
from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError
from compress.recipe import BenchConfig, validate
from deploy.graph import facts as graph_facts
from deploy.node_time import NodeTime
from deploy.runtimes import _profile
from deploy.runtimes.ort import Runner

ROWS = tiny_deploy.text_rows(32)


def event(
    name: str, op: str, dur: int, *types: str, provider: str = "CPUExecutionProvider"
) -> dict[str, Any]:
    """A node's event, as ONNX Runtime writes it."""
    shapes = [{kind: [1, 4]} for kind in types]
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": dur,
        "args": {"op_name": op, "provider": provider, "input_type_shape": shapes},
    }


def test_a_node_s_time_is_its_median_over_the_runs() -> None:
    """A slow first run does not count for more than one of three; other events are left out."""
    events = [
        {"cat": "Session", "name": "model_run", "dur": 999},
        event("a", "MatMul", 900, "float", "float"),
        event("a", "MatMul", 10, "float", "float"),
        event("a", "MatMul", 12, "float", "float"),
        event("b", "Softmax", 5, "float"),
    ]
    assert [(node.name, node.microseconds, node.product) for node in _profile.nodes(events)] == [
        ("a", 36.0, True),
        ("b", 5.0, False),
    ]


@pytest.mark.parametrize(
    ("op", "types", "precision"),
    [
        ("MatMul", ("float", "float"), "fp32"),
        ("FusedMatMul", ("float16",), "fp16"),
        ("DynamicQuantizeMatMul", ("float", "int8"), "int8"),
        ("MatMulIntegerToFloat", ("uint8", "int8"), "int8"),
        ("QLinearMatMul", ("uint8",), "int8"),
        ("DynamicQuantizeLinear", ("float",), "int8"),
        ("Softmax", ("float",), "fp32"),
        ("Shape", ("int64",), "other"),
        ("Gather", ("float", "int64"), "fp32"),
    ],
)
def test_precision_is_that_of_the_kernel(op: str, types: tuple[str, ...], precision: str) -> None:
    """By the operator's name where it tells, by its inputs otherwise."""
    assert _profile.precision(op, types) == precision


def test_shares_by_hand() -> None:
    """Products: 60 of 80 in INT8; all: 60 of 100; 90 of 100 on the provider."""
    nodes = [
        NodeTime("a", "MatMulInteger", "P", "int8", True, 60.0),
        NodeTime("b", "MatMul", "P", "fp32", True, 20.0),
        NodeTime("c", "LayerNormalization", "P", "fp32", False, 10.0),
        NodeTime("d", "Softmax", "Q", "fp32", False, 10.0),
    ]
    shares = execution.shares(nodes, "P")
    assert shares["int8_product_share"] == 0.75
    assert shares["fp32_product_share"] == 0.25
    assert shares["int8_time_share"] == 0.6
    assert shares["placed_share"] == 0.9
    assert execution.listing(nodes)[0] == "1 x MatMulInteger in int8 on P: 60.0 % of the time"


def test_time_that_is_not_shown_is_unknown() -> None:
    """It counts in the whole, and for no precision."""
    nodes = [
        NodeTime("a", "gemm", "P", "fp8", True, 30.0),
        NodeTime("b", "Myelin", "P", "unknown", True, 70.0),
    ]
    shares = execution.shares(nodes, "P")
    assert (shares["fp8_product_share"], shares["unknown_product_share"]) == (0.3, 0.7)
    assert "fp8_product_share" not in execution.shares(nodes[1:], "P")


@pytest.mark.parametrize(
    ("ran", "hidden", "status"),
    [(0.8, 0.2, "pass"), (0.3, 0.7, "inconclusive"), (0.3, 0.1, "fail"), (0.0, 0.0, "fail")],
)
def test_the_gate_does_not_guess_what_is_not_shown(ran: float, hidden: float, status: str) -> None:
    """Half of the time must be in INT8: what is hidden may be, and may not."""
    by_precision = {"int8": ran, "fp32": 1 - ran - hidden, "unknown": hidden}
    report = tiny_bench.report()
    measurements = [measurement for measurement in report.measurements if measurement.probe != "execution"]
    shares = [
        tiny_bench.measurement(
            "after", f"{name}_product_share", value, probe="execution", unit="share", better="higher"
        )
        for name, value in by_precision.items()
    ]
    verdict = gate.check(
        report.model_copy(update={"measurements": (*measurements, *shares)}),
        "after",
        gate.Config(precision="int8"),
    )
    assert verdict.status == status
    assert ("does not show what is inside" in verdict.reason) == (status == "inconclusive")


def test_a_precision_that_nothing_ran_in_is_no_missing_figure() -> None:
    """FP8 asked for and FP16 run: the reason says what ran."""
    measurement = tiny_bench.measurement(
        "after", "fp16_product_share", 1.0, probe="execution", unit="share", better="higher"
    )
    report = tiny_bench.report(measurements=(measurement,))
    verdict = gate.check(report, "after", gate.Config(precision="fp8"))
    assert verdict.status == "fail"
    assert (
        "fp8 was asked for, and 0.0 % of the time of matrix products ran in it (fp16 100 %)" in verdict.reason
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A tiny BERT in FP32, in INT8, and one that claims INT8 and is FP32."""
    folder = tmp_path_factory.mktemp("profile")
    source = tiny_deploy.text_artifact(folder / "source")
    fp32 = tiny_deploy.run("export_onnx", source, folder / "fp32", ROWS).artifact
    int8 = tiny_deploy.run("quantize_onnx", fp32, folder / "int8", ROWS, mode="dynamic").artifact
    liar = folder / "liar"
    liar.mkdir()
    for file in fp32.path.iterdir():
        if file.name != "manifest.json":
            (liar / file.name).write_bytes(file.read_bytes())
    claimed = graph_facts.read(fp32).model_copy(update={"precision": "int8"})
    graph_facts.write(liar, claimed)
    return {"fp32": fp32, "int8": int8, "liar": tiny_deploy.seal(liar, "onnx", "quantize-onnx")}


def test_onnx_runtime_says_what_it_ran(artifacts: dict[str, Artifact]) -> None:
    """The INT8 graph multiplies in INT8, the FP32 graph does not, and no profile is left behind."""
    import numpy as np

    feed = {
        name: np.ones((1, 6), dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for name, precision in (("int8", "int8"), ("fp32", "fp32")):
        with Runner(artifacts[name], threads=1) as runner:
            nodes = runner.nodes([{tensor.name: feed[tensor.name] for tensor in runner.inputs}] * 3)
        products = {node.precision for node in nodes if node.product}
        assert precision in products
        assert ("int8" in products) is (precision == "int8")
        assert {node.provider for node in nodes} == {"CPUExecutionProvider"}
    assert not list(Path.cwd().glob("ort_*.json"))


@pytest.fixture(scope="module")
def report(artifacts: dict[str, Artifact]) -> Report:
    """The honest ones side by side."""
    specs = [CandidateSpec(name, artifacts[name].path) for name in ("fp32", "int8")]
    config = BenchConfig(probes=({"execution": {"runs": 3}},), threads=1)
    return measure(specs, ROWS[:8], config)


def test_a_graph_that_is_not_what_it_claims_is_not_opened(artifacts: dict[str, Artifact]) -> None:
    """FP32 that is called INT8 is refused before anything of it is measured."""
    with pytest.raises(ArtifactError, match="precision is int8, and the graph's is fp32"):
        measure([CandidateSpec("liar", artifacts["liar"].path)], ROWS[:8])


def test_int8_that_ran_in_fp32_is_a_failure(report: Report) -> None:
    """The INT8 artifact passes; where INT8 is asked for and FP32 runs, it fails, and it is said."""
    config = validate(gate.Config, {}, "execution")
    assert gate.check(report, "int8", config).status == "pass"
    verdict = gate.check(report, "fp32", validate(gate.Config, {"precision": "int8"}, "execution"))
    assert verdict.status == "fail"
    assert (
        "int8 was asked for, and 0.0 % of the time of matrix products ran in it (fp32 100 %" in verdict.reason
    )
    assert gate.check(report, "fp32", config).status == "pass"


def test_a_runtime_that_cannot_say_fails_closed() -> None:
    """Without a profile there is no proof, and no proof is no pass."""
    empty = tiny_bench.report(measurements=())
    verdict = gate.check(empty, "after", validate(gate.Config, {"precision": "int8"}, "execution"))
    assert (verdict.status, verdict.value) == ("fail", None)
