"""Iterators over the tokens of a generation, one for each client."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from typing import Protocol, Self

import httpx

from cellgate.drivers import failure_of
from cellgate.errors import CellgateError
from cellgate.flow import Outcome, Pause, Send
from cellgate.predictions import Generation
from cellgate.tokens import OpenEvents, Token, TokenCursor, TokenEffect, TokenOutcome


class Opener(Protocol):
    """What an iterator needs of its client."""

    sleep: Callable[[float], None]

    def attempt(self, send: Send, *, streams: bool = False) -> Outcome:
        """Send one request; `streams`: leave the body unread."""


class AsyncOpener(Protocol):
    """The same, of asyncio."""

    sleep: Callable[[float], Awaitable[None]]

    async def attempt(self, send: Send, *, streams: bool = False) -> Outcome:
        """Send one request; `streams`: leave the body unread."""


class Tokens(Iterator[Token]):
    """The tokens of a generation as they are drawn. Made by `generate_tokens`.

    A connection that breaks is replaced, and no token comes twice. `result` is there after the last token.
    """

    def __init__(self, client: Opener, cursor: TokenCursor) -> None:
        self._client = client
        self._cursor = cursor
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    @property
    def result(self) -> Generation | None:
        """The whole generation; None before the last token has come."""
        return self._cursor.result

    def __iter__(self) -> Self:
        """The iterator."""
        return self

    def __next__(self) -> Token:
        """Wait for the next token. Raises a CellgateError."""
        outcome: TokenOutcome = None
        with closing(self._cursor.next()) as flow:
            while True:
                try:
                    effect = flow.send(outcome)
                except StopIteration as end:
                    token: Token | None = end.value
                    break
                outcome = self._perform(effect)
        if token is None:
            self.close()
            raise StopIteration
        return token

    def close(self) -> None:
        """Stop: the server notices at its next token. Before the end, a session has not moved."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        self._cursor.close()

    def _perform(self, effect: TokenEffect) -> TokenOutcome:
        if isinstance(effect, Pause):
            self._client.sleep(effect.seconds)
            return None
        if isinstance(effect, Send):
            return self._client.attempt(effect)
        if isinstance(effect, OpenEvents):
            return self._open(effect.send)
        try:
            return next(self._chunks, b"")
        except httpx.TransportError as error:
            return failure_of(error)

    def _open(self, send: Send) -> httpx.Response | CellgateError | None:
        if self._response is not None:
            self._response.close()
        response = self._client.attempt(send, streams=True)
        if not isinstance(response, httpx.Response):
            return response
        self._response, self._chunks = response, response.iter_bytes()
        try:
            if response.status_code != 200:
                response.read()
        except httpx.TransportError as error:
            return failure_of(error)
        return response


class AsyncTokens(AsyncIterator[Token]):
    """The same, for `async for`. Made by `generate_tokens`."""

    def __init__(self, client: AsyncOpener, cursor: TokenCursor) -> None:
        self._client = client
        self._cursor = cursor
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    @property
    def result(self) -> Generation | None:
        """The whole generation; None before the last token has come."""
        return self._cursor.result

    def __aiter__(self) -> Self:
        """The iterator."""
        return self

    async def __anext__(self) -> Token:
        """Wait for the next token. Raises a CellgateError."""
        outcome: TokenOutcome = None
        with closing(self._cursor.next()) as flow:
            while True:
                try:
                    effect = flow.send(outcome)
                except StopIteration as end:
                    token: Token | None = end.value
                    break
                outcome = await self._perform(effect)
        if token is None:
            await self.close()
            raise StopAsyncIteration
        return token

    async def close(self) -> None:
        """Stop: the server notices at its next token. Before the end, a session has not moved."""
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
        self._cursor.close()

    async def _perform(self, effect: TokenEffect) -> TokenOutcome:
        if isinstance(effect, Pause):
            await self._client.sleep(effect.seconds)
            return None
        if isinstance(effect, Send):
            return await self._client.attempt(effect)
        if isinstance(effect, OpenEvents):
            return await self._open(effect.send)
        try:
            return b"" if self._chunks is None else await anext(self._chunks, b"")
        except httpx.TransportError as error:
            return failure_of(error)

    async def _open(self, send: Send) -> httpx.Response | CellgateError | None:
        if self._response is not None:
            await self._response.aclose()
        response = await self._client.attempt(send, streams=True)
        if not isinstance(response, httpx.Response):
            return response
        self._response, self._chunks = response, response.aiter_bytes()
        try:
            if response.status_code != 200:
                await response.aread()
        except httpx.TransportError as error:
            return failure_of(error)
        return response
