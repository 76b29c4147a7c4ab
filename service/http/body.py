"""The bounds on a request's body: its size, the time it may take to arrive, and its content type."""

import asyncio
from collections.abc import Awaitable, Callable

from service.errors import BadHeader, BodyTimeout, BodyTooLarge, UnsupportedMediaType

ReadPart = Callable[[], Awaitable[tuple[bytes, bool]]]  # the next part of a body, and whether more follow
CheckType = Callable[[bytes], None]  # of a content-type header; raises UnsupportedMediaType


class BodyLimits:
    """Bodies have at most `max_bytes` and arrive within `timeout_s`."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def check_declared(self, content_length: bytes) -> None:
        """Check the Content-Length header before the body is read. Raises BadHeader or BodyTooLarge."""
        if not content_length.isdigit():
            raise BadHeader(f"content-length is {content_length.decode('latin-1')!r}")
        self.check_size(int(content_length))

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge."""
        if size > self._max_bytes:
            raise BodyTooLarge(f"the body has {size} bytes or more; at most {self._max_bytes} are accepted")

    async def read(self, read_part: ReadPart) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyTimeout, or what `read_part` raises."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(read_part)
        except TimeoutError as error:
            raise BodyTimeout(f"the body did not arrive within {self._timeout_s:g} s") from error

    async def _read(self, read_part: ReadPart) -> bytes:
        parts: list[bytes] = []
        size, has_more = 0, True
        while has_more:
            part, has_more = await read_part()
            parts.append(part)
            size += len(part)
            self.check_size(size)
        return b"".join(parts)


def check_json_type(value: bytes) -> None:
    """JSON, or a type that is written as JSON (RFC 6839). Raises UnsupportedMediaType."""
    media_type = value.partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not media_type.endswith(b"+json"):
        raise UnsupportedMediaType(f"expected application/json, got {value.decode('latin-1')!r}")


def check_tensor_type(value: bytes) -> None:
    """JSON, or bytes that begin with JSON. Raises UnsupportedMediaType."""
    if value.partition(b";")[0].strip().lower() != b"application/octet-stream":
        check_json_type(value)


def check_nothing(_: bytes) -> None:
    """For routes that check the type themselves."""
