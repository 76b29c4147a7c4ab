"""What a manifest refuses, and what it derives."""

from typing import get_args

import pytest
from pydantic import ValidationError

from service.codec.tensors import DATATYPES
from service.manifest import DType
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
