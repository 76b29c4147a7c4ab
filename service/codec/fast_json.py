"""JSON in which rectangles of numbers arrive as arrays, without a Python number each.

It knows simdjson (Langdale & Lemire, The VLDB Journal 28, 2019) and orjson; it knows nothing of requests.
"""

from collections.abc import Callable
from itertools import accumulate, islice
from math import inf
from operator import mul
from typing import Any

import numpy as np
import orjson
import simdjson

from service.codec import bounds, pieces
from service.codec.pieces import Refused

SMALL_BODY = 512  # bytes below which orjson and numpy's own conversion are faster
MAX_MEMBERS = (
    64  # of an object: simdjson finds a name by a linear search, so reading all takes quadratic time
)
MAX_DIMS = 4  # of a rectangle beside the first
FEW_ROWS = 4096  # examined at once, during which no other thread runs
_PLAIN = (str, int, float, type(None))  # bool is an int
_NUMBERS_OR_NULL = frozenset({int, float, type(None)})


def loads(body: bytes, *, max_sequences: float = inf, small_body: int = SMALL_BODY) -> Any:
    """The same as orjson.loads, but each rectangle of numbers in `sequences` is an array.

    An array is [rows, width] or [rows], or has further axes: int64 if every number is an integer of 64 bits,
    else float64, in which null is NaN, integers beyond 2^53 are rounded and 1 equals 1.0; `arrays.is_rounded`
    finds those that matter. More than `max_sequences` are read by orjson. There is one grammar: a document
    that simdjson refuses is read by orjson. Raises orjson.JSONDecodeError or TooManyValues.
    """
    if len(body) < small_body:
        return orjson.loads(body)
    return _loads(body, "sequences", max_sequences, _sequence, _plain)


def loads_tensors(body: bytes, *, small_body: int = SMALL_BODY) -> Any:
    """The same, of a document whose `inputs` are objects: each rectangle of numbers in `data` is an array."""
    if len(body) < small_body:
        return orjson.loads(body)
    return _loads(body, "inputs", MAX_MEMBERS, _tensor, _small)


def _loads(
    body: bytes,
    listed: str,
    max_entries: float,
    read_entry: Callable[[Any], Any],
    read_other: Callable[[Any], Any],
) -> Any:
    """The document. `listed` is its member that is a list of at most `max_entries`; the others are small."""
    if bounds.has_many(body):
        try:
            return _in_pieces(body, listed, max_entries, read_entry, read_other)
        except (ValueError, RuntimeError, Refused):
            bounds.check_values(body)
    try:
        return _at_once(body, listed, max_entries, read_entry, read_other)
    except (ValueError, RuntimeError, Refused):
        return bounds.loads(body)


def _at_once(
    body: bytes,
    listed: str,
    max_entries: float,
    read_entry: Callable[[Any], Any],
    read_other: Callable[[Any], Any],
) -> Any:
    """The document as simdjson reads it. Raises Refused, ValueError or RuntimeError."""
    document = _members(simdjson.Parser().parse(body))
    entries = document.get(listed)
    if not isinstance(entries, simdjson.Array) or len(entries) > max_entries:
        raise Refused
    for name, value in document.items():
        document[name] = [read_entry(entry) for entry in entries] if name == listed else read_other(value)
    # simdjson reads deeper lists as if they were flat; the number of brackets shows an additional list.
    if body.count(b"[") != _num_brackets(document):
        raise Refused
    return document


def _in_pieces(
    body: bytes,
    listed: str,
    max_entries: float,
    read_entry: Callable[[Any], Any],
    read_other: Callable[[Any], Any],
) -> Any:
    """The same, of a document without its rectangles, which are then read and put into their places."""
    cut = pieces.cut(body)
    if bounds.has_many(cut.rest):
        raise Refused
    arrays: dict[int, Any] = {}

    def restored(value: Any) -> Any:
        index = cut.index(value)
        if index is None:
            return value
        arrays[index] = pieces.read(cut.lists[index], _text_rectangle)
        return arrays[index]

    def read_whole(entry: Any) -> Any:
        if isinstance(entry, str):
            return entry  # of a rectangle; any other is refused below
        return read_entry(entry)

    document = _at_once(cut.rest, listed, max_entries, read_whole, read_other)
    document[listed] = [_restored_entry(entry, restored) for entry in document[listed]]
    if len(arrays) < len(cut.lists):  # one is where no rectangle belongs
        raise Refused
    return document


def _restored_entry(entry: Any, restored: Callable[[Any], Any]) -> Any:
    if isinstance(entry, str):
        array = restored(entry)
        if array is entry:
            raise Refused
        return array
    if isinstance(entry, dict):
        for name in ("steps", "data"):
            value = entry.get(name)
            if isinstance(value, dict):
                entry[name] = {key: restored(each) for key, each in value.items()}
            elif value is not None:
                entry[name] = restored(value)
    return entry


def _text_rectangle(text: bytes) -> Any:
    rows = simdjson.Parser().parse(text)
    if not isinstance(rows, simdjson.Array):
        raise Refused
    array = _rectangle(rows)
    if text.count(b"[") != _num_brackets(array):
        raise Refused
    return array


def _members(value: Any) -> dict[str, Any]:
    """An object's members, still simdjson's. Raises Refused for duplicate names, which orjson resolves."""
    if not isinstance(value, simdjson.Object) or not 0 < len(value) <= MAX_MEMBERS:
        raise Refused
    names = list(value)
    if len(set(names)) < len(names) or "\0" in "".join(names):  # simdjson finds no name with U+0000
        raise Refused
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
    elif not isinstance(steps, str) and "steps" in members:
        raise Refused
    return {name: value if name == "steps" else _member(name, value) for name, value in members.items()}


def _member(name: str, value: Any) -> Any:
    """A scalar; or, of a "state", an object that names one."""
    return _small(value) if name == "state" else _scalar(value)


def _tensor(entry: Any) -> dict[str, Any]:
    return {
        name: _rectangle(value) if name == "data" and isinstance(value, simdjson.Array) else _small(value)
        for name, value in _members(entry).items()
    }


def _input(value: Any) -> Any:
    """The value of one named input: a rectangle, a text, or a single number."""
    return _rectangle(value) if isinstance(value, simdjson.Array) else _scalar(value)


def _rectangle(rows: Any) -> Any:
    """[rows, *dims], int64 or float64. Raises Refused for anything else."""
    try:
        shape = _shape(rows, MAX_DIMS)
        first = rows
        for _ in shape[1:]:
            first = first[0]
        are_integers = type(first[0]) is int and (len(shape) == 1 or {int}.issuperset(map(type, first)))
        try:
            return _numbers(rows, are_integers).reshape(shape)
        except (TypeError, ValueError):
            return _numbers_or_null(rows, shape)
    except (TypeError, IndexError) as error:  # no rows, or a value in them that is not a number
        raise Refused from error


def _shape(rows: Any, max_dims: int) -> tuple[int, ...]:
    """Of lists that are all equally long at each level. Raises Refused if they differ."""
    first: Any = rows[0]
    if not isinstance(first, simdjson.Array):
        return (len(rows),)
    if isinstance(first[0], simdjson.Array):
        if not max_dims:
            raise Refused
        inner = _shape(first, max_dims - 1)
        if any(_shape(row, max_dims - 1) != inner for row in rows):
            raise Refused
        return (len(rows), *inner)
    remaining, widths = iter(rows), {len(first)}
    while len(widths) == 1 and (few := set(map(len, islice(remaining, FEW_ROWS)))):
        widths |= few
    if len(widths) > 1:
        raise Refused
    return (len(rows), len(first))


def _numbers(rows: simdjson.Array, are_integers: bool) -> Any:
    """All numbers, flat; as integers if all are. Only tried if the first are: a failed attempt is slow."""
    if are_integers:
        try:
            return np.frombuffer(rows.as_buffer(of_type="i"), np.int64)
        except (TypeError, ValueError):  # a later one has a fraction, or is an integer from 2^63
            pass
    return np.frombuffer(rows.as_buffer(of_type="d"))


def _numbers_or_null(rows: simdjson.Array, shape: tuple[int, ...]) -> Any:
    """[rows, width], with NaN for null; JSON has no other NaN. Row by row, so that other threads can run."""
    if len(shape) != 2 or shape[1] > FEW_ROWS:
        raise Refused
    numbers: Any = np.empty(shape)
    row: Any
    for index, row in enumerate(rows):
        values = row.as_list() if isinstance(row, simdjson.Array) else [row]
        if not _NUMBERS_OR_NULL.issuperset(map(type, values)):
            raise Refused
        numbers[index] = values
    return numbers


def _plain(value: Any) -> Any:
    """A member of the document: a scalar, or a list of scalars."""
    if isinstance(value, simdjson.Array):
        if len(value) > FEW_ROWS:
            raise Refused
        return [_scalar(entry) for entry in value]
    return _scalar(value)


def _small(value: Any, max_dims: int = MAX_DIMS) -> Any:
    """A value of a few: scalars, and lists and objects of them."""
    if isinstance(value, _PLAIN):
        return value
    if not max_dims:
        raise Refused
    if isinstance(value, simdjson.Array):
        if len(value) > MAX_MEMBERS:
            raise Refused
        return [_small(entry, max_dims - 1) for entry in value]
    return {name: _small(entry, max_dims - 1) for name, entry in _members(value).items()}


def _scalar(value: Any) -> Any:
    """A Python value that is neither a list nor an object. Raises Refused for those."""
    if isinstance(value, _PLAIN):
        return value
    raise Refused


def _num_brackets(value: Any) -> int:
    """The number of "[" in a value's JSON: one for each list, one for each row of an array, and in texts."""
    if isinstance(value, np.ndarray):
        if value.ndim == 2:  # as nearly all
            return 1 + len(value)
        return 1 + int(sum(accumulate(value.shape[:-1], mul)))
    if isinstance(value, list):
        return 1 + sum([_num_brackets(entry) for entry in value])
    if isinstance(value, str):
        return value.count("[")
    if not isinstance(value, dict):
        return 0
    total = "".join(value).count("[")
    for entry in value.values():
        total += entry.count("[") if isinstance(entry, str) else _num_brackets(entry)
    return total
