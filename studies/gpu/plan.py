"""What is run, in which order and how long: pure data, from which the commands follow.

A cell is one command of ``paredown``: a model in a runtime at a precision, over some shapes, beside the same
model in PyTorch. It is also what is lost when a run is stopped. The order is by importance, so that a run
that is cut short has the figures that the hypotheses need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Group = Literal["facts", "torch", "ort", "tensorrt"]
Device = Literal["cuda", "cpu"]
GROUPS: tuple[Group, ...] = ("facts", "torch", "ort", "tensorrt")
TRAINED = "trained"
"""The name of the fine-tuned model that ``--model`` gives."""
TASK = "text-classification"


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
class Lane:
    """A runtime at a precision, as a candidate of ``paredown bench`` names it.

    Attributes:
        name: such as ``sdpa-fp16``.
        artifact: of each model that it opens, see ``studies.gpu.prepare``; engines are built on the machine.
        runtime: name in the catalog.
        options: of the runtime.
        graph: the option that records a CUDA graph, which no CPU has; empty where there is none.
        group: what it needs.
        opening: seconds that opening it takes.
    """

    name: str
    artifact: str
    runtime: str
    options: tuple[str, ...] = ()
    graph: str = ""
    group: Group = "torch"
    opening: float = 12.0

    def on(self, device: Device) -> Lane:
        """The lane as a device has it: PyTorch has no fast FP16 on a CPU, and runs in BF16 there."""
        if device == "cuda" or self.runtime != "pytorch":
            return self
        options = tuple(option.replace("fp16", "bf16") for option in self.options)
        return replace(self, name=self.name.replace("fp16", "bf16"), options=options)

    def place(self, model: str) -> str:
        """Where its artifact of a model lies."""
        return (
            f"{{engines}}/{model}-{self.artifact}"
            if self.group == "tensorrt"
            else _made(model, self.artifact)
        )

    def asked(self, device: Device) -> str:
        """Runtime and options, as ``--runtime NAME=...`` takes them."""
        options = (*self.options, *([self.graph] if self.graph and device == "cuda" else []))
        return f"{self.runtime}:{','.join(options)}" if options else self.runtime

    def ways(self, device: Device) -> tuple[str, ...]:
        """The values of the condition ``graph`` that ``device_time`` has of it."""
        if device == "cpu":
            return ()
        return ("no", "yes") if self.graph else ("no",)


def _made(model: str, artifact: str) -> str:
    return f"{{artifacts}}/{model}/{artifact}"


EAGER32 = Lane("eager-fp32", "model", "pytorch", ("attention=eager",))
EAGER16 = Lane("eager-fp16", "model", "pytorch", ("attention=eager", "precision=fp16"))
SDPA16 = Lane("sdpa-fp16", "model", "pytorch", ("attention=sdpa", "precision=fp16"), "mode=graph")
COMPILED16 = Lane("compiled-fp16", "model", "pytorch", ("mode=compiled", "precision=fp16"), opening=60.0)
ORT32 = Lane("ort-fp32", "onnx", "ort", graph="graph=true", group="ort")
ORT16 = Lane("ort-fp16", "onnx-fp16", "ort", graph="graph=true", group="ort")
ORT8 = Lane("ort-int8", "onnx-int8", "ort", group="ort")
TRT16 = Lane("trt-fp16", "onnx-fp16", "trt", graph="graph=true", group="tensorrt")
TRT8 = Lane("trt-int8", "onnx-int8", "trt", graph="graph=true", group="tensorrt")


@dataclass(frozen=True)
class Expected:
    """A figure without which a report does not prove what its cell is for.

    Attributes:
        candidate: its name.
        metric: such as ``gpu_p50_ms``.
        conditions: that it was measured under, as far as they matter.
    """

    candidate: str
    metric: str
    conditions: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        at = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        return f"{self.metric} of {self.candidate}{f' at {at}' if at else ''}"


@dataclass(frozen=True)
class Cell:
    """One command.

    Attributes:
        id: unique, such as ``headline/bert-base/sdpa-fp16``.
        group: what it needs.
        words: of ``paredown``, with ``{artifacts}``, ``{engines}`` and ``{answer}`` in them.
        needs: places that must be there.
        expects: figures that its report must hold.
        refusal: words of the sentence with which the command must refuse; it must succeed when None.
        seconds: estimate on a data-center GPU, before anything was measured.
    """

    id: str
    group: Group
    words: tuple[str, ...]
    needs: tuple[str, ...] = ()
    expects: tuple[Expected, ...] = ()
    refusal: str | None = None
    seconds: float = 5.0

    @property
    def kind(self) -> str:
        """The part of the plan that it is of: estimates learn within one."""
        return self.id.partition("/")[0]

    def command(self, places: Mapping[str, str]) -> list[str]:
        """The words with the places in them."""
        return [word.format(**places) for word in self.words]


@dataclass(frozen=True)
class Plan:
    """A whole run.

    Attributes:
        name: enters the state file; a state of another plan is refused.
        models: whose shapes are measured, with random weights.
        deep: of them, the one that has twice as many layers as ``shallow``.
        shallow: see above; only measured beside the other.
        headline: batch sizes and length that the hypotheses are about.
        grid: batch sizes and lengths of the whole grid.
        lanes: of every model, the most important first.
        compiled: lanes that take long to open, after everything else.
        keeps: shares of heads and FFN neurons, in percent, in the width steps.
        pace: estimates are multiplied by it.
    """

    name: str
    models: Mapping[str, Sizes]
    deep: str
    shallow: str
    headline: tuple[tuple[int, ...], int]
    grid: tuple[tuple[int, ...], tuple[int, ...]]
    lanes: tuple[Lane, ...] = (SDPA16, EAGER32, ORT16, TRT16, TRT8, EAGER16, ORT32)
    compiled: tuple[Lane, ...] = (COMPILED16,)
    keeps: tuple[int, ...] = (75, 50, 25)
    pace: float = 1.0

    @property
    def whole(self) -> list[str]:
        """The models that are measured in every lane."""
        return [name for name in self.models if name != self.shallow]

    def cells(self, device: Device) -> list[Cell]:
        """Every cell, the most important first."""
        return [replace(cell, seconds=cell.seconds * self.pace) for cell in self._cells(device)]

    def describe(self) -> dict[str, Any]:
        """The plan as JSON, for the record."""
        return asdict(self)

    def _cells(self, device: Device) -> Iterator[Cell]:
        yield Cell("facts", "facts", ("doctor", "--json"), seconds=15)
        yield from self._refusals(device)
        sizes, length = self.headline
        lanes, compiled = ([lane.on(device) for lane in some] for some in (self.lanes, self.compiled))
        for lane in lanes:
            for model in self.whole:
                yield from self._engine(model, lane)
                yield self._beside("headline", model, lane, sizes, (length,), device)
        for lane in (SDPA16.on(device), ORT16, TRT16, TRT8):
            yield from self._engine(self.shallow, lane)
            yield self._layers(lane, device)
        for lane in (ORT16, TRT16, TRT8, SDPA16.on(device)):
            yield from self._engine(TRAINED, lane)
            yield self._everything(lane, device)
        yield self._everything(ORT8, "cpu")  # whose CUDA provider has no INT8 kernels
        for model in self.whole:
            yield self._steps("depth", model, [f"{model}-{part}" for part in DEPTHS], device)
            yield self._steps("widths", model, [f"{model}-keep{keep}" for keep in self.keeps], device)
        for lane in compiled:
            for model in self.whole:
                yield self._beside("headline", model, lane, sizes, (length,), device)
        for lane in (*lanes, *compiled):
            for model in self.whole:
                yield self._beside("grid", model, lane, *self.grid, device)

    def _engine(self, model: str, lane: Lane) -> Iterator[Cell]:
        """The cell that builds what a lane of TensorRT opens."""
        if lane.group != "tensorrt":
            return
        source = _made(model, lane.artifact)
        chosen = ["--data", f"{{artifacts}}/{TRAINED}/data"]
        if model != TRAINED:
            chosen = [word for profile in self._profiles(model) for word in ("--profile", profile)]
        words = ("build", source, *chosen, "--out", lane.place(model), "--json")
        yield Cell(f"build/{model}/{lane.name}", "tensorrt", words, needs=(source,), seconds=90)

    def _profiles(self, model: str) -> list[str]:
        """One for each headline shape, one a length of the grid, and one for all that the model can take.

        A fine-tuned model gets none: the product makes them from the lengths of its rows.
        """
        sizes, length = self.headline
        batches, lengths = self.grid
        batch = f"batch={min(batches)}:{max(batches)}:{max(batches)}"
        return [
            *(f"batch={size}:{size}:{size},length={length}:{length}:{length}" for size in sizes),
            *(f"{batch},length={each}:{each}:{each}" for each in lengths),
            f"{batch},length=1:{length}:{self.models[model].positions}",
        ]

    def _beside(
        self,
        part: str,
        model: str,
        lane: Lane,
        sizes: tuple[int, ...],
        lengths: tuple[int, ...],
        device: Device,
    ) -> Cell:
        """A lane beside the same model in eager FP32."""
        pairs = [(EAGER32, model)] if lane == EAGER32 else [(EAGER32, model), (lane, model)]
        named = {each.name: (each, name) for each, name in pairs}
        probes = HEADLINE if part == "headline" else GRID
        return self._bench(
            f"{part}/{model}/{lane.name}", lane.group, named, model, probes, sizes, lengths, device
        )

    def _layers(self, lane: Lane, device: Device) -> Cell:
        """Half the layers beside all of them, in one lane."""
        named = {name: (lane, name) for name in (self.deep, self.shallow)}
        sizes, length = self.headline
        cell = f"layers/{lane.name}"
        return self._bench(cell, lane.group, named, self.deep, GRID, sizes, (length,), device)

    def _steps(self, part: str, model: str, variants: list[str], device: Device) -> Cell:
        """The rows of a latency table: variants of a model beside the whole of it."""
        named = {name: (SDPA16.on(device), name) for name in (model, *variants)}
        sizes, length = self.headline
        return self._bench(f"{part}/{model}", "torch", named, model, GRID, sizes, (length,), device)

    def _everything(self, lane: Lane, device: Device) -> Cell:
        """The fine-tuned model in a lane, with every probe that runs when none are named."""
        named = {EAGER32.name: (EAGER32, TRAINED), lane.name: (lane, TRAINED)}
        sizes = self.headline[0]
        return self._bench(f"{TRAINED}/{lane.name}", lane.group, named, TRAINED, (), sizes, ("data",), device)

    def _bench(
        self,
        name: str,
        group: Group,
        named: Mapping[str, tuple[Lane, str]],
        model: str,
        probes: tuple[str, ...],
        sizes: tuple[int, ...],
        lengths: tuple[int | str, ...],
        device: Device,
    ) -> Cell:
        """One ``paredown bench``; the estimate is what the probes take of each candidate at each point."""
        places = {candidate: lane.place(each) for candidate, (lane, each) in named.items()}
        words = ["bench", *(f"{candidate}={place}" for candidate, place in places.items())]
        words += ["--data", f"{{artifacts}}/{TRAINED if model == TRAINED else 'rows'}/data", "--task", TASK]
        words += ["--device", device, "--batch-sizes", _listed(sizes), "--lengths", _listed(lengths)]
        words += ["--probes", ",".join(probes)] if probes else []
        for candidate, (lane, _) in named.items():
            words += ["--runtime", f"{candidate}={lane.asked(device)}"]
        points = [{"batch_size": size, "length": length} for size in sizes for length in lengths]
        seconds = sum(lane.opening for lane, _ in named.values())
        seconds += 12.0 * len(points) * sum(max(1, len(lane.ways(device))) for lane, _ in named.values())
        return Cell(
            name,
            group,
            (*words, "--json", "{answer}"),
            needs=tuple(dict.fromkeys(places.values())),
            expects=tuple(_expected(named, points, probes, device)),
            seconds=seconds,
        )

    def _refusals(self, device: Device) -> Iterator[Cell]:
        """What cannot run somewhere is refused with the reason, and nothing is measured."""
        if device == "cuda":
            artifact, runtime, sentence = "onnx-int8", "ort", "CUDA provider has no INT8 kernels"
        else:
            artifact, runtime, sentence = "onnx-fp16", "ort:graph=true", "a CPU has none"
        place = _made(self.deep, artifact)
        words = ("bench", f"graph={place}", "--data", "{artifacts}/rows/data", "--device", device,
                 "--runtime", f"graph={runtime}", "--probes", "latency", "--json", "{answer}")  # fmt: skip
        yield Cell(f"refusal/{artifact}", "ort", words, (place,), refusal=sentence, seconds=15)


DEPTHS = ("depth1", "depth2")
"""The variants of a model with one layer, and with half of them."""
HEADLINE = ("latency", "device-time", "throughput", "device-memory", "device-energy", "execution")
GRID = ("latency", "device-time")


def _expected(
    named: Mapping[str, tuple[Lane, str]],
    points: list[dict[str, int | str]],
    probes: tuple[str, ...],
    device: Device,
) -> Iterator[Expected]:
    for candidate, (lane, _) in named.items():
        for point in points:
            yield Expected(candidate, "latency_p50_ms", point)
            for way in lane.ways(device):
                for part in ("gpu", "enqueue", "e2e"):
                    yield Expected(candidate, f"{part}_p50_ms", {**point, "graph": way})
            if probes != GRID:
                yield Expected(candidate, "throughput_rows_per_s", point)
        if probes != GRID and device == "cuda":
            yield Expected(candidate, "device_memory_weights_bytes")
        if probes != GRID and lane.runtime == "ort":
            yield Expected(candidate, "placed_share")
        if not probes:
            yield Expected(candidate, "accuracy")
            if candidate != EAGER32.name:
                yield Expected(candidate, "agreement")


def _listed(values: tuple[int | str, ...]) -> str:
    return ",".join(map(str, values))


def depths(sizes: Sizes) -> dict[str, Sizes]:
    """One layer, and a half of them."""
    return dict(zip(DEPTHS, (replace(sizes, layers=n) for n in (1, max(1, sizes.layers // 2))), strict=True))


FULL = Plan(
    name="full",
    models={
        "minilm-l6": Sizes(6, 384, 12, 1536),
        "bert-base": Sizes(12, 768, 12, 3072),
        "minilm-l3": Sizes(3, 384, 12, 1536),
    },
    deep="minilm-l6",
    shallow="minilm-l3",
    headline=((1, 32), 128),
    grid=((1, 8, 32), (32, 128, 384)),
)

TINY = Plan(
    name="tiny",
    models={"deep": Sizes(2, 32, 4, 64, 64, 64), "shallow": Sizes(1, 32, 4, 64, 64, 64)},
    deep="deep",
    shallow="shallow",
    headline=((1, 2), 8),
    grid=((1, 2), (8, 16)),
    keeps=(50,),
    pace=0.3,
)

PLANS = {"full": FULL, "tiny": TINY}
