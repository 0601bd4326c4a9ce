"""The shelf of stages that change models; ``compress.stage`` states the contract."""
