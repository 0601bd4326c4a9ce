"""Sealed folders: what they hold, how they are sealed, and the store that keeps them."""
