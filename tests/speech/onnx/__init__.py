"""Small ONNX models for the tests of the second engine: they spell what is whistled to them."""
