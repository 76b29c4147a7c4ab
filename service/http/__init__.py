"""The gate: one way from a whole HTTP request to a whole HTTP response.

It knows HTTP: limits, API keys, rates, routing, the form of errors, the access log, and the connections of
uvicorn. Two thin adapters carry bytes to the gate: ASGI, and the fast path in uvicorn's protocol. It knows
nothing of JSON bodies, models or sessions: those are `service.predict`'s and the documented application's.
"""

from service.http.asgi import AsgiAdapter
from service.http.body import BodyLimits
from service.http.codings import Codings
from service.http.cors import Cors
from service.http.dialects import PROBLEM, V2, Dialect
from service.http.fast_path import CellgateProtocol
from service.http.fastapi_bridge import App, ApplicationHandler, Message, Receive, Scope, Send
from service.http.gate import Gate
from service.http.keys import Guard, Tenants, new_key
from service.http.messages import Fields
from service.http.rates import Rates
from service.http.readiness import Readiness
from service.http.router import Router, check_query
from service.http.stream_bounds import StreamBounds
from service.http.stream_sockets import StreamSockets

__all__ = [
    "PROBLEM",
    "V2",
    "App",
    "ApplicationHandler",
    "AsgiAdapter",
    "BodyLimits",
    "CellgateProtocol",
    "Codings",
    "Cors",
    "Dialect",
    "Fields",
    "Gate",
    "Guard",
    "Message",
    "Rates",
    "Readiness",
    "Receive",
    "Router",
    "Scope",
    "Send",
    "StreamBounds",
    "StreamSockets",
    "Tenants",
    "check_query",
    "new_key",
]
