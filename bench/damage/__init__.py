"""What compression broke: from two models' answers on the same rows to findings that a person can read.

Maths is pure (``paired``, ``slicing``, ``reliability``, ``perturb``), each section of the study is a
file that turns answers into one finding of ``record``, and the probes of the same names wrap them.
"""
