"""A session as a file: `export` writes it and `import` reads it.

    magic  format  header length  SHA-256  header (JSON)  state   reply   states of checkpoints
    4      2       4              32       variable, lengths in the header

Numbers are little-endian. The checksum covers everything after it. The header describes the state, tensor by
tensor, so that a server with another graph refuses the file instead of misreading it.
"""

import hashlib
import struct
from itertools import accumulate, pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from service.errors import BadExport
from service.names import MAX_STEP
from service.sessions.store.history import Checkpoint, History
from service.sessions.store.record import Record, Status
from service.state import StateLayout, StateTensor

MAGIC = b"CGSX"
FORMAT = 1
MEDIA_TYPE = "application/octet-stream"
MAX_HEADER_BYTES = 64 << 10  # some hundred tensors
_PREFIX = struct.Struct("<4sHI32s")

Hex8 = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Hex16 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class KeptState(BaseModel):
    """A checkpoint, whose state is behind the reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Count
    state_bytes: Count


class KeptHistory(BaseModel):
    """What the session keeps of its past."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    last: Annotated[int, Field(ge=0, le=2**32 - 1)]
    every: Count
    rewinds: Count
    checkpoints: Annotated[tuple[KeptState, ...], FailFast()]


class Header(BaseModel):
    """Everything except the bytes of state and reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: str
    model: str
    version: str
    graph: Hex8
    tensors: Annotated[tuple[StateTensor, ...], FailFast()]
    step: Count
    created_ms: Count
    ttl_ms: Count
    at: Count
    digest: Hex16
    state_bytes: Count
    reply_bytes: Count
    history: KeptHistory | None = None


def write(session: str, record: Record, tensors: tuple[StateTensor, ...]) -> bytes:
    """A live session as bytes, its last request's reply included, so that a retry stays safe."""
    header = Header(
        session=session,
        model=record.model,
        version=record.version,
        graph=record.graph.hex(),
        tensors=tensors,
        step=record.step,
        created_ms=record.created_ms,
        ttl_ms=record.ttl_ms,
        at=record.at,
        digest=record.digest.hex(),
        state_bytes=len(record.state),
        reply_bytes=len(record.reply),
        history=None if record.history is None else _describe(record.history),
    )
    text = header.model_dump_json(exclude_none=True).encode()  # as before there was `grows`
    kept = () if record.history is None else record.history.checkpoints
    rest = b"".join((text, record.state, record.reply, *[checkpoint.state for checkpoint in kept]))
    return _PREFIX.pack(MAGIC, FORMAT, len(text), hashlib.sha256(rest).digest()) + rest


def read(blob: bytes) -> tuple[Header, Record]:
    """Undo `write`; the record's revision and last use are zero. Raises BadExport."""
    if len(blob) < _PREFIX.size or blob[:4] != MAGIC:
        raise BadExport("this is not an exported session")
    _, version, length, checksum = _PREFIX.unpack_from(blob)
    if version != FORMAT:
        raise BadExport(f"the file has format {version}, this server reads {FORMAT}")
    if length > MAX_HEADER_BYTES:
        raise BadExport(f"the header has {length} bytes, the maximum is {MAX_HEADER_BYTES}")
    rest = blob[_PREFIX.size :]
    if hashlib.sha256(rest).digest() != checksum:
        raise BadExport("the file does not match its checksum: it is incomplete or was changed")
    try:
        header = Header.model_validate_json(rest[:length])
    except ValidationError as error:
        fault: Any = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadExport(
            f"the header's {'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}"
        ) from error
    kept = () if header.history is None else header.history.checkpoints
    sizes = [header.state_bytes, header.reply_bytes, *[each.state_bytes for each in kept]]
    if length + sum(sizes) != len(rest):
        raise BadExport("the lengths in the header do not match the file")
    state, reply, *states = _cut(rest, length, sizes)
    return header, Record(
        status=Status.LIVE,
        model=header.model,
        version=header.version,
        graph=bytes.fromhex(header.graph),
        revision=bytes(8),
        step=header.step,
        created_ms=header.created_ms,
        touched_ms=0,
        ttl_ms=header.ttl_ms,
        state=state,
        at=header.at,
        digest=bytes.fromhex(header.digest),
        reply=reply,
        history=None if header.history is None else _history(header.history, states),
    )


def check(record: Record, layout: StateLayout, *, allows_non_finite: bool = False) -> None:
    """Refuse a record that no server would have written; the header's tensors are known to be the layout's.

    The checksum finds accidents only: a forged file can have a valid one. `allows_non_finite`: whether the
    model's own answers may leave NaN or an infinity in a state. Raises BadExport or NonFinite.
    """
    if not record.at <= record.step <= MAX_STEP:
        raise BadExport(
            f"the file is at step {record.step}, its last request began at {record.at}: "
            f"a session has at most {MAX_STEP} steps, and a request begins before its end"
        )
    _check_state(record.state, layout, allows_non_finite=allows_non_finite)
    before = -1
    for step, state in () if record.history is None else record.history.checkpoints:
        if not before < step < record.step:
            raise BadExport(f"a checkpoint is at step {step}: they are in order, and before {record.step}")
        _check_state(state, layout, allows_non_finite=allows_non_finite)
        before = step


def _describe(history: History) -> KeptHistory:
    checkpoints = tuple(KeptState(step=step, state_bytes=len(state)) for step, state in history.checkpoints)
    return KeptHistory(
        last=history.last, every=history.every, rewinds=history.rewinds, checkpoints=checkpoints
    )


def _history(kept: KeptHistory, states: list[bytes]) -> History:
    steps = [each.step for each in kept.checkpoints]
    return History(kept.last, kept.every, kept.rewinds, tuple(map(Checkpoint, steps, states)))


def _cut(packed: bytes, at: int, sizes: list[int]) -> list[bytes]:
    """Pieces of these sizes, one after the other, from `at` on."""
    ends = list(accumulate(sizes, initial=at))
    return [packed[start:stop] for start, stop in pairwise(ends)]


def _check_state(packed: bytes, layout: StateLayout, *, allows_non_finite: bool) -> None:
    if fault := layout.fault(packed):
        raise BadExport(fault)
    if not allows_non_finite:
        layout.check_finite(packed)
