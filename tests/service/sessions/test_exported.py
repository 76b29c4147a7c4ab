"""An exported session comes back whole, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadExport
from service.manifest import StateSpec
from service.sessions import exported as transfer
from service.sessions.store.record import Record, Status

TENSORS = transfer.tensors_of(
    (
        StateSpec(input="h", output="h_out", shape=(1, "batch", 2)),
        StateSpec(input="c", output="c_out", shape=("batch", 3)),
    )
)
COUNT = st.integers(0, 2**63 - 1)
RECORDS = st.builds(
    Record,
    status=st.just(Status.LIVE),
    model=st.text(min_size=1, max_size=9),
    version=st.just("3"),
    graph=st.binary(min_size=8, max_size=8),
    revision=st.just(bytes(8)),
    step=COUNT,
    created_ms=COUNT,
    touched_ms=st.just(0),
    ttl_ms=COUNT,
    state=st.binary(max_size=40),
    at=COUNT,
    digest=st.binary(min_size=16, max_size=16),
    reply=st.binary(max_size=40),
)


@given(RECORDS, st.text(min_size=1, max_size=20))
def test_what_is_written_is_read(record: Record, name: str) -> None:
    header, back = transfer.read(transfer.write(name, record, TENSORS))
    assert back == record
    assert (header.session, header.tensors) == (name, TENSORS)
    assert [tensor.shape for tensor in header.tensors] == [(1, 2), (3,)]


@given(RECORDS, st.data())
def test_a_changed_bit_or_a_lost_byte_is_refused(record: Record, data: st.DataObject) -> None:
    blob = bytearray(transfer.write("call", record, TENSORS))
    at = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        blob[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del blob[at]
    with pytest.raises(BadExport):
        transfer.read(bytes(blob))


@pytest.mark.parametrize("blob", [b"", b"CGSX", b"\x00" * 100], ids=["nothing", "the magic alone", "zeros"])
def test_what_is_no_export_is_told(blob: bytes) -> None:
    with pytest.raises(BadExport, match="no exported session"):
        transfer.read(blob)


def test_a_format_of_the_future_is_told() -> None:
    record = Record(Status.LIVE, "m", "1", bytes(8), bytes(8), 0, 0, 0, 1)
    blob = bytearray(transfer.write("call", record, TENSORS))
    blob[4] = 9
    with pytest.raises(BadExport, match="format 9, this server reads 1"):
        transfer.read(bytes(blob))
