"""The envelope of a `/v2` request, and what a session stores of its answer."""

from math import inf
from typing import Any

import numpy as np
import orjson
import pytest

from service.codec import v2
from service.errors import BadHeader, BadInput, InvalidField, InvalidJson
from service.manifest import InputSpec, Manifest, OutputSpec
from service.sequence import Array

MANIFEST = Manifest(
    task="classify", inputs=(InputSpec(name="x", dims=(2,)),), outputs=(OutputSpec(name="y", dims=(3,)),)
)
X = {"name": "x", "shape": [1, 1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
BINARY = X | {"parameters": {"binary_data_size": 8}}
del BINARY["data"]


def parse(**members: Any) -> v2.Inference:
    return v2.parse(orjson.dumps({"inputs": [X]} | members), None, MANIFEST)


def test_what_is_absent_has_its_default() -> None:
    inference = parse()
    assert list(inference.inputs) == ["x"]
    assert (inference.id, inference.outputs, inference.as_bytes, inference.returns) == (
        None,
        (),
        {"": False},
        None,
    )
    assert (inference.timeout_s, inference.sequence_id, inference.start) == (inf, None, "no")


def test_parameters_are_read() -> None:
    inference = parse(
        id="7",
        parameters={"sequence_id": 5, "sequence_start": True, "restart": True, "sequence_end": True, "at": 3,
                    "timeout": 2_000_000, "return": "last"},
        outputs=[{"name": "y", "parameters": {"binary_data": True}}],
    )  # fmt: skip
    assert (inference.id, inference.sequence_id, inference.start) == ("7", 5, "restart")
    assert (inference.end, inference.at, inference.timeout_s, inference.returns) == (True, 3, 2.0, "last")
    assert inference.outputs == ("y",) and inference.as_bytes == {"": False, "y": True}


@pytest.mark.parametrize(
    ("sequence_id", "expected"), [(0, None), ("", None), (2**64 - 1, 2**64 - 1), ("a b", "a b"), ("7", "7")]
)
def test_a_sequence_id_is_an_integer_or_a_string(sequence_id: int | str, expected: int | str | None) -> None:
    assert parse(parameters={"sequence_id": sequence_id}).sequence_id == expected


@pytest.mark.parametrize("sequence_id", [-1, 1.0, True, None, [], "ü", "\n", "a" * 129])
def test_any_other_sequence_id_is_refused(sequence_id: Any) -> None:
    with pytest.raises(InvalidField, match="Unable to parse 'sequence_id'"):
        parse(parameters={"sequence_id": sequence_id})


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"id": 1}, '"id" must be a string'),
    ({"parameters": []}, '"parameters" must be an object'),
    ({"parameters": {"sequence_start": True}}, "sequence_start without a sequence_id"),
    ({"parameters": {"at": 1}}, "at without a sequence_id"),
    ({"parameters": {"sequence_id": 1, "restart": True}}, '"restart" needs "sequence_start"'),
    ({"parameters": {"sequence_id": 1, "sequence_end": 1}}, '"sequence_end" must be true or false'),
    ({"parameters": {"sequence_id": 1, "at": 2**53}}, '"at" must be an integer from 0'),
    ({"parameters": {"timeout": 1.5}}, '"timeout" must be an integer from 0'),
    ({"parameters": {"return": "some"}}, '"return" must be "last" or "all"'),
    ({"parameters": {"binary_data_output": 1}}, '"binary_data_output" must be true or false'),
    ({"outputs": {"name": "y"}}, '"outputs" must be a list of objects with a "name"') ,
    ({"outputs": [{}]}, '"outputs" must be a list of objects with a "name"'),
    ({"outputs": [{"name": "y"}, {"name": "y"}]}, "an output is requested twice"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "message"), FAULTS)
def test_a_bad_member_is_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidField) as raised:
        parse(**members)
    assert message in raised.value.detail


def test_bytes_follow_the_json_whose_length_the_header_says() -> None:
    head = orjson.dumps({"inputs": [BINARY]})
    x = np.array([1, 2], np.float32).tobytes()
    inference = v2.parse(head + x, b"%d" % len(head), MANIFEST)
    assert bytes(inference.inputs["x"].values) == x
    raw = v2.parse(x, b"0", MANIFEST)
    assert raw.as_bytes == {"": True} and raw.inputs["x"].shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("body", "length", "kind"),
    [
        (b"{", None, InvalidJson),
        (b"[]", None, InvalidField),
        (b"{}", b"-1", BadHeader),
        (b"{}", b"3", BadHeader),
        (b"{}", b"x", BadHeader),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, length: bytes | None, kind: type[BadInput]) -> None:
    with pytest.raises(kind):
        v2.parse(body, length, MANIFEST)


@pytest.mark.parametrize(
    "names", [("y",), ("action", "y"), ("y", "action", "mask")], ids=["one", "two", "three"]
)
def test_a_stored_answer_comes_back_with_its_version_and_step(names: tuple[str, ...]) -> None:
    arrays: dict[str, Array] = {
        "y": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        "action": np.array([[2, 2**60]]),
        "mask": np.array([[True, False]]),
    }
    outputs = {name: arrays[name] for name in names}
    version, step, read = v2.unpack_outputs(v2.pack_outputs("2", 9, outputs), "y")
    assert (version, step, tuple(read)) == ("2", 9, names)
    for name, array in read.items():
        assert array.dtype == arrays[name].dtype and array.flags.aligned
        assert np.array_equal(array, arrays[name]) and array.shape == arrays[name].shape


def test_a_stored_answer_has_the_form_that_stores_hold() -> None:
    packed = v2.pack_outputs("1", 4, {"y": np.array([[[1, 2]]], np.float16)})
    assert packed == b'["1",4,"float16",[1,1,2]]\n' + np.array([1, 2], np.float16).tobytes()


def test_a_reply_repeats_the_id_and_has_parameters_only_in_a_sequence() -> None:
    y = np.zeros((1, 1, 3), np.float32)
    body, length = v2.encode_reply(parse(id="7"), "1", {"y": y})
    assert orjson.loads(body).keys() == {"model_name", "model_version", "id", "outputs"} and length is None
    inference = parse(parameters={"binary_data_output": True})
    body, length = v2.encode_reply(inference, "1", {"y": y}, {"sequence_id": 1})
    assert length is not None and body[length:] == y.tobytes()
    assert orjson.loads(body[:length])["parameters"] == {"sequence_id": 1}


def test_shared_memory_is_refused_in_words() -> None:
    """An output there was answered in the body, 200, and the client read its own memory."""
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 12}
    with pytest.raises(InvalidField, match="output 'y': shared memory is not supported"):
        parse(outputs=[{"name": "y", "parameters": shared}])
    with pytest.raises(InvalidField, match="input 'x': shared memory is not supported"):
        parse(inputs=[{"name": "x", "shape": [1, 1, 2], "datatype": "FP32", "parameters": shared}])


def test_classes_are_read_by_output() -> None:
    assert parse(outputs=[{"name": "y", "parameters": {"classification": 3}}]).classes == {"y": 3}
    assert parse(outputs=[{"name": "y", "parameters": {"classification": 0}}]).classes == {}
    for value in (-1, True, 1.5, "2", 2**31):
        with pytest.raises(InvalidField, match="classification"):
            parse(outputs=[{"name": "y", "parameters": {"classification": value}}])


@pytest.mark.parametrize("is_binary", [False, True])
def test_texts_are_json_or_bytes_after_their_lengths(is_binary: bool) -> None:
    texts = np.array([[["0.5:1:ä", "0.25:0:b"]]], object)
    body, length = v2.encode_reply(parse(parameters={"binary_data_output": is_binary}), "1", {"y": texts})
    (output,) = orjson.loads(body[:length])["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 1, 2])
    if is_binary:
        assert body[length:] == b"\x08\0\0\x000.5:1:\xc3\xa4" + b"\x08\0\0\x000.25:0:b"
        assert output["parameters"] == {"binary_data_size": 24}
    else:
        assert output["data"] == ["0.5:1:ä", "0.25:0:b"] and length is None
