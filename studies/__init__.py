"""Studies of the product itself, and their recorded results; not part of the wheel."""

from compress import telemetry

telemetry.switch_off()
