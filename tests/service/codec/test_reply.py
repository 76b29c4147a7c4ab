"""What a reply holds, by the kind of output."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.reply import (
    encode_error,
    encode_generation,
    encode_outputs,
    encode_prediction,
    encode_predictions,
    encode_reply,
)
from service.errors import Overloaded
from service.manifest import EstimateSpec, InputSpec, OutputSpec
from service.offline.table_answers import names_of

PROBABILITIES = OutputSpec(name="y", kind="probabilities", dims=(2,), labels=("no", "yes"))


def test_probabilities_are_answered_with_their_label() -> None:
    last = json.loads(encode_prediction(PROBABILITIES, np.array([0.25, 0.75], np.float32)))
    assert last == {"output": [0.25, 0.75], "label": "yes", "probability": 0.75}
    steps = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    every = json.loads(encode_prediction(PROBABILITIES, steps, session="s", step=9))
    assert every["label"] == ["yes", "no"] and every["probability"] == [0.75, 0.5]
    assert (every["session"], every["step"]) == ("s", 9)


VALUES = st.sampled_from([0.0, 1, 0.1, -0.0, 1e-30, 1e30, np.nan, np.inf]) | st.floats(-9, 9, width=32)


@given(
    rows=st.lists(st.tuples(VALUES, VALUES), max_size=4),
    dtype=st.sampled_from([np.float32, np.float64]),
    labels=st.sampled_from([(), ("no", "yes")]),
    kind=st.sampled_from(["probabilities", "values"]),
)
def test_many_predictions_are_those_of_each(rows: Any, dtype: Any, labels: Any, kind: str) -> None:
    spec = PROBABILITIES.model_copy(update={"labels": labels, "kind": kind})
    outputs = np.array(rows, dtype).reshape(-1, 2)
    assert encode_predictions(spec, outputs) == [encode_prediction(spec, output) for output in outputs]


def test_a_table_of_probabilities_has_no_best() -> None:
    """Of which of its rows would it be?"""
    spec = OutputSpec(name="y", kind="probabilities", dims=(3, 2))
    table = np.array([[0.1, 0.2], [0.1, 0.1], [0.1, 0.4]], np.float32)
    assert json.loads(encode_prediction(spec, table)).keys() == {"output"}
    alone = OutputSpec(name="y", kind="probabilities", dims=())
    assert json.loads(encode_prediction(alone, np.array(0.5, np.float32))) == {"output": 0.5}


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        *[(dtype, [0.5, 1.0]) for dtype in ("float16", "float32", "float64")],
        *[(dtype, [3, 100]) for dtype in ("int8", "int16", "int32", "int64", "uint8")],
        ("int64", [2**53 + 1, -(2**63)]),
        ("longlong", [3, -(2**63)]),  # as ONNX Runtime calls it
        ("bool", [True, False]),
    ],
)
def test_one_number_a_step_is_a_number_and_its_steps_a_flat_list(dtype: str, numbers: list[Any]) -> None:
    spec = OutputSpec.model_validate({"name": "y", "dtype": np.dtype(dtype).name})
    y = np.array(numbers, dtype)
    for output, expected in ((y[0], numbers[0]), (y[1:].reshape(()), numbers[1]), (y, numbers)):
        sent = json.loads(encode_prediction(spec, output))["output"]
        assert sent == expected and repr(sent) == repr(expected)


def test_several_outputs_are_named_and_the_first_of_probabilities_has_the_label() -> None:
    action, other = (
        OutputSpec(name="action", dtype="int64"),
        OutputSpec(name="z", kind="probabilities", dims=(2,)),
    )
    outputs = [(action, np.array(2)), (PROBABILITIES, np.array([0.25, 0.75])), (other, np.array([1.0, 0.0]))]
    answer = json.loads(encode_outputs(outputs, session="s", step=4))
    assert answer == {
        "outputs": {"action": 2, "y": [0.25, 0.75], "z": [1.0, 0.0]},
        "label": "yes", "probability": 0.75, "session": "s", "step": 4,
    }  # fmt: skip
    assert json.loads(encode_outputs(outputs[:1])) == {"outputs": {"action": 2}}


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_what_is_not_a_number_is_null_and_never_a_label(fault: float) -> None:
    """0/0 was answered with the label "a" and the probability null."""
    row = np.array([0.25, fault], np.float32)
    assert json.loads(encode_prediction(PROBABILITIES, row)) == {"output": [0.25, None]}
    steps = json.loads(encode_prediction(PROBABILITIES, np.stack([row, [0.25, 0.75]])))
    assert steps["label"] == [None, "yes"] and steps["probability"] == [None, 0.75]
    assert json.loads(encode_prediction(OutputSpec(name="y"), np.array(fault))) == {"output": None}


@pytest.mark.parametrize("labels", [(), ("no", "yes")])
def test_values_have_no_label(labels: tuple[str, ...]) -> None:
    spec = OutputSpec(name="y", kind="probabilities" if not labels else "values", dims=(2,), labels=labels)
    answer = json.loads(encode_prediction(spec, np.array([0.25, 0.75], np.float32)))
    assert "label" not in answer and ("probability" in answer) == (not labels)
    steps = json.loads(encode_prediction(spec, np.array([[0.25, 0.75]], np.float32)))
    assert "label" not in steps and ("probability" in steps) == (not labels)


def test_a_reply_holds_predictions_and_errors_in_order() -> None:
    error = encode_error(Overloaded("full"))
    body = encode_reply('m"x', "1", [b'{"output":[1]}', error])
    reply = orjson.loads(body)
    assert reply["model"] == 'm"x' and reply["predictions"][0] == {"output": [1]}
    assert reply["predictions"][1]["error"]["code"] == "overloaded"


def test_a_generated_text_holds_what_the_model_knows_of_its_tokens() -> None:
    letters = InputSpec(name="x", kind="token", dtype="int64", vocabulary=("a", "b"))
    bare = InputSpec(name="x", kind="token", dtype="int64")
    reply = orjson.loads(encode_generation("m", "1", letters, [1, 0], 7, session=None, step=None))
    assert reply == {"model": "m", "version": "1", "ids": [1, 0], "tokens": ["b", "a"], "seed": 7}
    reply = orjson.loads(encode_generation("m", "1", bare, [5], 7, session="s", step=3))
    assert reply == {"model": "m", "version": "1", "ids": [5], "seed": 7, "session": "s", "step": 3}


def test_the_numbers_of_a_regression_are_written_by_name() -> None:
    named = (("flow", 0.05), ("flow", 0.5), ("level", None))
    spec = OutputSpec(
        name="y",
        dims=(3,),
        estimates=tuple(EstimateSpec(target=target, quantile=quantile) for target, quantile in named),
    )
    last = np.array([1, 2, np.nan], np.float32)
    answer = orjson.loads(encode_prediction(spec, last, by_name=True))
    assert answer["estimate"] == {"flow": {"q5": 1, "q50": 2}, "level": {"value": None}}
    steps = orjson.loads(encode_prediction(spec, np.stack([last, last]), by_name=True))
    assert steps["estimate"]["flow"]["q5"] == [1, 1]
    assert "estimate" not in orjson.loads(encode_prediction(spec, last))
    assert names_of(spec) == ["output_flow_q5", "output_flow_q50", "output_level"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dims": [3]}, "2 estimates for 3 values"),
        ({"kind": "logits"}, "2 estimates for 2 logits"),
        ({"estimates": [{"target": "a"}, {"target": "a", "quantile": 0.5}]}, "two estimates are of the same"),
        ({"forecasts": [{"feature": "a"}, {"feature": "b"}]}, "forecasts or estimates, not both"),
    ],
)
def test_estimates_that_do_not_fit_are_refused(change: dict[str, Any], reason: str) -> None:
    output = {"name": "y", "dims": [2], "estimates": [{"target": "a"}, {"target": "b"}]}
    with pytest.raises(ValueError, match=reason):
        OutputSpec.model_validate(output | change)
