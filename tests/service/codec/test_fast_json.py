"""Whatever simdjson reads faster, it reads as orjson does."""

from math import isnan
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.fast_json import loads

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1), st.integers(-5, 5)
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text("[]ab\u00e9", max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=12,
)
RECTANGLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=5)
)
FLAT = st.lists(NUMBERS, min_size=1, max_size=5)
INPUTS = st.one_of(RECTANGLES, FLAT, NUMBERS, st.text("[]ab", max_size=4), st.none(), st.booleans())
STEPS = st.one_of(RECTANGLES, FLAT, ANYTHING, st.dictionaries(st.sampled_from("xyz"), INPUTS, max_size=2))
SEQUENCES = st.one_of(
    RECTANGLES,
    FLAT,
    ANYTHING,
    st.fixed_dictionaries(
        {}, optional={"steps": STEPS, "session": ANYTHING, "at": ANYTHING, "state": ANYTHING}
    ),
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "sequences": st.one_of(st.lists(SEQUENCES, max_size=4), ANYTHING),
        "model": ANYTHING,
        "outputs": st.one_of(st.lists(st.text("ab[", max_size=2), max_size=3), ANYTHING),
    },
)


def as_lists(value: Any) -> Any:
    """Undo what `loads` does beyond orjson: arrays back to lists, NaN back to null."""
    if isinstance(value, np.ndarray):
        return as_lists(value.tolist())
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, list):
        return [as_lists(entry) for entry in value]
    return {name: as_lists(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def rounded(value: Any) -> Any:
    """Every number as float64: beside a fraction, integers beyond 2^53 are."""
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    return float(value) if type(value) is int else value


@given(st.one_of(DOCUMENTS, ANYTHING))
def test_any_document_reads_as_orjson_reads_it(document: Any) -> None:
    body = orjson.dumps(document)
    assert rounded(as_lists(loads(body, small_body=0))) == rounded(orjson.loads(body))


@given(st.lists(st.one_of(RECTANGLES, FLAT), min_size=1, max_size=4))
def test_rectangles_of_numbers_become_arrays_and_integers_stay_exact(sequences: list[Any]) -> None:
    read = loads(orjson.dumps({"sequences": sequences}), small_body=0)["sequences"]
    for sent, array in zip(sequences, read, strict=True):
        assert isinstance(array, np.ndarray)
        numbers = np.array(sent, object).ravel().tolist()
        is_exact = all(type(number) is int and number < 2**63 for number in numbers)
        assert array.dtype == (np.int64 if is_exact else np.float64)
        assert not is_exact or array.ravel().tolist() == numbers


def test_a_name_with_a_nul_is_read() -> None:
    """simdjson finds no such name, though it lists it: the KeyError was a 500."""
    body = rb'{"sequences":[{"steps":[[1]],"\u0000":true,"a\u0000b":1}],"\u0000":"\u0000c"}'
    assert as_lists(loads(body, small_body=0)) == orjson.loads(body)


@pytest.mark.parametrize("steps", ['{"x":"a text"}', '{"x":null,"y":[1,2]}', '{"x":3,"y":true}', '"a text"'])
def test_texts_and_single_values_beside_rectangles_are_read(steps: str) -> None:
    """A text inside an object of inputs ended in an AttributeError, a 500, from 512 bytes on."""
    body = b'{"sequences":[{"steps":%s}],"outputs":["a","b"]}' % steps.encode()
    assert as_lists(loads(body, small_body=0)) == orjson.loads(body)


@pytest.mark.parametrize(
    "steps", ["[[1,[2]]]", "[[[1]]]", "[[1],[2,3]]", "[[1],2]", "[[true]]", "[[null]]", '[["1"]]']
)
def test_other_lists_are_read_as_by_orjson(steps: str) -> None:
    body = b'{"sequences":[%s]}' % steps.encode()
    assert as_lists(loads(body, small_body=0)) == orjson.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,]", b'{"sequences":[[[NaN]]]}', b'{"sequences":[[[1e999]]]}', b"\xff"]
)
def test_what_is_not_json_is_refused_by_orjson(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(body, small_body=0)


def test_a_duplicate_name_is_resolved_as_by_orjson() -> None:
    body = b'{"sequences":[{"steps":[[1]],"steps":[[2]]}],"model":"a","model":"b"}'
    assert loads(body, small_body=0) == orjson.loads(body)
