"""The statistics of a benchmark, as pure functions on arrays."""
