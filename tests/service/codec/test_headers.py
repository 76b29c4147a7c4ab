"""Numbers in headers, from clients that send anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.headers import read_length


@given(st.integers(0, 2000), st.integers(0, 1000), st.integers(0, 9000))
def test_a_number_within_the_bound_is_read(number: int, bound: int, zeros: int) -> None:
    expected = number if number <= bound else None
    assert read_length(b"0" * zeros + b"%d" % number, bound) == expected


@pytest.mark.parametrize("value", [b"", b"+1", b"-1", b"1.0", b"1_0", b" 1", b"\xb2", b"0x1", b"1" * 5000])
def test_what_is_no_number_or_too_large_is_none(value: bytes) -> None:
    assert read_length(value, 1 << 30) is None
