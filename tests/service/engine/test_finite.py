"""NaN and infinities are found wherever they are; large and small numbers are none."""

from collections.abc import Hashable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.finite import FEW, FiniteCheck, are_finite
from service.sequence import Array

BAD = [np.nan, np.inf, -np.inf]
TENSORS: list[tuple[str, Hashable]] = [
    ("float32", None),
    ("float64", 4),
    ("float32", 6),
    ("float32", 6),
    ("int64", 3),
    ("float16", 2),
]
CHECK = FiniteCheck(TENSORS)


def arrays(rows: int) -> list[Array]:
    sizes = [3, 4, 6, 6, 3, 2]
    return [np.ones((rows, size), dtype) for (dtype, _), size in zip(TENSORS, sizes, strict=True)]


@given(
    rows=st.sampled_from([1, 2, FEW]),
    tensor=st.sampled_from([0, 1, 2, 3, 5]),
    at=st.integers(0, 10**6),
    bad=st.sampled_from(BAD),
    other=st.sampled_from([0.0, 1.0, np.inf, -np.inf]),
)
def test_a_number_that_is_not_finite_is_found_in_every_tensor(
    rows: int, tensor: int, at: int, bad: float, other: float
) -> None:
    tensors = arrays(rows)
    assert CHECK.passes(tensors) and are_finite(tensors)
    tensors[2][:] = other if np.isfinite(other) else 1.0
    tensors[tensor].flat[at % tensors[tensor].size] = bad
    if not np.isfinite(other):  # an infinity of the other sign in the tensor beside it
        tensors[2].flat[at % tensors[2].size] = other
    assert not CHECK.passes(tensors) and not are_finite(tensors)


@pytest.mark.parametrize("large", [1e30, -1e38, 1e-40])
def test_a_large_number_is_finite_although_its_square_is_not(large: float) -> None:
    tensors = arrays(2)
    tensors[0][:] = tensors[2][:] = tensors[3][:] = large
    assert CHECK.passes(tensors)


def test_integers_are_finite_without_a_look() -> None:
    assert FiniteCheck([("int64", -1), ("bool", 2)]).passes([np.ones(3, np.int64), np.ones(2, bool)])
    assert are_finite([np.ones(3, np.uint8)])


def test_scalars_are_checked_too() -> None:
    check = FiniteCheck([("float32", -1)])
    assert check.passes([np.array(1, np.float32)]) and not check.passes([np.array(np.nan, np.float32)])
