"""The header traceparent, by the rules and examples of W3C Trace Context."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trace import Trace, parse

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (VALID, True),
        (VALID[:-2] + b"00", False),
        (VALID[:-2] + b"ff", True),
        (b"cc" + VALID[2:], True),
        (b"cc" + VALID[2:] + b"-what-will-be", True),
    ],
)
def test_a_trace_is_read(value: bytes, is_sampled: bool) -> None:
    trace = parse(value)
    assert trace == Trace(TRACE_ID, SPAN_ID, is_sampled)
    assert trace.fields == {"trace_id": TRACE_ID, "span_id": SPAN_ID}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        VALID[:-1],
        VALID + b"-more",
        VALID + b"\n",
        VALID.upper(),
        b"ff" + VALID[2:],
        b"cc" + VALID[2:] + b"more",
        VALID.replace(TRACE_ID.encode(), b"0" * 32),
        VALID.replace(SPAN_ID.encode(), b"0" * 16),
        VALID.replace(b"-", b"_"),
        b" " + VALID,
    ],
)
def test_what_is_malformed_names_no_trace(value: bytes) -> None:
    assert parse(value) is None


@given(st.binary(max_size=80))
def test_no_value_fails(value: bytes) -> None:
    trace = parse(value)
    assert trace is None or set(trace.trace_id + trace.span_id) <= set(string.hexdigits)
