"""Invented values are within what an input accepts, and of three kinds."""

from typing import Any

import numpy as np
import pytest

from service.manifest import InputSpec
from service.repository.values import KINDS, Kind, invent, nudge
from service.sequence import Array


def values(how: Kind, example: Any, **fields: Any) -> Array:
    spec = InputSpec.model_validate({"name": "x"} | fields)
    example = np.array(example, spec.dtype)
    return invent(spec, example, 200, how, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_every_dtype_has_values_of_every_kind(kind: Kind, dtype: str) -> None:
    found = values(kind, np.ones((3, 2)), dtype=dtype, dims=[2])
    assert found.shape == (200, 2) and found.dtype == dtype
    assert np.isfinite(found.astype(np.float64)).all()


def test_the_example_is_repeated() -> None:
    found = values("example", [1.0, 2.0, 3.0])
    assert set(np.diff(found)) == {1.0, -2.0}


def test_small_numbers_lie_near_the_example_and_large_ones_beyond() -> None:
    example = [10.0, 12.0, 14.0]
    small, large = values("small", example), values("large", example)
    assert 8 < small.min() < small.max() < 16
    assert large.min() < 6 and large.max() > 18
    assert values("small", [0.0, 0.0]).std() > 0.1, "zeros show nothing"


def test_token_ids_are_below_the_size() -> None:
    for kind in ("small", "large"):
        assert set(values(kind, [0, 1], kind="token", dtype="int64", size=5)) == {0, 1, 2, 3, 4}
        assert set(values(kind, [0, 2], kind="token", dtype="int64")) == {0, 1, 2}, "the size is unknown"


def test_integers_lie_within_the_example_or_around_it() -> None:
    assert set(values("small", [2, 4], dtype="int32")) == {2, 3, 4}
    assert set(values("large", [2, 4], dtype="int32")) == set(range(-1, 9))
    assert values("large", [100], dtype="int8").max() <= 127


def test_gaps_are_tried_where_they_are_accepted() -> None:
    gaps = np.isnan(values("large", [[1.0]] * 3, dims=[1], missing="nan"))
    assert 0.02 < gaps.mean() < 0.3


def test_a_nudge_is_one_place() -> None:
    assert nudge(np.array([1.0], np.float32))[0] == np.float32(1) + np.finfo(np.float32).eps
    assert nudge(np.array([3])).tolist() == [3]
    assert nudge(np.array([0.0])).tolist() == [0], "a state that is still the initial one"
