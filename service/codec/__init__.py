"""Bytes ↔ arrays, each format in one file: what requests hold and what replies say.

It knows the manifest, JSON, text and the tensors of the Open Inference Protocol. It knows nothing of HTTP
routes, models in memory, sessions or scheduling.
"""

from service.codec import generation, reply, request, tensors, text, v2

__all__ = ["generation", "reply", "request", "tensors", "text", "v2"]
