"""JSON in which rectangles of numbers arrive as arrays, without a Python number each.

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
_PLAIN = (str, int, float, type(None))  # bool is an int


class _Refused(Exception):
    """A document that simdjson reads differently from orjson, or not at all."""


def loads(body: bytes, *, small_body: int = SMALL_BODY) -> Any:
    """The same as orjson.loads, but each rectangle of numbers in `sequences` is an array.

    An array is [rows, width] or [rows]: int64 if every number is an integer of 64 bits, else float64, in
    which integers beyond 2^53 are rounded and 1 equals 1.0; `arrays.is_rounded` finds those that matter.
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
        members["steps"] = {name: _input(value) for name, value in _members(steps).items()}
    elif not isinstance(steps, str):
        raise _Refused
    return {name: value if name == "steps" else _scalar(value) for name, value in members.items()}


def _input(value: Any) -> Any:
    """The value of one named input: a rectangle, a text, or a single number."""
    return _rectangle(value) if isinstance(value, simdjson.Array) else _scalar(value)


def _rectangle(rows: Any) -> Any:
    """[rows, width] or [rows], int64 or float64. Raises _Refused for anything else."""
    try:
        first: Any = rows[0]
        if not isinstance(first, simdjson.Array):
            return _numbers(rows, type(first) is int)
        width = len(first)
        if set(map(len, rows)) == {width}:
            number: Any = first[0]
            are_integers = type(number) is int and {int}.issuperset(map(type, first))
            return _numbers(rows, are_integers).reshape(len(rows), width)
    except (TypeError, IndexError) as error:  # no rows, or a value in them that is not a number
        raise _Refused from error
    raise _Refused


def _numbers(rows: simdjson.Array, are_integers: bool) -> Any:
    """All numbers, flat; as integers if all are. Only tried if the first are: a failed attempt is slow."""
    if are_integers:
        try:
            return np.frombuffer(rows.as_buffer(of_type="i"), np.int64)
        except (TypeError, ValueError):  # a later one has a fraction, or is an integer from 2^63
            pass
    return np.frombuffer(rows.as_buffer(of_type="d"))


def _plain(value: Any) -> Any:
    """A member of the document: `sequences`, which are read already, or a scalar, or a list of scalars."""
    if isinstance(value, simdjson.Array):
        return [_scalar(entry) for entry in value]
    return value if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> Any:
    """A Python value that is neither a list nor an object. Raises _Refused for those."""
    if isinstance(value, _PLAIN):
        return value
    raise _Refused


def _num_brackets(document: dict[str, Any]) -> int:
    """The number of "[" in a document: one for each list, and one for each row of an array."""
    total = sum([1 for value in document.values() if isinstance(value, list)])
    for entry in document["sequences"]:
        steps = entry["steps"] if isinstance(entry, dict) else entry
        for value in steps.values() if isinstance(steps, dict) else (steps,):
            if isinstance(value, np.ndarray):
                total += len(value) + 1 if value.ndim == 2 else 1
    return total
