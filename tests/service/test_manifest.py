"""What a manifest refuses, and what it derives."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from service.codec.tensors import DATATYPES
from service.manifest import DType, InputSpec, Manifest, OutputSpec, StateSpec
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


STATE = {"input": "h", "output": "h_out", "shape": [2, "batch", 3]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": [{"name": "x", "dims": [2], "features": ["a"]}]}, "1 features for 2 numbers a step"),
        ({"inputs": [{"name": "x", "units": ["m", "s"]}]}, "2 units for 1 numbers a step"),
        ({"inputs": [{"name": "x", "dims": [0]}]}, "greater than or equal to 1"),
        ({"inputs": [{"name": "x", "dtype": "int8"}]}, "dtype"),
        ({"inputs": [{"name": "x", "kind": "token", "tokenizer": "{}"}]}, "needs the kind token and a voc"),
        ({"outputs": [{"name": "y", "dims": [3], "labels": ["a"]}]}, "1 labels for dims"),
        ({"axes": {"batch": 1, "time": 1}}, "cannot both be axis 1"),
        ({"states": [STATE | {"shape": ["batch", "batch"]}]}, "more than one batch axis"),
        ({"states": [STATE, STATE]}, "named twice: h"),
        ({"states": [STATE | {"output": "y"}]}, "named twice: y"),
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


def test_a_vocabulary_has_ids_and_a_longest_token() -> None:
    spec = InputSpec(name="x", kind="token", vocabulary=("a", "the"))
    assert spec.ids == {"a": 0, "the": 1} and spec.longest == 4
    assert InputSpec(name="x").longest == 1


@pytest.mark.parametrize(
    ("fields", "chunkable", "default_return"),
    [
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
