"""The rows of a latency table: whole-model times over depth and over width, in torch SDPA.

With a CUDA graph and in FP16 on a GPU, so that what is left is the kernels' own time.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np

from studies.gpu import agreement, backends, nvml, timing
from studies.gpu.around import Around, Params, Result, Skip, shapes_of


def depth(params: Params, around: Around) -> Result:
    """Time over the number of layers: the slope is a layer, the intercept what is around them."""
    from studies.gpu import variants

    points = []
    for sizes in variants.depths(around.plan.models[params["model"]]):
        points += _whole_times(params, around, sizes, None, {"layers": sizes.layers})
    lines = {}
    for shape in shapes_of(params):
        here = [one for one in points if (one["batch"], one["length"]) == (shape.batch, shape.length)]
        layers = np.array([one["layers"] for one in here])
        times = np.array([one["p50"] for one in here])
        lines[str(shape)] = agreement.line(layers, times) if len(np.unique(layers)) > 1 else None
    return {"points": points, "lines": lines}


def widths(params: Params, around: Around) -> Result:
    """Time over heads and FFN width, all layers alike: the rows of a latency table."""
    from studies.gpu import variants

    sizes = around.plan.models[params["model"]]
    points = []
    for width in variants.widths(sizes, around.plan):
        points += _whole_times(params, around, sizes, width, {"heads": width.heads, "ffn": width.ffn})
    return {"points": points, "layers": sizes.layers}


def _whole_times(params: Params, around: Around, sizes: Any, width: Any, note: Params) -> list[Params]:
    """Device time of a variant in torch SDPA, with a CUDA graph where there are some."""
    from studies.gpu import variants

    module = backends.load("sdpa")
    precision = "fp16" if around.device == "cuda" else "fp32"
    reason = module.missing(around.device, precision)
    if reason:
        raise Skip(reason)
    opened = module.Opened(backends.Subject(params["model"], sizes, None, {}), precision, around.device)
    if width is not None:
        variants.narrow(opened.model, width)
    watch, found = around.bench(), []
    for shape in shapes_of(params):
        feeds = backends.feeds(shape, sizes.vocabulary)
        with closing(opened.session(shape, feeds, opened.graphs[-1])) as session:
            timing.warm_up(session, around.plan.short)
            before = watch.snapshot()
            taken = timing.sample_device(session, opened.clock, around.plan.short).device
        figures = timing.summarize(taken)
        found.append(
            {
                **note,
                "batch": shape.batch,
                "length": shape.length,
                "precision": precision,
                "cuda_graph": opened.graphs[-1],
                "clock": opened.clock.name,
                **figures,
                "flags": figures["flags"] + nvml.flags(before, watch.snapshot()),
            }
        )
    return found
