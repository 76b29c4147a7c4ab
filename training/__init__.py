"""Trains recurrent networks in PyTorch and exports them to ONNX. Knows nothing of serving but the manifest."""
