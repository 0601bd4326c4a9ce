"""Fewer bits: INT8 and half precision, and what must stay in FP32."""
