"""A stored session: its state, its step, and its last request with the reply to it.

    magic  CRC-32  sizes, times, revision, graph, digest   model  version  state  reply  parts  bond
    4      4       86                                      sizes in the header           below  4

Most records have no parts. Otherwise these are their size (4), then for each part its tag (4), its size (4)
and its bytes. A server that is older than a part refuses the record as damaged, so that it never drops it.

The bond is CRC-32 of the key, from the step as its start value. It ties a record to its key, so that a
flipped bit of a stored key cannot hand a session to another name or tenant; and Redis can verify it without
reading the state. Older servers wrote records without it, and ignore it where they read one.

The record knows neither what the state means nor who may write it.
"""

import random
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from service.errors import CorruptRecord
from service.sessions.store.history import History

MAGIC = b"CGR1"
# The fixed fields in order, with their `struct` formats: little-endian, without padding.
FIELDS = {
    "magic": "4s",
    "checksum": "I",  # CRC-32 of everything after it
    "status": "H",
    "model_size": "H",
    "version_size": "H",
    "state_size": "I",
    "reply_size": "I",
    "step": "Q",
    "at": "Q",
    "created_ms": "Q",
    "touched_ms": "Q",
    "ttl_ms": "Q",
    "revision": "8s",
    "graph": "8s",
    "digest": "16s",
}
_FORMATS = list(FIELDS.values())
_PREFIX = struct.Struct("<" + "".join(_FORMATS[:2]))
_HEADER = struct.Struct("<" + "".join(_FORMATS[2:]))
_WHOLE = struct.Struct("<" + "".join(_FORMATS))
HEADER_SIZE = _PREFIX.size + _HEADER.size
BOND_SIZE = 4
_SIZE = struct.Struct("<I")
_PART = struct.Struct("<4sI")
_HISTORY = b"HIST"
COMPLETE = b"created complete"  # the digest of a session that was created with its own state, until a request


def offset_of(field: str) -> int:
    """The offset of a fixed field in a record, in bytes from 0."""
    before = _FORMATS[: list(FIELDS).index(field)]
    return struct.calcsize("<" + "".join(before))


_REVISION_AT = offset_of("revision")
# The fields of a `Head` alone: status, when it was touched, TTL, revision.
_HEAD = struct.Struct(f"<{offset_of('status')}xH{offset_of('touched_ms') - offset_of('status') - 2}xQQ8s")


class Status(IntEnum):
    """A live session, or a tombstone with the reason why its session ended: 410 instead of 404."""

    LIVE = 0
    ENDED = 1
    EXPIRED = 2
    EVICTED = 3


_STATUSES = tuple(Status)


def new_revision() -> bytes:
    """8 random bytes: no two writes have the same."""
    return random.getrandbits(64).to_bytes(8)


def _revision_of(packed: bytes | memoryview) -> bytes:
    """The bytes at the revision's offset, also of a damaged record."""
    return bytes(packed[_REVISION_AT : _REVISION_AT + 8])


def _bond(key: bytes, step: int) -> bytes:
    return zlib.crc32(key, step ^ step >> 32).to_bytes(BOND_SIZE, "little")


class Head(NamedTuple):
    """The few fields a store needs to compare, index and count a packed record."""

    is_live: bool
    touched_ms: int
    ttl_ms: int
    revision: bytes
    size: int

    def is_in_second_of(self, other: "Head") -> bool:
        """Whether both were used, and both expire, within the same second."""
        if self.touched_ms // 1000 != other.touched_ms // 1000:
            return False
        return (self.touched_ms + self.ttl_ms) // 1000 == (other.touched_ms + other.ttl_ms) // 1000


@dataclass(slots=True)  # not frozen: each step of a session makes two, and that would triple their time
class Record:
    """One session. `revision` differs between any two writes, so it can be compared and set."""

    status: Status
    model: str
    version: str
    graph: bytes  # 8: fingerprint of the graph that computed the state
    revision: bytes  # 8
    step: int  # time steps consumed since the start
    created_ms: int  # session clock, Unix epoch
    touched_ms: int
    ttl_ms: int
    state: bytes = b""  # the recurrent tensors, see `service.state`
    at: int = 0  # the step before the last request
    digest: bytes = bytes(16)  # of the last request
    reply: bytes = b""  # to the last request
    history: History | None = None  # None: it keeps no earlier states and was never rewound

    @property
    def rewinds(self) -> int:
        """How often the session was rewound."""
        return 0 if self.history is None else self.history.rewinds

    @property
    def is_live(self) -> bool:
        """Whether this is a session, not a tombstone."""
        return self.status is Status.LIVE

    @property
    def is_begun(self) -> bool:
        """Whether its state has the values of the inputs per sequence. If not, the first steps bring them."""
        return self.step > 0 or self.digest == COMPLETE

    def pack(self, key: bytes) -> bytes:
        """The record as bytes that are readable under that key only, with a checksum over all of it."""
        model, version = self.model.encode(), self.version.encode()
        header = _HEADER.pack(
            self.status, len(model), len(version), len(self.state), len(self.reply),
            self.step, self.at, self.created_ms, self.touched_ms, self.ttl_ms,
            self.revision, self.graph, self.digest,
        )  # fmt: skip
        parts = b"" if self.history is None else _pack_parts({_HISTORY: self.history.pack()})
        body = b"".join((header, model, version, self.state, self.reply, parts, _bond(key, self.step)))
        return _PREFIX.pack(MAGIC, zlib.crc32(body)) + body

    def head_of(self, size: int) -> Head:
        """The head of this record, packed into `size` bytes."""
        return Head(self.is_live, self.touched_ms, self.ttl_ms, self.revision, size)

    @staticmethod
    def head(packed: bytes | memoryview) -> Head:
        """Read the head of a packed record without checking it; never fails, whatever the bytes."""
        size = len(packed)
        if size < HEADER_SIZE:
            return Head(False, 0, 0, _revision_of(packed), size)
        status, touched_ms, ttl_ms, revision = _HEAD.unpack_from(packed)
        return Head(status == Status.LIVE, touched_ms, ttl_ms, revision, size)

    @classmethod
    def unreadable(cls, error: CorruptRecord, touched_ms: int) -> Self:
        """A stand-in for a damaged record: only its revision is known."""
        return cls(Status.LIVE, "", "", bytes(8), error.revision, 0, touched_ms, touched_ms, 60_000)

    @classmethod
    def unpack(cls, packed: bytes | memoryview, key: bytes) -> Self:
        """Undo `pack`. Raises CorruptRecord when a single bit of the record or of its key differs.

        The key of a record without a bond, which an older server wrote, is not checked.
        """
        packed = bytes(packed)
        if len(packed) < HEADER_SIZE:
            raise CorruptRecord(f"a session record of {len(packed)} bytes is too short", _revision_of(packed))
        (
            magic, checksum, status, model, version, state, reply, step, at, created, touched, ttl,
            revision, graph, digest,
        ) = _WHOLE.unpack_from(packed)  # fmt: skip
        if magic != MAGIC or zlib.crc32(memoryview(packed)[_PREFIX.size :]) != checksum:
            raise CorruptRecord("a session record does not match its checksum", _revision_of(packed))
        version_at = HEADER_SIZE + model
        state_at = version_at + version
        reply_at = state_at + state
        end = reply_at + reply
        history = None
        if end != len(packed) and packed[end:] != (bond := _bond(key, step)):
            if packed[-BOND_SIZE:] != bond:
                raise CorruptRecord("a session record was stored under another key", revision)
            history = _read_history(packed[end:-BOND_SIZE], revision)
        try:
            names = packed[HEADER_SIZE:version_at].decode(), packed[version_at:state_at].decode()
        except UnicodeDecodeError as error:  # in a tombstone that Redis made of a damaged record
            raise CorruptRecord(
                "a session record has a model or version that is no text", revision
            ) from error
        return cls(
            _STATUSES[status], *names, graph, revision, step, created, touched, ttl,
            packed[state_at:reply_at], at, digest, packed[reply_at:end], history,
        )  # fmt: skip


def _pack_parts(parts: dict[bytes, bytes]) -> bytes:
    packed = b"".join([_PART.pack(tag, len(part)) + part for tag, part in parts.items()])
    return _SIZE.pack(len(packed)) + packed


def _unpack_parts(packed: bytes) -> dict[bytes, bytes]:
    """Undo `_pack_parts`. Raises ValueError."""
    try:
        if _SIZE.unpack_from(packed)[0] != len(packed) - _SIZE.size:
            raise ValueError("their size differs from that in the record")
        parts, at = {}, _SIZE.size
        while at < len(packed):
            tag, size = _PART.unpack_from(packed, at)
            at += _PART.size
            parts[tag] = packed[at : at + size]
            at += size
    except struct.error as error:
        raise ValueError("one of them is too short") from error
    if at != len(packed):
        raise ValueError("the last one is too short")
    return parts


def _read_history(packed: bytes, revision: bytes) -> History | None:
    try:
        parts = _unpack_parts(packed)
        if parts.keys() - {_HISTORY}:
            raise ValueError("one of them is of a newer server")
        return History.unpack(parts[_HISTORY]) if parts else None
    except ValueError as error:
        raise CorruptRecord(f"the parts of a session record cannot be read: {error}", revision) from error
