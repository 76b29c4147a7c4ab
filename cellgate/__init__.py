"""The Python client of Cellgate: predictions, and sessions whose every step is applied exactly once.

    from cellgate import Client

    with Client("http://127.0.0.1:8000").session("call-42", model="vowels") as session:
        print(session.step(x).label)

It knows HTTP and arrays; it knows nothing of the server's code. `AsyncClient` is the same for asyncio;
`cellgate.errors` has every error; `cellgate.testing` a fake server for your own tests.
"""

from cellgate.async_client import AsyncClient
from cellgate.async_session import AsyncSession
from cellgate.client import Client
from cellgate.errors import (
    CellgateError,
    ConnectionFailed,
    ResponseError,
    SessionConflict,
    SessionExists,
    SessionGone,
    Unavailable,
    UnknownSession,
)
from cellgate.forecast import Forecast
from cellgate.inside import Gate
from cellgate.models import Input, Model, Output
from cellgate.predictions import Generation, Label, Prediction
from cellgate.resources import History, StoredSession
from cellgate.session import Session
from cellgate.settings import Settings
from cellgate.stream import AsyncStream, Stream
from cellgate.tokens import Token

__all__ = [
    "AsyncClient",
    "AsyncSession",
    "AsyncStream",
    "CellgateError",
    "Client",
    "ConnectionFailed",
    "Forecast",
    "Gate",
    "Generation",
    "History",
    "Input",
    "Label",
    "Model",
    "Output",
    "Prediction",
    "ResponseError",
    "Session",
    "SessionConflict",
    "SessionExists",
    "SessionGone",
    "Settings",
    "StoredSession",
    "Stream",
    "Token",
    "Unavailable",
    "UnknownSession",
]
