"""The documented routes, in FastAPI: models, sessions, health, `/v2`'s metadata, and the page at /docs.

It knows the form of requests and replies, and which errors a route raises. It knows nothing of API keys,
limits or how an error is rendered: those are the gate's. The inference routes are only documented here.
"""

from service.api.application import build
from service.api.guide import installed as installed_guide

__all__ = ["build", "installed_guide"]
