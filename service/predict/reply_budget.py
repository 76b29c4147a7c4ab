"""The bytes that a reply can have: within the maximum, and counted as memory before anything is computed."""

from types import TracebackType
from typing import Self

from service.codec.sizes import check_reply
from service.memory import BYTES_PER_BODY_BYTE, BYTES_PER_REPLY_BYTE, MemoryBudget

SMALL_REPLY = 16 << 10  # bytes; smaller ones are not counted


class ReplyBudget:
    """What all predictions of one reply can have together. A block returns the memory at its end."""

    def __init__(self, max_bytes: int, memory: MemoryBudget, body_bytes: int) -> None:
        """`body_bytes`: of the request, which takes its own part of the memory."""
        self._max_bytes = max_bytes
        self._memory = memory
        self._body_bytes = body_bytes
        self._reserved: dict[int, int] = {}  # by the index of the sequence
        self._total = 0
        self._held = 0

    def reserve(self, index: int, size: int) -> None:
        """Reserve the bytes of a prediction that is about to be computed.

        Raises ReplyTooLarge, also if an idle server has no room for it, or MemoryExhausted.
        """
        total = self._total + size - self._reserved.get(index, 0)
        check_reply(total, self._max_bytes)
        if total > SMALL_REPLY:
            room = self._memory.max_bytes - self._body_bytes * BYTES_PER_BODY_BYTE
            check_reply(total, max(0, room) // BYTES_PER_REPLY_BYTE)
            self._memory.take(total * BYTES_PER_REPLY_BYTE - self._held)
            self._held = total * BYTES_PER_REPLY_BYTE
        self._reserved[index] = size
        self._total = total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The reply is written, or will not be."""
        self._memory.give_back(self._held)
        self._held = 0
