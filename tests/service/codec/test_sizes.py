"""No reply is larger than was foreseen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.codec import reply
from service.codec.sizes import check_reply, generation_bytes, prediction_bytes, tensor_bytes
from service.codec.tensor import DATATYPES
from service.errors import ReplyTooLarge
from service.manifest import EstimateSpec, ForecastSpec, InputSpec, OutputSpec
from service.sequence import Array

ARRAYS = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), st.tuples(st.integers(1, 4), st.just(3)))
)
LABELS = ("a", '"\\\n\u00e9\U0001f600', "")


@given(ARRAYS, st.booleans())
def test_a_prediction_is_not_larger_than_foreseen(y: Array, has_labels: bool) -> None:
    is_float = y.dtype.kind == "f"
    spec = OutputSpec(
        name="y",
        dtype=y.dtype.name,
        dims=(3,),
        kind="probabilities" if is_float else "values",
        labels=LABELS if has_labels and is_float else (),
    )
    written = reply.encode_prediction(spec, y, session="x" * 128, step=2**53 - 1)
    assert len(written) <= prediction_bytes([(spec, y.dtype.name)], len(y))
    last = reply.encode_prediction(spec, y[-1], session="x" * 128, step=2**53 - 1)
    assert len(last) <= prediction_bytes([(spec, y.dtype.name)], 1)


@given(ARRAYS, st.text(min_size=1, max_size=9), st.integers(1, 10**9))
def test_a_forecast_by_name_is_not_larger_than_foreseen(y: Array, feature: str, steps: int) -> None:
    quantiles = (0.123456789, 0.5, 0.9)
    forecasts = tuple(ForecastSpec(feature=feature, steps=steps, quantile=quantile) for quantile in quantiles)
    spec = OutputSpec(name="y", dtype=y.dtype.name, dims=(3,), forecasts=forecasts)
    written = reply.encode_prediction(spec, y, session="x" * 128, step=2**53 - 1, by_name=True)
    assert len(written) <= prediction_bytes([(spec, y.dtype.name)], len(y), by_name=True)


@given(ARRAYS, st.text(min_size=1, max_size=9))
def test_an_estimate_by_name_is_not_larger_than_foreseen(y: Array, target: str) -> None:
    estimates = tuple(EstimateSpec(target=target, quantile=quantile) for quantile in (0.123456789, 0.5, 0.9))
    spec = OutputSpec(name="y", dtype=y.dtype.name, dims=(3,), estimates=estimates)
    written = reply.encode_prediction(spec, y, session="x" * 128, step=2**53 - 1, by_name=True)
    assert len(written) <= prediction_bytes([(spec, y.dtype.name)], len(y), by_name=True)


def test_a_generated_text_is_not_larger_than_foreseen() -> None:
    spec = InputSpec(name="x", kind="token", dtype="int64", vocabulary=("a", "\u0001" * 9))
    written = reply.encode_generation("m", "1", spec, [1] * 500, 2**53 - 1, "x" * 128, 2**53 - 1)
    assert len(written) <= generation_bytes(spec, 500)


def test_bytes_are_smaller_than_json() -> None:
    assert tensor_bytes("float32", 10, as_bytes=True) == 40
    assert tensor_bytes("float32", 10, as_bytes=False) == 160


def test_the_bound_is_the_last_that_is_allowed() -> None:
    check_reply(100, 100)
    with pytest.raises(ReplyTooLarge, match="could have 101 bytes, the maximum is 100"):
        check_reply(101, 100)
