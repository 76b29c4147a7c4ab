"""Values become the arrays that a model takes; every mistake is refused with its code and its place."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.codec.reply import encode_prediction
from service.codec.request import Item
from service.errors import BadInput
from service.manifest import InputSpec, Manifest, OutputSpec
from service.sequence import Array
from tests.service.codec.bodies import (
    BYTES,
    COUNTS,
    FLAGS,
    GAPS,
    HALVES,
    IMAGES,
    KINDS,
    NUMBERS,
    OPEN_TOKENS,
    PIECES,
    ROW,
    SCALARS,
    SIZED_TOKENS,
    SPEAKER,
    TOKENS,
    TWO,
    WINDOW,
    decode,
    manifest,
    one,
    refusal,
)  # fmt: skip

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=FLOAT32))
def test_numbers_come_back_bit_by_bit(x: Array) -> None:
    """What we send, read again as a client would and sent back, are the same float32s."""
    sent = encode_prediction(OutputSpec(name="y", dims=(3,)), x)
    rows = json.loads(sent)["output"]
    (read,) = decode(one(rows)).inputs
    assert read.dtype == np.float32 and read.shape == x.shape
    # -0.0 is written as -0.0 and keeps its sign, so bytes may be compared.
    assert read.tobytes() == x.tobytes()


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=6))
def test_integers_of_any_size_are_numbers(values: list[int]) -> None:
    (read,) = decode(one(values), SCALARS).inputs
    assert np.array_equal(read, np.array([float(v) for v in values]).astype(np.float32))


@pytest.mark.parametrize(
    ("model", "steps", "shape", "dtype"),
    [
        (NUMBERS, [ROW, ROW], (2, 3), "float32"),
        (NUMBERS, {"x": [ROW]}, (1, 3), "float32"),
        (SCALARS, [1, 2.5], (2,), "float32"),
        (IMAGES, [[[1, 2], [3, 4]]], (1, 2, 2), "float32"),
        (TOKENS, [0, 2, 1], (3,), "int64"),
        (OPEN_TOKENS, [2**31 - 1], (1,), "int32"),
        (COUNTS, [[-5, 7]], (1, 2), "int32"),
        (HALVES, [[65504]], (1, 1), "float16"),
        (BYTES, [[0, 255]], (1, 2), "uint8"),
        (FLAGS, [[True, False]], (1, 2), "bool"),
        (SIZED_TOKENS, [0, 19], (2,), "int64"),
        (WINDOW, [1, 2, 3], (3,), "float32"),
        (PIECES, [1, 2, 3, 4, 5, 6], (6,), "float32"),
    ],
)
def test_each_kind_of_input_becomes_its_array(
    model: Manifest, steps: Any, shape: tuple[int, ...], dtype: str
) -> None:
    item = decode(one(steps) if isinstance(steps, list) else {"sequences": [{"steps": steps}]}, model)
    assert item.inputs[0].shape == shape and item.inputs[0].dtype == dtype and item.steps == shape[0]


def test_named_inputs_go_to_their_own_array_in_the_manifest_s_order() -> None:
    item = decode({"sequences": [{"steps": {"b": [1, 2], "a": [[1, 2], [3, 4]]}}]}, TWO)
    assert item.inputs[0].tolist() == [[1, 2], [3, 4]] and item.inputs[1].tolist() == [1, 2]


def test_null_is_nan_where_the_manifest_allows_it() -> None:
    (x,) = decode(one([[1, None], [None, 2]]), GAPS).inputs
    assert np.array_equal(x, np.array([[1, np.nan], [np.nan, 2]], np.float32), equal_nan=True)
    assert refusal(one([[1, True]]), GAPS) == ("invalid_field", "/sequences/0/0/1")


STEPS: list[tuple[Manifest, Any, str, str]] = [
    (NUMBERS, [], "empty_sequence", ""),
    (NUMBERS, 5, "invalid_field", ""),
    (NUMBERS, "abc", "invalid_field", ""),
    (NUMBERS, None, "invalid_field", ""),
    (NUMBERS, [ROW] * 7, "sequence_too_long", ""),
    (NUMBERS, [ROW, 5], "invalid_field", "/1"),
    (NUMBERS, [ROW, []], "wrong_shape", "/1"),
    (NUMBERS, [ROW, [1, 2]], "wrong_shape", "/1"),
    (NUMBERS, [ROW, [1, 2, 3, 4]], "wrong_shape", "/1"),
    (NUMBERS, [[1, 2], [1, 2]], "wrong_shape", "/0"),
    (NUMBERS, [1, 2, 3], "invalid_field", "/0"),
    (NUMBERS, [[1, 2, [3]]], "invalid_field", "/0/2"),
    (NUMBERS, [[[1], [2], [3]]], "invalid_field", "/0/0"),
    (NUMBERS, [[1, 2, True]], "invalid_field", "/0/2"),
    (NUMBERS, [[False, 2, 3]], "invalid_field", "/0/0"),
    (NUMBERS, [[1, 2, "3"]], "invalid_field", "/0/2"),
    (NUMBERS, [["1", "2", "3"]], "invalid_field", "/0/0"),
    (NUMBERS, [[1, None, 3]], "invalid_field", "/0/1"),
    (NUMBERS, [[1, {}, 3]], "invalid_field", "/0/1"),
    (NUMBERS, [ROW, {"a": 1}], "invalid_field", "/1"),
    (NUMBERS, [ROW, [1, 1e39, 3]], "non_finite", "/1/1"),
    (NUMBERS, [ROW, [1, 2, -(10**60)]], "non_finite", "/1/2"),
    (HALVES, [[1], [65520]], "non_finite", "/1/0"),
    (IMAGES, [[[1, 2], [3, 4]], [[1, 2], [3]]], "wrong_shape", "/1/1"),
    (IMAGES, [[[1, 2]]], "wrong_shape", "/0"),
    (SCALARS, [1, [2]], "invalid_field", "/1"),
    (TOKENS, [0, 3], "invalid_field", "/1"),
    (TOKENS, [0, -1], "invalid_field", "/1"),
    (TOKENS, [0, 1.0], "invalid_field", "/1"),
    (TOKENS, [0, "d"], "invalid_field", "/1"),
    (TOKENS, "ab", "invalid_field", ""),
    (OPEN_TOKENS, [0, "b"], "invalid_field", "/1"),
    (TOKENS, [True], "invalid_field", "/0"),
    (TOKENS, [1, 2**63], "invalid_field", "/1"),
    (OPEN_TOKENS, [1, -1], "invalid_field", "/1"),
    (OPEN_TOKENS, [1, 2**31], "non_finite", "/1"),
    (OPEN_TOKENS, [1, 2**64 - 1], "non_finite", "/1"),
    (COUNTS, [[1, 2], [1, 2.5]], "invalid_field", "/1/1"),
    (COUNTS, [[1, 2], [1, 2**31]], "non_finite", "/1/1"),
    (COUNTS, [[1, None]], "invalid_field", "/0/1"),
    (BYTES, [[1, 2], [256, 2]], "non_finite", "/1/0"),
    (BYTES, [[1, 2], [1, -1]], "non_finite", "/1/1"),
    (BYTES, [[1, True]], "invalid_field", "/0/1"),
    (FLAGS, [[True, False], [True, 1]], "invalid_field", "/1/1"),
    (FLAGS, [[True, None]], "invalid_field", "/0/1"),
    (SIZED_TOKENS, [0, 20], "invalid_field", "/1"),
    (SIZED_TOKENS, [1, 2, -1], "invalid_field", "/2"),
    (WINDOW, [1, 2], "wrong_shape", ""),
    (WINDOW, [1, 2, 3, 4, 5, 6], "wrong_shape", ""),
    (PIECES, [1, 2], "wrong_shape", ""),
    (PIECES, [1, 2, 3, 4], "wrong_shape", ""),
]


@pytest.mark.parametrize(("model", "steps", "code", "place"), STEPS)
def test_bad_steps_are_refused_where_they_are_bad(model: Manifest, steps: Any, code: str, place: str) -> None:
    assert refusal({"sequences": [{"steps": steps}]}, model) == (code, f"/sequences/0/steps{place}")
    if isinstance(steps, list):  # the short form, behind a good sequence
        assert refusal({"sequences": [[], steps]}, model, 1) == (code, f"/sequences/1{place}")


@pytest.mark.parametrize(
    ("steps", "code", "place"),
    [
        ([[1, 2]], "invalid_field", ""),
        ({"a": [[1, 2]]}, "invalid_field", ""),
        ({"a": [[1, 2]], "b": [0], "c": [0]}, "invalid_field", ""),
        ({"a": [[1, 2]], "b": []}, "empty_sequence", "/b"),
        ({"a": [[1, 2]], "b": [0, 1]}, "wrong_shape", "/b"),
        ({"a": [[1, 2], [1]], "b": [0, 1]}, "wrong_shape", "/a/1"),
        ({"a": [[1, 2]], "b": [-1]}, "invalid_field", "/b/0"),
    ],
)
def test_named_inputs_are_checked_each_and_together(steps: Any, code: str, place: str) -> None:
    assert refusal({"sequences": [{"steps": steps}]}, TWO) == (code, f"/sequences/0/steps{place}")


@pytest.mark.parametrize(
    ("steps", "ids"), [(["a", None, "new", 2], [2, 1, 0, 2]), ([None, None], [1, 1]), ([2, None], [2, 1])]
)
def test_an_unknown_token_and_null_become_their_special_tokens(steps: list[Any], ids: list[int]) -> None:
    for named in (steps, {"x": steps}):
        assert decode({"sequences": [{"steps": named}]}, KINDS).inputs[0].tolist() == ids
    assert refusal({"sequences": [[1, None]]}, TOKENS) == ("invalid_field", "/sequences/0/1")


def test_a_wrong_name_for_the_only_input_is_refused() -> None:
    assert refusal({"sequences": [{"steps": {"z": [ROW]}}]}) == ("invalid_field", "/sequences/0/steps")


@pytest.mark.parametrize(
    ("model", "steps", "detail"),
    [
        (WINDOW, [1, 2], "expected exactly 3 steps, got 2"),
        (PIECES, [1, 2, 3, 4], "expected a multiple of 3 steps, got 4"),
        (SIZED_TOKENS, [99], "token id 99 is out of range: ids are integers from 0 to 19"),
        (OPEN_TOKENS, [-1], "token id -1 is out of range: ids are integers from 0"),
        (TOKENS, [3], "token id 3 is not in the vocabulary"),
        (BYTES, [[0, 256]], "256 does not fit into uint8, from 0 to 255"),
        (FLAGS, [[1, 0]], "expected true or false, got a number"),
    ],
)
def test_an_error_says_what_the_model_takes(model: Manifest, steps: Any, detail: str) -> None:
    with pytest.raises(BadInput) as raised:
        decode(one(steps), model)
    assert raised.value.detail == detail


def test_integers_keep_every_digit() -> None:
    """As float64, which has 53 bits, the last two would be equal."""
    numbers = [-(2**63), 2**63 - 1, 2**53, 2**53 + 1]
    (read,) = decode(one(numbers), manifest({"name": "x", "dtype": "int64"})).inputs
    assert read.dtype == np.int64 and read.tolist() == numbers


def test_padding_is_removed_before_a_window_is_counted() -> None:
    body = one([1, 2, 3, 0]) | {"trim_padding": True}
    assert decode(body, WINDOW).steps == 3
    assert refusal(one([1, 2, 0]) | {"trim_padding": True}, WINDOW) == ("wrong_shape", "/sequences/0")


def test_an_input_without_time_axis_is_one_row_and_may_be_absent() -> None:
    item = decode(one({"x": [[1, 2]], "speaker": [3, 4]}, session="s"), SPEAKER)
    assert [array.tolist() for array in (*item.inputs, *item.kept) if array is not None] == [[[1, 2]], [3, 4]]
    for steps in ({"x": [[1, 2]]}, [[1, 2]]):
        item = decode(one(steps, session="s"), SPEAKER)
        assert len(item.inputs) == 1 and item.kept == (None,)
    assert refusal(one({"speaker": [3, 4]}, session="s"), SPEAKER) == ("invalid_field", "/sequences/0/steps")


def test_a_digest_tells_what_is_kept_and_which_outputs_are_requested() -> None:
    x, kept = np.ones((1, 2), np.float32), np.ones(2, np.float32)
    items = [
        Item((x,)),
        Item((x,), kept=(None, None)),
        Item((x,), kept=(kept, None)),
        Item((x,), kept=(None, kept)),
        Item((x,), kept=(kept, kept)),
        Item((x,), outputs=("a", "b")),
        Item((x,), outputs=("b", "a")),
        Item((x,), outputs=("ab",)),
    ]
    assert len({item.digest(False) for item in items}) == len(items)


def test_a_long_string_among_numbers_takes_no_memory() -> None:
    """numpy makes room for the longest string in every place: 1 MB of body took 12 MB × 6 rows × 4.

    With 20,000 rows the answer would have been a dead server, so nothing may reach numpy unseen.
    """
    body = {"sequences": [[["x" * 5_000_000, 1, 2], *[ROW] * 5]]}
    assert refusal(body) == ("invalid_field", "/sequences/0/0/0")


def test_the_tables_cover_every_kind_of_input() -> None:
    tested = {spec.kind for model, *_ in STEPS for spec in model.inputs}
    assert tested == {"numeric", "token", "image"} and InputSpec(name="x").kind in tested
