"""What became worse in a compressed model: flips, slices, fairness, robustness, calibration."""
