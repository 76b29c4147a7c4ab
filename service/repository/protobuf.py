"""Reads the wire format of Protocol Buffers from a file, field by field. It does not know ONNX.

A file is read through windows of 64 KiB, and the bytes of large fields are skipped. The file is not mapped: a
mapped file that is truncated by another process ends this one with SIGBUS.
https://protobuf.dev/programming-guides/encoding/
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

WINDOW = 1 << 16
MAX_HEADER = 20  # bytes: a tag and a length, or a tag and a number
MAX_FIELDS = 1_000_000  # in one file: 2 to 5 s; DenseNet-121, of 1,700 nodes, has 31,000
MAX_BYTES = 1 << 20  # of one name, string or list that is read
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
ONE_BYTE = 0x80  # varints below it have one byte


class MalformedFile(Exception):
    """The bytes are not a message in the wire format, or exceed a limit."""


class File:
    """An open file of known size, and how many fields have been read from it."""

    def __init__(self, fd: int) -> None:
        """Raises MalformedFile for a folder, a pipe or a device."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise MalformedFile("it is not a regular file")
        self.size = status.st_size
        self.num_fields = 0
        self._fd = fd

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`. Raises MalformedFile if the file ends before."""
        content = os.pread(self._fd, length, start)
        if len(content) != length:
            raise MalformedFile(f"the file ends within the {length} bytes from {start}")
        return content

    def count(self) -> None:
        """Count one more field. Raises MalformedFile if there are too many."""
        self.num_fields += 1
        if self.num_fields > MAX_FIELDS:
            raise MalformedFile(f"more than {MAX_FIELDS} fields")


@dataclass(slots=True, frozen=True)
class Field:
    """One field: its number, its wire type, and a number or the range of its bytes in the file."""

    number: int
    wire: int
    value: int  # VARINT: the number, unsigned 64 bits; FIXED32, FIXED64: its bits; BYTES: the length
    start: int  # BYTES: where they start
    file: File

    @property
    def signed(self) -> int:
        """A number as int64. Raises MalformedFile if it is not a varint."""
        self._expect(VARINT)
        return self.value - (1 << 64) if self.value >> 63 else self.value

    @property
    def message(self) -> "Message":
        """The bytes as a message. Raises MalformedFile if it is no such field."""
        self._expect(BYTES)
        return Message(self.file, self.start, self.start + self.value)

    @property
    def content(self) -> bytes:
        """The bytes. Raises MalformedFile if it is no such field, or too long."""
        self._expect(BYTES)
        if self.value > MAX_BYTES:
            raise MalformedFile(f"a text of {self.value} bytes")
        return self.file.read(self.start, self.value)

    @property
    def text(self) -> str:
        """The bytes as UTF-8. Raises MalformedFile."""
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise MalformedFile("a name is not UTF-8") from error

    @property
    def floating(self) -> float:
        """A float32. Raises MalformedFile if the field has another wire type."""
        self._expect(FIXED32)
        number: float = struct.unpack("<f", self.value.to_bytes(4, "little"))[0]
        return number

    def integers(self) -> list[int]:
        """One int64, or the packed ones. Raises MalformedFile."""
        if self.wire == VARINT:
            return [self.signed]
        content, position, numbers = self.content, 0, []
        while position < len(content):
            number, position = _varint(content, position)
            numbers.append(number - (1 << 64) if number >> 63 else number)
        return numbers

    def floats(self) -> list[float]:
        """One float32, or the packed ones. Raises MalformedFile."""
        if self.wire == FIXED32:
            return [self.floating]
        content = self.content
        if len(content) % 4:
            raise MalformedFile("float32 numbers of a length that is no multiple of 4")
        return list(struct.unpack(f"<{len(content) // 4}f", content))

    def _expect(self, wire: int) -> None:
        if self.wire != wire:
            raise MalformedFile(f"field {self.number} has wire type {self.wire}, expected {wire}")


@dataclass(slots=True, frozen=True)
class Message:
    """A range of a file that holds fields."""

    file: File
    start: int
    stop: int

    def __iter__(self) -> Iterator[Field]:
        """Its fields, in the order of the file. Raises MalformedFile."""
        file, position, stop = self.file, self.start, self.stop
        if stop > file.size:
            raise MalformedFile("a message is longer than the file")
        window, base = b"", position
        while position < stop:
            file.count()
            at = position - base
            if at + MAX_HEADER > len(window) and base + len(window) < stop:
                window, base, at = file.read(position, min(WINDOW, stop - position)), position, 0
            field, used = _read_field(file, window, at, base)
            position = base + used
            if field.wire == BYTES:
                position += field.value
            if position > stop:
                raise MalformedFile(f"field {field.number} is longer than its message")
            yield field


class Fields:
    """The fields of a message, by number."""

    def __init__(self, message: Message) -> None:
        self._by_number: dict[int, list[Field]] = {}
        for each in message:
            self._by_number.setdefault(each.number, []).append(each)

    def all(self, number: int) -> list[Field]:
        """A repeated field."""
        return self._by_number.get(number, [])

    def one(self, number: int) -> Field | None:
        """A field that may be there once. Raises MalformedFile if it is repeated: some readers merge then."""
        found = self.all(number)
        if len(found) > 1 and found[0].wire == BYTES:
            raise MalformedFile(f"field {number} is there {len(found)} times")
        return found[-1] if found else None

    def text(self, number: int) -> str:
        """A string; "" if it is absent."""
        found = self.one(number)
        return "" if found is None else found.text

    def integer(self, number: int) -> int:
        """A number; 0 if it is absent."""
        found = self.one(number)
        return 0 if found is None else found.signed


def _read_field(file: File, window: bytes, at: int, base: int) -> tuple[Field, int]:
    """The field that starts at `at` of the window, and where its number, or its header, ends."""
    tag, at = _varint(window, at)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise MalformedFile(f"field number {number}")
    if wire in (VARINT, BYTES):
        value, at = _varint(window, at)
    elif wire in (FIXED32, FIXED64):
        size = 4 if wire == FIXED32 else 8
        value, at = int.from_bytes(window[at : at + size], "little"), at + size
        if at > len(window):
            raise MalformedFile("a number ends after its message")
    else:
        raise MalformedFile(f"wire type {wire}")
    return Field(number, wire, value, base + at, file), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, unsigned 64 bits, and where the next field starts."""
    number = shift = 0
    try:
        while (byte := content[at]) >= ONE_BYTE:
            number |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if shift > 63:
                raise MalformedFile("a number of more than 64 bits")
    except IndexError:
        raise MalformedFile("a number ends after its message") from None
    return (number | byte << shift) & 0xFFFFFFFFFFFFFFFF, at + 1
