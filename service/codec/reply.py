"""Predictions and generated texts → JSON. It knows what an output means; it knows nothing of requests."""

from typing import Any

import numpy as np
import orjson

from service.codec import text
from service.errors import CellgateError
from service.manifest import InputSpec, OutputSpec
from service.sequence import Array


def encode_prediction(
    spec: OutputSpec, output: Array, *, session: str | None = None, step: int | None = None
) -> bytes:
    """One entry of "predictions". `output` is [*dims], or [time, *dims] with `return: all`."""
    prediction: dict[str, Any] = {"output": np.ascontiguousarray(output)}
    if spec.kind == "probabilities" and output.shape == spec.dims and output.ndim == 1:
        best = int(output.argmax())
        if spec.labels:
            prediction["label"] = spec.labels[best]
        prediction["probability"] = output[best]
    elif spec.kind == "probabilities" and output.shape[-1:] == spec.dims:
        if spec.labels:
            prediction["label"] = [spec.labels[best] for best in output.argmax(-1).tolist()]
        prediction["probability"] = output.max(-1)
    if session is not None:
        prediction["session"] = session
        prediction["step"] = step
    return orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_error(error: CellgateError) -> bytes:
    """The entry of "predictions" for a sequence that failed."""
    return orjson.dumps({"error": error.problem()})


def encode_reply(model: str, version: str, predictions: list[bytes]) -> bytes:
    """The body of the reply to `/predict`, around predictions that are already encoded."""
    head = b'{"model":%s,"version":%s,"predictions":[' % (orjson.dumps(model), orjson.dumps(version))
    return b"".join((head, b",".join(predictions), b"]}"))


def encode_generation(
    model: str,
    version: str,
    spec: InputSpec,
    ids: list[int],
    seed: int,
    session: str | None,
    step: int | None,
) -> bytes:
    """The body of the reply to `/generate`: `ids` are the generated tokens of the input `spec`."""
    reply: dict[str, Any] = {"model": model, "version": version, "ids": ids, "seed": seed}
    if spec.vocabulary:
        reply["tokens"] = [spec.vocabulary[token] for token in ids]
    if (written := text.decode(spec, ids)) is not None:
        reply["text"] = written
    if session is not None:
        reply |= {"session": session, "step": step}
    return orjson.dumps(reply)
