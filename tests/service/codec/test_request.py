"""Numbers survive the way in and out bit by bit; every mistake is answered with its code and its place."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from service.codec import request as codec
from service.errors import CellgateError, Overloaded
from service.manifest import InputSpec, Manifest, OutputSpec
from service.sequence import Array

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def manifest(*inputs: dict[str, Any]) -> Manifest:
    given = inputs or ({"name": "x", "dims": [3]},)
    return Manifest.model_validate({"task": "label", "inputs": given, "outputs": [{"name": "y"}]})


NUMBERS = manifest()
TOKENS = manifest({"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a", "b", "c"]})
OPEN_TOKENS = manifest({"name": "x", "kind": "token", "dtype": "int32"})
SCALARS = manifest({"name": "x"})
IMAGES = manifest({"name": "x", "kind": "image", "dims": [2, 2]})
COUNTS = manifest({"name": "x", "dims": [2], "dtype": "int32"})
HALVES = manifest({"name": "x", "dims": [1], "dtype": "float16"})
GAPS = manifest({"name": "x", "dims": [2], "missing": "nan"})
TWO = manifest({"name": "a", "dims": [2]}, {"name": "b", "kind": "token", "dtype": "int64"})
KINDS = manifest({"name": "x", "tensor": "kinds", "kind": "token", "dtype": "int64", "unknown": 0,
                  "vocabulary": ["<other>", "<missing>", "a"], "missing_token": 1})  # fmt: skip
ROW = [0.5, 1.0, 2.0]


def decode(body: bytes | dict[str, Any], model: Manifest = NUMBERS, index: int = 0) -> codec.Item:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return codec.decode_item(codec.parse(raw, max_sequences=4), index, model, max_steps=6)


def refusal(
    body: bytes | dict[str, Any], model: Manifest = NUMBERS, index: int = 0
) -> tuple[str, str | None]:
    """The code and the pointer a body is refused with."""
    with pytest.raises(CellgateError) as caught:
        decode(body, model, index)
    assert caught.value.status in (400, 422) and caught.value.detail
    return caught.value.code, caught.value.pointer


def one(steps: Any, **fields: Any) -> dict[str, Any]:
    return {"sequences": [{"steps": steps, **fields} if fields else steps]}


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=FLOAT32))
def test_numbers_come_back_bit_by_bit(x: Array) -> None:
    """What we send, read again as a client would and sent back, are the same float32s."""
    sent = codec.encode_prediction(OutputSpec(name="y", dims=(3,)), x)
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


def test_the_envelope_is_read() -> None:
    body = {"model": "m", "version": "2", "return": "all"} | one([ROW], session="s~1", at=7, end=True)
    document = codec.parse(json.dumps(body).encode(), max_sequences=1)
    item = codec.decode_item(document, 0, NUMBERS, max_steps=1)
    assert (document.model, document.version, document.returns) == ("m", "2", "all")
    assert (item.session, item.at, item.end) == ("s~1", 7, True)


ENVELOPES: list[tuple[bytes, str, str | None]] = [
    (b"", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b'\xff{"sequences": []}', "invalid_json", None),
    (b'{"sequences": [[[NaN, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": [[[-Infinity, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": [[[1e999, 1, 2]]]}', "invalid_json", None),
    (b'{"sequences": %s}' % (b"[" * 5000), "invalid_json", None),
    (b'{"sequences": [{"steps": [[1,2,3]], "session": "\\ud800"}]}', "invalid_json", None),
    (b"[[1, 2, 3]]", "invalid_field", ""),
    (b"null", "invalid_field", ""),
    (b"{}", "invalid_field", "/sequences"),
    (b'{"sequences": null}', "invalid_field", "/sequences"),
    (b'{"sequences": []}', "invalid_field", "/sequences"),
    (b'{"sequences": {}}', "invalid_field", "/sequences"),
    (b'{"sequences": "x"}', "invalid_field", "/sequences"),
    (b'{"sequences": [[[1,2,3]]], "extra": 1}', "invalid_field", "/extra"),
    (b'{"sequences": [[[1,2,3]]], "a/b~c": 1}', "invalid_field", "/a~1b~0c"),
    (b'{"sequences": [[[1,2,3]]], "model": 1}', "invalid_field", "/model"),
    (b'{"sequences": [[[1,2,3]]], "version": 1}', "invalid_field", "/version"),
    (b'{"sequences": [[[1,2,3]]], "return": "some"}', "invalid_field", "/return"),
    (b'{"sequences": [[[1,2,3]]], "return": ["all"]}', "invalid_field", "/return"),
    (b'{"sequences": [%s]}' % b",".join([b"[[1,2,3]]"] * 5), "too_many_sequences", "/sequences"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "pointer"), ENVELOPES, ids=[str(e[0][:45]) for e in ENVELOPES])
def test_a_bad_envelope_is_refused(body: bytes, code: str, pointer: str | None) -> None:
    assert refusal(body) == (code, pointer)


def test_a_literal_that_is_not_json_is_named() -> None:
    with pytest.raises(CellgateError, match="NaN and Infinity are not JSON"):
        decode(b'{"sequences": [[[NaN]]]}')


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
]


@pytest.mark.parametrize(("model", "steps", "code", "place"), STEPS)
def test_bad_steps_are_refused_where_they_are_bad(model: Manifest, steps: Any, code: str, place: str) -> None:
    assert refusal({"sequences": [{"steps": steps}]}, model) == (code, f"/sequences/0/steps{place}")
    if isinstance(steps, list):  # the short form, behind a good sequence
        assert refusal({"sequences": [[], steps]}, model, 1) == (code, f"/sequences/1{place}")


ITEMS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"session": "s"}, ""),
    ({"steps": [ROW], "stesp": 1}, "/stesp"),
    ({"steps": [ROW], "session": ""}, "/session"),
    ({"steps": [ROW], "session": "a/b"}, "/session"),
    ({"steps": [ROW], "session": "a b"}, "/session"),
    ({"steps": [ROW], "session": "é"}, "/session"),
    ({"steps": [ROW], "session": "a\n"}, "/session"),
    ({"steps": [ROW], "session": "a" * 129}, "/session"),
    ({"steps": [ROW], "session": 5}, "/session"),
    ({"steps": [ROW], "session": "s", "at": -1}, "/at"),
    ({"steps": [ROW], "session": "s", "at": 1.0}, "/at"),
    ({"steps": [ROW], "session": "s", "at": True}, "/at"),
    ({"steps": [ROW], "session": "s", "at": "0"}, "/at"),
    ({"steps": [ROW], "session": "s", "at": 2**53}, "/at"),
    ({"steps": [ROW], "session": "s", "end": 1}, "/end"),
    ({"steps": [ROW], "session": "s", "end": None}, "/end"),
    ({"steps": [ROW], "at": 0}, ""),
    ({"steps": [ROW], "end": True}, ""),
]


@pytest.mark.parametrize(("item", "place"), ITEMS)
def test_bad_fields_of_a_sequence_are_refused(item: dict[str, Any], place: str) -> None:
    assert refusal({"sequences": [item]}) == ("invalid_field", f"/sequences/0{place}")


@pytest.mark.parametrize("item", [5, "x", None, True])
def test_a_sequence_is_a_list_or_an_object(item: Any) -> None:
    assert refusal({"sequences": [item]}) == ("invalid_field", "/sequences/0")


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
def test_an_unseen_token_and_null_are_those_that_stand_for_them(steps: list[Any], ids: list[int]) -> None:
    for named in (steps, {"x": steps}):
        assert decode({"sequences": [{"steps": named}]}, KINDS).inputs[0].tolist() == ids
    assert refusal({"sequences": [[1, None]]}, TOKENS) == ("invalid_field", "/sequences/0/1")


def test_the_token_that_stands_for_null_must_be_one_of_the_vocabulary() -> None:
    told = {"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a"], "missing_token": 1}
    with pytest.raises(ValidationError, match="the missing token is not in the vocabulary"):
        manifest(told)
    with pytest.raises(ValidationError, match="text needs the kind token and a vocabulary"):
        manifest({"name": "x", "missing_token": 0})


def test_a_request_and_the_graph_may_call_an_input_differently_but_no_two_alike() -> None:
    assert [spec.graph_input for spec in (*KINDS.inputs, *TWO.inputs)] == ["kinds", "a", "b"]
    manifest({"name": "a", "tensor": "b"}, {"name": "b", "tensor": "a"})
    for twice in ({"name": "a", "tensor": "c"}, {"name": "b", "tensor": "a"}):
        with pytest.raises(ValidationError, match="named twice: a"):
            manifest({"name": "a"}, twice)


def test_a_wrong_name_for_the_only_input_is_refused() -> None:
    assert refusal({"sequences": [{"steps": {"z": [ROW]}}]}) == ("invalid_field", "/sequences/0/steps")


def test_a_long_string_among_numbers_takes_no_memory() -> None:
    """numpy makes room for the longest string in every place: 1 MB of body took 12 MB × 6 rows × 4.

    With 20,000 rows the answer would have been a dead server, so nothing may reach numpy unseen.
    """
    body = {"sequences": [[["x" * 5_000_000, 1, 2], *[ROW] * 5]]}
    assert refusal(body) == ("invalid_field", "/sequences/0/0/0")


@given(x=arrays.arrays(np.float32, (4, 3), elements=FLOAT32), flip=st.integers(0, 11))
def test_a_digest_tells_requests_apart(x: Array, flip: int) -> None:
    item = codec.Item((x,), "s")
    same = codec.Item((x.copy(),), "s", at=4)
    other = x.copy()
    other.flat[flip] = other.flat[flip] + 1 if abs(other.flat[flip]) < 1e6 else 0
    assert item.digest(False) == same.digest(False) != item.digest(True)
    assert item.digest(False) != codec.Item((other,), "s").digest(False)
    assert item.digest(False) != codec.Item((x,), "s", end=True).digest(False)


PROBABILITIES = OutputSpec(name="y", kind="probabilities", dims=(2,), labels=("no", "yes"))


def test_probabilities_are_answered_with_their_label() -> None:
    last = json.loads(codec.encode_prediction(PROBABILITIES, np.array([0.25, 0.75], np.float32)))
    assert last == {"output": [0.25, 0.75], "label": "yes", "probability": 0.75}
    steps = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    every = json.loads(codec.encode_prediction(PROBABILITIES, steps, session="s", step=9))
    assert every["label"] == ["yes", "no"] and every["probability"] == [0.75, 0.5]
    assert (every["session"], every["step"]) == ("s", 9)


def test_a_table_of_probabilities_has_no_best() -> None:
    """Of which of its rows would it be?"""
    spec = OutputSpec(name="y", kind="probabilities", dims=(3, 2))
    table = np.array([[0.1, 0.2], [0.1, 0.1], [0.1, 0.4]], np.float32)
    assert json.loads(codec.encode_prediction(spec, table)).keys() == {"output"}
    alone = OutputSpec(name="y", kind="probabilities", dims=())
    assert json.loads(codec.encode_prediction(alone, np.array(0.5, np.float32)))["output"] == [0.5]


@pytest.mark.parametrize("labels", [(), ("no", "yes")])
def test_values_have_no_label(labels: tuple[str, ...]) -> None:
    spec = OutputSpec(name="y", kind="probabilities" if not labels else "values", dims=(2,), labels=labels)
    answer = json.loads(codec.encode_prediction(spec, np.array([0.25, 0.75], np.float32)))
    assert "label" not in answer and ("probability" in answer) == (not labels)


def test_a_reply_holds_predictions_and_errors_in_order() -> None:
    error = codec.encode_error(Overloaded("full"))
    body = codec.encode_reply('m"x', "1", [b'{"output":[1]}', error])
    reply = orjson.loads(body)
    assert reply["model"] == 'm"x' and reply["predictions"][0] == {"output": [1]}
    assert reply["predictions"][1]["error"]["code"] == "overloaded"


def test_specs_of_the_tables_cover_every_kind_we_serve() -> None:
    tested = {spec.kind for model, *_ in STEPS for spec in model.inputs}
    assert tested == {"numeric", "token", "image"} and InputSpec(name="x").kind in tested


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=FLOAT32), st.integers(0, 2)
)
def test_trimmed_padding_leaves_what_was_padded(x: Array, padding: int) -> None:
    steps = np.vstack([x, np.zeros((padding, 3), np.float32)]).tolist()
    body = {"sequences": [{"steps": steps}], "trim_padding": True}
    if not x.any():
        assert refusal(body) == ("empty_sequence", "/sequences/0")
        return
    last = np.flatnonzero(x.any(axis=1))[-1]
    assert (decode(body).inputs[0] == x[: last + 1]).all()
    assert len(decode({"sequences": [steps]}).inputs[0]) == len(steps)


def test_padding_ends_where_any_input_goes_on() -> None:
    steps = {"a": [[0, 1], [0, 0], [0, 0], [0, 0]], "b": [1, 0, 2, 0]}
    item = decode({"sequences": [{"steps": steps}], "trim_padding": True}, TWO)
    assert [len(array) for array in item.inputs] == [3, 3]
    assert refusal({"sequences": [[[0]]], "trim_padding": 1}) == ("invalid_field", "/trim_padding")
