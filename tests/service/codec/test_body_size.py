"""A value means the same in a small body, which orjson reads, and in a large one, which simdjson reads."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.codec.fast_json import SMALL_BODY
from service.codec.request import decode_item, parse
from service.errors import CellgateError
from service.manifest import Manifest
from tests.service.codec.bodies import KINDS, OPEN_TOKENS, TOKENS, TWO, manifest

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
SPEAKER = manifest({"name": "x", "dims": [2]}, {"name": "speaker", "dims": [2], "per": "sequence"})
COUNTER = manifest({"name": "x"}, {"name": "n", "dtype": "int64", "per": "sequence"})
MODELS = [
    *[
        manifest({"name": "x", "dtype": dtype, "dims": dims})
        for dtype in DTYPES
        for dims in ([], [2], [2, 2])
    ],
    manifest({"name": "x", "kind": "token", "dtype": "int64", "size": 4}),
    *[TOKENS, OPEN_TOKENS, KINDS, TWO, SPEAKER, COUNTER],
]
NUMBER = st.one_of(
    st.integers(-3, 5),
    st.sampled_from(
        [127, 128, 255, 256, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 65520, 1e39]
    ),
    st.floats(-3, 3, width=16),
)
LEAF: st.SearchStrategy[Any] = st.one_of(NUMBER, st.booleans(), st.none(), st.sampled_from(["a", "", "[1]"]))
INTEGERS = st.lists(st.lists(st.integers(-3, 200), min_size=2, max_size=2), min_size=1, max_size=4)
ROWS: st.SearchStrategy[Any] = st.one_of(
    INTEGERS,
    st.lists(NUMBER, max_size=4),
    st.lists(LEAF, max_size=3),
    st.lists(st.lists(NUMBER, min_size=2, max_size=2), min_size=1, max_size=4),
    st.lists(st.lists(LEAF, max_size=3), max_size=3),
    st.lists(st.lists(st.lists(LEAF, min_size=2, max_size=2), min_size=2, max_size=2), max_size=2),
    LEAF,
)
STEPS = st.one_of(ROWS, st.dictionaries(st.sampled_from(["x", "a", "b", "n", "speaker"]), ROWS, max_size=3))


def outcome(body: bytes, model: Manifest) -> Any:
    """What a body is read as, or how it is refused."""
    try:
        document = parse(body, max_sequences=4)
        items = [decode_item(document, index, model, max_steps=6) for index in range(len(document.sequences))]
    except CellgateError as error:
        return error.code, error.pointer, error.detail
    arrays = [array for item in items for array in (*item.inputs, *item.kept)]
    return [None if array is None else (array.dtype.str, array.shape, array.tobytes()) for array in arrays]


@given(st.sampled_from(MODELS), st.lists(STEPS, min_size=1, max_size=2), st.booleans())
@example(MODELS[0], [{"x": "a text"}], False)
@example(manifest({"name": "x", "dtype": "int64", "dims": [1]}), [[[2**53 + 1], [1.5]]], False)
@example(manifest({"name": "x", "dtype": "int64", "dims": [1]}), [[[2**63 - 1], [2**63]]], True)
@example(manifest({"name": "x", "dtype": "bool", "dims": [2]}), [[[1, 0]]], True)
def test_a_body_s_size_changes_nothing(model: Manifest, steps: list[Any], are_short: bool) -> None:
    sequences = [entry if are_short else {"steps": entry} for entry in steps]
    body = json.dumps({"sequences": sequences}).encode()  # orjson writes no integers from 2^64
    large = body.replace(b"{", b"{" + b" " * SMALL_BODY, 1)
    assert outcome(body, model) == outcome(large, model)


@pytest.mark.parametrize("length", [1, 30, 40, 60])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_rows_of_integers_are_read_however_many(dtype: str, length: int) -> None:
    """From 512 bytes on, they were float64, and refused: "expected an integer, got a number"."""
    model = manifest({"name": "x", "dtype": dtype, "dims": [4]})
    body = orjson.dumps({"sequences": [[[1, 2, 3, 100]] * length]})
    (x,) = decode_item(parse(body, max_sequences=1), 0, model, max_steps=60).inputs
    assert x.dtype == dtype and np.array_equal(x, [[1, 2, 3, 100]] * length)
