"""Whether an artifact holds only what its kind has: no code, and no second model for somebody else to load.

Whoever is handed a folder loads what lies in it: a pickle, a library or weights beside the graph would run,
or answer, in place of what was measured.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError
from compress.model import checkpoint, weight_files
from deploy.graph import facts as graph_facts
from deploy.tensorrt import passport

_CODE = (
    *("*.py", "*.pyc", "*.pyd", "*.so", "*.so.*", "*.dll", "*.dylib", "*.exe", "*.sh", "*.jar"),
    *("*.pkl", "*.pickle", "*.pt", "*.pth", "*.bin", "*.ckpt", "*.joblib", "*.h5", "*.keras"),
)
_MODELS = ("*.onnx", "*.onnx.*", "*.onnx_data", "*.safetensors", "*.safetensors.*", "*.engine", "*.plan")
_OWN = {
    "torch": ("model.safetensors", "model-*-of-*.safetensors", weight_files.INDEX, checkpoint.SHAPES),
    "onnx": (graph_facts.MODEL, f"{graph_facts.MODEL}.*"),
    "tensorrt": (passport.ENGINE,),
}


def check(artifact: Artifact) -> None:
    """Look at the names of an artifact's files.

    Raises:
        ArtifactError: one is code, of another kind of model, hidden, or has a name that no file here has.
    """
    for name in artifact.manifest.files:
        last = PurePosixPath(name).name
        expected = any(fnmatch(name, pattern) for pattern in _OWN[artifact.kind])
        foreign = any(fnmatch(last.lower(), pattern) for pattern in (*_CODE, *_MODELS))
        shapes = name == checkpoint.SHAPES
        if not expected and (foreign or shapes or last.startswith(".") or not name.isprintable()):
            raise ArtifactError(
                f"{artifact.path} lists the file {name[:200]!r}, which an artifact of the kind "
                f"{artifact.kind} does not have: code, other models and hidden files are no part of one. "
                "Build it again"
            )
    if (
        artifact.kind == "torch"
        and {weight_files.WEIGHTS, weight_files.INDEX} <= artifact.manifest.files.keys()
    ):
        raise ArtifactError(
            f"{artifact.path} has {weight_files.WEIGHTS} and {weight_files.INDEX}, two models in one: "
            "build it again"
        )
