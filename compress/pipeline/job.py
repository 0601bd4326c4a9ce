"""A recipe with all that follows from it: its checked links, its task, its rows, and the key of each link.

What planning and running share. The key is formed from everything that could change a link's bytes, so
that a plan and the run after it mean the same entry of the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress import catalog, data, environment
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact
from compress.data import TrainingData
from compress.errors import RecipeError, UserError
from compress.model import limit
from compress.pipeline.chain import Link, chain, check_head, infer_task
from compress.recipe import Recipe

Made = dict[str, tuple[Artifact, tuple[Artifact, ...]]]
"""Label -> the artifact, and those that it came from, oldest first."""


class Job:
    """A checked recipe; the data is read when it is first needed, and once.

    Attributes:
        recipe: as given.
        links: in order.
        start: the sealed artifact that the run starts from; None where a stage makes the first one.
        task_name: in the catalog.
        task: the module.
        threads: CPU threads of the stages.
        device: where training runs, as the machine calls it.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Check the recipe.

        Raises:
            UserError: it does not hold together.
        """
        self.recipe = recipe
        self.links, self.start = chain(recipe)
        if self.start is not None:
            _keep_limit(self.start.artifact, recipe)
        self.task_name = infer_task(recipe, self.start, self.links)
        check_head(self.links, self.start, self.task_name, alone=False)
        self.task = catalog.task(self.task_name)
        self.threads = recipe.threads or environment.cpu_count()
        self.device = environment.resolve_device(recipe.device)
        self._fingerprint: str | None = None
        self._data: TrainingData | None = None

    @property
    def fingerprint(self) -> str | None:
        """Of everything that decides the training side's rows; None without data."""
        if self._fingerprint is None and self.recipe.data is not None:
            self._fingerprint = data.fingerprint(self.recipe.data, self.recipe.seed, "training")
        return self._fingerprint

    @property
    def rows(self) -> TrainingData | None:
        """What stages may read; None without data."""
        if self._data is None and self.recipe.data is not None:
            self._data = data.load(self.recipe.data, self.task, self.recipe.seed).training
        return self._data

    def key(self, link: Link, source: Artifact | None, ancestors: tuple[Artifact, ...]) -> str:
        """The key of a link on a source: SHA-256 of everything that could change the bytes."""
        module = link.module
        return artifacts.digest_text(
            artifacts.canonical_json(
                {
                    "schema": artifacts.SCHEMA,
                    "source": source.id if source else None,
                    "ancestors": [ancestor.id for ancestor in ancestors] if module.ANCESTORS else None,
                    "stage": link.name,
                    "version": module.VERSION,
                    "config": link.config.model_dump(mode="json"),
                    "task": self.task_name,
                    "data": self.fingerprint if module.DATA else None,
                    "reads": [_digest_tree(path) for path in module.reads(link.config)],
                    "seed": self.recipe.seed,
                    "device": self.device,
                    "threads": self.threads,
                    "tools": {
                        **environment.versions(module.TOOLS),
                        **module.tools(link.config),
                        **module.BROUGHT_BY,
                        **self.task.BROUGHT_BY,
                    },
                    **self._machine(link),
                }
            )
        )

    @staticmethod
    def _machine(link: Link) -> dict[str, Any]:
        """What of this machine a result is cut to: instruction sets (INT8 without VNNI), or a GPU."""
        facts: dict[str, Any] = {}
        if "onnxruntime" in link.module.TOOLS:
            facts["cpu"] = sorted(environment.cpu_flags())
        try:
            bound = link.module.machine(link.config)
        except UserError:
            # It cannot run here: ``check`` and the stage itself say so, and nothing is sealed under the
            # key. What another machine shall run can be planned all the same.
            facts["machine"] = None
        else:
            if bound is not None:
                facts["machine"] = bound
        return facts

    def begin(self) -> Made:
        """What the run starts from, by label; empty where a stage makes the first artifact."""
        return {} if self.start is None else {self.start.label: (self.start.artifact, ())}


def _keep_limit(start: Artifact, recipe: Recipe) -> None:
    """Refuse another token limit for an artifact: it was chosen when its model was loaded.

    Raises:
        RecipeError: data.max_length asks for one.
    """
    request = recipe.data.max_length if recipe.data is not None else None
    old = limit.read_derived(start.path)
    if request in (None, old.tokens, (start.manifest.origin.data or {}).get("max_length")):
        return
    raise RecipeError(
        f"data.max_length is {request}, and {start.path} has its limit already ({old.tokens} "
        f"{catalog.task(start.task).UNIT}, {old}): "
        "leave it out, start from the model's folder, or lower it with max_length of export-onnx "
        "(paredown export --max-length)"
    )


def _digest_tree(path: Path) -> str:
    """SHA-256 over a file, or over every file of a folder with its name."""
    if path.is_file():
        return artifacts.digest_file(path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist: check the path in the options")
    names = {
        file.relative_to(path).as_posix(): artifacts.digest_file(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and ".git" not in file.parts
    }
    return artifacts.digest_text(artifacts.canonical_json(names))
