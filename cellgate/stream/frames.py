"""The messages of a stream: frames and replies, in JSON and in binary, little-endian.

    frame   u16 channel   u8 flags   u8 0   u32 T   i64 at      T·D numbers
    reply   u16 channel   u8 flags   u8 0   u32 R   i64 step    R·W numbers

Flags of a frame: 1 = end, 2 = `at` is given. Of a reply: 1 = ended, 2 = replayed.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgate.errors import BadReply
from cellgate.inputs import Steps, encode, to_array
from cellgate.models import Model, Return
from cellgate.predict import dumps
from cellgate.predictions import Prediction, from_arrays, from_json, keeps_time

HEAD = struct.Struct("<HBxIq")
END, HAS_AT = 1, 2
CHANNEL = 0  # a stream of this client drives one session

Message = str | bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One part of a session, as it is sent, and sent again."""

    at: int
    steps: int | None
    """Time steps; None: only the server can count them, as the tokens of a text, or records of the future."""
    end: bool
    payload: Message


def json_frame(steps: Steps, model: Model, at: int, *, end: bool) -> Frame:
    """A frame in JSON. Raises ValueError or TypeError for what is no steps."""
    encoded = encode(steps, model, may_be_one=True)
    document = {"channel": CHANNEL, "steps": encoded, "at": at, "end": end}
    return Frame(at, _count(encoded, model), end, dumps(document).decode())


def binary_frame(steps: Steps, model: Model, at: int, *, end: bool) -> Frame:
    """A frame of numbers. Raises ValueError for another shape, TypeError for another kind of number."""
    spec = model.step_input
    dtype = np.dtype("int64" if spec.kind == "token" else spec.dtype)
    array = to_array(steps).astype(dtype, casting="same_kind")
    if array.ndim == len(spec.dims):
        array = array[np.newaxis]
    if array.shape[1:] != spec.dims or not len(array):
        raise ValueError(f"expected steps of the shape {list(spec.dims)}, got {list(np.shape(array))}")
    head = HEAD.pack(CHANNEL, HAS_AT | (END if end else 0), len(array), at)
    return Frame(at, len(array), end, head + array.astype(dtype.newbyteorder("<")).tobytes())


def takes_binary(model: Model) -> bool:
    """Whether frames of numbers say all that a client may want to send: not names of tokens, nor a text."""
    spec = model.inputs[0]
    return len(model.inputs) == 1 and spec.dtype != "bool" and spec.kind != "token"


def prediction_in(message: Message, model: Model, session: str, returns: Return) -> Prediction:
    """The prediction of a reply. Raises BadReply."""
    if isinstance(message, str):
        return from_json(document_in(message), model)
    try:
        _, _, rows, step = HEAD.unpack_from(message)
        spec = model.outputs[0]
        dtype = np.dtype(spec.dtype).newbyteorder("<")
        numbers: NDArray[Any] = np.frombuffer(message, dtype, offset=HEAD.size)
        shape = (rows, *spec.dims) if keeps_time(spec, returns) else spec.dims
        output = numbers.reshape(shape).astype(spec.dtype, copy=False)
    except (struct.error, ValueError) as error:
        raise BadReply(f"not a binary reply: {error}") from error
    return from_arrays({spec.name: output}, model, session=session, step=step, state=None)


def document_in(message: Message) -> dict[str, Any]:
    """The object of a message in JSON. Raises BadReply."""
    try:
        document = json.loads(message)
    except ValueError as error:
        raise BadReply(f"a message that is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadReply(f"expected an object, got {type(document).__name__}")
    return document


def _count(encoded: Any, model: Model) -> int | None:
    if isinstance(encoded, Mapping):
        name = model.step_input.name
        return _count(encoded[name], model) if name in encoded else None
    if not isinstance(encoded, list):
        return None
    may_be_future = any(isinstance(record, Mapping) for record in encoded[-1:]) and _knows_ahead(model)
    return None if may_be_future else len(encoded)


def _knows_ahead(model: Model) -> bool:
    """Whether the last records of a part may be of the future, which are no steps."""
    table = model.details.get("table") or {}
    return any(column.get("of") for column in table.get("columns", ()))
