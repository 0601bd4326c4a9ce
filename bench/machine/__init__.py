"""What the machine under a benchmark is and does: processor, GPU, energy, who else uses it."""
