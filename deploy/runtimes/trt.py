"""TensorRT engines, run natively: fixed buffers, pinned transfers, one CUDA graph for each profile and shape.

Every set of input shapes gets an execution context of its own, with its profile, shapes and addresses set
once: a captured graph stays valid only as long as its context keeps them. The contexts of one stream share
one block of scratch memory, since they never run at the same time. What an engine takes (names, types,
profiles) is read from the engine; its passport and checksum are compared before it is deserialized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from compress import catalog, environment
from compress.errors import UserError
from compress.model import checkpoint
from deploy.device import Device, Stream, Tensors
from deploy.node_time import NodeTime
from deploy.runtimes import DeviceMemory, TensorSpec
from deploy.runtimes._queue import Queue, Shapes, Work
from deploy.runtimes._queued import Queued
from deploy.tensorrt import binding, gpu, layer_times, profiles
from deploy.tensorrt import engine as reading
from deploy.tensorrt import passport as passports


class Runner(Queued):
    """An engine in TensorRT.

    Arrays are int64 and float32 at the border, whatever the engine's own types are: TensorRT 8 turns the
    token ids of a graph into INT32, and an engine may take or give FP16.

    Options:
        graph: replay a CUDA graph for each set of shapes (default), or enqueue every kernel anew.
        contexts: streams, with contexts and scratch memory of their own, that ``submit`` takes in turns.
        weights_budget: most memory for the weights of an engine that was built with weight streaming, such
            as ``512MiB``; the others stay in host memory. Without it all are on the device.
    """

    ACCEPTS = frozenset({"tensorrt"})

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why TensorRT cannot run on that device here."""
        if device == "cpu":
            return "TensorRT engines run on NVIDIA GPUs: use --device cuda, or the ONNX artifact on the CPU"
        try:
            environment.resolve_device(device)
        except UserError as reason:
            return str(reason)
        return None

    def configure(
        self,
        *,
        graph: bool = True,
        contexts: int = 1,
        weights_budget: str | int | None = None,
        **options: object,
    ) -> None:
        """Take graph, contexts and the budget of the weights.

        Raises:
            UserError: not a number of contexts, or not a size.
        """
        super().configure(**options)
        if not isinstance(contexts, int) or contexts < 1:
            raise UserError(f"runtime 'trt': contexts={contexts}; give a number of 1 or more")
        self._graph, self._contexts = bool(graph), contexts
        try:
            self._budget = None if weights_budget is None else reading.bytes_of(weights_budget)
        except ValueError as cause:
            raise UserError(f"runtime 'trt': weights_budget={weights_budget}: {cause}") from cause

    def open(self) -> None:
        """Check the passport, deserialize, and read what the engine takes.

        Raises:
            UserError: it was built for another GPU or TensorRT, or without weight streaming where a budget
                is given; or there is too little memory.
            ArtifactError: it was changed.
        """
        self._passport = passports.read(self.artifact)
        self._device = Device(self.device)
        reason = passports.check(self._passport, binding.here(self._passport.flavor, self._device.name))
        if reason:
            raise UserError(f"{self.artifact.path}: {reason}")
        if self._budget is not None and not self._passport.options.weight_streaming:
            raise UserError(
                f"{self.artifact.path}: weights_budget was given and the engine was built without weight "
                f"streaming: leave it out, or build the engine again: {self._passport.command()} "
                "--set weight_streaming=true"
            )
        self._library = binding.load(self._passport.flavor)
        content = passports.engine(self.artifact, self._passport)
        gpu.claim(self._device.name)
        try:
            with self._device.current():
                self._deserialize(content)
        except BaseException:
            self.close()
            raise

    def _deserialize(self, content: bytes) -> None:
        free, total = self._device.memory()
        options = self._passport.options
        if not options.weight_streaming:
            # Before TensorRT tries, and says of a full GPU only that it cannot open the engine.
            reason = reading.memory_refusal(len(content), [0], [], contexts=1, free=free, total=total)
            if reason:
                raise UserError(f"{self.artifact.path}: {reason}")
        self._runtime, engine = self._library.deserialize(content, host_code=options.version_compatible)
        if engine is None:
            remark = self._library.said[-1] if self._library.said else "it gave no reason"
            raise UserError(
                f"{self.artifact.path}: {self._library.can.name} cannot open the engine ({remark}); build it "
                f"again: {self._passport.command()}"
            )
        self._engine = engine
        streams = options.weight_streaming
        self._streaming = reading.stream(engine, self._budget) if streams else reading.Streaming()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
        self._types = {name: reading.dtype(engine, name) for name in names}
        self._profiles = tuple(
            reading.profile(engine, inputs, index) for index in range(engine.num_optimization_profiles)
        )
        self._inputs = tuple(self._input(name) for name in inputs)
        self._outputs = tuple(self._output(name) for name in names if name not in inputs)
        self._scratch_bytes = reading.scratch(engine)
        reason = reading.memory_refusal(
            self._passport.engine_bytes - self._streaming.streamed,
            [reading.scratch(engine, index) for index in range(len(self._profiles))],
            [str(profile) for profile in self._passport.profiles],
            contexts=self._contexts,
            free=free,
            total=total,
            resident=self._streaming.resident,
        )
        if reason:
            raise UserError(f"{self.artifact.path}: {reason}")
        self._scratch: dict[int, torch.Tensor] = {}
        self._queue = Queue(self._device, self._work, streams=self._contexts)

    def close(self) -> None:
        """Let go of graphs and contexts, then of the engine, then of the device."""
        self.close_queue()
        self._scratch = {}
        self._engine = self._runtime = None
        self._device.release()
        gpu.release(self._device.name)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The engine's inputs, with the largest sizes of its profiles."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The engine's outputs."""
        return self._outputs

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run in the profile that pads least; outputs in the feed's own sizes."""
        fitted = self.fitted(feed)
        outputs = self.queue.run(fitted)
        return outputs if fitted is feed else self._cut(outputs, feed)

    def fitted(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The feed, padded with zeros up to its profile's smallest sizes where it is below them.

        Raises:
            UserError: it is outside every profile.
        """
        shapes = {name: array.shape for name, array in feed.items()}
        selection = profiles.select(self._profiles, shapes, self._passport.command())
        if selection.shapes == shapes:
            return feed
        padded = {}
        for name, array in feed.items():
            padded[name] = np.zeros(selection.shapes[name], array.dtype)
            padded[name][tuple(slice(size) for size in array.shape)] = array
        return padded

    def _cut(self, outputs: dict[str, np.ndarray], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs without what belongs to padding."""
        task = catalog.task(self.artifact.task)
        config = checkpoint.read_config(self.artifact.path)
        spec = task.export_spec(config, task.load_processor(self.artifact.path), task.head_of(config))
        sizes = {
            symbol: feed[name].shape[axis]
            for name, axes in spec.inputs.items()
            for axis, symbol in axes.items()
        }
        return {
            name: array[
                tuple(
                    slice(sizes[spec.outputs[name][axis]]) if axis in spec.outputs[name] else slice(None)
                    for axis in range(array.ndim)
                )
            ]
            for name, array in outputs.items()
        }

    def _work(self, shapes: Shapes, number: int, stream: Stream, profiler: Any = None) -> Work:
        """A context with its profile, shapes and addresses, and, where wanted, the graph of one run.

        With a profiler, which times between the layers, there is no graph.
        """
        handle = stream.cuda_stream
        context = self._context(number)
        if profiler is not None:
            context.profiler = profiler
        index = profiles.select(self._profiles, shapes).index
        self._must(context.set_optimization_profile_async(index, handle), f"profile {index}")
        stream.synchronize()
        inputs: Tensors = {}
        for name, shape in shapes.items():
            self._must(context.set_input_shape(name, shape), f"shape {shape} of input '{name}'")
            inputs[name] = self._device.empty(shape, self._types[name]).zero_()
        unknown = list(context.infer_shapes())
        outputs = {
            output.name: self._device.empty(
                self._known(output.name, context.get_tensor_shape(output.name), unknown),
                self._types[output.name],
            )
            for output in self._outputs
        }
        for name, buffer in (*inputs.items(), *outputs.items()):
            self._must(context.set_tensor_address(name, buffer.data_ptr()), f"the address of '{name}'")
        stream.synchronize()

        def launch() -> Tensors:
            self._must(context.execute_async_v3(handle), "execution")
            return outputs

        replay = self._device.capture(stream, launch) if self._graph and profiler is None else None
        return Work(inputs=inputs, launch=launch, replay=replay, held=context)

    def _context(self, number: int) -> Any:
        """A context on the scratch memory of one stream."""
        engine, trt = self._engine, self._library.trt
        if hasattr(trt, "ExecutionContextAllocationStrategy"):
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            context = engine.create_execution_context_without_device_memory()
        self._must(context is not None, "an execution context")
        if number not in self._scratch:
            self._scratch[number] = self._device.empty((max(1, self._scratch_bytes),), torch.uint8)
        address = self._scratch[number].data_ptr()
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(address, self._scratch_bytes)
        else:
            context.device_memory = address
        return context

    def _must(self, succeeded: bool, request: str) -> None:
        if not succeeded:
            message = f": {self._library.said[-1]}" if self._library.said else ""
            raise RuntimeError(f"TensorRT refused {request} for the engine {self.artifact.path}{message}")

    @staticmethod
    def _known(name: str, shape: Sequence[int], unknown: Sequence[str]) -> tuple[int, ...]:
        sizes = tuple(shape)
        if unknown or any(size < 0 for size in sizes):
            raise UserError(
                f"output '{name}' has a size that depends on the data ({sizes}): an engine with such outputs "
                "cannot run in fixed buffers"
            )
        return sizes

    def _input(self, name: str) -> TensorSpec:
        engine = self._engine
        sizes = tuple(engine.get_tensor_shape(name))
        limits = {
            axis: max(profile.inputs[name].max[axis] for profile in self._profiles)
            for axis, size in enumerate(sizes)
            if size < 0
        }
        shape = tuple(None if size < 0 else size for size in sizes)
        return TensorSpec(name, reading.border(self._types[name]), shape, tuple(limits.items()))

    def _output(self, name: str) -> TensorSpec:
        engine = self._engine
        shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
        return TensorSpec(name, reading.border(self._types[name]), shape)

    def device_memory(self) -> DeviceMemory:
        """Weights on the device, as the engine (else its file's size) states them, and all scratch memory."""
        weights = self._passport.engine_bytes
        engine, trt = self._engine, self._library.trt
        if hasattr(trt, "EngineStat"):
            weights = int(engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        weights -= self._streaming.streamed
        return DeviceMemory(weights=weights, activations=self._scratch_bytes * self._contexts)

    def nodes(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[NodeTime] | None:
        """Layers with their times, from contexts of their own with TensorRT's profiler.

        Returns:
            None where the passport does not hold the engine's layers: names and times alone do not say
            what a layer computes in.
        """
        if self._passport.layers is None:
            return None
        fitted = [self.fitted(self.checked(feed)) for feed in feeds]
        times = self._library.layer_times()
        self.sync()  # the profiled contexts take the same scratch memory
        queue = Queue(self._device, partial(self._work, profiler=times))
        try:
            for feed in fitted:
                queue.prepare(feed)
            queue.synchronize()
            times.milliseconds.clear()  # first runs load kernels
            for feed in fitted:
                queue.run(feed)
        finally:
            queue.close()
        return layer_times.nodes(times.milliseconds, self._passport)

    def provenance(self) -> dict[str, str]:
        """Precision, graph, contexts, versions, and resident weights, as they really are."""
        streaming = self._streaming
        budget = {"weights_budget": str(streaming.resident)} if streaming.streamable else {}
        return {
            **budget,
            "provider": self._passport.flavor,
            "precision": self._passport.precision,
            "graph": "on" if self._graph else "off",
            "contexts": str(self._contexts),
            "threads": str(self.threads or environment.cpu_count()),
            "tensorrt": self._library.can.version,
        }
