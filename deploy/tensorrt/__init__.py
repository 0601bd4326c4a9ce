"""TensorRT engines: what an installed TensorRT can do, how one is built, what it says of itself."""
