"""Every name of TensorRT's Python API that this project uses, with the arguments that it gives.

The contract: what is not in this table is not used (a test scans the code), and what is in it exists
with that signature in the real bindings of every supported version, or is optional and probed first
(``deploy.tensorrt.capabilities``).
"""

from __future__ import annotations

# Owner -> name -> names of the arguments that are given in a call, in order; None: read or set, not called.
USED: dict[str, dict[str, tuple[str, ...] | None]] = {
    "": {"__version__": None},
    "ILogger": {"__init__": (), "Severity": None},
    "ILogger.Severity": {
        "INTERNAL_ERROR": None,
        "ERROR": None,
        "VERBOSE": None,
    },
    "IProgressMonitor": {"__init__": (), "phase_start": None, "step_complete": None, "phase_finish": None},
    "Builder": {
        "__init__": ("logger",),
        "create_network": ("flags",),
        "create_builder_config": (),
        "create_optimization_profile": (),
        "build_serialized_network": ("network", "config"),
    },
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": None, "STRONGLY_TYPED": None},
    "INetworkDefinition": {"num_inputs": None, "get_input": ("index",)},
    "ITensor": {"name": None, "shape": None},
    "OnnxParser": {
        "__init__": ("network", "logger"),
        "parse_from_file": ("model",),
        "num_errors": None,
        "get_error": ("index",),
    },
    "ParserError": {"desc": (), "node": (), "node_name": (), "node_operator": ()},
    "IOptimizationProfile": {"set_shape": ("input", "min", "opt", "max")},
    "IBuilderConfig": {
        "set_flag": ("flag",),
        "clear_flag": ("flag",),
        "set_memory_pool_limit": ("pool", "pool_size"),
        "add_optimization_profile": ("profile",),
        "builder_optimization_level": None,
        "hardware_compatibility_level": None,
        "profiling_verbosity": None,
        "progress_monitor": None,
        "create_timing_cache": ("serialized_timing_cache",),
        "set_timing_cache": ("cache", "ignore_mismatch"),
        "get_timing_cache": (),
        "num_compute_capabilities": None,
        "set_compute_capability": ("compute_capability", "index"),
    },
    "ITimingCache": {"serialize": ()},
    "BuilderFlag": {
        "FP16": None,
        "BF16": None,
        "INT8": None,
        "FP8": None,
        "TF32": None,
        "REFIT": None,
        "STRIP_PLAN": None,
        "WEIGHT_STREAMING": None,
        "VERSION_COMPATIBLE": None,
    },
    "HardwareCompatibilityLevel": {"NONE": None, "AMPERE_PLUS": None, "SAME_COMPUTE_CAPABILITY": None},
    "MemoryPoolType": {"WORKSPACE": None},
    "ProfilingVerbosity": {"DETAILED": None},
    "ComputeCapability": {
        "SM75": None,
        "SM80": None,
        "SM86": None,
        "SM89": None,
        "SM120": None,
        "SM121": None,
    },
    "Runtime": {
        "__init__": ("logger",),
        "engine_host_code_allowed": None,
        "deserialize_cuda_engine": ("serialized_engine",),
    },
    "ICudaEngine": {
        "create_engine_inspector": (),
        "num_io_tensors": None,
        "num_optimization_profiles": None,
        "get_tensor_name": ("index",),
        "get_tensor_mode": ("name",),
        "get_tensor_dtype": ("name",),
        "get_tensor_shape": ("name",),
        "get_tensor_profile_shape": ("name", "profile_index"),
        "get_device_memory_size_for_profile_v2": ("profile_index",),
        "device_memory_size_v2": None,
        "device_memory_size": None,
        "get_engine_stat": ("stat",),
        "create_execution_context": ("strategy",),
        "create_execution_context_without_device_memory": (),
    },
    "IExecutionContext": {
        "set_device_memory": ("memory", "size"),
        "device_memory": None,
        "set_optimization_profile_async": ("profile_index", "stream_handle"),
        "set_input_shape": ("name", "shape"),
        "infer_shapes": (),
        "get_tensor_shape": ("name",),
        "set_tensor_address": ("name", "memory"),
        "execute_async_v3": ("stream_handle",),
    },
    "ExecutionContextAllocationStrategy": {"USER_MANAGED": None},
    "EngineStat": {"TOTAL_WEIGHTS_SIZE": None},
    "EngineInspector": {"get_engine_information": ("format",)},
    "LayerInformationFormat": {"JSON": None},
}

# Missing in at least one supported version: used only after a probe.
OPTIONAL = frozenset(
    {
        "IProgressMonitor.__init__",
        "IProgressMonitor.phase_start",
        "IProgressMonitor.step_complete",
        "IProgressMonitor.phase_finish",
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ParserError.node_name",
        "ParserError.node_operator",
        "IBuilderConfig.progress_monitor",
        "IBuilderConfig.num_compute_capabilities",
        "IBuilderConfig.set_compute_capability",
        "BuilderFlag.FP16",
        "BuilderFlag.BF16",
        "BuilderFlag.INT8",
        "BuilderFlag.FP8",
        "BuilderFlag.STRIP_PLAN",
        "BuilderFlag.WEIGHT_STREAMING",
        "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY",
        "ICudaEngine.get_device_memory_size_for_profile_v2",
        "ICudaEngine.device_memory_size_v2",
        "ICudaEngine.device_memory_size",
        "ICudaEngine.get_engine_stat",
        "ICudaEngine.create_execution_context",  # with a strategy from TensorRT 10 on
        "ICudaEngine.create_execution_context_without_device_memory",
        "IExecutionContext.set_device_memory",
        "ExecutionContextAllocationStrategy.USER_MANAGED",
        "EngineStat.TOTAL_WEIGHTS_SIZE",
        *(f"ComputeCapability.{name}" for name in USED["ComputeCapability"]),
    }
)

# What the code calls an object of which class; the scan reads attributes of these names.
VARIABLES = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "tensor": "ITensor",
    "parser": "OnnxParser",
    "error": "ParserError",
    "optimization": "IOptimizationProfile",
    "settings": "IBuilderConfig",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
