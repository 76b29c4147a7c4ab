"""Run flows: the only difference between the synchronous and the asynchronous client."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar

import httpx

from cellgate.errors import CellgateError, ConnectionFailed, ReplyTimeout
from cellgate.flow import Flow, Outcome, Pause, Send

T = TypeVar("T")
FATAL = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)


def drive(flow: Flow[T], http: httpx.Client, sleep: Callable[[float], None]) -> T:
    """Run a flow to its end. The result, or the flow's error."""
    outcome: Outcome = None
    with closing(flow):  # also where an interrupt ends it
        while True:
            try:
                effect = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, Pause):
                sleep(effect.seconds)
                outcome = None
            else:
                outcome = attempt(effect, http)


async def drive_async(flow: Flow[T], http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> T:
    """The same, with a client of asyncio."""
    outcome: Outcome = None
    with closing(flow):
        while True:
            try:
                effect = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(effect, Pause):
                await sleep(effect.seconds)
                outcome = None
            else:
                outcome = await attempt_async(effect, http)


def attempt(send: Send, http: httpx.Client, *, streams: bool = False) -> Outcome:
    """One request: its response, or why there is none. `streams`: leave the body unread."""
    try:
        return http.send(_request(http, send), stream=streams)
    except httpx.TransportError as error:
        return failure_of(error)


async def attempt_async(send: Send, http: httpx.AsyncClient, *, streams: bool = False) -> Outcome:
    """The same, with a client of asyncio."""
    try:
        return await http.send(_request(http, send), stream=streams)
    except httpx.TransportError as error:
        return failure_of(error)


def _request(http: httpx.Client | httpx.AsyncClient, send: Send) -> httpx.Request:
    return http.build_request(
        send.method, send.path, content=send.content, headers=dict(send.headers), params=dict(send.params)
    )


def failure_of(error: httpx.TransportError) -> CellgateError:
    """The error of a request without a reply: a ConnectionFailed if another attempt may help."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    kind: type[CellgateError] = ConnectionFailed
    if isinstance(error, FATAL) or _is_untrusted(error):
        kind = CellgateError
    elif isinstance(error, httpx.TimeoutException):
        kind = ReplyTimeout
    failure = kind(text)
    failure.__cause__ = error
    return failure


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the server's certificate was refused."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
