"""What the three torch backends share: the model, its buffers, launching with and without a CUDA graph.

The model is built from its sizes with random weights. A batch of one row has no padding and gets no mask;
larger batches get an additive mask in the model's precision, as padded rows would need: so no kernel waits
for the host to look at a mask, and the attention that is timed is the one that padded batches run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from studies.gpu import timing
from studies.gpu.backends import Feed, Subject
from studies.gpu.plan import Shape, Sizes

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
_CAPTURE_WARM_UP = 3


def build(sizes: Sizes, attention: str, precision: str, device: str, seed: int = 0) -> torch.nn.Module:
    """A BERT classifier of two labels with random weights, in evaluation mode."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
        max_position_embeddings=sizes.positions,
        num_labels=2,
        attn_implementation=attention,
    )
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config)
    return model.to(device=device, dtype=_DTYPES[precision]).eval()


def missing(device: str) -> str | None:
    """Why torch cannot compute on the device; None if it can."""
    if device == "cuda" and not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    return None


class TorchEvent:
    """A timing event on the stream that is current when it is recorded."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)

    def record(self) -> None:
        """Queue the mark."""
        self._event.record()

    def synchronize(self) -> None:
        """Wait until the device passed it."""
        self._event.synchronize()

    def elapsed_ms(self, later: TorchEvent) -> float:
        """Device milliseconds from here to a later event."""
        return float(self._event.elapsed_time(later._event))


def clock(device: str) -> timing.Clock:
    """Events on CUDA, the host's clock on a CPU."""
    return timing.EventClock(TorchEvent) if device == "cuda" else timing.HostClock()


class Buffers:
    """Input sets on the host and one on the device; outputs come to a host buffer."""

    def __init__(self, feeds: Sequence[Feed], device: str) -> None:
        self.device = device
        self._host = [{name: self._pin(torch.from_numpy(a)) for name, a in feed.items()} for feed in feeds]
        self.on_device = {name: tensor.to(device) for name, tensor in self._host[0].items()}
        self.sets = len(feeds)
        self.result: torch.Tensor | None = None
        self._landing: torch.Tensor | None = None

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self.device == "cuda" else tensor

    def load(self, index: int) -> None:
        """Queue the copy of an input set."""
        for name, tensor in self._host[index].items():
            self.on_device[name].copy_(tensor, non_blocking=True)

    def fetch(self) -> None:
        """Queue the copy of the result."""
        if self.result is None:
            raise RuntimeError("fetch before anything was enqueued")
        if self._landing is None:
            self._landing = self._pin(torch.empty(self.result.shape, dtype=self.result.dtype))
        self._landing.copy_(self.result, non_blocking=True)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.current_stream().synchronize()

    def outputs(self) -> np.ndarray:
        """Logits as float32."""
        if self._landing is None:
            raise RuntimeError("outputs before fetch")
        return self._landing.float().numpy()

    def close(self) -> None:
        """Let go of the buffers: torch's allocator has them for the next session."""
        self._host, self.on_device = [], {}
        self.result = self._landing = None


class Session(Buffers):
    """One shape of a torch model."""

    def __init__(self, model: Callable[..., Any], dtype: torch.dtype, shape: Shape, feeds: Sequence[Feed],
                 device: str, graph: bool) -> None:  # fmt: skip
        super().__init__(feeds, device)
        self._model = model
        self._mask = None
        if shape.batch > 1:
            kept = self.on_device["attention_mask"][:, None, None, :].to(dtype)
            wide = (1 - kept).expand(-1, 1, shape.length, -1)
            self._mask = (wide * torch.finfo(dtype).min).contiguous()
        self._graph = self._capture() if graph else None

    def _forward(self) -> None:
        ids, types = self.on_device["input_ids"], self.on_device["token_type_ids"]
        with torch.inference_mode():
            self.result = self._model(
                input_ids=ids, attention_mask=self._mask, token_type_ids=types, return_dict=True
            ).logits

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Capture on a side stream after warm-up, as torch.cuda.graph asks for."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_CAPTURE_WARM_UP):
                self._forward()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._forward()
        return graph

    def enqueue(self) -> None:
        """Replay the graph, or call the model."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._forward()

    def close(self) -> None:
        """Let go of the graph with its memory, and of the buffers."""
        self._graph = self._mask = None
        super().close()


class Opened:
    """A torch model on a device."""

    attention = "eager"

    def __init__(self, subject: Subject, precision: str, device: str) -> None:
        if subject.sizes is None:
            raise ValueError(f"{subject.name} is only a file: torch backends build models from sizes")
        self.precision, self.device = precision, device
        self.graphs: tuple[bool, ...] = (False, True) if device == "cuda" else (False,)
        self.clock = clock(device)
        self.model = build(subject.sizes, self.attention, precision, device)
        self._weights = sum(p.numel() * p.element_size() for p in self.model.parameters())

    def callable(self, graph: bool) -> Callable[..., Any]:
        """What is called for one inference."""
        return self.model

    def captures(self, graph: bool) -> bool:
        """Whether the session records a CUDA graph itself."""
        return graph

    def session(self, shape: Shape, feeds: Sequence[Feed], graph: bool) -> Session:
        """Open a shape."""
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        dtype = _DTYPES[self.precision]
        return Session(self.callable(graph), dtype, shape, feeds, self.device, self.captures(graph))

    def memory(self) -> dict[str, int | None]:
        """Weights by their parameters; activations as torch's allocator saw the peak."""
        found: dict[str, int | None] = {
            "file_bytes": None,
            "weights_bytes": self._weights,
            "activations_bytes": None,
        }
        if self.device == "cuda":
            peak = int(torch.cuda.max_memory_allocated())
            found["activations_bytes"] = max(0, peak - self._weights)
            found["reserved_bytes"] = int(torch.cuda.max_memory_reserved())
        return found

    def facts(self) -> dict[str, Any]:
        """Attention, precision and versions that really run."""
        import transformers

        return {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "transformers": transformers.__version__,
            "attention": self.attention,
            "precision": self.precision,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "weights": "random",
            "mask": "none at batch 1; additive, in the model's precision, above",
        }
