"""JSON values → one array per input of a model. Every mistake is reported with a pointer to its value.

Rectangles of numbers arrive from `fast_json` as arrays; everything else is walked value by value. This file
knows the manifest; it knows nothing of requests, sessions or HTTP.
"""

from math import inf
from typing import Any

import numpy as np

from service.codec import text
from service.codec.categories import with_names
from service.codec.fields import kind
from service.errors import BadInput, EmptySequence, InvalidField, NonFinite, SequenceTooLong, WrongShape
from service.manifest import InputSpec, Manifest
from service.sequence import Array

NO_NULL = "null: this model takes no missing values"
FEW = 8192  # numbers; with more, BLAS may start threads of its own
_SQUARES = {  # of the largest number of each type that has infinities
    "float16": 65504.0**2,
    "float32": float(np.finfo(np.float32).max) ** 2,
    "float64": inf,
}
_NUMBERS, _INTEGERS, _BOOLEANS = frozenset({int, float}), frozenset({int}), frozenset({bool})
_EXPECTED = {_NUMBERS: "a number", _INTEGERS: "an integer", _BOOLEANS: "true or false"}


# One sequence's arrays, both in the order of the manifest:
Steps = tuple[Array, ...]  # one per input with a time axis, each [time, *dims]
Kept = tuple[Array | None, ...]  # one per input without, each [*dims]; None: the request omits it


def decode_inputs(steps: Any, manifest: Manifest, pointer: str, max_steps: int) -> tuple[Steps, Kept]:
    """The arrays of one sequence. Raises a BadInput that points at the fault.

    `steps` is a list of rows, tokens, or a text; or an object of these by input name. An input without a time
    axis is one row, and may be absent: a session that has it keeps it.
    """
    specs, without = manifest.step_inputs, manifest.sequence_inputs
    if len(specs) == 1 and not isinstance(steps, dict):
        return (decode_input(steps, specs[0], pointer, max_steps),), (None,) * len(without)
    _check_names(steps, manifest, pointer)
    arrays = tuple([decode_input(steps[s.name], s, f"{pointer}/{s.name}", max_steps) for s in specs])
    for spec, array in zip(specs, arrays, strict=True):
        if len(array) != len(arrays[0]):
            raise WrongShape(
                f"{len(array)} steps, but input {specs[0].name!r} has {len(arrays[0])}",
                pointer=f"{pointer}/{spec.name}",
            )
    kept = [
        _decode_row(steps[s.name], s, f"{pointer}/{s.name}") if s.name in steps else None for s in without
    ]
    return arrays, tuple(kept)


def is_rounded(steps: Any, manifest: Manifest) -> bool:
    """Whether numbers arrived as float64 that an input takes as integers or booleans, which need each digit.

    `steps` is as for `decode_inputs`, or anything else that a body may hold.
    """
    for spec in manifest.inputs:
        values = steps.get(spec.name) if isinstance(steps, dict) else steps
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and _types(spec) is not _NUMBERS:
            return True
    return False


def check_num_steps(steps: int, max_steps: int, pointer: str | None = None) -> None:
    """Refuse a sequence without time steps, or with more than the server accepts."""
    if not steps:
        raise EmptySequence("a sequence needs at least one time step", pointer=pointer)
    if steps > max_steps:
        raise SequenceTooLong(f"{steps} time steps, the maximum is {max_steps}", pointer=pointer)


def check_window(steps: int, manifest: Manifest, pointer: str | None = None) -> None:
    """Refuse a number of steps that a graph with a fixed time axis does not take. Raises WrongShape."""
    if fault := manifest.steps_fault(steps):
        raise WrongShape(fault, pointer=pointer)


def fit(array: Array, spec: InputSpec, pointer: str) -> Array:
    """`array` in the input's dtype. Raises a BadInput at the first value that the input does not take."""
    if spec.kind == "token":
        _check_token_ids(array, spec, pointer)
    bound = _SQUARES.get(spec.dtype)
    if bound is None:
        return _fit_integers(array, spec, pointer)
    is_plain = array.dtype == np.float64 and array.size <= FEW
    if is_plain and np.vdot(array, array) < bound:  # so no number is too large, infinite, or NaN
        return array.astype(spec.dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers: Array = array.astype(spec.dtype, copy=False)
    fits = ~np.isinf(numbers) if spec.missing == "nan" else np.isfinite(numbers)
    if not fits.all():
        value, at = _first(array, ~fits, pointer)
        raise NonFinite(f"{value} does not fit into {spec.dtype}", pointer=at)
    return numbers


def _fit_integers(array: Array, spec: InputSpec, pointer: str) -> Array:
    """Integers, Python's own if they need more than 64 bits, or booleans in the input's dtype."""
    if array.dtype == spec.dtype:
        return array
    limits = np.iinfo(spec.dtype)  # a boolean input's array is boolean already
    fits = (array >= limits.min) & (array <= limits.max)
    if not fits.all():
        value, at = _first(array, ~fits, pointer)
        raise NonFinite(
            f"{value} does not fit into {spec.dtype}, from {limits.min} to {limits.max}", pointer=at
        )
    numbers: Array = array.astype(spec.dtype, copy=False)
    return numbers


def _check_token_ids(array: Array, spec: InputSpec, pointer: str) -> None:
    unknown = (array < 0) | (array >= spec.num_ids if spec.num_ids else False)
    if unknown.any():
        value, at = _first(array, unknown, pointer)
        if spec.vocabulary:
            raise InvalidField(f"token id {value} is not in the vocabulary", pointer=at)
        last = "" if spec.num_ids is None else f" to {spec.num_ids - 1}"
        raise InvalidField(f"token id {value} is out of range: ids are integers from 0{last}", pointer=at)


def _check_names(steps: Any, manifest: Manifest, pointer: str) -> None:
    required = {spec.name for spec in manifest.step_inputs}
    if isinstance(steps, dict) and required <= steps.keys() <= {spec.name for spec in manifest.inputs}:
        return
    names, start = (
        ", ".join([repr(spec.name) for spec in specs])
        for specs in (manifest.step_inputs, manifest.sequence_inputs)
    )
    detail = f"expected an object with exactly the inputs {names}"
    raise InvalidField(
        f"{detail}; and {start} at the start of a sequence" if start else detail, pointer=pointer
    )


def _types(spec: InputSpec) -> frozenset[type]:
    """The types of the JSON values that the input takes."""
    if spec.dtype == "bool":
        return _BOOLEANS
    return _INTEGERS if spec.takes_integers else _NUMBERS


def _decode_row(value: Any, spec: InputSpec, pointer: str) -> Array:
    """[*dims] of an input without a time axis: decoded as the only row, row 0, of one that has it."""
    try:
        rows = value[np.newaxis] if isinstance(value, np.ndarray) else [value]
        (row,) = decode_input(rows, spec, pointer, 1)
    except BadInput as error:
        error.pointer = pointer + (error.pointer or "")[len(f"{pointer}/0") :]
        raise
    return np.asarray(row)


def decode_input(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Array:
    """[time, *dims] of one input in its dtype. Raises a BadInput that points at the fault."""
    if spec.kind == "token":
        rows = _token_ids(rows, spec, pointer, max_steps)
    if not isinstance(rows, list | np.ndarray):
        raise InvalidField(f"expected a list of rows, got {kind(rows)}", pointer=pointer)
    check_num_steps(len(rows), max_steps, pointer)
    array = _array_of(rows, spec, pointer)
    try:
        return fit(array, spec, pointer)
    except NonFinite:
        if spec.missing == "error" and array.dtype.kind == "f":
            _check_no_null(array, pointer)
        raise


def _token_ids(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Any:
    """Token ids in the place of a text, of token names and of null; all other values as they are."""
    if isinstance(rows, str):
        # Refused before it is tokenized, which costs time.
        if spec.tokenizer is not None and len(rows) > max_steps * spec.longest:
            raise SequenceTooLong(f"{len(rows)} characters, more than {max_steps} tokens", pointer=pointer)
        return text.encode(spec, rows, pointer)
    if spec.numbers == "tokens" and isinstance(rows, list | np.ndarray):
        rows = with_names(rows, spec, pointer)
    if not isinstance(rows, list) or not spec.vocabulary:
        return rows
    if not any(row is None or isinstance(row, str) for row in rows):
        return rows
    tokens: list[Any] = []
    for index, row in enumerate(rows):
        token = spec.ids.get(row, spec.unknown) if isinstance(row, str) else row
        if token is None and row is not None:
            raise InvalidField(f"token {row!r} is not in the vocabulary", pointer=f"{pointer}/{index}")
        tokens.append(spec.missing_token if token is None else token)
    return tokens


def _array_of(rows: list[Any] | Array, spec: InputSpec, pointer: str) -> Array:
    """[time, *dims] from lists, whose every value is checked: numpy would take true for 1 and "2" for 2."""
    types = _types(spec)
    if isinstance(rows, np.ndarray):
        if rows.shape[1:] == spec.dims and types is _NUMBERS:
            return rows.astype(np.float64, copy=False)
        if rows.shape[1:] == spec.dims and types is _INTEGERS and rows.dtype.kind == "i":
            return rows
        _check_values(_lists(rows[:1]), spec, types, spec.dims, pointer)  # the shape is wrong in each row
        rows = _lists(rows)
    _check_values(rows, spec, types, spec.dims, pointer)
    if types is not _INTEGERS:
        return np.array(rows, np.float64 if types is _NUMBERS else np.bool_)  # null becomes NaN
    array = np.array(rows)
    # Integers beyond 64 bits make numpy choose another type, which would round them.
    return array if array.dtype.kind in "iu" else np.array(rows, object)


def _check_values(
    value: Any, spec: InputSpec, types: frozenset[type], dims: tuple[int, ...], pointer: str
) -> None:
    """Walk [time, *dims] and raise at the first value that is not of a type that the input takes."""
    for index, entry in enumerate(value):
        if (
            len(dims) == 1
            and type(entry) is list
            and len(entry) == dims[0]
            and types.issuperset(map(type, entry))
        ):
            continue  # a valid row, as nearly all are
        at = f"{pointer}/{index}"
        if dims:
            if not isinstance(entry, list):
                raise InvalidField(f"expected a list of {dims[0]} numbers, got {kind(entry)}", pointer=at)
            if len(entry) != dims[0]:
                raise WrongShape(f"expected {dims[0]} numbers, got {len(entry)}", pointer=at)
            _check_values(entry, spec, types, dims[1:], at)
        elif entry is None and types is _NUMBERS and spec.missing == "nan":
            continue
        elif entry is None and spec.missing == "error":
            raise InvalidField(NO_NULL, pointer=at)
        elif type(entry) not in types:
            raise InvalidField(f"expected {_EXPECTED[types]}, got {kind(entry)}", pointer=at)


def _check_no_null(array: Array, pointer: str) -> None:
    """Raises InvalidField at the first NaN: what `fast_json` makes of a null."""
    if (is_null := np.isnan(array)).any():
        _, at = _first(array, is_null, pointer)
        raise InvalidField(NO_NULL, pointer=at)


def _lists(rows: Array) -> list[Any]:
    """The JSON that `fast_json` read as an array: null in the place of NaN."""
    lists: list[Any] = (
        np.where(np.isnan(rows), None, rows) if rows.dtype.kind == "f" else rows  # type: ignore[call-overload]
    ).tolist()
    return lists


def _first(array: Array, where: Array, pointer: str) -> tuple[Any, str]:
    """The first value that `where` marks, and the pointer to it."""
    index = tuple(np.argwhere(where)[0])
    return array[index], "/".join((pointer, *map(str, index)))
