"""What is measured, in which order and how long: pure data, from which the cells follow.

A cell is what is lost when a run is stopped: one model in one backend over a few shapes. The order is by
importance, so that a run that is cut short has the figures that the hypotheses need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Group = str  # "facts", "torch", "ort" or "tensorrt"


@dataclass(frozen=True)
class Sizes:
    """A BERT encoder's dimensions; the weights are random, since only times are taken of it."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int = 30522
    positions: int = 512


@dataclass(frozen=True)
class Shape:
    """One batch: rows and tokens a row."""

    batch: int
    length: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.length}"


@dataclass(frozen=True)
class Sampling:
    """How long one figure is sampled.

    Attributes:
        warm_seconds: warm-up, at least.
        warm_runs: warm-up, at least.
        seconds: sampling goes on until both this and ``runs`` are reached.
        runs: see above.
        most_seconds: sampling ends here whatever was reached; ``n`` then says how far it came.
        rate_seconds: a window of the rate, about.
    """

    warm_seconds: float = 0.2
    warm_runs: int = 20
    seconds: float = 1.0
    runs: int = 100
    most_seconds: float = 4.0
    rate_seconds: float = 0.1


@dataclass(frozen=True)
class Cell:
    """One piece of work.

    Attributes:
        id: unique, such as ``headline/bert-base/sdpa-fp16``.
        kind: the function of ``studies.gpu.worker`` that does it.
        group: what it needs.
        params: of that function, JSON values.
        seconds: estimate on a data-center GPU, before anything was measured.
    """

    id: str
    kind: str
    group: Group
    params: dict[str, Any] = field(default_factory=dict)
    seconds: float = 5.0


@dataclass(frozen=True)
class Lane:
    """A backend in a precision.

    Attributes:
        backend: a module of ``studies.gpu.backends``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        group: what it needs.
        opening: seconds that opening one model takes (imports; building engines).
        each: more of them for each shape.
    """

    backend: str
    precision: str
    group: Group
    opening: float = 12.0
    each: float = 0.5

    @property
    def name(self) -> str:
        """Such as ``sdpa-fp16``."""
        return f"{self.backend}-{self.precision}"


SDPA16 = Lane("sdpa", "fp16", "torch")
EAGER32 = Lane("eager", "fp32", "torch")
EAGER16 = Lane("eager", "fp16", "torch")
COMPILED16 = Lane("compiled", "fp16", "torch", opening=25.0, each=25.0)
ORT32 = Lane("ort", "fp32", "ort", each=3.0)
ORT16 = Lane("ort", "fp16", "ort", each=3.0)
TRT16 = Lane("trt", "fp16", "tensorrt", opening=20.0, each=12.0)
TRT8 = Lane("trt", "int8", "tensorrt", opening=20.0, each=15.0)
_BASIC = (SDPA16, EAGER32, ORT16, TRT16, TRT8, EAGER16, ORT32)


@dataclass(frozen=True)
class Plan:
    """A whole run.

    Attributes:
        name: enters the state file; a state of another plan is refused.
        models: whose shapes are measured.
        shallow: of them, the one that stands for fewer layers in the hypotheses; deep and shallow.
        headline: shapes that the hypotheses are about, sampled long.
        grid: all shapes.
        long: sampling of the headline.
        short: sampling of everything else.
        lanes: backends, the most important first.
        compiled: backends that take long to open, after everything else.
        parts: shares of heads and FFN neurons in the width steps.
        steps: granularities of FFN widths around the half.
        pace: estimates are multiplied by it.
    """

    name: str
    models: dict[str, Sizes]
    shallow: str
    headline: tuple[Shape, ...]
    grid: tuple[Shape, ...]
    long: Sampling
    short: Sampling
    lanes: tuple[Lane, ...] = _BASIC
    compiled: tuple[Lane, ...] = (COMPILED16,)
    parts: tuple[tuple[int, int], ...] = ((1, 1), (3, 4), (1, 2), (1, 4))
    steps: tuple[int, ...] = (64, 96, 128)
    pace: float = 1.0

    def cells(self) -> list[Cell]:
        """Every cell, the most important first."""
        return [replace(cell, seconds=cell.seconds * self.pace) for cell in self._cells()]

    def describe(self) -> dict[str, Any]:
        """The plan as JSON, for the record."""
        return asdict(self)

    def _cells(self) -> Iterator[Cell]:
        whole = [name for name in self.models if name != self.shallow]
        yield Cell("facts", "facts", "facts", seconds=8)
        yield Cell("context", "context", "facts", seconds=5)
        for lane in self.lanes:
            for model in whole:
                yield self._shapes("headline", model, lane, self.headline, self.long)
        for lane in self.lanes:
            if lane.precision != "fp32" and lane.backend != "eager":
                yield self._shapes("headline", self.shallow, lane, self.headline, self.long)
        for backend, precision, group in (
            ("ort", "fp16", "ort"),
            ("trt", "fp16", "tensorrt"),
            ("trt", "int8", "tensorrt"),
            ("ort", "int8", "ort"),
        ):
            yield Cell(
                f"sst2/{backend}-{precision}",
                "accuracy",
                group,
                {"backend": backend, "precision": precision, "shapes": _pairs(self.headline)},
                60 if group == "tensorrt" else 25,
            )
        for model in whole:
            # Every lane of the hypotheses, so that a missed one can be explained, and their reference.
            for lane in (SDPA16, EAGER32, ORT16, TRT16):
                yield Cell(
                    f"kernels/{model}/{lane.name}",
                    "kernels",
                    lane.group,
                    {
                        "model": model,
                        "backend": lane.backend,
                        "precision": lane.precision,
                        "shapes": _pairs(self.headline),
                    },
                    60 if lane.group == "tensorrt" else 25,
                )
        for model in whole:
            for kind in ("depth", "widths"):
                yield Cell(
                    f"{kind}/{model}", kind, "torch", {"model": model, "shapes": _pairs(self.headline)}, 45
                )
        for lane in self.compiled:
            for model in whole:
                yield self._shapes("headline", model, lane, self.headline, self.long)
        rest = tuple(shape for shape in self.grid if shape not in self.headline)
        for lane in (*self.lanes, *self.compiled):
            for model in whole:
                yield self._shapes("grid", model, lane, rest, self.short)

    def _shapes(
        self, part: str, model: str, lane: Lane, shapes: tuple[Shape, ...], sampling: Sampling
    ) -> Cell:
        measured = 2 * (sampling.warm_seconds + 2 * sampling.seconds + 0.6)
        return Cell(
            f"{part}/{model}/{lane.name}",
            "shapes",
            lane.group,
            {
                "model": model,
                "backend": lane.backend,
                "precision": lane.precision,
                "shapes": _pairs(shapes),
                "long": part == "headline",
            },
            lane.opening + len(shapes) * (lane.each + measured),
        )


def _pairs(shapes: tuple[Shape, ...]) -> list[list[int]]:
    return [[shape.batch, shape.length] for shape in shapes]


def heads_of(sizes: Sizes, part: tuple[int, int]) -> int:
    """How many heads a share of them is."""
    return sizes.heads * part[0] // part[1]


def ffn_of(sizes: Sizes, part: tuple[int, int]) -> int:
    """How many FFN neurons a share of them is."""
    return sizes.ffn * part[0] // part[1]


def around_half(sizes: Sizes, steps: tuple[int, ...]) -> list[int]:
    """FFN widths about the half, at each granularity: the multiple at or under it, and its neighbors.

    Example:
        >>> around_half(Sizes(6, 384, 12, 1536), (64, 96))
        [672, 704, 768, 832, 864]
    """
    half = sizes.ffn // 2
    widths = set()
    for step in steps:
        base = half // step * step
        widths |= {width for width in (base - step, base, base + step) if 0 < width <= sizes.ffn}
    return sorted(widths)


FULL = Plan(
    name="full",
    models={
        "minilm-l6": Sizes(6, 384, 12, 1536),
        "bert-base": Sizes(12, 768, 12, 3072),
        "minilm-l3": Sizes(3, 384, 12, 1536),
    },
    shallow="minilm-l3",
    headline=(Shape(1, 128), Shape(32, 128)),
    grid=tuple(Shape(batch, length) for batch in (1, 8, 32) for length in (32, 128, 384)),
    long=Sampling(seconds=3.0, runs=300, most_seconds=6.0),
    short=Sampling(),
)

TINY = Plan(
    name="tiny",
    models={"deep": Sizes(2, 32, 4, 64, 64, 64), "shallow": Sizes(1, 32, 4, 64, 64, 64)},
    shallow="shallow",
    headline=(Shape(1, 8), Shape(2, 8)),
    grid=(Shape(1, 8), Shape(2, 8), Shape(2, 16)),
    long=Sampling(0.0, 3, 0.02, 10, 0.5, 0.002),
    short=Sampling(0.0, 2, 0.0, 5, 0.2, 0.002),
    steps=(8, 16),
    pace=0.1,
)

PLANS = {"full": FULL, "tiny": TINY}
