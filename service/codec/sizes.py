"""How many bytes a reply can have: known from a model's outputs, before anything is computed."""

import math
from collections.abc import Iterable

import numpy as np
import orjson

from service.codec.labels import ENTRY
from service.errors import ReplyTooLarge
from service.manifest import InputSpec, OutputSpec

_JSON = {  # the longest number of each dtype, with the comma after it; null has five characters
    "float16": 16,
    "float32": 16,
    "float64": 26,
    "int8": 5,
    "int16": 7,
    "int32": 12,
    "int64": 21,
    "uint8": 4,
    "bool": 6,
}
_FORECAST = 64  # the number of steps, the quantile and the brackets of one forecast by name
_PREDICTION = 512  # the names of the fields, the session and the step


def check_reply(size: int, max_bytes: int, pointer: str | None = None) -> None:
    """Raises ReplyTooLarge if a reply could have `size` bytes, and has at most `max_bytes`."""
    if size > max_bytes:
        raise ReplyTooLarge(
            f"the reply could have {size} bytes, the maximum is {max_bytes}: "
            'set "return" to "last", or send fewer steps or sequences in one request',
            pointer=pointer,
        )


def json_bytes(dtype: str, numbers: int) -> int:
    """At most: of an output's numbers as JSON."""
    return numbers * _JSON[dtype]


def prediction_bytes(outputs: Iterable[tuple[OutputSpec, str]], steps: int, *, by_name: bool = False) -> int:
    """At most: of one prediction with `steps` steps of each output, given with its dtype.

    `by_name`: with forecasts and estimates by name too.
    """
    size = _PREDICTION
    for spec, dtype in outputs:
        size += json_bytes(dtype, steps * math.prod(spec.dims)) + 2 * steps
        if by_name:
            names = [one.feature for one in spec.forecasts] + [one.target for one in spec.estimates]
            size += sum([json_bytes(dtype, steps) + _FORECAST + len(orjson.dumps(name)) for name in names])
        if spec.kind == "probabilities":
            size += steps * (spec.longest_label + _JSON[dtype])
        elif spec.kind == "labels":
            size += steps * len(spec.labels) * (spec.longest_label + _JSON[dtype] + ENTRY)
    return size


def tensor_bytes(dtype: str, numbers: int, *, as_bytes: bool) -> int:
    """At most: of an output's numbers in a reply of the Open Inference Protocol."""
    return numbers * np.dtype(dtype).itemsize if as_bytes else json_bytes(dtype, numbers)


def generation_bytes(spec: InputSpec, steps: int) -> int:
    """At most: of a reply with `steps` generated tokens: the id, the name and the text of each."""
    return _PREDICTION + steps * (_JSON["int64"] + 12 * spec.longest)  # a character has at most 6 as JSON
