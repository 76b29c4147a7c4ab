"""The bounds on a request's body: its size, its memory, the time it may take to arrive, its content type."""

import asyncio
from collections.abc import Awaitable, Callable

from service.codec.headers import read_length
from service.errors import BadHeader, BodyTimeout, BodyTooLarge, UnsupportedMediaType
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget

ReadPart = Callable[[], Awaitable[tuple[bytes, bool]]]  # the next part of a body, and whether more follow
CheckType = Callable[[bytes], None]  # of a content-type header; raises UnsupportedMediaType


class BodyLimits:
    """Bodies have at most `max_bytes`, arrive within `timeout_s`, and share the `budget` of memory."""

    def __init__(self, max_bytes: int, timeout_s: float, budget: MemoryBudget) -> None:
        self.budget = budget
        self.max_bytes = min(max_bytes, budget.max_bytes // BYTES_PER_BODY_BYTE)
        self._timeout_s = timeout_s

    def check_declared(self, content_length: bytes) -> None:
        """Check the Content-Length header before the body is read.

        Raises BadHeader, BodyTooLarge or MemoryExhausted.
        """
        if not content_length.isdigit():
            raise BadHeader(f"content-length is {content_length.decode('latin-1')!r}")
        size = read_length(content_length, self.max_bytes)
        if size is None:
            raise self._too_large(content_length.lstrip(b"0").decode())
        self.budget.check(size * BYTES_PER_BODY_BYTE)

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge."""
        if size > self.max_bytes:
            raise self._too_large(str(size))

    def _too_large(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(f"the body has {size} bytes or more; at most {self.max_bytes} are accepted")

    async def read(self, read_part: ReadPart) -> bytes:
        """The whole body, counted in the budget until it returns.

        Raises BodyTooLarge, MemoryExhausted, BodyTimeout, or what `read_part` raises.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(read_part)
        except TimeoutError as error:
            raise BodyTimeout(f"the body did not arrive within {self._timeout_s:g} s") from error

    async def _read(self, read_part: ReadPart) -> bytes:
        parts: list[bytes] = []
        size, has_more = 0, True
        try:
            while has_more:
                part, has_more = await read_part()
                self.check_size(size + len(part))
                self.budget.take(len(part) * BYTES_PER_BODY_BYTE)
                parts.append(part)
                size += len(part)
            return b"".join(parts)
        finally:
            self.budget.give_back(size * BYTES_PER_BODY_BYTE)


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
