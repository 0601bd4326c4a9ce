"""ONNX graphs: made from torch models, read, rewritten without changing what they compute."""
