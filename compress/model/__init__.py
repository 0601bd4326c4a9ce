"""A model on disk and in memory: finding, loading, checking and writing it."""
