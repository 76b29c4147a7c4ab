"""Predictions and generated texts → JSON. It knows what an output means; it knows nothing of requests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from service.codec import labels, text
from service.codec.numbers import writable
from service.codec.returned import gates_as_json
from service.errors import CellgateError
from service.manifest import InputSpec, OutputSpec
from service.sequence import Array


def encode_prediction(
    spec: OutputSpec,
    output: Array,
    *,
    session: str | None = None,
    step: int | None = None,
    by_name: bool = False,
) -> bytes:
    """One entry of "predictions". `output` is [*dims], or [time, *dims] with `return: all`.

    `by_name`: forecasts and estimates also by the names of their columns.
    """
    prediction: dict[str, Any] = {"output": writable(output)}
    if by_name:
        _add_names(prediction, spec, output)
    labels.add_labels(prediction, spec, output)
    return _dump(prediction, session, step)


def encode_predictions(spec: OutputSpec, outputs: Array) -> list[bytes]:
    """`encode_prediction` of each of `outputs`, [sequences, *dims], at once if they are lists of numbers."""
    is_plain = outputs.ndim == 2 and outputs.dtype.kind == "f" and outputs.size and spec.kind != "labels"
    if not is_plain or not np.isfinite(outputs).all():
        return [encode_prediction(spec, output) for output in outputs]
    texts = orjson.dumps(np.ascontiguousarray(outputs), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    if spec.kind != "probabilities":
        return [b'{"output":[%b]}' % text for text in texts]
    best = outputs.argmax(-1)
    numbers = [text.split(b",")[place] for text, place in zip(texts, best.tolist(), strict=True)]
    starts = [b'],"label":%b,"probability":' % orjson.dumps(label) for label in spec.labels]
    starts = starts or [b'],"probability":'] * outputs.shape[1]
    return [
        b'{"output":[%b%b%b}' % (text, starts[place], number)
        for text, place, number in zip(texts, best.tolist(), numbers, strict=True)
    ]


def encode_outputs(
    outputs: list[tuple[OutputSpec, Array]],
    *,
    session: str | None = None,
    step: int | None = None,
    by_name: bool = False,
) -> bytes:
    """The same for outputs requested by name. The labels are those of the first one that has any."""
    prediction: dict[str, Any] = {"outputs": {spec.name: writable(output) for spec, output in outputs}}
    for spec, output in outputs if by_name else ():
        _add_names(prediction, spec, output)
    for spec, output in outputs:
        if spec.kind in labels.KINDS:
            labels.add_labels(prediction, spec, output)
            break
    return _dump(prediction, session, step)


def encode_nothing(*, session: str | None, step: int | None) -> bytes:
    """The same without an output."""
    return _dump({}, session, step)


def add_state(answer: bytes, token: str, step: int | None = None) -> bytes:
    """An encoded prediction or generation, with the token of the state after it.

    `step`: that of the token, if the answer does not have it as a session's.
    """
    added = b"" if step is None else b',"step":%d' % step
    return b'%b%b,"state":"%b"}' % (answer[:-1], added, token.encode())


def state_of(answer: bytes) -> str:
    """The token that `add_state` has added."""
    return answer.rpartition(b'"state":"')[2].removesuffix(b'"}').decode()


def encode_rows(
    start: int,
    outputs: list[tuple[OutputSpec, Array]],
    *,
    is_named: bool,
    by_name: bool = False,
    gates: Sequence[tuple[OutputSpec, Array]] = (),
) -> bytes:
    """A piece of a prediction with `return: all`; `start`: its first row in the whole, from 0.

    `outputs`: all of the prediction. Those that exist for the last step only are left out.
    """
    rows = {spec.name: writable(output) for spec, output in outputs if spec.steps == "all"}
    piece: dict[str, Any] = {"start": start}
    if rows:
        piece |= {"outputs": rows} if is_named else {"output": rows[outputs[0][0].name]}
    if gates:
        piece["gates"] = gates_as_json(gates)
    for spec, output in outputs if by_name else ():
        if spec.steps == "all":
            _add_names(piece, spec, output)
    for spec, output in outputs:
        if spec.kind in labels.KINDS:
            if spec.steps == "all":
                labels.add_labels(piece, spec, output)
            break
    return _dump(piece, None, None)


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


def encode_forecast(
    model: str,
    version: str,
    session: str,
    step: int,
    spec: OutputSpec,
    output: Array,
    values: dict[str, Array],
    seed: int | None,
) -> bytes:
    """The body of the reply to a forecast: `output` [samples, horizon, *dims], `values` without dims."""
    reply: dict[str, Any] = {"model": model, "version": version, "session": session, "step": step}
    if seed is not None:
        reply["seed"] = seed
    reply["forecasts"] = []
    for sample, steps in enumerate(output):
        forecast: dict[str, Any] = {"output": writable(steps)}
        labels.add_labels(forecast, spec, steps)
        if values:
            forecast["values"] = {name: writable(series[sample]) for name, series in values.items()}
        reply["forecasts"].append(forecast)
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def _add_names(prediction: dict[str, Any], spec: OutputSpec, output: Array) -> None:
    """Add the numbers of an output by what they forecast or estimate.

    "forecast": {feature: {"+steps": {"q50": number}}}, "estimate": {target: {"q50": number}}; the number of
    no quantile is "value". With `return: all`, a number is a list with that of each step.
    """
    if not (spec.forecasts or spec.estimates):
        return
    numbers = output.reshape(*output.shape[: output.ndim - len(spec.dims)], -1)  # [places], or [time, places]
    for place, forecast in enumerate(spec.forecasts):
        by_feature = prediction.setdefault("forecast", {}).setdefault(forecast.feature, {})
        ahead = by_feature.setdefault(f"+{forecast.steps}", {})
        ahead[forecast.short_name] = writable(numbers[..., place])
    for place, estimate in enumerate(spec.estimates):
        of_target = prediction.setdefault("estimate", {}).setdefault(estimate.target, {})
        of_target[estimate.short_name] = writable(numbers[..., place])


def _dump(prediction: dict[str, Any], session: str | None, step: int | None) -> bytes:
    if session is not None:
        prediction["session"] = session
        prediction["step"] = step
    return orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY)
