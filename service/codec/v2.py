"""A request of the Open Inference Protocol's `infer`, and its reply: JSON, with bytes after it or without.

    body ─ `parse` ─→ Inference, whose tensors `tensors.rows_of` turns into arrays
    arrays ─ `pack_outputs` ─→ what a session stores for a retry ─ `unpack_outputs` ─ `encode_reply` ─→ body

It knows the protocol's extensions for sequences and for binary tensors; it knows nothing of routes, the
session store or scheduling. Its HTTP header arrives as a value: the protocol makes it part of the body.
"""

import math
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import orjson

from service.codec import tensor, tensors
from service.codec.fast_json import loads_tensors
from service.codec.headers import read_length
from service.codec.tensor import Tensor
from service.errors import BadHeader, InvalidField, InvalidJson
from service.manifest import Manifest
from service.names import MAX_SEQUENCE_ID, MAX_SEQUENCE_ID_LENGTH, MAX_STEP
from service.sequence import Array, Start

# In requests and replies: the number of bytes of JSON before the binary tensors.
JSON_LENGTH_HEADER = b"inference-header-content-length"
MAX_CLASSES = 2**31 - 1  # of the parameter "classification"
MAX_MICROSECONDS = 2**63 - 1  # of the parameter "timeout"

SequenceId = int | str
Outputs = dict[str, Array]  # by name, in the order of the reply


@dataclass(slots=True, kw_only=True)
class Inference:
    """One request whose envelope is valid; its tensors are not yet checked against a model."""

    inputs: dict[str, Tensor]
    model: str = ""  # as the path names it
    id: str | None = None
    outputs: tuple[str, ...] = ()  # requested by name; none = all
    as_bytes: dict[str, bool]  # by output; "": the default
    classes: dict[str, int] = field(default_factory=dict)  # by output: how many of the largest are returned
    returns: str | None = None
    timeout_s: float = inf
    sequence_id: SequenceId | None = None
    start: Start = "no"
    end: bool = False
    at: int | None = None

    def writes_bytes(self, output: str) -> bool:
        """Whether an output is written as bytes, not as JSON."""
        return self.as_bytes.get(output, self.as_bytes[""])


def parse(body: bytes, json_length: bytes | None, manifest: Manifest) -> Inference:
    """Read a request. `json_length` is the header Inference-Header-Content-Length. Raises a BadInput.

    The manifest is needed only by a body without any JSON, which is one tensor's bytes.
    """
    blob = memoryview(body)
    length = len(body) if json_length is None else _read_json_length(json_length, len(body))
    if json_length is not None and length == 0:
        return Inference(inputs=tensor.raw_input(manifest, blob), as_bytes={"": True})
    json = body if length == len(body) else body[:length]
    try:
        document = loads_tensors(json)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidField("expected a JSON object")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidField('"id" must be a string')
    parameters = _parameters(document)
    outputs = _read_outputs(document)
    outputs["as_bytes"][""] = _flag(parameters, "binary_data_output")
    return Inference(
        inputs=tensor.read_inputs(document.get("inputs"), blob[length:], json),
        id=request_id,
        **outputs,
        returns=_read_returns(parameters),
        timeout_s=(_integer(parameters, "timeout", MAX_MICROSECONDS) or inf) / 1e6,
        **_read_sequence(parameters),
    )


def pack_outputs(version: str, step: int | None, outputs: Outputs) -> bytes:
    """What a session stores for a retry: the numbers, from which a reply is written in the requested form.

    Each output is [1, time, *dims]. Layout: JSON, "\n", the bytes of all. The JSON is [version, step, dtype,
    shape] of a single output; of several it continues: [… of the first, its name, [dtype, shape, name], …].
    """
    (first, *rest), *others = [[y.dtype.name, y.shape, name] for name, y in outputs.items()]
    head = [version, step, first, *(rest if others else rest[:1]), *others]
    return b"%b\n%b" % (orjson.dumps(head), b"".join([array.tobytes() for array in outputs.values()]))


def unpack_outputs(stored: bytes, name: str) -> tuple[str, int, Outputs]:
    """Version, step, and the outputs [1, time, *dims]. `name` is that of a single output."""
    end = stored.index(b"\n")
    version, step, first, first_shape, *rest = orjson.loads(stored[:end])
    outputs: Outputs = {}
    offset = end + 1
    for dtype, shape, key in ((first, first_shape, *(rest[:1] or [name])), *rest[1:]):
        stop = offset + math.prod(shape) * np.dtype(dtype).itemsize
        outputs[key] = np.frombuffer(stored[offset:stop], dtype).reshape(shape)
        offset = stop
    return version, step, outputs


def encode_reply(
    inference: Inference,
    version: str,
    outputs: Outputs,
    parameters: dict[str, Any] | None = None,
) -> tuple[bytes, int | None]:
    """The body of a reply with outputs [batch, time, *dims]; the length of its JSON if bytes follow it."""
    head: dict[str, Any] = {"model_name": inference.model, "model_version": version}
    if inference.id is not None:
        head["id"] = inference.id
    if parameters:
        head["parameters"] = parameters
    as_bytes = {name for name in outputs if inference.writes_bytes(name)}
    return tensors.write(head, outputs, as_bytes)


def _read_json_length(header: bytes, num_bytes: int) -> int:
    length = read_length(header, num_bytes)
    if length is None:
        raise BadHeader(
            f"{JSON_LENGTH_HEADER.decode()} is {header.decode('latin-1')!r}, the body has {num_bytes} bytes"
        )
    return length


def _read_sequence(parameters: dict[str, Any]) -> dict[str, Any]:
    """The sequence extension's parameters, and Cellgate's own `at` and `restart`."""
    sequence_id = _read_sequence_id(parameters.get("sequence_id", 0))
    flags = {name: _flag(parameters, name) for name in ("sequence_start", "sequence_end", "restart")}
    at = _integer(parameters, "at", MAX_STEP)
    if sequence_id is None:
        names = [name for name, is_set in flags.items() if is_set] + (["at"] if at is not None else [])
        if names:
            raise InvalidField(f"{', '.join(names)} without a sequence_id")
        return {}
    if flags["restart"] and not flags["sequence_start"]:
        raise InvalidField('"restart" needs "sequence_start"')
    start: Start = "no"
    if flags["sequence_start"]:
        start = "restart" if flags["restart"] else "new"
    return {"sequence_id": sequence_id, "start": start, "end": flags["sequence_end"], "at": at}


def _read_sequence_id(value: Any) -> SequenceId | None:
    """None for 0 and "", which mean that the request belongs to no sequence."""
    if type(value) is int and 0 <= value <= MAX_SEQUENCE_ID:
        return value or None
    if (
        isinstance(value, str)
        and len(value) <= MAX_SEQUENCE_ID_LENGTH
        and value.isascii()
        and value.isprintable()
    ):
        return value or None
    raise InvalidField(  # it begins as Triton's message does
        "Unable to parse 'sequence_id': expected an integer from 0 to 2^64-1, or up to "
        f"{MAX_SEQUENCE_ID_LENGTH} printable ASCII characters"
    )


def _read_returns(parameters: dict[str, Any]) -> str | None:
    returns = parameters.get("return")
    if returns not in (None, "last", "all"):
        raise InvalidField('the parameter "return" must be "last" or "all"')
    return None if returns is None else str(returns)


def _read_outputs(document: dict[str, Any]) -> dict[str, Any]:
    """The names of the requested outputs, and how those that say so are written."""
    entries = document.get("outputs") or []
    if not isinstance(entries, list) or any(
        not isinstance(entry, dict) or not isinstance(entry.get("name"), str) for entry in entries
    ):
        raise InvalidField('"outputs" must be a list of objects with a "name"')
    names = tuple([entry["name"] for entry in entries])
    if len(set(names)) < len(names):
        raise InvalidField("an output is requested twice")
    as_bytes: dict[str, bool] = {"": False}
    classes: dict[str, int] = {}
    for entry in entries:
        parameters = _parameters(entry)
        tensor.refuse_shared_memory(parameters, f"output {entry['name']!r}")
        if largest := _integer(parameters, "classification", MAX_CLASSES):
            classes[entry["name"]] = largest
        if "binary_data" in parameters:
            as_bytes[entry["name"]] = _flag(parameters, "binary_data")
    return {"outputs": names, "as_bytes": as_bytes, "classes": classes}


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidField('"parameters" must be an object')
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InvalidField(f'the parameter "{name}" must be true or false')
    return value


def _integer(parameters: dict[str, Any], name: str, largest: int) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or not 0 <= value <= largest):
        raise InvalidField(f'the parameter "{name}" must be an integer from 0')
    return value
