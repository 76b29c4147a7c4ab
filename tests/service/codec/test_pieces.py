"""What is read in pieces reads as what is read at once: as orjson reads it."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.codec import bounds, fast_json, pieces
from service.errors import TooManyValues
from tests.service.codec.test_fast_json import ANYTHING, DOCUMENTS, FLAT, RECTANGLES, as_lists, rounded

DEEP = st.integers(1, 3).flatmap(
    lambda height: st.lists(
        st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=height, max_size=height),
        min_size=1,
        max_size=6,
    )
)
LARGE = st.one_of(
    st.lists(st.one_of(RECTANGLES, FLAT, DEEP), min_size=1, max_size=4),
    st.lists(st.fixed_dictionaries({"steps": st.one_of(RECTANGLES, FLAT, DEEP)}), min_size=1, max_size=3),
)
TENSORS = st.lists(
    st.fixed_dictionaries({"name": st.just("x"), "data": st.one_of(RECTANGLES, FLAT)}), min_size=1, max_size=3
)


def read(body: bytes, *, piece: int, loads: Any = fast_json.loads) -> Any:
    """The document, read in pieces of so few bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", piece)
        patch.setattr(pieces, "MAX_ROW", 8 * piece)
        patch.setattr(pieces, "CUT", 2)
        patch.setattr(bounds, "has_many", lambda text: text == body)
        return loads(body, small_body=0)


@given(st.one_of(DOCUMENTS, ANYTHING), st.integers(2, 40), st.booleans())
@example({"sequences": [[[1, 2], [3, 4]], {"steps": [[5, 6]]}, [7, 8]]}, 4, True)
@example({"sequences": [{"steps": {"x": [[1], [2]], "y": "text"}, "session": [[1]]}]}, 4, True)
def test_any_document_reads_as_orjson_reads_it(document: Any, piece: int, spaced: bool) -> None:
    body = orjson.dumps(document)
    if spaced:
        body = json.dumps(orjson.loads(body), separators=(" , ", " :\n")).encode()
    assert rounded(as_lists(read(body, piece=piece))) == rounded(orjson.loads(body))


@given(LARGE, st.integers(4, 60), st.booleans())
def test_rectangles_are_read_in_pieces_and_integers_stay_exact(
    sequences: Any, piece: int, spaced: bool
) -> None:
    body = json.dumps({"model": "m", "sequences": sequences}, indent=1 if spaced else None).encode()
    whole = fast_json.loads(body, small_body=0)
    document = read(body, piece=piece)
    assert document["model"] == "m"
    for one, other in zip(document["sequences"], whole["sequences"], strict=True):
        a, b = (x["steps"] if isinstance(x, dict) else x for x in (one, other))
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


@given(TENSORS, st.integers(4, 60))
def test_tensors_are_read_in_pieces(tensors: Any, piece: int) -> None:
    body = json.dumps({"inputs": tensors}).encode()
    document = read(body, piece=piece, loads=fast_json.loads_tensors)
    assert rounded(as_lists(document)) == rounded(json.loads(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"sequences":[[[1,2],[3,4],]]}',
        b'{"sequences":[[[1,2],,[3,4]]]}',
        b'{"sequences":[[[1,2] [3,4]]]}',
        b'{"sequences":[[[1,2],[3,4}]]}',
        b'{"sequences":[[1,2,3,4,]]}',
        b'{"sequences":[[[1,2],[3,4]]',
        b'{"sequences":[{"steps":[[1,2],[3,4]}]}',
        b'{"sequences":[{"steps":[[1,2],[3,4]]]}]}',
    ],
)
def test_what_is_not_json_is_refused_by_orjson(body: bytes) -> None:
    for piece in range(2, 24):
        with pytest.raises(orjson.JSONDecodeError):
            read(body, piece=piece)


def test_rectangles_where_none_belongs_are_read_as_by_orjson() -> None:
    """The string in the place of one must never be taken for a text or a session of the client's."""
    for entry in ('{"session":[[1,2],[3,4]],"steps":[1,2]}', '{"steps":{"x":{"y":[1,2,3]}}}', '{"at":[9,9]}'):
        body = b'{"sequences":[%s]}' % entry.encode()
        assert as_lists(read(body, piece=4)) == json.loads(body)


@pytest.mark.parametrize("steps", ["[%s]", '{"steps":[%s]}', '{"steps":{"x":[%s]}}'])
@pytest.mark.parametrize("row", ["0", "[0,1,2]"])
def test_a_body_of_short_numbers_is_read_up_to_the_maximum_size(steps: str, row: str) -> None:
    """4 MB of short integers had more values than a fixed maximum."""
    count = (5 << 20) // (len(row) + 1)
    body = b'{"sequences":[%s]}' % (steps % ",".join([row] * count)).encode()
    (entry,) = fast_json.loads(body)["sequences"]
    while isinstance(entry, dict):
        (entry,) = entry.values()
    assert entry.dtype == np.int64
    assert entry.shape == (count, *np.shape(json.loads(row)))
    assert np.array_equal(entry[::1000], np.array([json.loads(row)] * len(entry[::1000])))


def test_many_sequences_are_read_in_pieces_too() -> None:
    sequence = ",".join(["[0,1]"] * 900)
    body = b'{"sequences":[[%s]]}' % "],[".join([sequence] * 1000).encode()
    document = fast_json.loads(body)
    assert {entry.shape for entry in document["sequences"]} == {(900, 2)}


def test_many_values_that_are_in_no_rectangle_are_refused() -> None:
    ragged = ",".join(["[0,1],[2]"] * 400_000)
    with pytest.raises(TooManyValues, match="not all in rectangles of numbers"):
        fast_json.loads(b'{"sequences":[[%s]]}' % ragged.encode())
