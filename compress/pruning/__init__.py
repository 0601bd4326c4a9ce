"""Deciding what to cut, and cutting it."""
