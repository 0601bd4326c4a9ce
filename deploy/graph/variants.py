"""Many rewritten forms of one graph, cheaply: the weights lie once in a file, the graphs share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from deploy.graph import nodes as graph
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from deploy.checking.parity import Infer

Rewrite = Callable[[onnx.ModelProto], None]


class Base:
    """A graph on disk whose variants are opened in ONNX Runtime.

    Attributes:
        folder: where the weights lie.
        model: the graph, without the weights.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path, threads: int) -> None:
        """Write the graph once; the folder is emptied of an earlier try first."""
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        self.folder = folder
        self._threads = threads
        path = graph.save(model, folder, external=True)
        self.model = onnx.load(str(path), load_external_data=False)

    def whole(self) -> onnx.ModelProto:
        """A copy of the graph with its weights."""
        return graph.load(self.folder / graph.MODEL)

    def open(self, rewrite: Rewrite | None = None) -> Infer:
        """Run the graph, or a rewritten copy of it."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        if rewrite is not None:
            rewrite(model)
        path = self.folder / "variant.onnx"
        path.write_bytes(model.SerializeToString())
        return infer_with(open_session(path, threads=self._threads))
