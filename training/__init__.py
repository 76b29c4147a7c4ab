"""Trains recurrent networks in PyTorch, exports them to ONNX. Of the service it knows only the manifest."""
