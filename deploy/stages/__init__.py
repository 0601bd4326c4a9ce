"""Stages that turn a torch artifact into something that runs; the contract is in ``compress.stages``."""
