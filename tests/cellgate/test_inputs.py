"""What users have becomes the JSON of a request: exactly, and without importing their libraries."""

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cellgate.inputs import encode, to_plain
from cellgate.models import Input, Model

ROWS = [[1.0, 2.0], [3.0, 4.0]]


def model(*inputs: Input) -> Model:
    return Model("m", "1", "forecast", inputs or (Input("x", "numeric", "float32", (2,)),), (), True, True)


class Frame:
    """As pandas and polars have it."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    def to_numpy(self) -> np.ndarray[Any, Any]:
        return self._values


@pytest.mark.parametrize(
    "steps",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        np.array(ROWS),
        np.array(ROWS, np.float16),
        [np.array(row) for row in ROWS],
        np.array(ROWS, object),
        Frame(ROWS),
        pl.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]}),
        torch.tensor(ROWS),
    ],
    ids=["lists", "tuples", "float64", "float16", "rows", "objects", "frame", "polars", "torch"],
)
def test_all_forms_of_the_same_steps_are_one(steps: Any) -> None:
    assert encode(steps, model()) == ROWS


@pytest.mark.parametrize("row", [[1.0, 2.0], np.array([1.0, 2.0]), Frame([1.0, 2.0]), pl.Series([1.0, 2.0])])
def test_a_value_of_the_shape_of_one_step_is_that_step(row: Any) -> None:
    assert encode(row, model(), may_be_one=True) == [[1.0, 2.0]]
    assert encode([row], model(), may_be_one=True) == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("steps", "sent"), [(7, [7]), ([7], [7]), ([7, 8], [7, 8]), ("text", "text"), (["a"], ["a"])]
)
def test_tokens(steps: Any, sent: Any) -> None:
    tokens = model(Input("x", "token", "int64", ()))
    assert encode(steps, tokens, may_be_one=True) == sent


def test_one_record_of_a_table_is_one_step() -> None:
    """`session.step([{...}])` sent it in two lists, which is 422."""
    record = {"temperature": 41.0, "mode": "run"}
    assert encode([record], model(), may_be_one=True) == [record]


def test_named_inputs_and_one_of_a_sequence() -> None:
    voice = model(
        Input("x", "numeric", "float32", (2,)), Input("speaker", "numeric", "float32", (2,), "sequence")
    )
    steps = {"x": np.array([1.0, 2.0]), "speaker": np.array([10, 1])}
    assert encode(steps, voice, may_be_one=True) == {"x": [[1.0, 2.0]], "speaker": [10, 1]}
    assert encode({"other": "rain"}, voice) == {"other": "rain"}


def test_missing_values_are_null() -> None:
    nan = float("nan")
    assert encode([[1.0, nan]], model()) == [[1.0, None]]
    assert encode(np.array([[1.0, nan]], np.float32), model()) == [[1.0, None]]
    assert encode(pl.DataFrame({"a": [1.0, None], "b": [2.0, 3.0]}), model()) == [[1.0, 2.0], [None, 3.0]]
    assert encode(np.array([[1.0, None]], object), model()) == [[1.0, None]]


@pytest.mark.parametrize("steps", [[[float("inf")]], np.array([[1, -np.inf]])])
def test_an_infinity_is_refused(steps: Any) -> None:
    with pytest.raises(ValueError, match="an infinity"):
        encode(steps, model())


@pytest.mark.parametrize(
    "steps", [object(), np.array([1j]), np.array(["2020-01-01"], "datetime64[D]"), {1, 2}]
)
def test_other_values_are_refused(steps: Any) -> None:
    with pytest.raises(TypeError):
        encode(steps, model())


@given(npst.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_json_keeps_every_bit_of_a_float32(x: np.ndarray[Any, Any]) -> None:
    read = np.asarray(json.loads(json.dumps(to_plain(x))), np.float32)
    assert read.tobytes() == x.tobytes()


def test_records_are_no_single_step() -> None:
    """A list of records is as deep as a row of numbers, and was wrapped as one in sessions and streams."""
    records = [{"heat": 1.5}, {"heat": math.nan}]
    assert encode(records, model(), may_be_one=True) == [{"heat": 1.5}, {"heat": None}]
