"""What the user is told of a quantized graph: what was tried, what stayed float, what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress import log, quantities
from compress.errors import ParityError
from deploy.precision.coverage import MOST
from deploy.precision.trials import Trial

if TYPE_CHECKING:
    from deploy.precision.int8 import Style
    from deploy.stages.quantize_onnx import Config

_ENOUGH_ROWS = 256


def judge(chosen: Trial, tried: Sequence[Trial], config: Config, style: Style, rows: int) -> None:
    """Say what was measured on stderr, and refuse what is too far off where that was asked for.

    Args:
        chosen: the trial that becomes the artifact.
        tried: all trials, in their order.
        config: as the user gave it.
        style: of what was taken.
        rows: calibration rows.

    Raises:
        ParityError: too few rows decide as before, and the options say ``strict``.
    """
    if len(tried) > 1:
        for trial in tried:
            log.info("tried %s: %s", trial.name, trial.damage)
    label = config.precision.upper()
    log.info("%s, %s: %s", label, chosen.name, chosen.coverage)
    log.info("%s, %s: %s", label, chosen.name, chosen.damage)
    if chosen.coverage.macs_share < MOST:
        log.warning(
            "most of what the products cost stayed float: %.0f %% of their MACs are in eight bits; see "
            "'coverage' in the manifest for each product that stayed float and why",
            100 * chosen.coverage.macs_share,
        )
    if chosen.damage.batch.differ and style.mode == "dynamic" and style.activation_scales == "tensor":
        log.warning(
            "answers depend on the rows that share a batch (%s), since dynamic ranges span the whole batch; "
            "mode: static and activation_scales: token do not",
            chosen.damage.batch,
        )
    shortfall = _shortfall(chosen, config)
    if shortfall is None:
        return
    sentence = f"{shortfall}. What may help: {'; '.join(remedies(chosen, tried, config, style, rows))}"
    if config.strict:
        raise ParityError(f"{sentence}. Nothing was sealed (strict).")
    log.warning("%s", sentence)


def _shortfall(trial: Trial, config: Config) -> str | None:
    """What is too far off, in words; None where nothing is."""
    agreement, distance = trial.damage.agreement, trial.damage.divergence
    if agreement is not None and agreement < config.agreement:
        return (
            f"{config.precision.upper()} ({trial.name}) decides as the float graph on "
            f"{quantities.figure(agreement, 'share')} of {trial.damage.rows} calibration rows, below the "
            f"{quantities.figure(config.agreement, 'share')} that agreement asks for"
        )
    if distance > config.divergence and (agreement is None or config.mode is None or config.static):
        return (
            f"{config.precision.upper()} ({trial.name}) stays {distance:.3g} nats a row from the float graph "
            f"(divergence: {config.divergence:g})"
        )
    return None


def remedies(chosen: Trial, tried: Sequence[Trial], config: Config, style: Style, rows: int) -> list[str]:
    """Options that were not in force and may bring the outputs nearer, the likeliest first."""
    options = []
    cpu = config.target == "cpu"
    if cpu and len(tried) == 1 and config.mode is not None:
        mode = "static" if config.mode == "dynamic" else "dynamic"
        options.append(f"mode: {mode}, or no mode, which tries and measures them")
    if config.keep_float != "auto" and not ("auto" in chosen.name or style.mode == "static"):
        options.append("keep_float: auto")
    elif config.keep_float is None or config.keep_float == "auto":
        options.append(f"a most_float above {config.most_float}")
    if style.rounding == "nearest" and config.precision == "int8":
        options.append("rounding: gptq")
    if config.tame is False:
        options.append("tame: auto")
    if rows < _ENOUGH_ROWS:
        options.append(f"more calibration rows than {rows}")
    return [*options, "FP16 (paredown quantize --precision fp16)"]
