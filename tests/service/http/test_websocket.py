"""Messages are read as the `websockets` library writes them, however their bytes are cut."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from service.http import websocket
from service.http.websocket import Message, Reader, Violation

MAX_BYTES = 70_000
payloads = st.binary(max_size=200) | st.sampled_from([b"x" * 126, b"y" * 65535, b"z" * 65536])
messages = st.lists(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.lists(payloads, min_size=1, max_size=3)),
    max_size=5,
)


def write(frame: Frame, extensions: Sequence[Any] = ()) -> bytes:
    """A client's frame."""
    return frame.serialize(mask=True, extensions=extensions)


def fragments(opcode: Opcode, parts: list[bytes]) -> list[Frame]:
    """One message in several frames."""
    last = len(parts) - 1
    return [Frame(Opcode.CONT if i else opcode, part, fin=i == last) for i, part in enumerate(parts)]


def read_all(reader: Reader, *parts: bytes) -> list[Message]:
    read = []
    for part in parts:
        reader.feed(part)
        while (message := reader.read()) is not None:
            read.append(message)
    return read


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges) if start < stop]


@given(messages, st.lists(st.integers(0, 70_000), max_size=6), st.booleans())
def test_messages_are_read_however_they_are_cut(
    sent: list[tuple[Opcode, list[bytes]]], places: list[int], is_compressed: bool
) -> None:
    """Also in fragments, with pings between these, and compressed."""

    def deflate() -> list[Any]:
        return [PerMessageDeflate(False, False, 15, 15)] if is_compressed else []

    expected: list[Message] = []
    data = b""
    extensions = deflate()
    for opcode, parts in sent:
        frames = fragments(opcode, parts)
        for frame in frames:
            data += write(frame, extensions)
            if not frame.fin:
                data += write(Frame(Opcode.PING, b"p"))
                expected.append((Opcode.PING, b"p"))
        expected.append((opcode, b"".join(parts)))
    assert read_all(Reader(3 * MAX_BYTES, deflate()), *cut(data, places)) == expected


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=3))
def test_each_byte_may_come_alone(sent: list[bytes]) -> None:
    data = b"".join([write(Frame(Opcode.BINARY, payload)) for payload in sent])
    parts = [data[place : place + 1] for place in range(len(data))]
    assert read_all(Reader(100), *parts) == [(Opcode.BINARY, payload) for payload in sent]


@given(st.binary(max_size=80))
def test_any_bytes_are_messages_or_a_violation(data: bytes) -> None:
    reader = Reader(50)
    try:
        read_all(reader, data)
    except Violation as violation:
        assert violation.code in (1002, 1009)


@given(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PONG]), st.binary(max_size=100), st.booleans())
def test_a_server_writes_what_the_library_writes(opcode: Opcode, payload: bytes, is_long: bool) -> None:
    if is_long and opcode != Opcode.PONG:
        payload = payload * 1000 + b"!"
    assert websocket.write(opcode, payload) == Frame(opcode, payload).serialize(mask=False)


FRAMES: list[tuple[str, bytes, int | None]] = [  # masked at random: no names for tests
    ("not masked", b"\x82\x00", 1002),
    ("too large", write(Frame(Opcode.BINARY, b"x" * 101)), 1009),
    (
        "too large in pieces",
        write(Frame(Opcode.BINARY, b"x" * 60, fin=False)) + write(Frame(Opcode.CONT, b"x" * 60)),
        None,
    ),
    ("a piece of no message", write(Frame(Opcode.CONT, b"x")), 1002),
    (
        "a message inside another",
        write(Frame(Opcode.TEXT, b"x", fin=False)) + write(Frame(Opcode.TEXT, b"x")),
        1002,
    ),
    ("RSV1 without an extension", b"\xc2\x80\0\0\0\0", 1002),
    ("a reserved opcode", b"\x83\x80\0\0\0\0", 1002),
    ("a ping in pieces", b"\x09\x80\0\0\0\0", 1002),
    (
        "pieces without end",
        write(Frame(Opcode.TEXT, b"", fin=False)) + 2000 * write(Frame(Opcode.CONT, b"", fin=False)),
        1009,
    ),
]


@pytest.mark.parametrize(("data", "code"), [f[1:] for f in FRAMES], ids=[f[0] for f in FRAMES])
def test_what_breaks_the_protocol_is_a_violation(data: bytes, code: int | None) -> None:
    if code is None:
        assert read_all(Reader(120), data) == [(Opcode.BINARY, b"x" * 120)]
        return
    with pytest.raises(Violation) as raised:
        read_all(Reader(100), data)
    assert raised.value.code == code


def test_a_message_that_is_too_large_only_when_inflated_is_a_violation() -> None:
    deflate = [PerMessageDeflate(False, False, 15, 15)]
    data = write(Frame(Opcode.BINARY, bytes(10_000)), deflate)
    assert len(data) < 100
    with pytest.raises(Violation, match="maximum is 100"):
        read_all(Reader(100, [PerMessageDeflate(False, False, 15, 15)]), data)


def test_a_close_frame_is_read_and_its_reason_is_cut() -> None:
    written = websocket.write_close(4400, "ä" * 100)
    assert len(written) <= 127
    assert websocket.read_close(written[2:]) == (4400, "ä" * 61)
    assert websocket.read_close(b"") == (1005, "")
    for payload in (b"\x03", b"\0\1", b"\x03\xe8\xff"):
        with pytest.raises(Violation):
            websocket.read_close(payload)
