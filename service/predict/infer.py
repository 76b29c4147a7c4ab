"""The Open Inference Protocol's `infer`, with its sequence and binary tensor extensions.

`codec.v2` reads the request and writes the reply; in between it is a prediction, as for every API. Each row
of the batch is a sequence; a request with a sequence id has one row, the next part of a session. It knows an
HTTP header, which the protocol makes part of the body.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from service.codec import classification, tensors, v2
from service.codec.request import Item
from service.codec.sizes import tensor_bytes
from service.codec.v2 import Inference, SequenceId
from service.errors import InvalidField, SessionConflict
from service.manifest import Manifest
from service.names import is_stateless, model_name, names_number, v2_session_name
from service.predict.aside import LARGE_BODY
from service.predict.predictor import Predictor
from service.predict.reply_budget import ReplyBudget
from service.predict.request import (
    ChooseOutputs,
    Decoded,
    Reply,
    Request,
    every_output,
    outputs_named,
)
from service.repository import Model
from service.sequence import Array, Sequence
from service.sessions import Opened
from service.stages import Stages

LARGE_REPLY = 256 << 10  # bytes, above which it is written aside


class OpenInference:
    """Answers `POST /v2/models/{name}[/versions/{version}]/infer`."""

    def __init__(self, predictor: Predictor, *, always_restarts: bool = False) -> None:
        """`always_restarts`: a start replaces a live sequence, as in Triton, also without `restart`."""
        self._predictor = predictor
        self._always_restarts = always_restarts
        self._aside = predictor.aside

    async def infer(
        self,
        name: str,
        version: str | None,
        headers: Mapping[bytes, bytes],
        body: bytes,
        tenant: str = "",
    ) -> Reply:
        """Answer one request. Raises a CellgateError: a tensor has all rows, so a reply cannot be partial."""
        stages = Stages()
        model = self._predictor.repository.get(model_name(name), version)
        parse = partial(v2.parse, body, headers.get(v2.JSON_LENGTH_HEADER), model.manifest)
        inference = await self._aside.run(parse, len(body)) if len(body) > LARGE_BODY else parse()
        inference.model = name
        if inference.sequence_id is not None and is_stateless(name):
            raise InvalidField(f"{name} has no sequences: send the sequence_id to {model.name}")
        if self._always_restarts and inference.start == "new":
            inference.start = "restart"
        num_bytes = len(body)
        with self._predictor.reply_budget(num_bytes) as budget:
            if inference.sequence_id is None:
                return await self._infer_rows(model, inference, tenant, stages, budget, num_bytes=num_bytes)
            return await self._infer_in_session(
                model,
                inference,
                inference.sequence_id,
                tenant,
                version,
                stages,
                budget,
                num_bytes=num_bytes,
            )

    async def _infer_rows(
        self,
        model: Model,
        inference: Inference,
        tenant: str,
        stages: Stages,
        budget: ReplyBudget,
        *,
        num_bytes: int,
    ) -> Reply:
        read = partial(self._rows, inference, model.manifest)
        rows, steps = await self._aside.run(read, num_bytes) if num_bytes > LARGE_BODY else read()
        outputs = _choose(inference)
        returns = _returns(inference, outputs, model.manifest)
        size = self._reply_bytes(model, inference, outputs, len(rows), steps if returns == "all" else 1)

        def decode(index: int, _: Manifest) -> Item:
            return Item(rows[index].steps, kept=rows[index].kept)

        request = Request(
            model,
            len(rows),
            decode,
            partial(_pack, outputs),
            returns=returns,
            tenant=tenant,
            outputs=outputs,
            stages=stages,
        )
        budget.reserve(0, size)
        run = self._predictor.start(request, timeout_s=inference.timeout_s)
        sequences = await run.compute_all()

        def write() -> Reply:
            arrays = _stack(sequences, steps, outputs, model, keep_all=returns == "all")
            return _reply(inference, model, model.version, arrays, sequences=len(rows), steps=run.steps)

        return _ended(stages, await self._aside.run(write) if size > LARGE_REPLY else write())

    async def _infer_in_session(
        self,
        model: Model,
        inference: Inference,
        sequence_id: SequenceId,
        tenant: str,
        version: str | None,
        stages: Stages,
        budget: ReplyBudget,
        *,
        num_bytes: int,
    ) -> Reply:
        session = v2_session_name(model.name, sequence_id)
        outputs = _choose(inference)
        sizes = [0]  # of the reply, once the sequence is decoded

        def decode(_: int, manifest: Manifest) -> Item:
            rows, steps = self._rows(inference, manifest)
            if len(rows) != 1:
                raise InvalidField(f"a request with a sequence_id needs a batch of 1, got {len(rows)}")
            sizes[0] = self._reply_bytes(model, inference, outputs, 1, steps)
            (row,), named = rows, _distinguishing(inference.outputs, manifest)
            return Item(row.steps, session, inference.at, inference.end, inference.start, row.kept, named)

        def reserve(opened: Opened) -> None:
            if opened.reply is None:
                budget.reserve(0, sizes[0])

        returns = _returns(inference, outputs, model.manifest)
        read = partial(Decoded, decode, 1, model.manifest)
        request = Request(
            model,
            1,
            await self._aside.run(read, num_bytes) if num_bytes > LARGE_BODY else decode,
            partial(_pack, outputs),
            returns=returns,
            is_pinned=names_number(version),
            is_free=version is None,
            tenant=tenant,
            outputs=outputs,
            stages=stages,
            read_begin=lambda _: (session, None),
            on_open=reserve,
        )
        run = self._predictor.start(request, timeout_s=inference.timeout_s)
        body = await run.answer(0)
        reply = await self._write_stored(model, inference, sequence_id, body, run.steps)
        return _ended(stages, reply)

    async def _write_stored(
        self, model: Model, inference: Inference, sequence_id: SequenceId, body: bytes, steps: int
    ) -> Reply:
        """The reply from `body`, which the session stores for a retry. `steps`: computed now."""
        name = inference.outputs[0] if inference.outputs else model.manifest.outputs[0].name
        answered_by, step, stored = v2.unpack_outputs(body, name)
        if not stored.keys() >= set(inference.outputs):  # of an import, with another request's digest
            raise SessionConflict("the stored reply has other outputs", members={"step": step})
        arrays = {name: stored[name] for name in inference.outputs or stored}
        parameters = {"sequence_id": sequence_id, "step": step}
        if inference.classes and answered_by != model.version:  # it may have other labels
            model = self._predictor.repository.get(model.name, answered_by)
        write = partial(
            _reply, inference, model, answered_by, arrays, sequences=1, steps=steps, parameters=parameters
        )
        is_large = sum([array.nbytes for array in arrays.values()]) > LARGE_REPLY
        reply = await self._aside.run(write) if is_large else write()
        reply.step = step
        return reply

    def _rows(self, inference: Inference, manifest: Manifest) -> tuple[list[tensors.Row], int]:
        return tensors.rows_of(
            inference.inputs,
            manifest,
            max_rows=self._predictor.max_sequences,
            max_steps=self._predictor.max_steps,
        )

    def _reply_bytes(
        self, model: Model, inference: Inference, outputs: ChooseOutputs, rows: int, steps: int
    ) -> int:
        """The bytes that the reply can have."""
        specs, dtypes = model.manifest.outputs, model.output_dtypes
        size = 0
        for index in outputs(model.manifest):
            spec, dtype = specs[index], dtypes[index]
            if largest := inference.classes.get(spec.name):
                classification.check(spec)
                size += classification.classes_bytes(spec, dtype, rows * steps, largest)
            else:
                as_bytes = inference.writes_bytes(spec.name)
                size += tensor_bytes(dtype, rows * steps * math.prod(spec.dims), as_bytes=as_bytes)
        return size


def _ended(stages: Stages, reply: Reply) -> Reply:
    """The reply, with the stages that ended with its encoding."""
    stages.encoded()
    reply.stages = stages
    return reply


def _distinguishing(outputs: tuple[str, ...], manifest: Manifest) -> tuple[str, ...]:
    """The names that tell a request from others of its steps, so that a retry gets the stored reply.

    A request that names the first output alone has the digest of one that names none: both once had the same
    reply, so a retry of what an older server committed is still recognised.
    """
    return () if outputs == (manifest.outputs[0].name,) else outputs


def _choose(inference: Inference) -> ChooseOutputs:
    return partial(outputs_named, inference.outputs) if inference.outputs else every_output


def _returns(inference: Inference, outputs: ChooseOutputs, manifest: Manifest) -> str:
    """The request's "return"; by default every step, or the last if no output has others."""
    if inference.returns is not None:
        return inference.returns
    has_steps = any(manifest.outputs[index].steps == "all" for index in outputs(manifest))
    return "all" if has_steps else "last"


def _stack(
    sequences: list[Sequence], steps: int, outputs: ChooseOutputs, model: Model, *, keep_all: bool
) -> dict[str, Array]:
    """Each output by name, [batch, time, *dims]."""
    arrays: dict[str, Array] = {}
    for index in outputs(model.manifest):
        spec = model.manifest.outputs[index]
        dtype = model.output_dtypes[index]
        arrays[spec.name] = tensors.stack(sequences, steps, spec, dtype, index, keep_all=keep_all)
    return arrays


def _pack(
    outputs: ChooseOutputs,
    model: Model,
    sequence: Sequence,
    *,
    session: str | None,  # noqa: ARG001
    step: int | None,
) -> bytes:
    arrays: dict[str, Array] = {}
    for index in outputs(model.manifest):
        spec = model.manifest.outputs[index]
        arrays[spec.name] = tensors.steps_of(sequence, spec, index)[np.newaxis]
    return v2.pack_outputs(model.version, step, arrays)


def _reply(
    inference: Inference,
    model: Model,
    version: str,
    arrays: dict[str, Array],
    *,
    sequences: int,
    steps: int,
    parameters: dict[str, Any] | None = None,
) -> Reply:
    for spec in model.manifest.outputs:
        if spec.name in arrays and (largest := inference.classes.get(spec.name)):
            arrays[spec.name] = classification.classify(arrays[spec.name], largest, spec.labels)
    body, json_length = v2.encode_reply(inference, version, arrays, parameters)
    return Reply(body, model.name, version, sequences, steps, json_length)
