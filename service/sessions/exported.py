"""A session as a file: what `export` gives and `import` takes.

    magic  format  header length  SHA-256  header (JSON)  state   reply
    4      2       4              32       variable, lengths in the header

Numbers are little endian. The checksum is over all that follows it. The header says what the state is, tensor
by tensor, so that a server with another graph refuses the file instead of misreading it.
"""

import hashlib
import math
import struct
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import BadExport, NonFinite
from service.manifest import StateSpec
from service.sequence import Array
from service.sessions.store.record import Record, Status

MAGIC = b"CGSX"
FORMAT = 1
MEDIA_TYPE = "application/vnd.cellgate.session"
_PREFIX = struct.Struct("<4sHI32s")

Hex8 = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Hex16 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Tensor(BaseModel):
    """One recurrent tensor, without the batch axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dtype: Literal["float32", "float64", "float16"]
    shape: tuple[int, ...]


class Header(BaseModel):
    """Everything but the bytes of state and reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: str
    model: str
    version: str
    graph: Hex8
    tensors: tuple[Tensor, ...]
    step: Count
    created_ms: Count
    ttl_ms: Count
    at: Count
    digest: Hex16
    state_bytes: Count
    reply_bytes: Count


def tensors_of(states: tuple[StateSpec, ...]) -> tuple[Tensor, ...]:
    """What a graph's state is made of, in its order."""
    return tuple(Tensor(name=spec.input, dtype=spec.dtype, shape=spec.row_shape) for spec in states)


def num_bytes(tensors: tuple[Tensor, ...]) -> int:
    """The size of a state."""
    return sum(math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in tensors)


def unpack(tensors: tuple[Tensor, ...], state: bytes) -> dict[str, Array]:
    """A state of `num_bytes` as arrays by name, which cannot be written to."""
    arrays, start = {}, 0
    for tensor in tensors:
        array = np.frombuffer(state, tensor.dtype, math.prod(tensor.shape), start)
        arrays[tensor.name] = array.reshape(tensor.shape)
        start += array.nbytes
    return arrays


def write(session: str, record: Record, tensors: tuple[Tensor, ...]) -> bytes:
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
    )
    text = header.model_dump_json().encode()
    rest = b"".join((text, record.state, record.reply))
    return _PREFIX.pack(MAGIC, FORMAT, len(text), hashlib.sha256(rest).digest()) + rest


def read(blob: bytes) -> tuple[Header, Record]:
    """Undo `write`; the record has no revision and was never touched. Raises BadExport."""
    if len(blob) < _PREFIX.size or blob[:4] != MAGIC:
        raise BadExport("this is no exported session")
    _, written, length, checksum = _PREFIX.unpack_from(blob)
    if written != FORMAT:
        raise BadExport(f"the file has format {written}, this server reads {FORMAT}")
    rest = blob[_PREFIX.size :]
    if hashlib.sha256(rest).digest() != checksum:
        raise BadExport("the file does not match its checksum: it was cut short or changed")
    try:
        header = Header.model_validate_json(rest[:length])
    except ValidationError as error:
        fault: Any = error.errors()[0]
        raise BadExport(
            f"the header's {'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}"
        ) from error
    state, reply = rest[length : length + header.state_bytes], rest[length + header.state_bytes :]
    if len(state) != header.state_bytes or len(reply) != header.reply_bytes:
        raise BadExport("the header's lengths are not those of the file")
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
    )


def check(header: Header, record: Record, *, max_step: int) -> None:
    """Refuse what no server would have written; the header's tensors are known to be a model's.

    The checksum tells of accidents: whoever makes a file can make one for it. Raises BadExport or NonFinite.
    """
    if not record.at <= record.step <= max_step:
        raise BadExport(
            f"the file is at step {record.step}, its last request began at {record.at}: "
            f"a session has at most {max_step} steps, and a request begins before its end"
        )
    if len(record.state) != num_bytes(header.tensors):
        raise BadExport(f"the state has {len(record.state)} bytes, its tensors {num_bytes(header.tensors)}")
    for name, array in unpack(header.tensors, record.state).items():
        if not np.isfinite(array).all():
            raise NonFinite(f"the state {name!r} holds NaN or an infinity")
