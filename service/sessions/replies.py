"""The replies to a session's last requests, where a stream has several on their way at once.

A record holds the reply to its last request. Of a stream, the last replies stand in its place, together:

    "\\0R1"  [ at  step  size  digest  reply ] …        the oldest first
     3        8   8     4     16      size              bytes, little-endian

No reply to a single request begins with NUL. The record's own digest is then zero, so that a server that does
not know this form sees no request that it could answer from it. Pure: it knows no store and no JSON.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from service.manifest import Manifest
from service.sessions.store.record import Record

_MAGIC = b"\0R1"
_HEAD = struct.Struct("<QQI16s")
NO_DIGEST = bytes(16)


class TakeReply(Protocol):
    """How a stored reply from outside is written anew; None: it is not one that a server wrote."""

    def __call__(self, reply: bytes, *, session: str, step: int, manifest: Manifest) -> bytes | None:
        """`reply`: to the last request of the session, after which it was at `step`."""
        ...


def drop_reply(reply: bytes, *, session: str, step: int, manifest: Manifest) -> bytes | None:  # noqa: ARG001
    """No stored reply is taken over."""
    return None


class Answered(NamedTuple):
    """One request of a session that was applied, and the reply to it."""

    at: int  # the session's step before it
    step: int  # and after it
    digest: bytes  # 16
    reply: bytes

    def pack(self) -> bytes:
        """The bytes of one entry."""
        return _HEAD.pack(self.at, self.step, len(self.reply), self.digest) + self.reply


def pack(answered: Iterable[bytes]) -> bytes:
    """Packed entries as they stand in the place of a record's reply."""
    return _MAGIC + b"".join(answered)


def of(record: Record) -> list[Answered]:
    """The requests whose replies a record holds, the oldest first."""
    packed = record.reply
    if not packed.startswith(_MAGIC):
        if record.digest == NO_DIGEST:
            return []
        return [Answered(record.at, record.step, record.digest, packed)]
    answered: list[Answered] = []
    place = len(_MAGIC)
    while place < len(packed):
        at, step, size, digest = _HEAD.unpack_from(packed, place)
        place += _HEAD.size
        answered.append(Answered(at, step, digest, packed[place : place + size]))
        place += size
    return answered


def find(record: Record, at: int, digest: bytes) -> Answered | None:
    """The request with this digest that was applied at this step, if its reply is still held."""
    if at == record.at and digest == record.digest:
        return Answered(at, record.step, digest, record.reply)
    if not record.reply.startswith(_MAGIC):
        return None
    return next((each for each in of(record) if each.at == at and each.digest == digest), None)


def starts_held(record: Record) -> set[int]:
    """The steps that a client may resume at: those before each request whose reply is held."""
    return {each.at for each in of(record)}
