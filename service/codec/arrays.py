"""JSON values → one array per input of a model. Every mistake is reported with a pointer to its value.

Rectangles of numbers arrive from `fast_json` as arrays; everything else is walked value by value. This file
knows the manifest; it knows nothing of requests, sessions or HTTP.
"""

from math import inf
from typing import Any

import numpy as np

from service.codec import text
from service.codec.fields import kind
from service.errors import EmptySequence, InvalidField, NonFinite, SequenceTooLong, WrongShape
from service.manifest import InputSpec, Manifest
from service.sequence import Array

FEW = 8192  # numbers; with more, BLAS may start threads of its own
_SQUARES = {  # of the largest number of each type that has infinities
    "float16": 65504.0**2,
    "float32": float(np.finfo(np.float32).max) ** 2,
    "float64": inf,
}
_NUMBERS, _INTEGERS = frozenset({int, float}), frozenset({int})


def decode_inputs(steps: Any, manifest: Manifest, pointer: str, max_steps: int) -> tuple[Array, ...]:
    """One array per input of the manifest, each [time, *dims]. Raises a BadInput that points at the fault.

    `steps` is a list of rows, tokens, or a text; or an object of these by input name.
    """
    specs = manifest.inputs
    if len(specs) == 1 and not isinstance(steps, dict):
        return (_decode_input(steps, specs[0], pointer, max_steps),)
    if not isinstance(steps, dict) or steps.keys() != {spec.name for spec in specs}:
        names = ", ".join(repr(spec.name) for spec in specs)
        raise InvalidField(f"expected an object with exactly the inputs {names}", pointer=pointer)
    inputs = tuple(
        _decode_input(steps[spec.name], spec, f"{pointer}/{spec.name}", max_steps) for spec in specs
    )
    for spec, array in zip(specs, inputs, strict=True):
        if len(array) != len(inputs[0]):
            raise WrongShape(
                f"{len(array)} steps, but input {specs[0].name!r} has {len(inputs[0])}",
                pointer=f"{pointer}/{spec.name}",
            )
    return inputs


def check_num_steps(steps: int, max_steps: int, pointer: str | None = None) -> None:
    """Refuse a sequence without time steps, or with more than the server accepts."""
    if not steps:
        raise EmptySequence("a sequence needs at least one time step", pointer=pointer)
    if steps > max_steps:
        raise SequenceTooLong(f"{steps} time steps, the maximum is {max_steps}", pointer=pointer)


def fit(array: Array, spec: InputSpec, pointer: str) -> Array:
    """`array` in the input's dtype. Raises a BadInput at the first value that the input does not take."""
    if spec.kind == "token":
        unknown = (array < 0) | (array >= len(spec.vocabulary) if spec.vocabulary else False)
        if unknown.any():
            value, at = _first(array, unknown, pointer)
            raise InvalidField(f"token id {value} is not in the vocabulary", pointer=at)
    bound = _SQUARES.get(spec.dtype, 0.0)
    is_plain = array.dtype == np.float64 and array.size <= FEW
    if is_plain and np.vdot(array, array) < bound:  # so no number is too large, infinite, or NaN
        return array.astype(spec.dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers: Array = array.astype(spec.dtype, copy=False)
    if numbers.dtype.kind != "f":
        fits = numbers == array
    else:
        fits = ~np.isinf(numbers) if spec.missing == "nan" else np.isfinite(numbers)
    if not fits.all():
        value, at = _first(array, ~fits, pointer)
        raise NonFinite(f"{value} does not fit into {spec.dtype}", pointer=at)
    return numbers


def _decode_input(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Array:
    """[time, *dims] in the input's dtype."""
    if spec.kind == "token":
        rows = _token_ids(rows, spec, pointer, max_steps)
    if not isinstance(rows, list | np.ndarray):
        raise InvalidField(f"expected a list of rows, got {kind(rows)}", pointer=pointer)
    check_num_steps(len(rows), max_steps, pointer)
    if isinstance(rows, np.ndarray) and rows.shape[1:] == spec.dims and not spec.takes_integers:
        array: Array = rows
    else:
        array = _array_of(rows.tolist() if isinstance(rows, np.ndarray) else rows, spec, pointer)
    return fit(array, spec, pointer)


def _token_ids(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Any:
    """Token ids in the place of a text, of token names and of null; all other values as they are."""
    if isinstance(rows, str):
        # Refused before it is tokenized, which costs time.
        if spec.tokenizer is not None and len(rows) > max_steps * spec.longest:
            raise SequenceTooLong(f"{len(rows)} characters, more than {max_steps} tokens", pointer=pointer)
        return text.encode(spec, rows, pointer)
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


def _array_of(rows: list[Any], spec: InputSpec, pointer: str) -> Array:
    """[time, *dims] from lists, whose every value is checked: numpy would take true for 1 and "2" for 2."""
    _check_values(rows, spec, spec.dims, pointer)
    if not spec.takes_integers:
        return np.array(rows, np.float64)  # null becomes NaN
    array = np.array(rows)
    # Only integers beyond 64 bits make numpy choose anything but integers.
    return array if array.dtype.kind in "iu" else np.array(rows, np.float64)


def _check_values(value: Any, spec: InputSpec, dims: tuple[int, ...], pointer: str) -> None:
    """Walk [time, *dims] and raise at the first value that is not a number where a number is expected."""
    numbers = _INTEGERS if spec.takes_integers else _NUMBERS
    for index, entry in enumerate(value):
        if (
            len(dims) == 1
            and type(entry) is list
            and len(entry) == dims[0]
            and numbers.issuperset(map(type, entry))
        ):
            continue  # a valid row, as nearly all are
        at = f"{pointer}/{index}"
        if dims:
            if not isinstance(entry, list):
                raise InvalidField(f"expected a list of {dims[0]} numbers, got {kind(entry)}", pointer=at)
            if len(entry) != dims[0]:
                raise WrongShape(f"expected {dims[0]} numbers, got {len(entry)}", pointer=at)
            _check_values(entry, spec, dims[1:], at)
        elif entry is None and spec.missing == "error":
            raise InvalidField("null: this model takes no missing values", pointer=at)
        elif entry is not None and type(entry) not in numbers:
            expected = "an integer" if numbers is _INTEGERS else "a number"
            raise InvalidField(f"expected {expected}, got {kind(entry)}", pointer=at)


def _first(array: Array, where: Array, pointer: str) -> tuple[Any, str]:
    """The first value that `where` marks, and the pointer to it."""
    index = tuple(np.argwhere(where)[0])
    return array[index], "/".join((pointer, *map(str, index)))
