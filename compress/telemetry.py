"""The switches of libraries that would talk to a server by themselves, in the one place that sets them.

ONNX Runtime queues events of every session below the user's cache folder and looks for its vendor's host;
the hub's client, MLflow and W&B add to what they are asked for; transformers has a hub's service convert
weights. Each reads a variable of the environment, most of them once, when they are imported: hence each of
our packages calls ``switch_off`` before anything else, and every process that we start inherits it. A value
that the user has set is left alone.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Switch:
    """How one library is told to say nothing.

    Attributes:
        library: as people call it.
        variable: of the environment.
        off: the value that ends what it says by itself.
        words: every value that does, in lower case.
    """

    library: str
    variable: str
    off: str = "1"
    words: frozenset[str] = _TRUE


SWITCHES = (
    Switch("ONNX Runtime", "ORT_DISABLE_TELEMETRY"),
    Switch("the hub's client", "HF_HUB_DISABLE_TELEMETRY"),
    Switch("transformers' conversion of weights at the hub", "DISABLE_SAFETENSORS_CONVERSION"),
    Switch("MLflow", "MLFLOW_DISABLE_TELEMETRY", "true", _TRUE - {"yes", "on"}),
    Switch("W&B's error reports", "WANDB_ERROR_REPORTING", "false", _FALSE),
)


def switch_off(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set every switch that the user has not set."""
    for switch in SWITCHES:
        environment.setdefault(switch.variable, switch.off)


def left_on(environment: MutableMapping[str, str] = os.environ) -> list[Switch]:
    """The switches that the user's own value leaves on."""
    return [
        switch
        for switch in SWITCHES
        if environment.get(switch.variable, "").strip().lower() not in switch.words
    ]


def note(environment: MutableMapping[str, str] = os.environ) -> str:
    """What ``doctor`` says of it, in a sentence."""
    speaking = left_on(environment)
    if not speaking:
        return "telemetry is off: no library that paredown uses sends anything by itself"
    listed = ", ".join(
        f"{switch.library} ({switch.variable}={environment.get(switch.variable)!r})" for switch in speaking
    )
    return (
        f"telemetry is left on by this environment for {listed}: unset "
        f"{'it' if len(speaking) == 1 else 'them'} and paredown switches it off"
    )
