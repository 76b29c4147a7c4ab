"""The Open Inference Protocol's `infer`, with its sequence and binary tensor extensions.

`codec.v2` reads the request and writes the reply; in between it is a prediction, as for every API. Each row
of the batch is a sequence; a request with a sequence id has one row, the next part of a session. It knows two
HTTP headers, which the protocol makes part of the body.
"""

from collections.abc import Mapping
from typing import Any

from service.codec import tensors, v2
from service.codec.request import Item
from service.codec.v2 import Inference, SequenceId
from service.errors import InvalidField
from service.manifest import Manifest
from service.names import v2_session_name
from service.predict.predictor import Predictor
from service.predict.request import Reply, Request
from service.repository import Model
from service.sequence import Array


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
        """Answer one request. Raises a CellgateError: the reply is one tensor, so it cannot be partial."""
        model = self._predictor.repository.get(name, version)
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        plain = v2.decompress(body, coding, max_bytes=self._max_body_bytes)
        inference = v2.parse(plain, headers.get(v2.JSON_LENGTH_HEADER), model.manifest)
        output = model.manifest.outputs[0]
        if set(inference.outputs) - {output.name}:
            raise InvalidField(f"the model has the output {output.name!r}, not {sorted(inference.outputs)}")
        if inference.sequence_id is None:
            return await self._infer_rows(model, inference)
        return await self._infer_in_session(
            model, inference, inference.sequence_id, tenant, is_pinned=version is not None
        )

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
        return _reply(inference, model, model.version, y, steps=run.steps)

    async def _infer_in_session(
        self, model: Model, inference: Inference, sequence_id: SequenceId, tenant: str, *, is_pinned: bool
    ) -> Reply:
        session = v2_session_name(model.name, sequence_id)

        def decode(_: int, manifest: Manifest) -> Item:
            rows, steps = self._rows(inference, manifest)
            if len(rows) != 1:
                raise InvalidField(f"a request with a sequence_id needs a batch of 1, got {len(rows)}")
            tensors.check_output((steps, *manifest.outputs[0].dims), model.output_dtype)
            return Item(rows[0], session, inference.at, inference.end, inference.start)

        returns = _returns(inference, model.manifest)
        request = Request(model, 1, decode, _pack, returns=returns, is_pinned=is_pinned, tenant=tenant)
        run = self._predictor.start(request, timeout_s=inference.timeout_s)
        version, step, y = v2.unpack_output(await run.answer(0))
        parameters = {"sequence_id": sequence_id, "step": step}
        return _reply(inference, model, version, y, steps=run.steps, parameters=parameters)

    def _rows(self, inference: Inference, manifest: Manifest) -> tuple[list[tensors.Inputs], int]:
        return tensors.rows_of(
            inference.inputs,
            manifest,
            max_rows=self._predictor.max_sequences,
            max_steps=self._predictor.max_steps,
        )


def _returns(inference: Inference, manifest: Manifest) -> str:
    """The request's "return"; by default every step, or the last if the graph has no others."""
    return inference.returns or manifest.outputs[0].steps


def _pack(model: Model, output: Array, *, session: str | None, step: int | None) -> bytes:  # noqa: ARG001
    return v2.pack_output(model.version, step, output, model.output_dtype, model.manifest.outputs[0].dims)


def _reply(
    inference: Inference,
    model: Model,
    version: str,
    y: Array,
    *,
    steps: int,
    parameters: dict[str, Any] | None = None,
) -> Reply:
    name = model.manifest.outputs[0].name
    body, json_length = v2.encode_reply(inference, model.name, version, name, y, parameters)
    return Reply(body, model.name, version, len(y), steps, json_length)
