"""The Open Inference Protocol's `infer`, with its sequence and binary tensor extensions, on our own engine.

It understands a request of `/v2` and writes its answer; what happens in between is `predict`, as for every
face. Each row of the batch is a sequence of its own; a request with a sequence id has one row, the next part
of a session. It knows two HTTP headers, which the protocol makes part of the body; `front` knows the rest.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import orjson

from service.codec import tensors
from service.codec.request import Item
from service.codec.tensors import Tensor
from service.errors import BadHeader, BodyTooLarge, InvalidField, InvalidJson, UnsupportedEncoding
from service.manifest import Manifest
from service.names import MAX_SEQUENCE_ID, MAX_SEQUENCE_ID_LENGTH, MAX_STEP, v2_session_name
from service.predict.predictor import Predictor, Reply, Request
from service.repository.model import Model
from service.sequence import Array, Start

WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # how zlib is told the two formats apart

SequenceId = int | str


@dataclass(slots=True, kw_only=True)
class Inference:
    """One request whose envelope is sound; its tensors are not yet held against a model."""

    inputs: dict[str, Tensor]
    id: str | None = None
    outputs: tuple[str, ...] = ()  # asked for by name; none = all
    as_bytes: bool = False
    returns: str | None = None
    timeout_s: float = inf
    sequence_id: SequenceId | None = None
    start: Start = "no"
    end: bool = False
    at: int | None = None


class OpenInference:
    """Answers `POST /v2/models/{name}[/versions/{version}]/infer`."""

    def __init__(self, predictor: Predictor, *, max_body_bytes: int) -> None:
        self._predictor = predictor
        self._max_body_bytes = max_body_bytes

    async def infer(
        self,
        name: str,
        version: str | None,
        headers: Mapping[bytes, bytes],
        body: bytes,
        tenant: str = "",
    ) -> Reply:
        """Answer one request. Raises a CellgateError: an answer is one tensor, so there is no half of it."""
        model = self._predictor.repository.get(name, version)
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding != b"identity":
            body = decompress(body, coding, max_bytes=self._max_body_bytes)
        inference = read(body, headers.get(b"inference-header-content-length"), model.manifest)
        output = model.manifest.outputs[0]
        if set(inference.outputs) - {output.name}:
            raise InvalidField(f"the model has the output {output.name!r}, not {sorted(inference.outputs)}")
        if inference.sequence_id is None:
            return await self._infer_rows(model, inference)
        return await self._infer_in_session(model, inference, tenant, is_pinned=version is not None)

    async def _infer_rows(self, model: Model, inference: Inference) -> Reply:
        rows, steps = self._rows(inference, model.manifest)
        returns = _returns(inference, model.manifest)
        output = model.manifest.outputs[0]
        shape = (len(rows), steps if returns == "all" else 1, *output.dims)
        tensors.check_output(shape, model.output_dtype)
        request = Request(model, len(rows), lambda index, _: Item(rows[index]), _pack, returns=returns)
        run = self._predictor.start(request, timeout_s=inference.timeout_s)
        sequences = await run.compute_all()
        y = tensors.stack(sequences, steps, output.dims, model.output_dtype)
        return _reply(inference, model, model.version, y, sequences=len(rows), steps=run.steps)

    async def _infer_in_session(
        self, model: Model, inference: Inference, tenant: str, *, is_pinned: bool
    ) -> Reply:
        assert inference.sequence_id is not None

        def decode(_: int, manifest: Manifest) -> Item:
            rows, steps = self._rows(inference, manifest)
            if len(rows) != 1:
                raise InvalidField(f"a request with a sequence_id has a batch of 1, not of {len(rows)}")
            tensors.check_output((steps, *manifest.outputs[0].dims), model.output_dtype)
            session = v2_session_name(model.name, inference.sequence_id or 0)
            return Item(rows[0], session, inference.at, inference.end, inference.start)

        returns = _returns(inference, model.manifest)
        request = Request(model, 1, decode, _pack, returns=returns, is_pinned=is_pinned, tenant=tenant)
        run = self._predictor.start(request, timeout_s=inference.timeout_s)
        version, step, y = _unpack(await run.answer(0))
        parameters = {"sequence_id": inference.sequence_id, "step": step}
        return _reply(inference, model, version, y, sequences=1, steps=run.steps, parameters=parameters)

    def _rows(self, inference: Inference, manifest: Manifest) -> tuple[list[tensors.Inputs], int]:
        limits = self._predictor
        return tensors.rows_of(
            inference.inputs, manifest, max_rows=limits.max_sequences, max_steps=limits.max_steps
        )


def decompress(body: bytes, coding: bytes, *, max_bytes: int) -> bytes:
    """Undo a content coding. Raises UnsupportedEncoding, BodyTooLarge or BadHeader."""
    if coding not in WINDOW_BITS:
        raise UnsupportedEncoding(
            f"content-encoding {coding.decode('latin-1')!r}; there are gzip and deflate"
        )
    inflater = zlib.decompressobj(WINDOW_BITS[coding])
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadHeader(f"the body is not what content-encoding says: {error}") from error
    if len(plain) > max_bytes:
        raise BodyTooLarge(f"the body inflates to more than the {max_bytes} bytes that are taken")
    if not inflater.eof or inflater.unused_data:
        raise BadHeader("the compressed body ends too early or too late")
    return plain


def read(body: bytes, header: bytes | None, manifest: Manifest) -> Inference:
    """Read a request. `header` is Inference-Header-Content-Length: how much of the body is JSON."""
    blob = memoryview(body)
    length = len(body)
    if header is not None:
        if not header.isdigit() or int(header) > len(body):
            raise BadHeader(
                f"inference-header-content-length is {header.decode('latin-1')!r}, "
                f"the body has {len(body)} bytes"
            )
        length = int(header)
        if length == 0:
            return Inference(inputs=tensors.raw_input(manifest, blob), as_bytes=True)
    try:
        document = orjson.loads(blob[:length])
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidField("expected a JSON object")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidField('"id" must be a string')
    parameters = _parameters(document)
    outputs, as_bytes = _read_outputs(document, _flag(parameters, "binary_data_output"))
    return Inference(
        inputs=tensors.read_inputs(document.get("inputs"), blob[length:]),
        id=request_id,
        outputs=outputs,
        as_bytes=as_bytes,
        returns=_read_returns(parameters),
        timeout_s=(_integer(parameters, "timeout") or inf) / 1e6,
        **_read_sequence(parameters),
    )


def _read_sequence(parameters: dict[str, Any]) -> dict[str, Any]:
    """The sequence extension's parameters, and our own `at` and `restart`."""
    sequence_id = _read_sequence_id(parameters.get("sequence_id", 0))
    flags = {name: _flag(parameters, name) for name in ("sequence_start", "sequence_end", "restart")}
    at = _integer(parameters, "at", MAX_STEP)
    if sequence_id is None:
        named = [name for name, is_set in flags.items() if is_set] + (["at"] if at is not None else [])
        if named:
            raise InvalidField(f"{', '.join(named)} without a sequence_id")
        return {}
    if flags["restart"] and not flags["sequence_start"]:
        raise InvalidField('"restart" goes with "sequence_start"')
    start: Start = "no"
    if flags["sequence_start"]:
        start = "restart" if flags["restart"] else "new"
    return {"sequence_id": sequence_id, "start": start, "end": flags["sequence_end"], "at": at}


def _read_sequence_id(given: Any) -> SequenceId | None:
    """None for 0 and "", which mean that the request is in no sequence."""
    if type(given) is int and 0 <= given <= MAX_SEQUENCE_ID:
        return given or None
    if (
        isinstance(given, str)
        and len(given) <= MAX_SEQUENCE_ID_LENGTH
        and given.isascii()
        and given.isprintable()
    ):
        return given or None
    raise InvalidField(
        "Unable to parse 'sequence_id': expected an integer from 0 to 2^64-1, or up to "
        f"{MAX_SEQUENCE_ID_LENGTH} printable ASCII characters"
    )


def _read_returns(parameters: dict[str, Any]) -> str | None:
    returns = parameters.get("return")
    if returns not in (None, "last", "all"):
        raise InvalidField('the parameter "return" must be "last" or "all"')
    return None if returns is None else str(returns)


def _read_outputs(document: dict[str, Any], as_bytes: bool) -> tuple[tuple[str, ...], bool]:
    """The names of the outputs asked for, and whether the output is wanted as bytes."""
    entries = document.get("outputs") or []
    if not isinstance(entries, list) or any(
        not isinstance(entry, dict) or not isinstance(entry.get("name"), str) for entry in entries
    ):
        raise InvalidField('"outputs" must be a list of objects with a "name"')
    names = tuple([entry["name"] for entry in entries])
    if len(set(names)) < len(names):
        raise InvalidField("an output is asked for twice")
    for entry in entries:
        parameters = _parameters(entry)
        if "classification" in parameters:
            raise InvalidField("the classification extension is not served: labels are in the metadata")
        as_bytes = _flag(parameters, "binary_data", as_bytes)
    return names, as_bytes


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


def _integer(parameters: dict[str, Any], name: str, most: int = 2**63 - 1) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or not 0 <= value <= most):
        raise InvalidField(f'the parameter "{name}" must be an integer from 0')
    return value


def _returns(inference: Inference, manifest: Manifest) -> str:
    """Every step unless the request says otherwise, or the graph keeps only the last."""
    return inference.returns or manifest.outputs[0].steps


def _pack(model: Model, output: Array, *, session: str | None, step: int | None) -> bytes:  # noqa: ARG001
    """What a session stores for a retry: the numbers, from which a reply is written in the form asked for."""
    dims = model.manifest.outputs[0].dims
    head = orjson.dumps([model.version, step, model.output_dtype, [1, output.size // math.prod(dims), *dims]])
    return b"%b\n%b" % (head, output.astype(model.output_dtype, copy=False).tobytes())


def _unpack(stored: bytes) -> tuple[str, int, Array]:
    """Version, step, and the output [1, time, *dims]."""
    end = stored.index(b"\n")
    version, step, dtype, shape = orjson.loads(stored[:end])
    return version, step, np.frombuffer(stored[end + 1 :], dtype).reshape(shape)


def _reply(
    inference: Inference,
    model: Model,
    version: str,
    y: Array,
    *,
    sequences: int,
    steps: int,
    parameters: dict[str, Any] | None = None,
) -> Reply:
    head: dict[str, Any] = {"model_name": model.name, "model_version": version}
    if inference.id is not None:
        head["id"] = inference.id
    if parameters:
        head["parameters"] = parameters
    body, json_length = tensors.write(head, model.manifest.outputs[0].name, y, as_bytes=inference.as_bytes)
    return Reply(body, model.name, version, sequences, steps, json_length)
