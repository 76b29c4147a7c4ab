"""What a body may cost is known before it is spent: values are counted, not made."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.bodies import parse as parse_resource
from service.codec import bounds, generation, request, v2
from service.errors import CellgateError, TooManySequences, TooManyValues
from tests.service.codec.bodies import TWO

MB = 1 << 20
MULTIPLE = 12  # of a body: what reading it takes
READERS: dict[str, Callable[[bytes], Any]] = {
    "/predict": lambda body: request.parse(body, max_sequences=1024),
    "/generate": generation.parse,
    "/v2": lambda body: v2.parse(body, None, TWO),
    "/sessions": parse_resource,
}
PLACES = [b'{"sequences":[%b]}', b'{"prompt":[%b]}', b'{"inputs":[{"data":[%b]}]}', b'{"state":{"h":[%b]}}']
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text('[]{},:ab\\"', max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text("ab,", max_size=2), inner)),
)


def values_in(document: Any) -> int:
    if isinstance(document, dict):
        return 1 + len(document) + sum(map(values_in, document.values()))
    return 1 + sum(map(values_in, document)) if isinstance(document, list) else 1


@given(ANY)
def test_no_document_has_more_values_and_names_than_are_counted(document: Any) -> None:
    assert bounds._count(orjson.dumps(document)) >= values_in(document)


@pytest.mark.parametrize("entry", [b"[]", b"{}", b"[[1]]", b'""', b"1", b'{"steps":[1]}', b"[null]"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("route", READERS)
def test_a_megabyte_of_tiny_values_takes_a_bounded_multiple(route: str, place: bytes, entry: bytes) -> None:
    """1 MB of `[]` took 985 MB, on each route, before the first of them was looked at."""
    body = place % b",".join([entry] * (MB // (len(entry) + 1)))
    tracemalloc.start()
    try:
        READERS[route](body)
    except CellgateError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MULTIPLE * MB


def test_too_many_values_have_their_own_error() -> None:
    with pytest.raises(TooManyValues, match="not rectangles of numbers, the maximum is 200000"):
        bounds.loads(b"[%b]" % b",".join([b"[]"] * 150_000))
    with pytest.raises(TooManyValues, match="the maximum is 2000000"):
        request.parse(b'{"sequences":[[%b,"a"]]}' % b",".join([b"1"] * 2_100_000), max_sequences=1)
    with pytest.raises(TooManySequences):  # few enough to be read by orjson
        request.parse(b'{"sequences":[%b]}' % b",".join([b"[[1]]"] * 3000), max_sequences=1024)
