"""The rows ahead of a forecast: what is known, what is fed back, and what is missing."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import forecast as codec
from service.codec.feedback import feedback_of
from service.errors import CellgateError, ForecastNotSupported, InvalidField, SequenceTooLong, WrongShape
from service.manifest import Manifest

LIMITS = {"max_steps": 100, "max_sequences": 9}
HORIZON = 3


def manifest(**changes: Any) -> Manifest:
    """A model that forecasts its features a and b, and not c; it has a token input as well."""
    document: dict[str, Any] = {
        "task": "forecast",
        "inputs": [
            {"name": "x", "dims": [3], "features": ["a", "b", "c"]},
            {"name": "sky", "kind": "token", "dtype": "int64", "vocabulary": ["sun", "rain"]},
        ],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 2]}],
        "outputs": [{"name": "y", "dims": [2], "forecasts": [{"feature": "a"}, {"feature": "b"}]}],
    }
    return Manifest.model_validate(document | changes)


def decode(model: Manifest, inputs: Any, horizon: int = HORIZON) -> codec.Ahead:
    forecast = codec.parse(orjson.dumps({"horizon": horizon, "inputs": inputs}), **LIMITS)
    return codec.decode_ahead(forecast, model, feedback_of(model))


SKY = ["sun", "rain", "sun"]
CELL = st.none() | st.floats(-9, 9, width=32)


@given(st.lists(st.tuples(CELL, CELL, st.floats(-9, 9, width=32)), min_size=HORIZON, max_size=HORIZON))
def test_null_is_fed_back_and_everything_else_is_as_given(rows: list[tuple[float | None, ...]]) -> None:
    ahead = decode(manifest(), {"x": rows, "sky": SKY})
    assert ahead.is_fed.tolist() == [[row[0] is None, row[1] is None] for row in rows]
    expected = [[value or 0.0 for value in row] for row in rows]
    assert np.array_equal(ahead.inputs[0], np.array(expected, np.float32))
    assert ahead.inputs[1].tolist() == [0, 1, 0]


WHOLE = {"inputs": [{"name": "x", "dims": [2], "features": ["a", "b"]}]}


@pytest.mark.parametrize("inputs", [None, [], [None], [[None, None]], {"x": []}, {"x": [None] * 3}, {}])
def test_rows_that_the_model_forecasts_whole_can_be_left_out(inputs: Any) -> None:
    ahead = decode(manifest(**WHOLE), inputs)
    assert ahead.is_fed.all() and ahead.inputs[0].shape == (HORIZON, 2)


def test_one_number_a_step_is_null_or_known() -> None:
    one = manifest(inputs=[{"name": "x"}], outputs=[{"name": "x"}])
    ahead = decode(one, [None, 5])
    assert (ahead.is_fed[:, 0].tolist(), ahead.inputs[0].tolist()) == ([True, False, True], [0, 5, 0])


def test_null_that_is_not_fed_back_is_a_missing_value_where_the_model_takes_one() -> None:
    x = {"name": "x", "dims": [3], "features": ["a", "b", "c"], "missing": "nan"}
    ahead = decode(manifest(inputs=[x]), [[1, None, None]] * 3)
    assert np.isnan(ahead.inputs[0][:, 2]).all() and ahead.is_fed.tolist() == [[False, True]] * 3


@pytest.mark.parametrize(
    ("inputs", "error", "pointer", "message"),
    [
        ({"x": [[1, 1, 1]] * 2, "sky": SKY}, ForecastNotSupported, "/inputs/x", "'c' .* has 2 of 'x'"),
        ({"x": [[1, 1, 1]] * 3}, ForecastNotSupported, "/inputs", "its input 'sky' .* has 0 of 'sky'"),
        ({"x": [[1, 1, 1]] * 3, "sky": "sun"}, InvalidField, "/inputs/sky", "takes no text"),
        ({"x": [[1, 1, 1]] * 4, "sky": SKY}, WrongShape, "/inputs/x", "4 rows, but the horizon is 3"),
        ({"x": [[1, 1]] * 3, "sky": SKY}, WrongShape, "/inputs/x/0", "expected 3 numbers, got 2"),
        ({"x": [None] * 3, "sky": SKY}, InvalidField, "/inputs/x/0", "got null"),
        ({"x": [["1", 1, 1]] * 3, "sky": SKY}, InvalidField, "/inputs/x/0/0", "expected a number"),
        ({"x": [[1, 1, None]] * 3, "sky": SKY}, InvalidField, "/inputs/x/0/2", "no missing values"),
        ({"x": [[1, 1, 1]] * 3, "sky": SKY, "z": []}, InvalidField, "/inputs", "exactly the inputs"),
        ([[1, 1, 1]] * 3, InvalidField, "/inputs", "exactly the inputs"),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_is_pointed_at(inputs: Any, error: type[CellgateError], pointer: str, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        decode(manifest(), inputs)
    assert raised.value.pointer == pointer


def test_a_model_with_windows_needs_every_value_and_whole_windows() -> None:
    model = manifest(axes={"time_size": 4}, **WHOLE)
    assert not decode(model, [[1, 1]] * 4, horizon=4).is_fed.any()
    with pytest.raises(ForecastNotSupported, match="takes 4 steps at a time"):
        decode(model, [[1, None]] * 4, horizon=4)
    with pytest.raises(WrongShape, match="a multiple of 4 steps, got 3") as raised:
        decode(model, [[1, 1]] * 3)
    assert raised.value.pointer == "/horizon"


@pytest.mark.parametrize("field", ["horizon", "samples", "seed", "at"])
@pytest.mark.parametrize("value", [-1, 1.0, True, "1", 2**53])
def test_every_number_is_an_integer_within_bounds(field: str, value: Any) -> None:
    with pytest.raises(CellgateError) as raised:
        codec.parse(orjson.dumps({"horizon": 1, field: value}), **LIMITS)
    assert raised.value.pointer == f"/{field}"


def test_the_product_of_horizon_and_samples_is_bounded() -> None:
    assert codec.parse(b'{"horizon": 20, "samples": 5}', **LIMITS).samples == 5
    with pytest.raises(SequenceTooLong, match="are 105, the maximum is 100"):
        codec.parse(b'{"horizon": 21, "samples": 5}', **LIMITS)
