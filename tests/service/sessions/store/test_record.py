"""A record at rest: whole, or refused."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import CorruptRecord
from service.sessions.store.record import (
    BOND_SIZE,
    FIELDS,
    HEADER_SIZE,
    Head,
    Record,
    Status,
    new_revision,
    offset_of,
)
from tests.service.sessions.store.records import record
from tests.service.sessions.store.test_history import HISTORIES

KEY = b"acme\0call-42"
UINT64 = st.integers(0, 2**64 - 1)
RECORDS = st.builds(
    Record,
    status=st.sampled_from(Status),
    model=st.text(max_size=9),
    version=st.text(max_size=3),
    graph=st.binary(min_size=8, max_size=8),
    revision=st.binary(min_size=8, max_size=8),
    step=UINT64,
    created_ms=UINT64,
    touched_ms=UINT64,
    ttl_ms=UINT64,
    state=st.binary(max_size=40),
    at=UINT64,
    digest=st.binary(min_size=16, max_size=16),
    reply=st.binary(max_size=40),
    history=st.none() | HISTORIES,
)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(original: Record) -> None:
    packed = original.pack(KEY)
    assert Record.unpack(packed, KEY) == original
    assert Record.unpack(memoryview(packed), KEY) == original
    assert Record.head(packed) == original.head_of(len(packed))


@pytest.mark.promise(10)
@pytest.mark.parametrize("position", [0, 5, 40, -1])
def test_a_record_of_which_a_bit_differs_is_refused(position: int) -> None:
    packed = bytearray(record().pack(KEY))
    packed[position] ^= 1
    with pytest.raises(CorruptRecord):
        Record.unpack(bytes(packed), KEY)
    with pytest.raises(CorruptRecord):
        Record.unpack(bytes(packed[:20]), KEY)


def with_parts(parts: bytes) -> bytes:
    """A record with other parts than `record` has, and with the right checksum."""
    packed = record().pack(KEY)
    body = packed[8:-BOND_SIZE] + parts + packed[-BOND_SIZE:]
    return packed[:4] + zlib.crc32(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ("0c000000 484f5345 04000000 00000000", "one of them is of a newer server"),
        ("08000000 48495354 00000000", "the history has 0 bytes"),
        ("08000000 48495354 01000000", "the last one is too short"),
        ("04000000 48495354", "one of them is too short"),
        ("09000000 48495354 00000000", "their size differs"),
    ],
)
def test_a_record_with_parts_that_cannot_be_read_is_refused(parts: str, fault: str) -> None:
    """An older server would drop a part that it does not know at the next step."""
    with pytest.raises(CorruptRecord, match=fault):
        Record.unpack(with_parts(bytes.fromhex(parts)), KEY)
    assert Record.unpack(with_parts(bytes(4)), KEY).history is None


@given(st.binary(max_size=120))
def test_the_head_of_any_bytes_can_be_read(junk: bytes) -> None:
    head = Record.head(junk)
    assert head.size == len(junk)
    if len(junk) < HEADER_SIZE:
        assert head == Head(False, 0, 0, junk[62:70], len(junk))


def test_a_damaged_record_can_be_replaced_by_its_revision() -> None:
    packed = bytearray(record().pack(KEY))
    packed[-1] ^= 1
    with pytest.raises(CorruptRecord) as raised:
        Record.unpack(bytes(packed), KEY)
    stand_in = Record.unreadable(raised.value, 7)
    assert (stand_in.revision, stand_in.is_live, stand_in.step) == (bytes(packed[62:70]), True, 0)


def test_the_table_of_fields_is_the_layout() -> None:
    """Stored files and Redis depend on these offsets."""
    offsets = [0, 4, 8, 10, 12, 14, 18, 22, 30, 38, 46, 54, 62, 70, 78]
    assert [offset_of(field) for field in FIELDS] == offsets
    assert struct.calcsize("<" + "".join(FIELDS.values())) == HEADER_SIZE == 94


def test_no_two_revisions_are_equal() -> None:
    assert len({new_revision() for _ in range(1000)}) == 1000
