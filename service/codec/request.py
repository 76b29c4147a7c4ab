"""Bytes ↔ arrays for the JSON face: what `POST /predict` takes and gives.

Rectangles of numbers arrive from `numbers` as arrays; everything else is walked value by value, which also
says exactly where something is wrong. The codec knows the manifest and JSON; it knows nothing of HTTP,
sessions or scheduling.
"""

import hashlib
import re
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import orjson

from service.codec import text
from service.codec.numbers import loads
from service.errors import (
    CellgateError,
    EmptySequence,
    InvalidField,
    InvalidJson,
    NonFinite,
    SequenceTooLong,
    TooManySequences,
    WrongShape,
)
from service.manifest import InputSpec, Manifest, OutputSpec
from service.names import MAX_STEP, SESSION_NAME, SESSION_NAME_RULE
from service.sequence import Array, Start

FEW = 8192  # numbers; with more, BLAS may start threads of its own
_SQUARES = {  # of the largest number of each type that has infinities
    "float16": 65504.0**2,
    "float32": float(np.finfo(np.float32).max) ** 2,
    "float64": inf,
}
_NUMBERS, _INTEGERS = frozenset({int, float}), frozenset({int})
_FIELDS = {"model", "version", "sequences", "return", "trim_padding"}
_ITEM_FIELDS = {"steps", "text", "session", "at", "end"}


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and each request makes many
class Document:
    """A request whose envelope is sound; the sequences in it are still plain JSON."""

    sequences: list[Any]
    model: str | None = None
    version: str | None = None
    returns: str | None = None  # "last", "all", or None: by task
    trims: bool = False  # steps of nothing but zeros at the end of a sequence are padding


@dataclass(slots=True)
class Item:
    """One sequence of a request, decoded."""

    inputs: tuple[Array, ...]  # one per input of the manifest, each [time, *dims]
    session: str | None = None
    at: int | None = None
    end: bool = False
    start: Start = "auto"

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.inputs[0])

    def digest(self, keep_all: bool) -> bytes:
        """16 bytes (BLAKE2b, RFC 7693) that tell this request of a session from any other."""
        digest = hashlib.blake2b(b"%d%d" % (keep_all, self.end), digest_size=16)
        for array in self.inputs:
            digest.update(array.data)
        return digest.digest()


def parse(body: bytes, *, max_sequences: int) -> Document:
    """Read the envelope of a request. Raises InvalidJson, InvalidField or TooManySequences."""
    try:
        document = loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity are not JSON" if re.search(rb"\b(NaN|Infinity)\b", body) else ""
        raise InvalidJson(f"the body is not JSON: {error}{hint}") from error
    if not isinstance(document, dict):
        raise InvalidField(f"expected an object, got {_kind(document)}", pointer="")
    _refuse_unknown(document, _FIELDS, "")
    sequences = document.get("sequences")
    if not isinstance(sequences, list) or not sequences:
        found = "nothing" if "sequences" not in document else _kind(sequences)
        raise InvalidField(f"expected a list of at least one sequence, got {found}", pointer="/sequences")
    if len(sequences) > max_sequences:
        raise TooManySequences(
            f"{len(sequences)} sequences, at most {max_sequences} go into one request", pointer="/sequences"
        )
    returns = document.get("return")
    if returns not in (None, "last", "all"):
        raise InvalidField('expected "last" or "all"', pointer="/return")
    model, version = (_optional_string(document, name) for name in ("model", "version"))
    trims = document.get("trim_padding", False)
    if type(trims) is not bool:
        raise InvalidField(f"expected true or false, got {_kind(trims)}", pointer="/trim_padding")
    return Document(sequences, model, version, returns, trims)


def decode_item(document: Document, index: int, manifest: Manifest, *, max_steps: int) -> Item:
    """Read one sequence. Raises a BadInput whose pointer leads to the value at fault."""
    item = _decode_item(document.sequences[index], f"/sequences/{index}", manifest, max_steps)
    if document.trims:
        item.inputs = _trim(item.inputs, f"/sequences/{index}")
    return item


def _decode_item(sequence: Any, pointer: str, manifest: Manifest, max_steps: int) -> Item:
    if isinstance(sequence, list | np.ndarray):
        return Item(decode_inputs(sequence, manifest, pointer, max_steps))
    if not isinstance(sequence, dict):
        raise InvalidField(
            f'expected a list of rows, or an object with "steps", got {_kind(sequence)}', pointer=pointer
        )
    _refuse_unknown(sequence, _ITEM_FIELDS, pointer)
    if ("steps" in sequence) == ("text" in sequence):
        told = "there are both" if "steps" in sequence else "it is missing"
        raise InvalidField(f'expected "steps", or "text" in its place; {told}', pointer=pointer)
    session, at, end = sequence.get("session"), sequence.get("at"), sequence.get("end", False)
    if session is not None and not (isinstance(session, str) and SESSION_NAME.fullmatch(session)):
        raise InvalidField(SESSION_NAME_RULE, pointer=f"{pointer}/session")
    if at is not None and (type(at) is not int or not 0 <= at <= MAX_STEP):
        raise InvalidField("expected a step: an integer from 0", pointer=f"{pointer}/at")
    if type(end) is not bool:
        raise InvalidField(f"expected true or false, got {_kind(end)}", pointer=f"{pointer}/end")
    if session is None and (at is not None or end):
        raise InvalidField('"at" and "end" go with a "session"', pointer=pointer)
    field = "steps" if "steps" in sequence else "text"
    if field == "text" and not isinstance(sequence[field], str):
        raise InvalidField(f"expected a string, got {_kind(sequence[field])}", pointer=f"{pointer}/text")
    inputs = decode_inputs(sequence[field], manifest, f"{pointer}/{field}", max_steps)
    return Item(inputs, session, at, end)


def _trim(inputs: tuple[Array, ...], pointer: str) -> tuple[Array, ...]:
    """Without the steps at the end that are zero in every input. Raises EmptySequence if that is all."""
    steps = len(inputs[0])
    says = np.flatnonzero(np.any([x.reshape(steps, -1).any(axis=1) for x in inputs], axis=0))
    if not len(says):
        raise EmptySequence("every step is zero: there is nothing but padding", pointer=pointer)
    return tuple(x[: says[-1] + 1] for x in inputs)


def encode_prediction(
    spec: OutputSpec, output: Array, *, session: str | None = None, step: int | None = None
) -> bytes:
    """One entry of "predictions". `output` is [*dims], or [time, *dims] when every step was asked for."""
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
    """An entry of "predictions" whose sequence failed."""
    return orjson.dumps({"error": error.problem()})


def encode_reply(model: str, version: str, predictions: list[bytes]) -> bytes:
    """The body of an answer, around predictions that are encoded already."""
    head = b'{"model":%s,"version":%s,"predictions":[' % (orjson.dumps(model), orjson.dumps(version))
    return b"".join((head, b",".join(predictions), b"]}"))


def decode_inputs(steps: Any, manifest: Manifest, pointer: str, max_steps: int) -> tuple[Array, ...]:
    """Each input of the manifest, [time, *dims], out of "steps". Raises a BadInput at the fault."""
    specs = manifest.inputs
    if len(specs) == 1 and not isinstance(steps, dict):
        return (_decode_numbers(steps, specs[0], pointer, max_steps),)
    if not isinstance(steps, dict) or steps.keys() != {spec.name for spec in specs}:
        names = ", ".join(repr(spec.name) for spec in specs)
        raise InvalidField(f"expected an object with exactly the inputs {names}", pointer=pointer)
    inputs = tuple(
        _decode_numbers(steps[spec.name], spec, f"{pointer}/{spec.name}", max_steps) for spec in specs
    )
    for spec, array in zip(specs, inputs, strict=True):
        if len(array) != len(inputs[0]):
            raise WrongShape(
                f"{len(array)} steps, but input {specs[0].name!r} has {len(inputs[0])}",
                pointer=f"{pointer}/{spec.name}",
            )
    return inputs


def _decode_numbers(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Array:
    """[time, *dims] in the input's dtype."""
    if spec.kind == "token":
        rows = _token_ids(rows, spec, pointer, max_steps)
    if not isinstance(rows, list | np.ndarray):
        raise InvalidField(f"expected a list of rows, got {_kind(rows)}", pointer=pointer)
    if not len(rows):
        raise EmptySequence("a sequence needs at least one time step", pointer=pointer)
    if len(rows) > max_steps:
        raise SequenceTooLong(f"{len(rows)} time steps, at most {max_steps} are taken", pointer=pointer)
    if isinstance(rows, np.ndarray) and rows.shape[1:] == spec.dims and not _takes_integers(spec):
        array: Array = rows
    else:
        array = _array_of(rows.tolist() if isinstance(rows, np.ndarray) else rows, spec, pointer)
    return fit(array, spec, pointer)


def _token_ids(rows: Any, spec: InputSpec, pointer: str, max_steps: int) -> Any:
    """Ids instead of a text, of tokens by their names, of null; what is none of these is left as it is."""
    if isinstance(rows, str):
        if spec.tokenizer is not None and len(rows) > max_steps * spec.longest:  # before work is put into it
            raise SequenceTooLong(
                f"{len(rows)} characters, which are more than {max_steps} tokens", pointer=pointer
            )
        return text.encode(spec, rows, pointer)
    if not isinstance(rows, list) or not spec.vocabulary:
        return rows
    if not any(row is None or isinstance(row, str) for row in rows):
        return rows
    named: list[Any] = []
    for index, row in enumerate(rows):
        found = spec.ids.get(row, spec.unknown) if isinstance(row, str) else row
        if found is None and row is not None:
            raise InvalidField(f"token {row!r} is not in the vocabulary", pointer=f"{pointer}/{index}")
        named.append(spec.missing_token if found is None else found)
    return named


def fit(array: Array, spec: InputSpec, pointer: str) -> Array:
    """`array` in the input's dtype. Raises a BadInput at the first value that is not one the input takes."""
    if spec.kind == "token":
        unknown = (array < 0) | (array >= len(spec.vocabulary) if spec.vocabulary else False)
        if unknown.any():
            value, at = _first(array, unknown, pointer)
            raise InvalidField(f"token id {value} is not in the vocabulary", pointer=at)
    bound = _SQUARES.get(spec.dtype, 0.0)
    is_plain = array.dtype == np.float64 and array.size <= FEW
    if is_plain and np.vdot(array, array) < bound:  # so none is too large, infinite, or NaN
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


def _array_of(rows: list[Any], spec: InputSpec, pointer: str) -> Array:
    """[time, *dims] from lists, each value looked at: numpy would take true for 1 and "2" for 2."""
    _check_values(rows, spec, spec.dims, pointer)
    if not _takes_integers(spec):
        return np.array(rows, np.float64)  # null becomes NaN
    array = np.array(rows)
    # Only integers beyond 64 bits can have led numpy to anything but integers.
    return array if array.dtype.kind in "iu" else np.array(rows, np.float64)


def _first(array: Array, where: Array, pointer: str) -> tuple[Any, str]:
    """The first value that `where` marks, and the pointer to it."""
    index = tuple(np.argwhere(where)[0])
    return array[index], "/".join((pointer, *map(str, index)))


def _takes_integers(spec: InputSpec) -> bool:
    return spec.kind == "token" or spec.dtype.startswith("int")


def _check_values(value: Any, spec: InputSpec, dims: tuple[int, ...], pointer: str) -> None:
    """Walk [time, *dims] and raise at the first thing that is not a number where a number belongs."""
    numbers = _INTEGERS if _takes_integers(spec) else _NUMBERS
    for index, entry in enumerate(value):
        if (
            len(dims) == 1
            and type(entry) is list
            and len(entry) == dims[0]
            and numbers.issuperset(map(type, entry))
        ):
            continue  # a sound row, as nearly all are
        at = f"{pointer}/{index}"
        if dims:
            if not isinstance(entry, list):
                raise InvalidField(f"expected a list of {dims[0]} numbers, got {_kind(entry)}", pointer=at)
            if len(entry) != dims[0]:
                raise WrongShape(f"expected {dims[0]} numbers, got {len(entry)}", pointer=at)
            _check_values(entry, spec, dims[1:], at)
        elif entry is None and spec.missing == "error":
            raise InvalidField("null: this model takes no missing values", pointer=at)
        elif entry is not None and type(entry) not in numbers:
            wanted = "an integer" if numbers is _INTEGERS else "a number"
            raise InvalidField(f"expected {wanted}, got {_kind(entry)}", pointer=at)


def _refuse_unknown(value: dict[str, Any], known: set[str], pointer: str) -> None:
    for name in value:
        if name not in known:
            escaped = name.replace("~", "~0").replace("/", "~1")  # RFC 6901
            raise InvalidField(
                f"no such field; there are {', '.join(sorted(known))}", pointer=f"{pointer}/{escaped}"
            )


def _optional_string(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidField(f"expected a string, got {_kind(value)}", pointer=f"/{name}")
    return value


def _kind(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    if value == [] and isinstance(value, list):
        return "an empty list"
    return names.get(type(value), "a number")
