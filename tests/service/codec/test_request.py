"""The envelope of `/predict` and its sequences; every mistake is refused with its code and its place."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.codec import request as codec
from service.errors import CellgateError
from service.sequence import Array
from tests.service.codec.bodies import NUMBERS, ROW, TWO, decode, one, refusal

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def test_the_envelope_is_read() -> None:
    body = {"model": "m", "version": "2", "return": "all"} | one(
        [ROW], session="s~1", at=7, rewinds=2, end=True
    )
    document = codec.parse(json.dumps(body).encode(), max_sequences=1)
    item = codec.decode_item(document, 0, NUMBERS, max_steps=1)
    assert (document.model, document.version, document.returns) == ("m", "2", "all")
    assert (item.session, item.at, item.rewinds, item.end) == ("s~1", 7, 2, True)


ENVELOPES: list[tuple[bytes, str, str | None]] = [
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b'\xff{"sequences": []}', "invalid_json", None),
    (b'{"sequences": [[[NaN, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": [[[-Infinity, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": [[[1e999, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": %s}' % (b"[" * 5000), "invalid_json", None),
    (b'{"sequences": [{"steps": [[1,2,3]], "session": "\\ud800"}]}', "invalid_json", None),
    (b"[[1, 2, 3]]", "invalid_field", ""),
    (b"null", "invalid_field", ""),
    (b"{}", "invalid_field", "/sequences"),
    (b'{"sequences": null}', "invalid_field", "/sequences"),
    (b'{"sequences": []}', "invalid_field", "/sequences"),
    (b'{"sequences": {}}', "invalid_field", "/sequences"),
    (b'{"sequences": "x"}', "invalid_field", "/sequences"),
    (b'{"sequences": [[[1,2,3]]], "extra": 1}', "invalid_field", "/extra"),
    (b'{"sequences": [[[1,2,3]]], "a/b~c": 1}', "invalid_field", "/a~1b~0c"),
    (b'{"sequences": [[[1,2,3]]], "model": 1}', "invalid_field", "/model"),
    (b'{"sequences": [[[1,2,3]]], "version": 1}', "invalid_field", "/version"),
    (b'{"sequences": [[[1,2,3]]], "return": "some"}', "invalid_field", "/return"),
    (b'{"sequences": [[[1,2,3]]], "return": []}', "invalid_field", "/return"),
    (b'{"sequences": [[[1,2,3]]], "return": {"all": true}}', "invalid_field", "/return"),
    (b'{"sequences": [[[1,2,3]]], "return": ["output", "some"]}', "invalid_field", "/return/1"),
    (b'{"sequences": [[[1,2,3]]], "return": ["gates", 1]}', "invalid_field", "/return/1"),
    (b'{"sequences": [[[1,2,3]]], "return": ["gates", "gates"]}', "invalid_field", "/return/1"),
    (b'{"sequences": [[[1,2,3]]], "return": ["all", "state", "last"]}', "invalid_field", "/return/2"),
    (b'{"sequences": [%s]}' % b",".join([b"[[1,2,3]]"] * 5), "too_many_sequences", "/sequences"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "pointer"), ENVELOPES, ids=[str(e[0][:45]) for e in ENVELOPES])
def test_a_bad_envelope_is_refused(body: bytes, code: str, pointer: str | None) -> None:
    assert refusal(body) == (code, pointer)


def test_a_literal_that_is_not_json_is_named() -> None:
    with pytest.raises(CellgateError, match="NaN and Infinity are not JSON"):
        decode(b'{"sequences": [[[NaN]]]}')


ITEMS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"session": "s"}, ""),
    ({"steps": [ROW], "stesp": 1}, "/stesp"),
    ({"steps": [ROW], "session": ""}, "/session"),
    ({"steps": [ROW], "session": "a/b"}, "/session"),
    ({"steps": [ROW], "session": "a b"}, "/session"),
    ({"steps": [ROW], "session": "é"}, "/session"),
    ({"steps": [ROW], "session": "a\n"}, "/session"),
    ({"steps": [ROW], "session": "a" * 129}, "/session"),
    ({"steps": [ROW], "session": 5}, "/session"),
    ({"steps": [ROW], "session": "s", "at": -1}, "/at"),
    ({"steps": [ROW], "session": "s", "at": 1.0}, "/at"),
    ({"steps": [ROW], "session": "s", "at": True}, "/at"),
    ({"steps": [ROW], "session": "s", "at": "0"}, "/at"),
    ({"steps": [ROW], "session": "s", "at": 2**53}, "/at"),
    ({"steps": [ROW], "session": "s", "end": 1}, "/end"),
    ({"steps": [ROW], "session": "s", "end": None}, "/end"),
    ({"steps": [ROW], "at": 0}, ""),
    ({"steps": [ROW], "end": True}, ""),
]


@pytest.mark.parametrize(("item", "place"), ITEMS)
def test_bad_fields_of_a_sequence_are_refused(item: dict[str, Any], place: str) -> None:
    assert refusal({"sequences": [item]}) == ("invalid_field", f"/sequences/0{place}")


@pytest.mark.parametrize("item", [5, "x", None, True])
def test_a_sequence_is_a_list_or_an_object(item: Any) -> None:
    assert refusal({"sequences": [item]}) == ("invalid_field", "/sequences/0")


@given(x=arrays.arrays(np.float32, (4, 3), elements=FLOAT32), flip=st.integers(0, 11))
def test_a_digest_tells_requests_apart(x: Array, flip: int) -> None:
    item = codec.Item((x,), "s")
    same = codec.Item((x.copy(),), "s", at=4)
    other = x.copy()
    other.flat[flip] = other.flat[flip] + 1 if abs(other.flat[flip]) < 1e6 else 0
    assert item.digest(False) == same.digest(False) != item.digest(True)
    assert item.digest(False) != codec.Item((other,), "s").digest(False)
    assert item.digest(False) != codec.Item((x,), "s", end=True).digest(False)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=FLOAT32), st.integers(0, 2)
)
def test_trimmed_padding_leaves_what_was_padded(x: Array, padding: int) -> None:
    steps = np.vstack([x, np.zeros((padding, 3), np.float32)]).tolist()
    body = {"sequences": [{"steps": steps}], "trim_padding": True}
    if not x.any():
        assert refusal(body) == ("empty_sequence", "/sequences/0")
        return
    last = np.flatnonzero(x.any(axis=1))[-1]
    assert (decode(body).inputs[0] == x[: last + 1]).all()
    assert len(decode({"sequences": [steps]}).inputs[0]) == len(steps)


def test_padding_ends_where_any_input_continues() -> None:
    steps = {"a": [[0, 1], [0, 0], [0, 0], [0, 0]], "b": [1, 0, 2, 0]}
    item = decode({"sequences": [{"steps": steps}], "trim_padding": True}, TWO)
    assert [len(array) for array in item.inputs] == [3, 3]
    assert refusal({"sequences": [[[0]]], "trim_padding": 1}) == ("invalid_field", "/trim_padding")
