"""A number in a request to a table's model is the category that is written so, never the id of a token.

A column that holds the codes 0 to 4 was a token input, and a request's 2 was the token with the id 2: code 1.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.categories import ids_of
from service.errors import InvalidField
from tests.service.codec.bodies import CODES, TOKENS, decode, manifest, one

SPEC = CODES.inputs[0]


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([0, 1, 4], ["0", "1", "4"]),
        (["0", 1, "4"], ["0", "1", "4"]),
        ([0.0, 2.5, 4.0], ["0", "2.5", "4"]),
        ([True, 1], ["true", "1"]),
        (["2", "<other>", 0], ["<other>", "<other>", "0"]),
        (["7", "7.0"], ["7", "7.0"]),
    ],
)
def test_a_number_is_the_category_that_is_written_so(steps: list[Any], names: list[str]) -> None:
    ids = decode(one(steps), CODES).inputs[0]
    assert ids.dtype == np.int64
    assert [SPEC.vocabulary[index] for index in ids] == names


@pytest.mark.parametrize(
    ("steps", "at", "message"),
    [
        ([0, 2], 1, "no category of 'x' is written 2; the text \"2\" is <other>"),
        (["0", 2], 1, "no category of 'x' is written 2"),
        ([0, 0.5], 1, "no category of 'x' is written 0.5"),
        ([False], 0, "no category of 'x' is written false"),
        ([10**30], 0, "no category of 'x' is written 1000000"),
        ([4, 7], 1, "7 may be '7' or '7.0': send the category as a text"),
        ([[0], [1]], 0, "expected a category, got a list"),
        ([{}], 0, "expected a category, got an object"),
    ],
)
def test_a_number_that_is_no_category_is_refused(steps: list[Any], at: int, message: str) -> None:
    with pytest.raises(InvalidField, match=message) as caught:
        decode(one(steps), CODES)
    assert caught.value.pointer == f"/sequences/0/{at}"


def test_null_is_refused_without_a_token_for_it() -> None:
    with pytest.raises(InvalidField, match="null"):
        decode(one([0, None]), CODES)
    missing = CODES.model_dump(mode="json")["inputs"][0] | {"missing_token": 1}
    assert decode(one([1, None]), manifest(missing)).inputs[0].tolist() == [2, 1]


@given(st.lists(st.sampled_from([0, 1, 4]), min_size=1, max_size=6))
def test_all_forms_of_a_request_agree(codes: list[int]) -> None:
    by_number, by_text = (decode(one(steps), CODES).inputs[0] for steps in (codes, list(map(str, codes))))
    assert by_number.tolist() == by_text.tolist() == ids_of(np.array(codes), SPEC, "").tolist()
    assert decode(one({"x": codes}, end=False), CODES).inputs[0].tolist() == by_text.tolist()


def test_native_token_models_keep_ids() -> None:
    assert decode(one([2, 0]), TOKENS).inputs[0].tolist() == [2, 0]
    ids = np.array([2, 0])
    assert ids_of(ids, TOKENS.inputs[0], "") is ids
