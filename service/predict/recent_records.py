"""The records that channels hold for a moment, so that the next frame need not read the store.

An idle channel holds none: what has not been used between two calls of `forget` is dropped by the second.
"""

from service.predict.channel import Channel
from service.sessions import Record

MAX_BYTES = 64 << 20  # of states and replies, for each worker
OVERHEAD = 512  # bytes that a record takes beside these


class RecentRecords:
    """The channels of a worker that hold a record."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._recent: dict[Channel, int] = {}  # used since the last `forget`, and the bytes of each
        self._older: dict[Channel, int] = {}

    def keep(self, channel: Channel, record: Record, held: list[bytes]) -> None:
        """Let a channel hold its session's record as just committed, if there is room."""
        size = len(record.state) + len(record.reply) + OVERHEAD
        if self._recent.get(channel) == size:  # as for most frames
            channel.record, channel.held = record, held
            return
        self._forget_size(channel)
        if self._num_bytes + size > self._max_bytes:
            channel.record, channel.held = None, []
            return
        channel.record, channel.held = record, held
        self._recent[channel] = size
        self._num_bytes += size

    def drop(self, channel: Channel) -> None:
        """Let a channel hold no record."""
        self._forget_size(channel)
        channel.record, channel.held = None, []

    def forget(self) -> None:
        """Drop what has not been used since the last call."""
        for channel in list(self._older):
            self.drop(channel)
        self._older, self._recent = self._recent, {}

    def _forget_size(self, channel: Channel) -> None:
        size = self._recent.pop(channel, 0) or self._older.pop(channel, 0)
        self._num_bytes -= size
