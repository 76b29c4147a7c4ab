"""Lines that hold nothing but numbers and an `id` → one array, with no object for each row or number.

    [[0.1, 2], [0.3, 4]]            ─→  values  0.1 2 | 0.3 4 | 5 6      ends  2 3      ids  None 7
    {"id": 7, "steps": [[5, 6]]}

The lists of all lines are parsed as one text. So that no line can take a bracket from its neighbour, the
brackets and commas of each line alone must be those of a rectangle. Of some lines all are plain, or none is
read: the others, and every error, are left to `lines`.
"""

from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson

from service.engine.flat import MAX_STEPS, Flat
from service.manifest import InputSpec, Manifest
from service.offline.flat_block import flat_input
from service.sequence import Array

AT_ONCE = 128  # lines that are parsed as one text: few, so that it stays in the processor's cache
_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\r"  # all that valid JSON has between the brackets and commas
_BETWEEN = b",\n"  # two lists; no line has a line feed
_NULL = b"null"


class PlainLines(NamedTuple):
    """What was read of some lines."""

    flat: Flat  # of a line that is not plain no steps
    ids: list[Any]  # of a line that is not plain None
    is_plain: Array  # [lines] bool


def flat_lines(lines: list[bytes | None], manifest: Manifest) -> PlainLines | None:
    """The numbers of all plain lines in the dtype of the model's only input; None if it takes others.

    Each line is one sequence of at most `flat.MAX_STEPS` rows [*dims], of which every number is finite.
    """
    spec = flat_input(manifest)
    if spec is None or len(spec.dims) > 1:
        return None
    ids: list[Any] = []
    numbers: list[Array] = [np.empty((0, *spec.dims), spec.dtype)]
    lengths: list[int] = []
    for first in range(0, len(lines), AT_ONCE):
        some = lines[first : first + AT_ONCE]
        keys, found, own = _together(some, spec) or ([None] * len(some), numbers[0], [0] * len(some))
        ids += keys
        lengths += own
        numbers.append(found)
    ends = np.cumsum(lengths)
    steps = np.array(lengths)
    return PlainLines(Flat((np.concatenate(numbers),), ends - steps, ends), ids, steps > 0)


def _together(lines: list[bytes | None], spec: InputSpec) -> tuple[list[Any], Array, list[int]] | None:
    """The `id`s, all numbers, and how many rows each line has; None: one is not plain."""
    cuts = [None if line is None else _cut(line) for line in lines]
    if None in cuts:
        return None
    keys, lists = zip(*filter(None, cuts), strict=True)
    text = b"[%b]" % _BETWEEN.join(lists)
    lengths = _lengths(text, spec)
    numbers = None if lengths is None else _numbers(text, spec)
    if lengths is None or numbers is None or len(numbers) != sum(lengths):
        return None
    return list(keys), numbers, lengths


def _cut(line: bytes) -> tuple[Any, bytes | memoryview] | None:
    """The `id` of a line and the text of its list, if the line has no other members."""
    start, stop = line.find(b"["), line.rfind(b"]") + 1
    if start < 0:
        return None
    rest = line[:start], line[stop:]
    if rest == (b"", b""):
        return None, line
    if _NULL in rest[0] or _NULL in rest[1]:
        return None
    try:  # with the only null in the place of the list
        members = orjson.loads(_NULL.join(rest))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(members, dict) or members.pop("steps", "") is not None:
        return None
    key = members.pop("id", None)
    return None if members else (key, memoryview(line)[start:stop])


def _lengths(text: bytes, spec: InputSpec) -> list[int] | None:
    """The rows of each list, if all have the brackets and commas of a rectangle."""
    row = b"[%b]" % (b"," * (spec.dims[0] - 1)) if spec.dims else b""  # a row's brackets and commas
    known: dict[bytes, int] = {}
    outlines = text.translate(None, _NUMBERS_AND_SPACE)[1:-1].split(_BETWEEN)
    for outline in set(outlines):
        rows = (len(outline) - 1) // (len(row) + 1)  # each with the comma behind it
        if not 0 < rows <= MAX_STEPS or outline != b"[%b]" % b",".join([row] * rows):
            return None
        known[outline] = rows
    return [known[outline] for outline in outlines]


def _numbers(text: bytes, spec: InputSpec) -> Array | None:
    """All numbers, [rows, *dims]; None: the text is not JSON, lacks a number, or one is not finite."""
    try:
        document: Any = simdjson.Parser().parse(text)
        numbers: Array = np.frombuffer(document.as_buffer(of_type="d"))
        with np.errstate(over="ignore"):  # an infinity then
            numbers = numbers.reshape(-1, *spec.dims).astype(spec.dtype)
    except (ValueError, TypeError, RuntimeError):
        return None
    return numbers if np.isfinite(numbers).all() else None
