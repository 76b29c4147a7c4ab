"""What a manifest refuses, and what it derives."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from service.codec.tensor import DATATYPES
from service.manifest import DType, InputSpec, Manifest, OutputSpec, StateSpec
from service.specs import Spec
from tests.service.codec.bodies import KINDS, TWO, manifest


def test_the_token_that_stands_for_null_must_be_one_of_the_vocabulary() -> None:
    spec = {"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a"], "missing_token": 1}
    with pytest.raises(ValidationError, match="the missing token is not in the vocabulary"):
        manifest(spec)
    with pytest.raises(ValidationError, match="text needs the kind token and a vocabulary"):
        manifest({"name": "x", "missing_token": 0})


def test_a_request_and_the_graph_may_call_an_input_differently_but_no_two_alike() -> None:
    assert [spec.graph_input for spec in (*KINDS.inputs, *TWO.inputs)] == ["kinds", "a", "b"]
    manifest({"name": "a", "tensor": "b"}, {"name": "b", "tensor": "a"})
    for twice in ({"name": "a", "tensor": "c"}, {"name": "b", "tensor": "a"}):
        with pytest.raises(ValidationError, match="named twice: a"):
            manifest({"name": "a"}, twice)


def test_each_dtype_has_a_datatype_of_the_open_inference_protocol() -> None:
    assert set(DATATYPES) == set(get_args(DType))


SOUND = {"name": "x", "kind": "audio", "sample_rate": 8000, "dims": [4]}
STATE = {"input": "h", "output": "h_out", "shape": [2, "batch", 3]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": [{"name": "x", "dims": [2], "features": ["a"]}]}, "1 features for 2 numbers a step"),
        ({"inputs": [{"name": "x", "units": ["m", "s"]}]}, "2 units for 1 numbers a step"),
        ({"inputs": [{"name": "x", "dims": [0]}]}, "greater than or equal to 1"),
        ({"inputs": [{"name": "x", "dtype": "int4"}]}, "dtype"),
        ({"inputs": [{"name": "x", "size": 3}]}, "size is the number of token ids; its kind is numeric"),
        (
            {"inputs": [{"name": "x", "kind": "token", "vocabulary": ["a", "b"], "size": 1}]},
            "size 1 is less than the 2 tokens",
        ),
        (
            {"inputs": [{"name": "x", "carry": 1}]},
            "carry continues the first dim of a step, but dims is empty",
        ),
        (
            {"inputs": [{"name": "x", "dims": [2], "carry": 1, "per": "sequence"}]},
            "carry continues the first dim of a step, but it has no steps",
        ),
        ({"inputs": [{"name": "x", "kind": "audio"}]}, "the kind audio needs a sample_rate"),
        ({"inputs": [{"name": "x", "sample_rate": 8000}]}, "the kind audio needs a sample_rate"),
        ({"inputs": [SOUND | {"sample_rate": 0}]}, "greater than or equal to 1"),
        ({"inputs": [SOUND | {"dims": [2, 2]}]}, "audio is a float, or a row of floats"),
        ({"inputs": [SOUND | {"dtype": "int16"}]}, "its dtype is int16"),
        ({"inputs": [SOUND | {"per": "sequence"}]}, "per sequence"),
        ({"inputs": [{"name": "x", "per": "sequence"}]}, 'at least one must be per "step"'),
        ({"axes": {"time": None, "time_size": 3}}, "time_size is 3, but there is no time axis"),
        ({"axes": {"batch": None, "batch_size": 3}}, "batch_size is 3, but there is no batch axis"),
        ({"axes": {"batch": 4}}, "less than or equal to 3"),
        ({"outputs": [{"name": "y", "axes": {"time_size": 3}}]}, "belong to the manifest's axes"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "named twice: y"),
        ({"states": [STATE | {"dtype": "int8", "initial": 0.5}]}, "the initial value 0.5 is not int8"),
        ({"states": [STATE | {"dtype": "uint8", "initial": -1}]}, "the initial value -1.0 is not uint8"),
        ({"states": [STATE | {"dtype": "bool", "initial": 2}]}, "the initial value 2.0 is not bool"),
        ({"states": [STATE | {"dtype": "int8", "initial": 1e400}]}, "the initial value inf is not int8"),
        ({"inputs": [{"name": "x", "kind": "token", "tokenizer": "{}"}]}, "needs the kind token and a voc"),
        ({"outputs": [{"name": "y", "dims": [3], "labels": ["a"]}]}, "1 labels for dims"),
        ({"axes": {"batch": 1, "time": 1}}, "cannot both be axis 1"),
        ({"states": [STATE | {"shape": ["batch", "batch"]}]}, "more than one batch axis"),
        ({"states": [STATE | {"shape": [2, "batch"], "grows": 1}]}, r"axis 1 of \[2, 'batch'\] cannot grow"),
        ({"states": [STATE | {"shape": [2, "batch"], "grows": 2}]}, "axis 2 .* cannot grow"),
        ({"states": [STATE, STATE]}, "named twice: h"),
        ({"states": [STATE | {"output": "y"}, STATE | {"input": "c", "output": "y"}]}, "named twice: y"),
        ({"lengths": "x"}, "named twice: x"),
        ({"constants": {"x": 1}}, "named twice: x"),
        ({"schema_version": 2}, "Input should be 1"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(base | fields)


def test_shapes_are_derived() -> None:
    assert InputSpec(name="x", dims=(2, 3)).width == 6 and InputSpec(name="x").width == 1
    state = StateSpec.model_validate(STATE)
    assert (state.batch_axis, state.row_shape) == (1, (2, 3))
    assert StateSpec(input="h", output="o", shape=(4,)).batch_axis is None


def test_a_state_that_grows_is_empty_at_step_0_and_has_a_largest_shape() -> None:
    cache = StateSpec(input="k", output="k_out", shape=(2, "batch", 5, 3), grows=2)
    assert (cache.row_shape, cache.row_grows, cache.initial_shape) == ((2, 5, 3), 1, (2, 0, 3))
    allowed = [size for size in range(8) if cache.allows((2, 7, size, 3))]
    assert allowed == [0, 1, 2, 3, 4, 5]
    assert not any(map(cache.allows, [(1, 7, 5, 3), (2, 7, 5, 2), (2, 5, 3), (2, 7, 5, 3, 1)]))
    assert StateSpec(input="k", output="o", shape=("batch", 5), grows=1).row_grows == 0
    assert StateSpec(input="k", output="o", shape=(5, "batch"), grows=0).initial_shape == (0,)


def test_the_answer_may_be_the_new_state() -> None:
    fields = {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "h_out"}]}
    assert Manifest.model_validate(fields | {"states": [STATE]}).outputs[0].name == "h_out"


def test_integer_states_begin_with_any_integer_of_their_dtype() -> None:
    for dtype, initial in (("int8", -128), ("uint8", 255), ("int64", 7), ("bool", 1), ("float16", 0.5)):
        StateSpec.model_validate(STATE | {"dtype": dtype, "initial": initial})


def test_an_input_per_sequence_or_with_carry_has_something_kept() -> None:
    frame, voice = {"name": "x", "dims": [4, 2], "carry": 3}, {"name": "v", "dims": [6], "per": "sequence"}
    model = manifest(voice, frame, {"name": "z"})
    assert [spec.name for spec in model.step_inputs] == ["x", "z"]
    assert [spec.name for spec in model.sequence_inputs] == ["v"]
    assert [(spec.name, spec.kept_shape) for spec in model.kept_inputs] == [("v", (6,)), ("x", (3, 2))]
    assert [spec.graph_dims for spec in model.inputs] == [(6,), (7, 2), ()]


def test_token_ids_are_bounded_by_the_vocabulary_or_by_the_size() -> None:
    assert InputSpec(name="x", kind="token", vocabulary=("a", "b"), size=3).num_ids == 2
    assert InputSpec(name="x", kind="token", size=3).num_ids == 3
    assert InputSpec(name="x", kind="token").num_ids is None


@pytest.mark.parametrize(
    ("fields", "good", "bad", "message"),
    [
        ({}, [1, 2, 99], [], None),
        ({"axes": {"time_size": 1}}, [1, 2, 99], [], None),
        ({"axes": {"time_size": 5}}, [5], [1, 4, 10], "expected exactly 5 steps"),
        (
            {"axes": {"time_size": 5}, "states": [STATE], "causal": False},
            [5],
            [10],
            "expected exactly 5 steps",
        ),
        ({"axes": {"time_size": 5}, "states": [STATE]}, [5, 10], [1, 6], "expected a multiple of 5 steps"),
    ],
)
def test_a_fixed_time_axis_bounds_the_steps_of_a_sequence(
    fields: dict[str, Any], good: list[int], bad: list[int], message: str | None
) -> None:
    base: dict[str, Any] = {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    model = Manifest.model_validate(base | fields)
    assert [model.steps_fault(steps) for steps in good] == [None] * len(good)
    assert [model.steps_fault(steps) for steps in bad] == [f"{message}, got {steps}" for steps in bad]


def models_of(kind: Any) -> list[Any]:
    return [kind, *(found for below in kind.__subclasses__() for found in models_of(below))]


def test_every_field_has_a_description_for_the_reference() -> None:
    for kind in models_of(Spec)[1:]:
        undescribed = [name for name, field in kind.model_fields.items() if not field.description]
        assert not undescribed, kind


def test_a_vocabulary_has_ids_and_a_longest_token() -> None:
    spec = InputSpec(name="x", kind="token", vocabulary=("a", "the"))
    assert spec.ids == {"a": 0, "the": 1} and spec.longest == 4
    assert InputSpec(name="x").longest == 1


@pytest.mark.parametrize(
    ("fields", "chunkable", "default_return"),
    [
        ({"task": "label", "inputs": [{"name": "x", "dims": [2], "carry": 1}]}, True, "all"),
        ({"task": "label", "inputs": [{"name": "x"}, {"name": "v", "per": "sequence"}]}, False, "all"),
        (
            {
                "task": "label",
                "inputs": [{"name": "x"}, {"name": "v", "per": "sequence"}],
                "axes": {"time": None},
            },
            True,
            "all",
        ),
        ({"task": "label", "axes": {"time": None}}, False, "all"),
        ({"task": "classify", "states": [STATE]}, True, "last"),
        ({"task": "label", "states": [STATE]}, True, "all"),
        ({"task": "label", "states": [STATE], "outputs": [{"name": "y", "steps": "last"}]}, True, "last"),
        ({"task": "classify"}, False, "last"),
        ({"task": "classify", "states": [STATE], "causal": False}, False, "last"),
    ],
)
def test_what_a_model_can_do_follows_from_its_manifest(
    fields: dict[str, Any], chunkable: bool, default_return: str
) -> None:
    base: dict[str, Any] = {"inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    model = Manifest.model_validate(base | fields)
    assert (model.chunkable, model.default_return) == (chunkable, default_return)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    TWO.write(tmp_path)
    assert Manifest.read(tmp_path) == TWO
    assert TWO.outputs == (OutputSpec(name="y"),)
