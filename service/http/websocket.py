"""The frames of RFC 6455: bytes of a connection → messages, messages → bytes.

A data frame that is a whole message is read here, and unmasked by the C function of the `websockets` library.
That library's own parser takes a generator and several objects for each frame, and five times as long. All
else is the library's: the handshake, control frames, fragments, extensions, the checks of a frame's fields.
This file knows nothing of sockets, nor of what is in a message.
"""

import struct
from collections.abc import Sequence

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined]  # in C, if it was built

TEXT, BINARY = 0x1, 0x2
_WHOLE = frozenset({0x80 | TEXT, 0x80 | BINARY})  # first bytes of messages in one frame
_LENGTH_16, _LENGTH_64 = struct.Struct("!H"), struct.Struct("!Q")
_HEAD_16, _HEAD_64 = struct.Struct("!BBH"), struct.Struct("!BBQ")
MAX_CONTROL = 125  # bytes of a control frame
FRAGMENT_BYTES, MAX_FRAGMENTS = 64, 1024  # what one takes beside its payload, and how many may be empty


class Violation(Exception):
    """The client broke the protocol. `code` is that of the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Message = tuple[int, bytes]  # the opcode and payload of a whole message or of a control frame


class Reader:
    """What a client sends, message by message."""

    __slots__ = ("_at", "_data", "_extensions", "_max_bytes", "_needed", "_opcode", "_parts", "_size")

    def __init__(self, max_bytes: int, extensions: Sequence[Extension] = ()) -> None:
        """`max_bytes`: of a message, also after it was decompressed."""
        self._max_bytes = max_bytes
        self._extensions = tuple(extensions)
        self._data: bytes | bytearray = b""  # read, from `_at` on not parsed yet
        self._at = 0
        self._needed = 0  # bytes without which the next frame is not whole
        self._opcode = 0  # of the message whose fragments are being read; 0: none is
        self._parts: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add what the connection has read."""
        if not self._data:
            self._data = data
            return
        if isinstance(self._data, bytes):  # a long frame arrives in many parts
            self._data, self._at = bytearray(self._data[self._at :]), 0
        self._data += data

    def read(self) -> Message | None:
        """The next message or control frame; None: more has to be read. Raises Violation."""
        data = self._data
        size = len(data)
        while size - self._at >= max(self._needed, 2):
            at = self._at
            first, second = data[at], data[at + 1]
            length, start = second & 0x7F, at + 6
            if length > MAX_CONTROL:
                head = 4 if length == 126 else 10
                if size - at < head:
                    return None
                (length,) = (_LENGTH_16 if head == 4 else _LENGTH_64).unpack_from(data, at + 2)
                start = at + head + 4
            if second < 0x80 or length > self._max_bytes:
                raise self._fault(second, length)
            stop = start + length
            if stop > size:
                self._needed = stop - at
                return None
            payload: bytes = _apply_mask(data[start:stop], data[start - 4 : start])
            self._at, self._needed = stop, 0
            if stop == size:
                self._data, self._at = b"", 0
                data, size = b"", 0
            if first in _WHOLE and not self._opcode:
                return first & 0x0F, payload
            if (message := self._take(first, payload)) is not None:
                return message
        return None

    def _fault(self, second: int, length: int) -> Violation:
        if second < 0x80:
            return Violation(CloseCode.PROTOCOL_ERROR, "a client masks its frames (RFC 6455, 5.1)")
        return _too_big(length, self._max_bytes)

    def _take(self, first: int, payload: bytes) -> Message | None:
        """A frame that is no whole message: its message if it ends one, or the control frame."""
        try:
            frame = Frame(Opcode(first & 0x0F), payload, *[bool(first & bit) for bit in (128, 64, 32, 16)])
            for extension in reversed(self._extensions):
                frame = extension.decode(frame, max_size=self._max_bytes)
            frame.check()
        except PayloadTooBig as error:
            raise _too_big(error.size, self._max_bytes) from error
        except (ProtocolError, ValueError) as error:
            raise Violation(CloseCode.PROTOCOL_ERROR, str(error)) from error
        payload = bytes(frame.data)
        if frame.opcode >= Opcode.CLOSE:
            return frame.opcode, payload
        return self._collect(frame.opcode, payload, is_last=frame.fin)

    def _collect(self, opcode: int, payload: bytes, *, is_last: bool) -> Message | None:
        """Add a fragment (RFC 6455, 5.4)."""
        if (opcode == Opcode.CONT) != bool(self._opcode):
            raise Violation(CloseCode.PROTOCOL_ERROR, "a fragment is out of place")
        self._opcode = self._opcode or opcode
        parts = self._parts = self._parts or []
        parts.append(payload)
        self._size += len(payload) + FRAGMENT_BYTES
        if self._size > self._max_bytes + FRAGMENT_BYTES * MAX_FRAGMENTS:
            raise _too_big(self._size, self._max_bytes)
        if not is_last:
            return None
        message = self._opcode, b"".join(parts)
        self._opcode, self._parts, self._size = 0, None, 0
        return message


def write(opcode: int, payload: bytes, extensions: Sequence[Extension] = ()) -> bytes:
    """A server's frame with a whole message or a control frame."""
    if extensions and opcode <= BINARY:
        return Frame(Opcode(opcode), payload).serialize(mask=False, extensions=extensions)
    length = len(payload)
    if length <= MAX_CONTROL:
        return bytes((0x80 | opcode, length)) + payload
    if length < 1 << 16:
        return _HEAD_16.pack(0x80 | opcode, 126, length) + payload
    return _HEAD_64.pack(0x80 | opcode, 127, length) + payload


def write_close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits."""
    fits = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore")
    return write(Opcode.CLOSE, Close(code, fits).serialize())


def read_close(payload: bytes) -> tuple[int, str]:
    """The code and reason of a client's close frame. Raises Violation."""
    try:
        close = Close.parse(payload)
    except (ProtocolError, UnicodeDecodeError) as error:
        raise Violation(CloseCode.PROTOCOL_ERROR, str(error)) from error
    return close.code, close.reason


def _too_big(size: int | None, most: int) -> Violation:
    return Violation(CloseCode.MESSAGE_TOO_BIG, f"a message of {size} bytes; the maximum is {most}")
