"""The bounds on a request's body: how long it may be, and how long it may take to come.

It knows ASGI's messages; it knows nothing of what a body says.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from service.errors import BadHeader, BodyTimeout, BodyTooLarge
from service.http.disconnects import ClientGone, Receive


class Bodies:
    """Reads bodies of at most `max_bytes`, which have `timeout_s` to arrive."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def check_declared(self, content_length: bytes) -> None:
        """Look at the header, before anything is read. Raises BadHeader or BodyTooLarge."""
        if not content_length.isdigit():
            raise BadHeader(f"content-length is {content_length.decode('latin-1')!r}")
        self.check_size(int(content_length))

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge."""
        if size > self._max_bytes:
            raise BodyTooLarge(f"the body has {size} bytes or more, at most {self._max_bytes} are taken")

    async def read(self, receive: Receive) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyTimeout or ClientGone."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body") or message["type"] == "http.disconnect":
            try:
                async with asyncio.timeout(self._timeout_s):
                    body = await self._read_rest(message, receive)
            except TimeoutError as error:
                raise BodyTimeout(f"the body did not arrive within {self._timeout_s:g} s") from error
        self.check_size(len(body))
        return body

    async def _read_rest(self, message: MutableMapping[str, Any], receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self.check_size(size)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()
