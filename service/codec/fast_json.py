"""JSON in which rectangles of numbers arrive as arrays, without a Python float per number.

It knows simdjson (Langdale & Lemire, The VLDB Journal 28, 2019) and orjson; it knows nothing of requests.
"""

from typing import Any

import numpy as np
import orjson
import simdjson

SMALL_BODY = 512  # bytes below which orjson and numpy's own conversion are faster
MAX_MEMBERS = (
    64  # of an object: simdjson finds a name by a linear search, so reading all takes quadratic time
)


class _Refused(Exception):
    """A document that simdjson reads differently from orjson, or not at all."""


def loads(body: bytes, *, small_body: int = SMALL_BODY) -> Any:
    """The same as orjson.loads, but each rectangle of numbers in `sequences` is float64 [rows, width].

    There is one grammar: a document that simdjson refuses is read by orjson. Raises orjson.JSONDecodeError.
    """
    if len(body) < small_body:
        return orjson.loads(body)
    try:
        root = simdjson.Parser().parse(body)
        document = _members(root)
        if not isinstance(document.get("sequences"), simdjson.Array):
            raise _Refused
        document["sequences"] = [_sequence(entry) for entry in document["sequences"]]
        document = {name: _plain(value) for name, value in document.items()}
        # simdjson reads deeper lists as if they were flat; the number of brackets shows an additional list.
        if body.count(b"[") != _num_brackets(document):
            raise _Refused
    except (ValueError, RuntimeError, _Refused):
        return orjson.loads(body)
    return document


def _members(value: Any) -> dict[str, Any]:
    """An object's members, still simdjson's. Raises _Refused for duplicate names, which orjson resolves."""
    if not isinstance(value, simdjson.Object) or not 0 < len(value) <= MAX_MEMBERS:
        raise _Refused
    names = list(value)
    if len(set(names)) < len(names):
        raise _Refused
    return {name: value[name] for name in names}


def _sequence(entry: Any) -> Any:
    if isinstance(entry, simdjson.Array):
        return _rectangle(entry)
    members = _members(entry)
    steps = members.get("steps")
    if isinstance(steps, simdjson.Array):
        members["steps"] = _rectangle(steps)
    elif isinstance(steps, simdjson.Object):
        members["steps"] = {name: _rectangle(rows) for name, rows in _members(steps).items()}
    else:
        raise _Refused
    return {name: _plain(value) for name, value in members.items()}


def _rectangle(rows: Any) -> Any:
    """float64 [rows, width]. Raises _Refused for anything else."""
    try:
        width = len(rows[0])
        if set(map(len, rows)) == {width}:
            return np.frombuffer(rows.as_buffer(of_type="d")).reshape(len(rows), width)
    except (TypeError, IndexError) as error:  # no rows, or a value in them that is not a number
        raise _Refused from error
    raise _Refused


def _plain(value: Any) -> Any:
    """A Python value that is neither a list nor an object. Raises _Refused for those."""
    if isinstance(value, simdjson.Array | simdjson.Object):
        raise _Refused
    return value


def _num_brackets(document: dict[str, Any]) -> int:
    """The number of "[" in a document of rectangles: one each, one per row, and that of `sequences`."""
    total = 0
    for entry in document["sequences"]:
        steps = entry["steps"] if isinstance(entry, dict) else entry
        rectangles = steps.values() if isinstance(steps, dict) else (steps,)
        total += sum(len(rectangle) + 1 for rectangle in rectangles)
    return total + 1
