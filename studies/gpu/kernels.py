"""Why a figure is what it is: kernels a layer, time in kernels against time elapsed, fused attention.

Torch's profiler sees every kernel of the process, also those that ONNX Runtime launches. For ONNX Runtime
its own profile adds which nodes ran on which provider. TensorRT tells its layers by its inspector
(``shapes`` cells).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.gpu import timing

_FUSED = re.compile(r"fmha|flash|mem_eff|efficient_attention|cudnn.*sdpa|attention", re.IGNORECASE)
_COPY = re.compile(r"^(Memcpy|Memset)")
_RUNS = 10
_TOP = 8


def profile(session: timing.Session, device: str, runs: int = _RUNS) -> dict[str, Any]:
    """Kernels of one inference, without a CUDA graph.

    On a CPU the operators that torch dispatches stand for kernels.

    Returns:
        ``kernels copies busy_ms fused_attention top``, a mean inference; ``top`` names the
        kernels with the most time and their share.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    session.enqueue()
    session.synchronize()
    with profiler(activities=activities) as record:
        for _ in range(runs):
            session.enqueue()
        session.synchronize()
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    found = [
        (
            row.key,
            int(row.count),
            float(row.self_device_time_total if on_gpu else row.self_cpu_time_total) / 1000,
        )
        for row in record.key_averages()
        if row.device_type == wanted
    ]
    return digest(found, runs)


def digest(found: Sequence[tuple[str, int, float]], runs: int) -> dict[str, Any]:
    """From (name, count, milliseconds) of some inferences to what one of them is made of."""
    kernels = [one for one in found if not _COPY.match(one[0])]
    busy = sum(one[2] for one in kernels)
    top = sorted(kernels, key=lambda one: -one[2])[:_TOP]
    return {
        "kernels": sum(one[1] for one in kernels) / runs,
        "copies": sum(one[1] for one in found if _COPY.match(one[0])) / runs,
        "busy_ms": busy / runs,
        "fused_attention": sum(one[1] for one in kernels if _FUSED.search(one[0])) / runs,
        "top": [
            {"name": name[:120], "a_run": count / runs, "share": spent / busy if busy else 0.0}
            for name, count, spent in top
        ],
    }


def nodes(path: Path, runs: int) -> dict[str, Any]:
    """What ONNX Runtime's own profile says: nodes an inference, by provider and by operator.

    Args:
        path: the file that ``end_profiling`` named.
        runs: inferences in it.
    """
    events = json.loads(path.read_text(encoding="utf-8"))
    ran = [
        one["args"]
        for one in events
        if one.get("cat") == "Node" and one.get("name", "").endswith("_kernel_time")
    ]
    providers = Counter(one.get("provider", "?") for one in ran)
    operators = Counter(one.get("op_name", "?") for one in ran)
    return {
        "nodes": len(ran) / runs,
        "by_provider": {name: count / runs for name, count in sorted(providers.items())},
        "by_operator": {name: count / runs for name, count in operators.most_common(20)},
    }
