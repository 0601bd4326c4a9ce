"""What a runtime is: an open artifact that turns arrays into arrays.

A runtime is a module in this folder with a ``Runner``. The base class here checks every feed (names,
dtypes, ranks, limits) and the lifetime; a subclass only opens, runs and closes. The runtime that was
asked for is the one that runs: a provider or device that falls back is an error.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from compress.errors import UserError
from deploy.node_time import NodeTime

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact, Kind


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: as the graph or model names it.
        dtype: numpy name, such as ``int64``.
        shape: a fixed size, or None for a free axis.
        limits: axis -> largest size that was exported or that the model can take.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    limits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class DeviceTimes:
    """One run whose inputs lie on the device.

    Attributes:
        gpu_ms: between the device events around it.
        enqueue_ms: that the host took to enqueue it.
    """

    gpu_ms: float
    enqueue_ms: float


@dataclass(frozen=True)
class DeviceMemory:
    """What a model holds of the device's memory, in bytes; None where the library does not tell.

    Attributes:
        weights: of the model.
        activations: scratch and intermediate results.
        reserved: by the library's allocator, where it keeps more than it uses.
    """

    weights: int | None
    activations: int | None
    reserved: int | None = None


class Runner(abc.ABC):
    """An artifact opened in one runtime; use it as a context manager.

    Outputs may be reused by the next ``infer``: copy what must outlive it.
    """

    ACCEPTS: ClassVar[frozenset[Kind]]

    def __init__(
        self, artifact: Artifact, device: str = "cpu", threads: int | None = None, **options: Any
    ) -> None:
        """Remember what to open; nothing is loaded before ``__enter__``.

        Args:
            artifact: of a kind in ``ACCEPTS``.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            threads: CPU threads; all CPUs when None.
            options: the runtime's own, such as ``mode="compiled"``; unknown ones are refused.

        Raises:
            UserError: the kind or an option is not one of this runtime.
        """
        if artifact.kind not in self.ACCEPTS:
            raise UserError(
                f"runtime '{self.name()}' opens {', '.join(sorted(self.ACCEPTS))} artifacts; "
                f"{artifact.path} is {artifact.kind}"
            )
        self.artifact = artifact
        self.device = device
        self.threads = threads
        self.configure(**options)
        self._open = False

    @property
    def concurrent(self) -> bool:
        """Whether several threads may be in ``infer`` at once."""
        return False

    @classmethod
    def name(cls) -> str:
        """The runtime's name: its module's."""
        return cls.__module__.rsplit(".", 1)[-1].replace("_", "-")

    @classmethod
    @abc.abstractmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why it cannot run on that device here, with the command that mends it; None if it can."""

    def configure(self, **options: Any) -> None:
        """Take the runtime's own options; the base has none.

        Raises:
            UserError: an option that this runtime does not have.
        """
        if options:
            raise UserError(f"runtime '{self.name()}' has no option {', '.join(sorted(options))}")

    @abc.abstractmethod
    def open(self) -> None:
        """Load the model; after it ``inputs`` and ``outputs`` are known."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    @abc.abstractmethod
    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a checked feed."""

    @property
    @abc.abstractmethod
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``infer`` takes."""

    @property
    @abc.abstractmethod
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``infer`` gives."""

    @abc.abstractmethod
    def provenance(self) -> dict[str, str]:
        """What really runs: provider, precision, library versions."""

    def prepare(self, feed: Mapping[str, np.ndarray]) -> None:  # noqa: B027 - most have nothing to prepare
        """Make ready for feeds of these shapes (allocate, capture), so that no timed run has to."""

    def submit(self, feed: Mapping[str, np.ndarray]) -> None:
        """Run without waiting for the outputs, where the runtime has a queue; ``sync`` waits for all."""
        self.infer(feed)

    def graph_choices(self) -> tuple[bool, ...]:
        """How device events can time runs: without (False) and with (True) a CUDA graph; or not at all."""
        return ()

    def enqueue_waits(self, *, graph: bool) -> bool:
        """Whether enqueuing waits for the device, so that its time is no cost of the host."""
        return False

    def device_times(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> DeviceTimes:
        """Time one run by device events, where ``graph_choices`` has that way."""
        raise NotImplementedError(f"{type(self).__name__} has no device to time")

    def end_to_end_ms(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> float:
        """Time one run from arrays to arrays on the host, where ``graph_choices`` has that way."""
        raise NotImplementedError(f"{type(self).__name__} has no device to time")

    def device_memory(self) -> DeviceMemory | None:
        """What the model holds on the device; None on a CPU."""
        return None

    def nodes(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[NodeTime] | None:
        """What runs for some feeds, operator by operator, from a pass that is not timed otherwise.

        Args:
            feeds: to run.

        Returns:
            None where this runtime cannot say.
        """
        return None

    def sync(self) -> None:  # noqa: B027 - a runtime without a queue has nothing to wait for
        """Wait until the device is idle."""

    def __enter__(self) -> Self:
        """Open; refuse with the reason where the runtime cannot run here."""
        reason = self.unavailable(self.device)
        if reason:
            raise UserError(reason)
        self.open()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._open = False
        self.close()

    def infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check a feed and run it.

        Raises:
            UserError: a name, dtype or shape that the model does not take, or a size beyond what was
                exported; nothing was run.
        """
        return self.run(self.checked(feed))

    def checked(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A feed whose names, types and shapes are those that the model takes, laid out contiguously.

        Raises:
            UserError: they are not.
        """
        if not self._open:
            raise RuntimeError(f"{type(self).__name__} is not open: use it in a 'with' block")
        specs = {spec.name: spec for spec in self.inputs}
        missing, extra = specs.keys() - feed.keys(), feed.keys() - specs.keys()
        if missing or extra:
            raise UserError(
                f"the model takes {', '.join(specs)}; missing: {', '.join(sorted(missing)) or 'none'}, "
                f"not known: {', '.join(sorted(extra)) or 'none'}"
            )
        for name, spec in specs.items():
            self._check(np.asarray(feed[name]), spec)
        return {name: np.ascontiguousarray(feed[name]) for name in specs}

    @staticmethod
    def _check(array: np.ndarray, spec: TensorSpec) -> None:
        if array.dtype.name != spec.dtype:
            raise UserError(f"input '{spec.name}' is {array.dtype.name}; the model takes {spec.dtype}")
        if array.ndim != len(spec.shape):
            raise UserError(f"input '{spec.name}' has {array.ndim} axes; the model takes {len(spec.shape)}")
        limits = dict(spec.limits)
        for axis, (size, fixed) in enumerate(zip(array.shape, spec.shape, strict=True)):
            if fixed is not None and size != fixed:
                raise UserError(
                    f"input '{spec.name}' has size {size} on axis {axis}; the model takes {fixed}"
                )
            if size < 1 or size > limits.get(axis, size):
                raise UserError(
                    f"input '{spec.name}' has size {size} on axis {axis}; allowed: 1 to {limits.get(axis)}. "
                    "Send less at once, or export with a larger limit."
                )
