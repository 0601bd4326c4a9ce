"""Training a student to say what its teacher says."""
