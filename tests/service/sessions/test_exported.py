"""An exported session is read back whole, or refused."""

import hashlib
import struct
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadExport, NonFinite
from service.manifest import InputSpec, StateSpec
from service.names import MAX_STEP
from service.sessions import exported
from service.sessions.store.history import Checkpoint, History
from service.sessions.store.record import Record, Status
from service.state import StateLayout
from tests.service.sessions.store.test_history import HISTORIES
from tests.service.sessions.world import LAYOUT

TENSORS = LAYOUT.tensors
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
    history=st.none() | HISTORIES,
)


@given(RECORDS, st.text(min_size=1, max_size=20))
def test_a_file_is_read_as_it_was_written(record: Record, name: str) -> None:
    header, read = exported.read(exported.write(name, record, TENSORS))
    assert read == record
    assert (header.session, header.tensors) == (name, TENSORS)
    assert [tensor.shape for tensor in header.tensors] == [(1, 2), (3,)]


@pytest.mark.promise(10)
@given(RECORDS, st.data())
def test_a_changed_bit_or_a_lost_byte_is_refused(record: Record, data: st.DataObject) -> None:
    blob = bytearray(exported.write("call", record, TENSORS))
    at = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        blob[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del blob[at]
    with pytest.raises(BadExport):
        exported.read(bytes(blob))


@pytest.mark.parametrize("blob", [b"", b"CGSX", b"\x00" * 100], ids=["nothing", "the magic alone", "zeros"])
def test_other_files_are_refused(blob: bytes) -> None:
    with pytest.raises(BadExport, match="not an exported session"):
        exported.read(blob)


def test_a_newer_format_is_refused() -> None:
    record = Record(Status.LIVE, "m", "1", bytes(8), bytes(8), 0, 0, 0, 1)
    blob = bytearray(exported.write("call", record, TENSORS))
    blob[4] = 9
    with pytest.raises(BadExport, match="format 9, this server reads 1"):
        exported.read(bytes(blob))


def live(step: int, at: int, state: bytes) -> Record:
    return Record(Status.LIVE, "m", "1", bytes(8), bytes(8), step, 0, 0, 1, state, at)


def test_a_record_that_a_server_can_have_written_passes() -> None:
    exported.check(live(MAX_STEP, MAX_STEP, bytes(20)), LAYOUT)


@pytest.mark.parametrize(
    ("step", "at", "state", "error", "message"),
    [
        (MAX_STEP + 1, 0, bytes(20), BadExport, "at most"),
        (1, 2, bytes(20), BadExport, "before its end"),
        (2, 1, bytes(16), BadExport, "16 bytes, its tensors 20"),
        (2, 1, bytes(16) + np.float32(np.nan).tobytes(), NonFinite, "'c' contains NaN"),
        (2, 1, np.float32(np.inf).tobytes() + bytes(16), NonFinite, "'h' contains NaN"),
    ],
    ids=["step", "at", "size", "NaN", "infinity"],
)
def test_a_record_that_no_server_can_have_written_is_refused(
    step: int, at: int, state: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        exported.check(live(step, at, state), LAYOUT)


@pytest.mark.parametrize(
    ("checkpoints", "error", "message"),
    [
        ([(0, bytes(20)), (1, bytes(20))], None, ""),
        ([(1, bytes(20)), (1, bytes(20))], BadExport, "in order, and before 2"),
        ([(2, bytes(20))], BadExport, "a checkpoint is at step 2"),
        ([(1, bytes(16))], BadExport, "16 bytes, its tensors 20"),
        ([(1, np.float32(np.inf).tobytes() + bytes(16))], NonFinite, "'h' contains NaN"),
    ],
    ids=["as written", "twice", "not earlier", "size", "infinity"],
)
def test_checkpoints_are_checked_like_the_state(
    checkpoints: list[tuple[int, bytes]], error: type[Exception] | None, message: str
) -> None:
    record = live(2, 1, bytes(20))
    record.history = History(4, checkpoints=tuple(Checkpoint(*each) for each in checkpoints))
    with pytest.raises(error, match=message) if error else nullcontext():
        exported.check(record, LAYOUT)


def record_of(state: bytes) -> Record:
    return Record(
        status=Status.LIVE, model="m", version="1", graph=bytes(8), revision=bytes(8), step=2, created_ms=0,
        touched_ms=0, ttl_ms=1, state=state, at=1, digest=bytes(16), reply=b"",
    )  # fmt: skip


def test_a_model_that_may_answer_nan_takes_back_the_state_that_it_exported() -> None:
    """The export was answered 200, its import 422."""
    state = bytes(16) + np.float32(np.nan).tobytes()
    exported.check(record_of(state), LAYOUT, allows_non_finite=True)
    with pytest.raises(NonFinite):
        exported.check(record_of(state), LAYOUT)


def test_integers_and_booleans_are_exported_and_a_forged_boolean_refused() -> None:
    layout = StateLayout(
        [
            StateSpec(input="count", output="count_out", shape=("batch", 2), dtype="int64"),
            StateSpec(input="flags", output="flags_out", shape=("batch", 2), dtype="bool"),
        ],
        [InputSpec(name="speaker", dims=(1,), dtype="uint8", per="sequence")],
    )
    state = np.array([2**53 + 1, -(2**63)]).tobytes() + b"\x00\x01" + b"\xff"
    header, record = exported.read(exported.write("s", record_of(state), layout.tensors))
    assert header.tensors == layout.tensors and record.state == state
    exported.check(record, layout)
    with pytest.raises(BadExport, match="'flags' has a byte that is neither true nor false"):
        exported.check(record_of(state[:-3] + b"\x00\x02\xff"), layout)


def test_a_state_that_grows_is_exported_with_its_sizes_and_others_as_before() -> None:
    cache = StateSpec(input="k", output="k_out", shape=("batch", 4, 2), grows=1)
    layout = StateLayout([cache])
    state = layout.pack((np.ones((3, 2), np.float32),))
    header, record = exported.read(exported.write("s", record_of(state), layout.tensors))
    assert header.tensors == layout.tensors and record.state == state
    exported.check(record, layout)
    with pytest.raises(BadExport, match="27 bytes"):
        exported.check(record_of(state[1:]), layout)
    assert b"grows" not in exported.write("s", record_of(bytes(20)), TENSORS), "servers of before can read it"


def test_a_header_is_bounded_and_its_first_fault_ends_the_reading() -> None:
    """1 MB of tensors without fields took 6 s and 1.6 GB: each had its errors."""
    for text, message in [
        (b'{"tensors":[%b]}' % b",".join([b"{}"] * 400_000), "the maximum is 65536"),
        (b'{"tensors":[%b]}' % b",".join([b"{}"] * 20_000), "Field required"),
    ]:
        checksum = hashlib.sha256(text).digest()
        with pytest.raises(BadExport, match=message):
            exported.read(struct.pack("<4sHI32s", b"CGSX", 1, len(text), checksum) + text)
