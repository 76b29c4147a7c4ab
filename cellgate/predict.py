"""`predict`: many sequences, as bytes where they are arrays of numbers and many, else as JSON."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeGuard

from cellgate import tensors
from cellgate.catalog import Catalog
from cellgate.errors import BadReply, CellgateError, ResponseError
from cellgate.flow import Flow, Send
from cellgate.inputs import GivenState, Steps, encode
from cellgate.models import Model, Return, Returns
from cellgate.predictions import Prediction, from_json
from cellgate.replies import error_in, parse
from cellgate.retry import Retry, exchange, is_retryable, wait

JSON_HEADERS = {"content-type": "application/json"}
Result = Prediction | CellgateError


@dataclass(frozen=True, slots=True)
class Options:
    """What the sequences of a call have in common."""

    model: str | None = None
    version: str | None = None
    returns: Returns | None = None
    """None: by the model's task."""
    outputs: tuple[str, ...] = ()
    """By name; (): the first one."""
    trim_padding: bool = False
    return_state: bool = False

    def body(self, sequences: list[Any]) -> bytes:
        """The JSON of a request."""
        fields = {
            "model": self.model,
            "version": self.version,
            "return": returned(self.returns),
            "outputs": list(self.outputs) or None,
            "trim_padding": self.trim_padding or None,
            "return_state": self.return_state or None,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return dumps(given | {"sequences": sequences})


def returned(returns: Returns | None) -> str | list[str] | None:
    """The field "return" of a request."""
    return returns if returns is None or isinstance(returns, str) else list(returns)


def dumps(document: Any) -> bytes:
    """Compact JSON; it writes each float with all its digits."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def predict(
    sequences: Iterable[Steps],
    options: Options,
    catalog: Catalog,
    retry: Retry,
    states: Iterable[GivenState | None] | None = None,
) -> Flow[list[Result]]:
    """One result per sequence, in order: a prediction, or why there is none.

    `states`: where each sequence begins; None: at the model's initial state.
    Raises a CellgateError if a whole request fails, ValueError if there are not as many states as sequences.
    """
    waiting = list(sequences)
    begins = [None] * len(waiting) if states is None else list(states)
    if len(begins) != len(waiting):
        raise ValueError(f"{len(waiting)} sequences, but {len(begins)} states")
    if not waiting:
        return []
    model = yield from catalog.find(options.model, options.version)
    results: list[Result] = []
    size = retry.settings.max_sequences
    for start in range(0, len(waiting), size):
        stop = start + size
        some = yield from _predict_some(
            waiting[start:stop], begins[start:stop], model, options, catalog, retry
        )
        results += [_located(result, index) for index, result in enumerate(some, start)]
    return results


def post(send: Send, catalog: Catalog, retry: Retry) -> Flow[tuple[dict[str, Any], Model]]:
    """Send a JSON request; its reply, and the version that answered. Raises a CellgateError."""
    reply = parse((yield from exchange(send, retry)))
    model = yield from catalog.find(reply.get("model"), reply.get("version"))
    return reply, model


def _predict_some(
    sequences: Sequence[Steps],
    states: Sequence[GivenState | None],
    model: Model,
    options: Options,
    catalog: Catalog,
    retry: Retry,
) -> Flow[list[Result]]:
    """The results of one request, or of two: bytes that are refused are sent as JSON, for the reasons."""
    is_listed = options.returns not in (None, "last", "all")
    is_plain = not (is_listed or options.trim_padding or options.return_state or any(states))
    batch = tensors.arrays_of(sequences, model) if is_plain else None
    if batch is not None:
        try:
            return (yield from _predict_bytes(batch, model, options, catalog, retry))
        except ResponseError as error:
            if is_retryable(error):
                raise
    encoded = [
        {"steps": encode(steps, model)} | ({} if state is None else {"state": state})
        for steps, state in zip(sequences, states, strict=True)
    ]
    return (yield from _predict_json(encoded, options, catalog, retry))


def _predict_bytes(
    batch: tensors.Batch, model: Model, options: Options, catalog: Catalog, retry: Retry
) -> Flow[list[Result]]:
    returns: Return = "all" if (options.returns or model.default_return) == "all" else "last"
    send = tensors.request(batch, model, options.version, returns, options.outputs)
    response = yield from exchange(send, retry)
    answering = yield from catalog.find(model.name, tensors.version_of(response))
    return list(tensors.predictions(response, batch, answering, returns))


def _predict_json(encoded: list[Any], options: Options, catalog: Catalog, retry: Retry) -> Flow[list[Result]]:
    """Sequences that are refused for a reason that passes are sent again, without the others."""
    results: dict[int, Result] = {}
    waiting = list(range(len(encoded)))
    started = retry.clock()
    for attempt in count(1):
        some = yield from _answers([encoded[index] for index in waiting], options, catalog, retry)
        results |= dict(zip(waiting, some, strict=True))
        refused = {i: result for i, result in results.items() if _passes(result)}
        waiting = list(refused)
        if not refused:
            break
        try:
            yield from wait(next(iter(refused.values())), attempt, started, 1.0, retry)
        except ResponseError:
            break
    return [results[index] for index in range(len(encoded))]


def _answers(encoded: list[Any], options: Options, catalog: Catalog, retry: Retry) -> Flow[list[Result]]:
    """The results of one request. That of a single sequence is the request's."""
    send = Send("POST", "/predict", options.body(encoded), JSON_HEADERS)
    try:
        reply, model = yield from post(send, catalog, retry)
    except ResponseError as error:
        if len(encoded) > 1 or is_retryable(error) or not (error.pointer or "").startswith("/sequences/0"):
            raise
        return [error]
    entries = reply.get("predictions")
    if not isinstance(entries, list) or len(entries) != len(encoded):
        raise BadReply(f"expected {len(encoded)} predictions, got {str(entries)[:200]}")
    return [_result(entry, model) for entry in entries]


def _result(entry: Any, model: Model) -> Result:
    if isinstance(entry, dict) and isinstance(entry.get("error"), dict):
        return error_in(entry["error"])
    return from_json(entry, model)


def _passes(result: Result) -> TypeGuard[CellgateError]:
    return isinstance(result, CellgateError) and is_retryable(result)


def _located(result: Result, index: int) -> Result:
    """An error whose pointer leads to the sequence among all of the call, not of one request."""
    if isinstance(result, ResponseError) and (pointer := result.pointer) is not None:
        result.members["pointer"] = re.sub(r"^/sequences/\d+", f"/sequences/{index}", pointer)
    return result
