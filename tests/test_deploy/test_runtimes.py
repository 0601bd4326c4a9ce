"""What is particular to each runtime: options of PyTorch, refusals and providers of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_deploy
import torch
from onnx import TensorProto, helper, numpy_helper

from compress import environment
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from deploy import session
from deploy.graph import facts as graph_facts
from deploy.graph.facts import GraphFacts
from deploy.opening import runner
from deploy.runtimes import ort, pytorch

IDS = np.array([[2, 5, 9, 17, 3]], dtype=np.int64)
FEED = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "token_type_ids": np.zeros_like(IDS)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed tiny text classifier."""
    return tiny_deploy.text_artifact(tmp_path_factory.mktemp("source") / "torch")


def test_bf16_is_near_and_says_so(source: Artifact) -> None:
    """Weights and arithmetic are BF16, outputs come back as FP32."""
    with (
        runner(source, "pytorch", threads=1) as exact,
        runner(source, "pytorch", threads=1, precision="bf16") as b,
    ):
        expected, logits = exact.infer(FEED)["logits"], b.infer(FEED)["logits"]
        assert b.provenance()["precision"] == "bf16"
    assert logits.dtype == np.float32
    assert 0 < np.abs(expected - logits).max() < 0.1


def test_unknown_values_of_options_are_refused(source: Artifact) -> None:
    """The message lists what there is."""
    with pytest.raises(UserError, match=r"no mode 'fast'\. Allowed: eager, compiled, graph"):
        runner(source, "pytorch", mode="fast")
    with pytest.raises(UserError, match=r"no precision 'fp8'\. Allowed: fp32, tf32, bf16, fp16"):
        runner(source, "pytorch", precision="fp8")
    with pytest.raises(UserError, match=r"no attention 'flash'\. Allowed: sdpa, eager"):
        runner(source, "pytorch", attention="flash")


def test_compiling_needs_a_compiler(source: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, opening says what to install instead of failing in the first run."""
    monkeypatch.setattr(pytorch, "_compiler", lambda: None)
    with (
        pytest.raises(UserError, match="needs a C\\+\\+ compiler"),
        runner(source, "pytorch", mode="compiled"),
    ):
        pass


@pytest.mark.slow
def test_compiled_agrees_with_eager(tmp_path: Path) -> None:
    """The compiled model computes the same."""
    if pytorch._compiler() is None:
        pytest.skip("no C++ compiler")
    source = tiny_deploy.text_artifact(tmp_path / "torch", layers=1, hidden=16, heads=2, ffn=16)
    with (
        runner(source, "pytorch", threads=1) as eager,
        runner(source, "pytorch", threads=1, mode="compiled") as fast,
    ):
        feed = {name: np.repeat(array, 3, axis=0) for name, array in FEED.items()}
        expected = eager.infer(feed)["logits"].copy()
        np.testing.assert_allclose(fast.infer(feed)["logits"], expected, atol=2e-5)
        assert fast.provenance()["provider"] == "torch compiled"


def test_threads_of_the_process_are_put_back(source: Artifact) -> None:
    """PyTorch's number of threads is the process's: closing restores it."""
    before = torch.get_num_threads()
    with runner(source, "pytorch", threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_images_have_a_fixed_size(tmp_path: Path) -> None:
    """Another size than the model's is refused before it reaches the model, in both runtimes."""
    images = tiny_deploy.image_artifact(tmp_path / "vit")
    pictures = [{"image": np.full((8, 8), i * 20, np.uint8)} for i in range(8)]
    exported = tiny_deploy.run("export_onnx", images, tmp_path / "onnx", pictures).artifact
    for artifact in (images, exported):
        with runner(artifact, threads=1) as opened:
            assert opened.inputs[0].shape == (None, 1, 8, 8)
            assert opened.infer({"pixel_values": np.zeros((3, 1, 8, 8), np.float32)})["logits"].shape == (
                3,
                3,
            )
            with pytest.raises(UserError, match="has size 9 on axis 2; the model takes 8"):
                opened.infer({"pixel_values": np.zeros((1, 1, 9, 8), np.float32)})


def test_what_a_provider_cannot_do_is_known_beforehand() -> None:
    """INT8 on CUDA and BF16 on the CPU are refused with the reason; the rest is not."""
    facts = GraphFacts(precision="int8", opset=17, exporter="torchscript")
    assert "CUDA provider has no INT8 kernels" in str(ort.refusal(facts, "cuda:1"))
    assert ort.refusal(facts, "cpu") is None
    lower = facts.model_copy(update={"precision": "bf16"})
    assert "CPU provider has no BF16 kernels" in str(ort.refusal(lower, "cpu"))
    assert ort.refusal(lower, "cuda") is None
    assert ort.refusal(facts.model_copy(update={"precision": "fp16"}), "cpu") is None


def test_heavy_nodes_on_another_provider_are_found() -> None:
    """Shape arithmetic may stay on the CPU; a product there means that the device does nothing."""
    placed = [
        ("CUDAExecutionProvider", "MatMul", "a"),
        ("CPUExecutionProvider", "Gather", "b"),
        ("CPUExecutionProvider", "Gemm", "c"),
    ]
    assert session.misplaced(placed, ["CUDAExecutionProvider"]) == ["c"]
    assert session.misplaced(placed[:2], ["CUDAExecutionProvider"]) == []
    both = [session.TENSORRT, "CPUExecutionProvider"]
    assert session.misplaced(placed, both) == ["a"]


def test_placement_is_what_the_session_recorded(source: Artifact, tmp_path: Path) -> None:
    """The library names a provider for every node of the optimized graph."""
    exported = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(8)).artifact
    chosen = session.options(1)
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    opened = session.onnxruntime().InferenceSession(
        str(exported.file("model.onnx")), chosen, providers=["CPUExecutionProvider"]
    )
    placed = session.placement(opened)
    assert {provider for provider, _, _ in placed} == {"CPUExecutionProvider"}
    assert sum(op == "Softmax" for _, op, _ in placed) == 2


def test_a_provider_that_falls_back_is_an_error(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime drops providers that it cannot load and goes on; we do not."""
    exported = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(8)).artifact
    real = session.onnxruntime().InferenceSession

    class FallsBack:
        def __new__(cls, path: str, sess_options: object, providers: object) -> object:
            return real(path, sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(session.onnxruntime(), "InferenceSession", FallsBack)
    with pytest.raises(UserError, match="opened the graph on CPUExecutionProvider"):
        session.open_session(exported.file("model.onnx"), "cuda", 1)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported to find out."""
    monkeypatch.setattr(environment, "onnxruntime_distribution", lambda: None)
    assert ort.Runner.unavailable() == "ONNX Runtime is not installed: run pip install 'paredown[cpu]'"


def test_what_a_session_raises_is_not_printed_too(capfd: pytest.CaptureFixture[str]) -> None:
    """An export of T5 or BART tries cut rows, which the graph refuses: that is no error to show in red."""
    node = helper.make_node("Gather", ["x", "index"], ["y"])
    info = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            [node],
            "g",
            [info("x", TensorProto.FLOAT, ["n"])],
            [info("y", TensorProto.FLOAT, [1])],
            [numpy_helper.from_array(np.array([7]), "index")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    opened = session.open_session(model.SerializeToString(), threads=1)
    with pytest.raises(session.refusals(), match="out of data bounds"):
        opened.run(None, {"x": np.zeros(2, np.float32)})
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_threads_do_not_spin_between_runs() -> None:
    """An idle session must not take time from its neighbors."""
    chosen = session.options(3)
    assert chosen.intra_op_num_threads == 3
    assert chosen.get_session_config_entry("session.force_spinning_stop") == "1"
    assert session.options(None).intra_op_num_threads == environment.cpu_count()


def test_unknown_devices_are_refused() -> None:
    """No provider stands for it."""
    with pytest.raises(UserError, match="no provider for device 'tpu'"):
        session.provider("tpu")


def test_positions_of_families_that_count_from_the_padding() -> None:
    """RoBERTa's table has 514 rows for 512 positions; DeBERTa without absolute positions has no limit."""
    assert (
        graph_facts.positions({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1})
        == 512
    )
    assert graph_facts.positions({"model_type": "bert", "max_position_embeddings": 512}) == 512
    assert graph_facts.positions({"max_position_embeddings": 512, "position_biased_input": False}) is None
    assert graph_facts.positions({}) is None
