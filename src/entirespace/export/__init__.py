"""A run -> a bundle: its program as ONNX, its encoders, and all that is needed to serve it without torch."""
