"""`generate`, token by token: server-sent events that may break at any byte, and are resumed.

    request ─→ event: token, id 1 ─→ event: token, id 2 ─ ✕
    request, Last-Event-ID: 2 ─→ event: token, id 3 ─→ … ─→ event: end     a session has moved, once

It knows no socket: its methods are flows.
"""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from cellgate.errors import BadReply, CellgateError, ConnectionFailed, ResponseError
from cellgate.flow import Flow, Outcome, Pause, Send
from cellgate.predictions import Generation, generation_from
from cellgate.replies import error_in, error_of, retry_after_s
from cellgate.retry import Retry, wait

T = TypeVar("T")
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token."""

    id: int
    token: str | None = None
    """Its name, where the model has a vocabulary."""
    text: str | None = None
    """What it adds to the text, where the model has a tokenizer; a character may take several tokens."""


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    name: str
    id: str
    data: str


@dataclass(frozen=True, slots=True)
class OpenEvents:
    """Send a request whose reply is read piece by piece; the outcome is its head, or an error read whole."""

    send: Send


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """Wait for the next bytes; b"" at the end."""


TokenEffect = OpenEvents | ReadEvents | Send | Pause
TokenOutcome = Outcome | bytes
EventFlow = Generator[TokenEffect, TokenOutcome, T]


class EventReader:
    """Bytes of a reply → events (WHATWG HTML, 9.2), as Cellgate's servers write them: one line of data."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end within the chunk."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
            yield Event(fields.get("event", "message"), fields.get("id", ""), fields.get("data", ""))


class TokenCursor:
    """One generation: its tokens as they come, and the whole reply at the end."""

    def __init__(self, begin: Flow[Send], retry: Retry, end: Callable[[Generation | None], None]) -> None:
        """`begin`: makes the request. `end`: called once, with the result, or None if there is none."""
        self.result: Generation | None = None
        self._begin = begin
        self._end = end
        self._send: Send | None = None
        self._has_ended = False
        self._retry = retry
        self._tokens: deque[Token] = deque()
        self._reader: EventReader | None = None  # None: no reply is being read
        self._last_id = ""
        self._attempts = 0  # that failed since the last event
        self._failing_since = 0.0

    def next(self) -> EventFlow[Token | None]:
        """The next token; None after the last one. Raises a CellgateError."""
        while not self._tokens and self.result is None:
            outcome = yield from self._read()
            if isinstance(outcome, CellgateError):
                self._reader = None
                yield from self._pause(outcome, None)
        return self._tokens.popleft() if self._tokens else None

    def close(self) -> None:
        """End it, with or without a result."""
        if not self._has_ended:
            self._has_ended = True
            self._end(self.result)

    def _read(self) -> EventFlow[CellgateError | None]:
        """Open the events, or read some of them. What failed."""
        if self._reader is None:
            return (yield from self._open())
        chunk = yield ReadEvents()
        if isinstance(chunk, CellgateError):
            return chunk
        if not isinstance(chunk, bytes) or not chunk:
            return ConnectionFailed("the events broke off")
        for event in self._reader.feed(chunk):
            if event.name == "error":
                return error_in(json.loads(event.data))
            self._take(event)
        return None

    def _open(self) -> EventFlow[CellgateError | None]:
        if self._send is None:
            self._send = yield from _of_http(self._begin)
        resumed = {"last-event-id": self._last_id} if self._last_id else {}
        headers = {**self._send.headers, "accept": EVENT_STREAM, **resumed}
        response = yield OpenEvents(replace(self._send, headers=headers))
        if isinstance(response, CellgateError):
            return response
        assert isinstance(response, httpx.Response)
        if (error := error_of(response)) is not None:
            yield from self._pause(error, retry_after_s(response))
            return None
        if not response.headers.get("content-type", "").startswith(EVENT_STREAM):
            raise BadReply("POST /generate: the reply has no events")
        self._reader = EventReader()
        return None

    def _take(self, event: Event) -> None:
        try:
            document: dict[str, Any] = json.loads(event.data)
            if event.name == "end":
                self.result = generation_from(document)
                self.close()
            elif event.name == "token":
                self._tokens += _tokens(document)
        except (ValueError, KeyError) as error:
            raise BadReply(f"not an event of a generation: {event!r}") from error
        self._last_id, self._attempts = event.id or self._last_id, 0

    def _pause(self, error: CellgateError, asked_s: float | None) -> EventFlow[None]:
        """Wait before the next attempt. Raises the error if there is none."""
        if not self._attempts:
            self._failing_since = self._retry.clock()
        self._attempts += 1
        if isinstance(error, ResponseError) and asked_s is None:
            asked_s = error.members.get("retry_after_s")
        yield from _of_http(wait(error, self._attempts, self._failing_since, asked_s, self._retry))


def _tokens(document: dict[str, Any]) -> Iterator[Token]:
    ids, names = document["ids"], document.get("tokens")
    text = document.get("text")  # of all of them; there is one
    for index, token in enumerate(ids):
        yield Token(token, names[index] if names else None, text if index == len(ids) - 1 else "")


def _of_http(flow: Flow[T]) -> EventFlow[T]:
    """A flow that only pauses, within one of events."""
    return (yield from flow)
