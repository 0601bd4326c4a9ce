"""CUDA's driver: the one door to ``cuda.bindings``, through which we ask for GPUs and contexts.

Streams, buffers and graphs are PyTorch's (``deploy.device``). The driver itself is asked where no PyTorch
shall be: what an engine is built for and bound to, and what a context alone costs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from compress import environment


class CudaError(RuntimeError):
    """A call of the driver failed; the message names it and the number of the error."""


@cache
def library() -> Any | None:
    """The driver's API, initialized; None where there is no driver, or it finds no device.

    Raises:
        MissingPiece: this machine shows a GPU, and the package that asks its driver is not installed.
    """
    try:
        from cuda.bindings import driver
    except ImportError:
        if environment.has_nvidia_device():
            environment.require("cuda.bindings", extra="gpu", purpose="to ask the GPU's driver")
        return None
    try:
        (code,) = driver.cuInit(0)
    except RuntimeError:  # libcuda is not there
        return None
    return driver if int(code) == 0 else None


def call(driver: Any, name: str, *given: Any) -> Any:
    """What a function of the driver gives: one value, or None where it gives nothing.

    Args:
        driver: from ``library``.
        name: of the function.
        given: its arguments.

    Raises:
        CudaError: it failed.
    """
    code, *values = getattr(driver, name)(*given)
    if int(code) != 0:
        raise CudaError(f"{name} failed with CUDA error {int(code)}")
    return values[0] if values else None
