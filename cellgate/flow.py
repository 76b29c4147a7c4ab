"""A call as a generator: it yields what is to be done, and receives the outcome. Knows no socket or thread.

flow ── Send(request) ─→ driver ─→ httpx            one flow for the synchronous client and the asynchronous
     ←─ response, or ConnectionFailed ──            one: only the drivers in `drivers` differ
     ── Pause(seconds) ─→ driver ─→ sleep
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from cellgate.errors import CellgateError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """One HTTP request. `path` is below the server's URL, and already percent-encoded."""

    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Outcome = httpx.Response | CellgateError | None
Flow = Generator[Send | Pause, Outcome, T]
