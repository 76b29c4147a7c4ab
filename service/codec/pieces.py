"""Large rectangles of numbers in JSON, read piece by piece, so that other threads run in between.

    {"sequences": [{"steps": [[1,2],[3,4],…]}, [[5,6],…]]}
                             └─ cut out ────┘  └ cut out ┘     and read as  [[1,2],…]  […,[3,4],…]  …

simdjson holds the interpreter while it reads a text: some 40 ns for each number, up to 0.3 s for a body of
16 MB. A body whose rectangles are cut out is small; each of them is cut between its rows, or its numbers. It
knows where a document has lists of numbers; it knows nothing of requests.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.sequence import Array

PIECE = 256 << 10  # bytes that are read at once: within some 5 ms
MAX_ROW = 1 << 20  # bytes of a row, which is never cut
CUT = 1 << 10  # bytes of a rectangle that is cut out
MAX_STRINGS = 100_000  # in a document; more would take long to skip
MAX_ENTRIES = 100_000  # of the list
ENTRY = 2  # depth of an entry of the list: root { list [
_COMMA = re.compile(rb"[ \t\r\n]*,")
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\[")

ReadText = Callable[[bytes], Array]  # a small rectangle; raises Refused


class Refused(Exception):
    """A document that is not read in pieces, or differently from orjson."""


@dataclass(slots=True, frozen=True)
class Cut:
    """A document without its rectangles: a string, which no client can guess, is in the place of each."""

    rest: bytes
    mark: str
    lists: list[bytes]

    def index(self, value: object) -> int | None:
        """Which rectangle a string is in the place of."""
        is_mark = isinstance(value, str) and value.startswith(self.mark)
        return int(value[len(self.mark) :]) if is_mark and isinstance(value, str) else None


def cut(body: bytes) -> Cut:
    """Cut the rectangles out of a document's entries. Raises Refused."""
    if b"\\" in body:  # escapes: then a quotation mark may be within a string
        raise Refused
    mark = secrets.token_hex(16)
    parts: list[bytes] = []
    lists: list[bytes] = []
    position = depth = 0
    for _ in range(MAX_STRINGS):
        end = body.find(b'"', position)
        span = body[position : end if end >= 0 else len(body)]
        last = 0
        for start, stop in _lists(span, depth):
            parts += [span[last:start], b'"%b%d"' % (mark.encode(), len(lists))]
            lists.append(span[start:stop])
            last = stop
        parts.append(span[last:])
        depth += _count(span, b"[{") - _count(span, b"]}")
        if end < 0:
            return Cut(b"".join(parts), mark, lists)
        position = body.find(b'"', end + 1) + 1
        if not position:
            raise Refused
        parts.append(body[end:position])
    raise Refused


def read(text: bytes, read_text: ReadText) -> Array:
    """A rectangle of any size, `[…]`: int64, or float64 if a piece of it is. Raises Refused."""
    if len(text) <= PIECE:
        return read_text(text)
    pieces: list[Array] = []
    position, end = 1, len(text) - 1
    while position < end:
        stop = _end_of_piece(text, position, end)
        pieces.append(read_text(b"[%b]" % text[position:stop]))
        if stop == end:
            break
        comma = _COMMA.match(text, stop)
        if comma is None or comma.end() >= end:
            raise Refused
        position = comma.end()
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise Refused
    return np.concatenate(pieces)


def _lists(span: bytes, depth: int) -> list[tuple[int, int]]:
    """Start and stop of the rectangles in a text without strings, which begins at that depth."""
    if len(span) < CUT:
        return []
    found: list[tuple[int, int]] = []
    levels = _levels(span)
    levels += depth
    text = np.frombuffer(span, np.uint8)
    value = _COLON.match(span) if depth > ENTRY else None
    if value is not None:  # of a member of an entry: "steps": [
        start = value.end() - 1
        stops = np.flatnonzero(levels[start:] == depth)
        if not len(stops):
            raise Refused
        stop = start + int(stops[0]) + 1
        found += [(start, stop)] if stop - start >= CUT else []
    starts = np.flatnonzero((text == ord("[")) & (levels == ENTRY + 1))
    if len(starts) > MAX_ENTRIES:
        raise Refused
    ends = np.flatnonzero((text == ord("]")) & (levels == ENTRY)) + 1
    if len(starts) != len(ends):
        raise Refused
    is_large = ends - starts >= CUT
    found += zip(starts[is_large].tolist(), ends[is_large].tolist(), strict=True)
    return found


def _end_of_piece(text: bytes, position: int, end: int) -> int:
    """Behind the last row, or number, that ends within a piece from `position` on. Raises Refused."""
    size = PIECE
    while size <= MAX_ROW:
        if position + size >= end:
            return end
        piece = text[position : position + size]
        levels = _levels(piece)
        rows = np.flatnonzero((levels == 0) & (np.frombuffer(piece, np.uint8) == ord("]")))
        if len(rows):
            return position + int(rows[-1]) + 1
        if not levels.any() and (comma := piece.rfind(b",")) > 0:
            return position + comma
        size *= 2
    raise Refused


def _levels(text: bytes) -> "np.ndarray[Any, np.dtype[np.int32]]":
    """The number of open lists and objects after each byte of a text without strings."""
    folded = np.frombuffer(text, np.uint8) | 0x20  # "[" and "{" become equal, and so do "]" and "}"
    growth = (folded == ord("{")).view(np.int8) - (folded == ord("}")).view(np.int8)
    levels = np.empty(len(text), np.int32)
    level = 0
    for start in range(0, len(text), PIECE):  # numpy holds the interpreter, and the event loop waits
        block = np.cumsum(growth[start : start + PIECE], dtype=np.int32, out=levels[start : start + PIECE])
        block += level
        level = int(block[-1])
    return levels


def _count(text: bytes, characters: bytes) -> int:
    return sum([text.count(characters[place : place + 1]) for place in range(len(characters))])
