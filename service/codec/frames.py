"""The messages of a stream: JSON and binary ↔ values.

    frame   u16 channel   u8 flags   u8 0   u32 T   i64 at          T·D numbers     little-endian
    reply   u16 channel   u8 flags   u8 0   u32 R   i64 step        R·W numbers

Flags of a frame: 1 = end, 2 = `at` is given. Of a reply: 1 = ended, 2 = replayed.

It knows manifests and JSON; it knows nothing of sockets, of sessions' rules or of scheduling.
"""

import struct
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any

import numpy as np
import orjson

from service.codec.arrays import check_num_steps, check_window, fit
from service.codec.categories import ids_of
from service.codec.fields import (
    GivenState,
    kind,
    read_flag,
    read_names,
    read_rewinds,
    read_session,
    read_state,
    read_string,
    refuse_unknown,
)
from service.codec.records import Times, decode_steps
from service.codec.request import Item, begun_digest
from service.codec.returned import Returned, read_return
from service.errors import BadFrame, CellgateError, InvalidField, WrongShape
from service.manifest import InputSpec, Manifest
from service.names import MAX_STEP
from service.sequence import Array

HEAD = struct.Struct("<HBxIq")  # channel, flags, steps or rows, `at` or step
_FRAME_HEAD = struct.Struct("<HHIq")  # the same, with the 0 behind the flags
_CHANNEL = struct.Struct("<H")
_STORED = struct.Struct("<BxIq")  # of a reply that a session stores: all but the channel
END, HAS_AT = 1, 2  # flags of a frame
REPLAYED = 2  # of a reply, whose flag 1 is "ended"
MAX_CHANNEL = 2**16 - 1
_OPENING_FIELDS = frozenset({
    "channel", "model", "version", "session", "at", "rewinds", "return", "outputs", "encoding",
    "max_frames_in_flight", "state", "return_state",
})  # fmt: skip
_FRAME_FIELDS = frozenset({"channel", "steps", "text", "at", "end"})


@dataclass(slots=True)
class Opening:
    """The first message of a channel."""

    channel: int
    session: str
    model: str | None = None
    version: str | None = None
    at: int | None = None
    rewinds: int | None = None  # of the session so far, as the client believes
    returns: str | None = None  # "last", "all", or None: by task
    outputs: tuple[str, ...] = ()  # requested by name; none = the first
    is_binary: bool = False
    max_in_flight: int | None = None  # frames without a reply that the client will have at most
    state: GivenState | None = None  # that the session begins from
    returns_state: bool = False  # each reply has the state after it, as a token
    returned: Returned | None = None  # what a reply holds; None: its output


@dataclass(slots=True)
class Frame:
    """A piece of a session's sequence."""

    inputs: tuple[Array, ...]  # one per input with a time axis, each [time, *dims]
    at: int | None
    end: bool
    digest: bytes  # 16, tells it from any other request of the session
    kept: tuple[Array | None, ...] = ()  # one per input without a time axis, as in `Item`
    deadline: float = 0.0  # on the event loop's clock
    times: Times | None = None  # as in `Item`
    begins: bool = False  # whether `digest` is that of a frame which begins its session from a given state

    def begin_from(self, state: GivenState) -> None:
        """Make it the frame that begins its session from a state; no change if it is that already."""
        if not self.begins:
            self.begins, self.digest = True, begun_digest(self.digest, state)

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.inputs[0])

    @property
    def num_bytes(self) -> int:
        """Of its arrays."""
        return self.inputs[0].nbytes if len(self.inputs) == 1 else sum([x.nbytes for x in self.inputs])


class BinaryForm:
    """The numbers of a model's binary frames: those of its only input."""

    def __init__(self, manifest: Manifest, *, keep_all: bool, max_steps: int) -> None:
        """Raises InvalidField if the model has more than one input, or one of another kind."""
        if len(manifest.inputs) != 1 or manifest.inputs[0].dtype == "bool":
            raise InvalidField(
                "binary frames need a model with one input, of numbers or token ids; use JSON",
                pointer="/encoding",
            )
        self._spec = spec = manifest.inputs[0]
        self._manifest = manifest
        self._max_steps = max_steps
        self._dtype = np.dtype(number_type(spec)).newbyteorder("<")
        self._bytes_per_step = spec.width * self._dtype.itemsize
        self._dims = spec.dims
        self._is_plain = spec.dtype == "float32" and spec.kind != "token"
        self._is_window = manifest.axes.time_size is not None
        self._salts = [b"binary%d%d" % (keep_all, end) for end in (False, True)]

    def decode(self, payload: bytes) -> Frame:
        """One frame. Raises a BadInput."""
        _, flags, steps, at = _FRAME_HEAD.unpack_from(payload)
        if len(payload) != HEAD.size + steps * self._bytes_per_step or not 0 < steps <= self._max_steps:
            self._refuse_size(len(payload) - HEAD.size, steps)
        if flags > 3:
            raise BadFrame(f"expected the flags 1 and 2, and then 0, got {flags & 0xFF} and {flags >> 8}")
        if at and not (flags & HAS_AT and 0 < at <= MAX_STEP):
            raise BadFrame(f"expected `at` from 0 to 2^53-1, and 0 without its flag, got {at}")
        numbers: Array = np.frombuffer(payload, self._dtype, offset=HEAD.size)
        array: Array = numbers.reshape(steps, *self._dims)
        # A sum of squares that is finite has no NaN or infinity in it; one that is not may have none either.
        if not self._is_plain or not isfinite(np.vdot(numbers, numbers)):
            with np.errstate(over="ignore"):
                array = fit(ids_of(array, self._spec, "/steps"), self._spec, "/steps")
        if self._is_window:
            check_window(steps, self._manifest, "/steps")
        end = bool(flags & END)
        digest = blake2b(self._salts[end] + payload[HEAD.size :], digest_size=16).digest()
        return Frame((array,), at if flags & HAS_AT else None, end, digest)

    def _refuse_size(self, size: int, steps: int) -> None:
        check_num_steps(steps, self._max_steps)
        raise WrongShape(
            f"{steps} steps have {steps * self._bytes_per_step} bytes, the frame has {size} after its header"
        )


def number_type(spec: InputSpec) -> str:
    """The dtype in which an input's numbers are sent."""
    return "int64" if spec.kind == "token" else spec.dtype


def parse_opening(document: dict[str, Any]) -> Opening:
    """The first message of a channel. Raises InvalidField."""
    refuse_unknown(document, _OPENING_FIELDS)
    session, at, _ = read_session(document)
    if session is None:
        raise InvalidField('the first message of a channel names its "session"', pointer="/session")
    returns, returned = read_return(document)
    encoding = document.get("encoding", "json")
    if encoding not in ("json", "binary"):
        raise InvalidField('expected "json" or "binary"', pointer="/encoding")
    outputs = read_names(document, "outputs")
    if outputs and encoding == "binary":
        raise InvalidField("binary replies hold the first output; use JSON", pointer="/outputs")
    returns_state = read_flag(document, "return_state")
    if returns_state and encoding == "binary":
        raise InvalidField("binary replies hold no state; use JSON", pointer="/return_state")
    if returned is not None and encoding == "binary":
        raise InvalidField("binary replies hold the first output; use JSON", pointer="/return")
    most = document.get("max_frames_in_flight")
    if most is not None and (type(most) is not int or most < 1):
        raise InvalidField("expected an integer from 1", pointer="/max_frames_in_flight")
    return Opening(
        channel_of(document),
        session,
        read_string(document, "model"),
        read_string(document, "version"),
        at,
        read_rewinds(document),
        returns,
        outputs,
        encoding == "binary",
        most,
        read_state(document),
        returns_state,
        returned,
    )


def channel_of(document: dict[str, Any]) -> int:
    """The channel of a JSON message. Raises InvalidField."""
    channel = document.get("channel", 0)
    if type(channel) is not int or not 0 <= channel <= MAX_CHANNEL:
        raise InvalidField(f"expected an integer from 0 to {MAX_CHANNEL}", pointer="/channel")
    return channel


def channel_of_binary(payload: bytes) -> int:
    """The channel of a binary frame. Raises BadFrame if it is shorter than a header."""
    if len(payload) < HEAD.size:
        raise BadFrame(f"a binary frame begins with {HEAD.size} bytes of header, this one has {len(payload)}")
    return payload[0] | payload[1] << 8


def decode_frame(
    document: dict[str, Any],
    manifest: Manifest,
    *,
    keep_all: bool,
    outputs: tuple[str, ...],
    max_steps: int,
    returns_state: bool = False,
    returned: Returned | None = None,
) -> Frame:
    """A frame in JSON. Raises a BadInput that points at the fault.

    Its digest is that of the same steps in a request to `/predict`, so that one can be the other's retry.
    """
    refuse_unknown(document, _FRAME_FIELDS)
    field = "steps" if "steps" in document else "text"
    if field == "steps" and "text" in document:
        raise InvalidField('expected either "steps" or "text", got both')
    if field == "text" and not isinstance(document["text"], str):
        raise InvalidField(f"expected a string, got {kind(document['text'])}", pointer="/text")
    at = document.get("at")
    if at is not None and (type(at) is not int or not 0 <= at <= MAX_STEP):
        actual = str(at) if type(at) is int else kind(at)
        raise InvalidField(f"expected an integer from 0 to 2^53-1, got {actual}", pointer="/at")
    end = read_flag(document, "end") if "end" in document else False
    inputs, kept, times = decode_steps(document[field], manifest, f"/{field}", max_steps)
    item = Item(inputs, end=end, kept=kept, outputs=outputs, returns_state=returns_state, times=times)
    item.returned = returned
    if manifest.axes.time_size is not None:
        check_window(item.steps, manifest, f"/{field}")
    return Frame(inputs, at, end, item.digest(keep_all), kept, times=times)


def is_frame(document: dict[str, Any]) -> bool:
    """Whether a message on an open channel is a frame; the others open or close a channel."""
    return "steps" in document or "text" in document


def is_close(document: dict[str, Any]) -> bool:
    """Whether a message closes its channel. Raises InvalidField if it is not written as one that does."""
    if "close" not in document:
        return False
    refuse_unknown(document, frozenset({"channel", "close"}))
    if document["close"] is not True:
        raise InvalidField("expected true", pointer="/close")
    return True


def store_binary(output: Array, rows: int, step: int, *, ended: bool) -> bytes:
    """A reply as its session stores it. `output` is [*dims], or [rows, *dims] with `return: all`."""
    return _STORED.pack(ended, rows, step) + output.tobytes()


def write_binary(channel: int, stored: bytes, *, replayed: bool = False) -> bytes:
    """A stored reply as it is sent."""
    if replayed:
        stored = bytes((stored[0] | REPLAYED,)) + stored[1:]
    return _CHANNEL.pack(channel) + stored


def write_json(channel: int, stored: bytes, *, replayed: bool = False) -> bytes:
    """A stored reply, an object as in `/predict`, as it is sent."""
    end = b',"replayed":true}' if replayed else b"}"
    return b'{"channel":%d,%b%b' % (channel, stored[1:-1], end)


def write_error(channel: int | None, error: CellgateError, *, closed: bool = False) -> bytes:
    """An error on a channel. `closed`: the channel does not exist, or exists no longer."""
    problem = error.problem()
    if error.retry_after_s is not None:
        problem["retry_after_s"] = error.retry_after_s
    message: dict[str, Any] = {"error": problem}
    if channel is not None:
        message = {"channel": channel} | message
    if closed:
        message["closed"] = True
    return orjson.dumps(message)


def write_closed(channel: int, step: int) -> bytes:
    """The answer to a message that closes a channel."""
    return orjson.dumps({"channel": channel, "closed": True, "step": step})


def write_draining(channels: list[tuple[int, str, int]]) -> bytes:
    """The last message of a server that stops: of each channel its number, its session, and the step."""
    sessions = [{"channel": number, "session": session, "step": step} for number, session, step in channels]
    return orjson.dumps({"draining": True, "sessions": sessions})
