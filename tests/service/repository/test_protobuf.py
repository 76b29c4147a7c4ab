"""The wire format: every field of a message is read with its own bytes, and damage is found."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.repository.protobuf import Fields, File, MalformedFile, Message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "message"


def read(path: Path, content: bytes) -> Fields:
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    file = File(fd)
    fields = Fields(Message(file, 0, file.size))
    path.unlink()  # the descriptor stays open: the file is read when a field is
    return fields


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, wire: int, content: bytes) -> bytes:
    length = varint(len(content)) if wire == 2 else b""
    return varint(number << 3 | wire) + length + content


def shorts() -> Iterator[bytes]:
    yield b"\x80"  # a tag that does not end
    yield varint(1 << 3)  # no number
    yield field(1, 2, b"abc")[:-1]  # bytes that do not end
    yield field(1, 5, b"\0\0\0")
    yield field(1, 1, b"\0\0\0")
    yield b"\x08" + b"\xff" * 10  # a number of more than 64 bits
    yield field(0, 0, b"\0")
    yield field(1, 3, b"")  # groups are not used
    yield field(1, 7, b"")


@pytest.mark.parametrize("content", [*shorts()])
def test_damage_is_found(content: bytes, path: Path) -> None:
    with pytest.raises(MalformedFile):
        read(path, content)


def test_fields_have_their_own_values(path: Path) -> None:
    content = [field(1, 2, b"name"), field(2, 0, varint(-7)), field(3, 5, b"\0\0\xc0\x3f")]
    content += [field(4, 2, varint(1) + varint(-2) + varint(1 << 40)), field(5, 0, varint(300))]
    content += [field(6, 2, b"\0\0\x80\x3f\0\0\0\x40"), field(6, 5, b"\0\0\x40\x40")]
    content += [field(99, 1, bytes(8)), field(1000, 2, bytes(200_000)), field(7, 2, field(1, 2, b"inner"))]
    fields = read(path, b"".join(content))
    assert (fields.text(1), fields.integer(2), fields.integer(5)) == ("name", -7, 300)
    assert fields.all(3)[0].floating == 1.5
    assert [each.integers() for number in (4, 5) for each in fields.all(number)] == [[1, -2, 1 << 40], [300]]
    assert [each.floats() for each in fields.all(6)] == [[1.0, 2.0], [3.0]]
    assert Fields(fields.all(7)[0].message).text(1) == "inner"
    assert (fields.text(50), fields.integer(50), fields.one(50), fields.all(50)) == ("", 0, None, [])


def test_another_wire_type_or_a_repeated_message_is_refused(path: Path) -> None:
    fields = read(path, field(1, 0, b"\1") + field(2, 2, b"\xff") + field(2, 2, b"b") + field(3, 2, b"abc"))
    for wrong in (
        lambda: fields.text(1),
        lambda: fields.one(2),
        lambda: fields.all(2)[0].text,
        lambda: fields.integer(3),
        lambda: fields.all(3)[0].floats(),
        lambda: fields.all(3)[0].floating,
        lambda: fields.all(1)[0].message,
    ):
        with pytest.raises(MalformedFile):
            wrong()


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1 << 20),
            st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=100_000)),
        ),
        max_size=8,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[int, int | bytes]]
) -> None:
    content = b"".join(
        field(number, 0, varint(value)) if isinstance(value, int) else field(number, 2, value)
        for number, value in values
    )
    fields = read(tmp_path_factory.mktemp("wire") / "message", content)
    found = {
        number: [
            each.content if isinstance(value, bytes) else each.signed
            for each, value in zip(fields.all(number), [v for n, v in values if n == number], strict=True)
        ]
        for number, _ in values
    }
    assert found == {number: [v for n, v in values if n == number] for number, _ in values}
