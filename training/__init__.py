"""Trains recurrent networks in PyTorch, exports them to ONNX. Knows nothing of serving but the manifest."""
