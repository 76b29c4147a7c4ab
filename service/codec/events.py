"""The events of one reply: what an id says, and how the rows of a stored reply are found again.

    id = 120.3.9f86d081.1c291ca3      the session's step before the request, or - without a session; of one
           │ │ │        │              that was rewound, 120r2: how often
           │ │ │        └ CRC-32 of the request and of all outputs up to here
           │ │ └ the seed, or -
           │ └ steps of the reply that the client has with this event

So a server needs to remember nothing for a client that comes back: it computes the same steps again, or reads
the stored reply, and compares the checksum. It knows arrays and JSON; it knows nothing of HTTP or sessions.
"""

import re
import zlib
from collections.abc import Sequence as Several
from typing import Any, NamedTuple, Self

import numpy as np
import orjson

from service.codec.returned import read_gates
from service.errors import BadHeader, InternalError
from service.manifest import Manifest, OutputSpec
from service.names import MAX_STEP
from service.sequence import Array, Sequence

END = "end"  # the id and the name of the last event
_ID = re.compile(
    r"(?:-|(\d{1,16})(?:r([1-9]\d{0,15}))?)\.([1-9]\d{0,15})\.(?:-|([0-9a-f]{1,14}))\.([0-9a-f]{8})", re.ASCII
)


class EventId(NamedTuple):
    """How far a client has come in a reply."""

    at: int | None  # the session's step before the request; None: no session
    done: int  # steps, or generated tokens, of the reply
    seed: int | None  # of a generated text
    check: int  # CRC-32
    rewinds: int = 0  # how often the session was rewound before the request

    def __str__(self) -> str:
        """As it is sent."""
        at = "-" if self.at is None else f"{self.at}r{self.rewinds}" if self.rewinds else self.at
        seed = "-" if self.seed is None else f"{self.seed:x}"
        return f"{at}.{self.done}.{seed}.{self.check:08x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id that a client has sent back. Raises BadHeader if no server can have sent it."""
        match = _ID.fullmatch(text)
        if match is None:
            raise _not_an_id()
        at, rewinds, done, seed, check = match.groups()
        found = cls(
            None if at is None else int(at),
            int(done),
            None if seed is None else int(seed, 16),
            int(check, 16),
            int(rewinds or 0),
        )
        if max(found.at or 0, found.seed or 0, found.rewinds) > MAX_STEP:
            raise _not_an_id()
        return found


def _not_an_id() -> BadHeader:
    return BadHeader("Last-Event-ID: expected the id of an event of this request, as it was received")


def content_of(outputs: Several[Array]) -> bytes:
    """Bytes that are the same however the rows are cut: those of each row [*dims] of each output, in turn.

    NaN and infinities count as one value, as in JSON.
    """
    return np.hstack([_bytes_of(output) for output in outputs]).tobytes()


def _bytes_of(output: Array) -> Array:
    """[rows, bytes of a row]"""
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        output = np.where(np.isfinite(output), output, np.array(np.nan, output.dtype))
    rows = np.ascontiguousarray(output).reshape(len(output), -1)
    return rows.view(np.uint8).reshape(len(output), -1)


def checksum(content: bytes, before: int = 0) -> int:
    """CRC-32 of what preceded and this."""
    return zlib.crc32(content, before)


def encode_tokens(start: int, token: int, name: str | None, text: str | None) -> bytes:
    """The data of the event of one generated token, in the form of the reply; `start`: its place, from 0."""
    piece: dict[str, Any] = {"start": start, "ids": [token]}
    if name is not None:
        piece["tokens"] = [name]
    if text is not None:
        piece["text"] = text
    return orjson.dumps(piece)


def _stored_rows(document: dict[str, Any], spec: OutputSpec) -> Any:
    """The numbers of an output in a stored prediction."""
    named = document.get("outputs")
    if spec.gates is not None and (named is None or spec.name not in named):
        return read_gates(document["gates"], spec)
    return document["output"] if named is None else named[spec.name]


def read_stored(
    reply: bytes, manifest: Manifest, dtypes: Several[str], indexes: Several[int], steps: int
) -> tuple[Sequence, int]:
    """The computed sequence that a stored prediction was made from, and the session's step after it.

    `indexes`: of its outputs, in order. The sequence has no inputs and no state. Raises InternalError if the
    reply is not a prediction of so many steps.
    """
    try:
        document = orjson.loads(reply)
        arrays, step = [], int(document["step"])
        for index in indexes:
            spec = manifest.outputs[index]
            rows = _stored_rows(document, spec)
            is_single = spec.steps == "last"
            array = np.array([rows] if is_single else rows, dtypes[index])
            arrays.append(array if spec.gates is None else array.reshape(len(array), *spec.dims))
            if len(arrays[-1]) != (1 if is_single else steps):
                raise ValueError("another number of steps")
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InternalError("the stored reply is not one of this model") from error
    extra = tuple([index for index in indexes if index])
    extras = tuple([array for index, array in zip(indexes, arrays, strict=True) if index])
    first = [array for index, array in zip(indexes, arrays, strict=True) if not index]
    sequence = Sequence((np.empty(0),), (), keep_all=True, outputs=first, extra=extra, extras=[extras])
    return sequence, step
