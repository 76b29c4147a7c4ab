"""Tensors of the Open Inference Protocol: JSON and bytes are read alike, and every fault has its message."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.codec import tensor, tensors
from service.errors import (
    BadInput,
    EmptySequence,
    InvalidField,
    NonFinite,
    SequenceTooLong,
    TooManySequences,
    WrongShape,
)
from service.manifest import Axes, InputSpec, Manifest, OutputSpec
from service.sequence import Array, Sequence

LIMITS = {"max_rows": 8, "max_steps": 20}


def manifest_of(*inputs: InputSpec) -> Manifest:
    return Manifest(task="classify", inputs=inputs, outputs=(OutputSpec(name="y", dims=(2,)),))


PAIR = manifest_of(InputSpec(name="x", dims=(3,)), InputSpec(name="gap", dtype="float64"))
ONE = manifest_of(InputSpec(name="x", dims=(3,)))
TOKENS = manifest_of(InputSpec(name="ids", kind="token", dtype="int64", vocabulary=("a", "b", "c")))


def entry(name: str, array: Array, **more: Any) -> dict[str, Any]:
    datatype = tensor.DATATYPES[array.dtype.name]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, **more}


def flat(name: str, array: Array) -> dict[str, Any]:
    return entry(name, array, data=array.reshape(-1).tolist())


def nested(name: str, array: Array) -> dict[str, Any]:
    return entry(name, array, data=array.tolist())


def binary(name: str, array: Array) -> dict[str, Any]:
    return entry(name, array, parameters={"binary_data_size": array.nbytes})


def read(entries: Any, blob: bytes = b"", manifest: Manifest = ONE) -> tuple[list[tensors.Row], int]:
    return tensors.rows_of(tensor.read_inputs(entries, memoryview(blob)), manifest, **LIMITS)


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float32, (*shape, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
            hnp.arrays(np.float64, shape, elements=st.floats(-1e300, 1e300)),
            st.lists(st.integers(1, shape[1]), min_size=shape[0], max_size=shape[0]),
        )
    ),
    st.integers(0, 3),
)
def test_json_and_bytes_are_read_alike(sent: tuple[Array, Array, list[int]], pad: int) -> None:
    x, gap, lengths = sent
    lens = np.array(lengths, np.int32)
    named = [("x", x), ("gap", gap), ("lengths", lens)]
    blob = b"".join(array.tobytes() for _, array in named)
    # As behind JSON of any length: the bytes need not be aligned.
    shifted = memoryview(b"?" * pad + blob)[pad:]
    ways = [
        tensor.read_inputs([flat(*pair) for pair in named], memoryview(b"")),
        tensor.read_inputs([nested(*pair) for pair in named], memoryview(b"")),
        tensor.read_inputs([binary(*pair) for pair in named], shifted),
    ]
    for way in ways:
        rows, steps = tensors.rows_of(way, PAIR, **LIMITS)
        assert steps == x.shape[1] and len(rows) == len(x)
        for row, ((got_x, got_gap), _) in enumerate(rows):
            assert got_x.dtype == np.float32 and got_gap.dtype == np.float64
            assert got_x.tobytes() == x[row, : lengths[row]].tobytes()
            assert got_gap.tobytes() == gap[row, : lengths[row]].tobytes()
            assert got_x.flags.aligned and got_gap.flags.aligned


def test_values_beyond_a_length_are_never_checked() -> None:
    x = np.ones((2, 3, 3), np.float32)
    x[1, 1:] = np.nan
    rows, steps = read([binary("x", x), flat("lengths", np.array([3, 1], np.int32))], x.tobytes())
    assert steps == 3 and [len(row.steps[0]) for row in rows] == [3, 1]
    with pytest.raises(NonFinite, match=r"'x', at \[1, 1, 0\]"):
        read([binary("x", x)], x.tobytes())


def test_tokens_come_as_integers_of_the_vocabulary() -> None:
    rows, _ = read([flat("ids", np.array([[0, 2]], np.int64))], manifest=TOKENS)
    assert rows[0].steps[0].tolist() == [0, 2]
    with pytest.raises(InvalidField, match=r"token id 3"):
        read([flat("ids", np.array([[0, 3]], np.int64))], manifest=TOKENS)


X = np.ones((1, 2, 3), np.float32)
GOOD = flat("x", X)
FAULTS: list[tuple[str, Any, bytes, type[BadInput], str]] = [
    ("no list", {}, b"", InvalidField, "at least one tensor"),
    ("nothing", [], b"", InvalidField, "at least one tensor"),
    ("no object", [1], b"", InvalidField, '"name"'),
    ("no name", [GOOD | {"name": ""}], b"", InvalidField, '"name"'),
    ("twice", [GOOD, GOOD], b"", InvalidField, "twice"),
    ("no datatype", [{"name": "x", "shape": [1]}], b"", InvalidField, "datatype"),
    ("another datatype", [GOOD | {"datatype": "FP64"}], b"", InvalidField, "is FP32, not FP64"),
    ("no shape", [{"name": "x", "datatype": "FP32", "data": []}], b"", InvalidField, "shape"),
    ("a negative shape", [GOOD | {"shape": [1, -2, 3]}], b"", InvalidField, "from 0"),
    ("a shape of booleans", [GOOD | {"shape": [True, 2, 3]}], b"", InvalidField, "from 0"),
    ("a shape too flat", [GOOD | {"shape": [2, 3]}], b"", WrongShape, r"\[-1, -1, 3\]"),
    ("another width", [GOOD | {"shape": [1, 3, 2]}], b"", WrongShape, r"\[-1, -1, 3\]"),
    ("another input", [GOOD | {"name": "z"}], b"", InvalidField, r"\['x'\], the request has \['z'\]"),
    ("too few numbers", [GOOD | {"data": [1.0]}], b"", WrongShape, "of 6 numbers"),
    ("nested otherwise", [GOOD | {"data": [[[1.0] * 2] * 3]}], b"", WrongShape, "nested in the shape"),
    ("a text", [GOOD | {"data": ["1"] * 6}], b"", InvalidField, "is not FP32"),
    ("a boolean", [GOOD | {"data": [True] * 6}], b"", InvalidField, "is not FP32"),
    ("a null", [GOOD | {"data": [None] * 6}], b"", InvalidField, "is not FP32"),
    ("beyond float32", [GOOD | {"data": [1e39] + [0] * 5}], b"", NonFinite, r"at \[0, 0, 0\]"),
    ("data and bytes", [binary("x", X) | {"data": []}], X.tobytes(), InvalidField, "either"),
    ("neither", [entry("x", X)], b"", InvalidField, "either"),
    ("too few bytes", [binary("x", X)], X.tobytes()[:-1], WrongShape, "23 bytes are left"),
    ("bytes left over", [binary("x", X)], X.tobytes() + b"!", WrongShape, "1 bytes follow"),
    ("another size", [binary("x", X) | {"shape": [1, 1, 3]}], X.tobytes(), WrongShape, "has 12"),
    ("no steps", [flat("x", np.ones((1, 0, 3), np.float32))], b"", EmptySequence, "at least one"),
    ("too long", [flat("x", np.ones((1, 21, 3), np.float32))], b"", SequenceTooLong, "21 time steps"),
    ("too many", [flat("x", np.ones((9, 1, 3), np.float32))], b"", TooManySequences, "the maximum is 8"),
    ("a length of none", [GOOD, flat("lengths", np.array([0], np.int32))], b"", InvalidField, "from 1 to 2"),
    ("a length too long", [GOOD, flat("lengths", np.array([3], np.int32))], b"", InvalidField, "from 1 to 2"),
    ("another row's length", [GOOD, flat("lengths", np.array([1, 1], np.int32))], b"", WrongShape, r"\[1\]"),
    ("lengths of FP32", [GOOD, flat("lengths", np.array([1], np.float32))], b"", WrongShape, "INT32"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "blob", "kind", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_every_fault_has_its_class_and_message(
    entries: Any, blob: bytes, kind: type[BadInput], message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        read(entries, blob)
    assert type(raised.value) is kind


def test_an_integer_too_large_for_its_type_is_a_fault_of_the_request() -> None:
    with pytest.raises(NonFinite, match="INT64"):
        read([{"name": "ids", "shape": [1, 1], "datatype": "INT64", "data": [2**63]}], manifest=TOKENS)


def test_a_body_without_json_is_one_row() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows, steps = tensors.rows_of(tensor.raw_input(ONE, memoryview(x.tobytes())), ONE, **LIMITS)
    assert steps == 2 and rows[0].steps[0].tolist() == x.tolist()
    with pytest.raises(WrongShape, match="steps of 12 bytes"):
        tensor.raw_input(ONE, memoryview(b"1234567"))
    with pytest.raises(InvalidField, match="one input"):
        tensor.raw_input(PAIR, memoryview(b""))


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=5), st.booleans())
def test_rows_are_stacked_with_zeros_beyond_their_end(chunks: list[list[int]], keep_all: bool) -> None:
    sequences, expected = [], []
    for row, sizes in enumerate(chunks):
        total = sum(sizes)
        y = (np.arange(total * 2, dtype=np.float32) + 1 + 100 * row).reshape(total, 2)
        sequence = Sequence((np.zeros((total, 1)),), (), keep_all=keep_all)
        edges = np.cumsum(sizes)[:-1]
        sequence.outputs = np.split(y, edges) if keep_all else [y[-1:]]
        sequences.append(sequence)
        expected.append(y if keep_all else y[-1:])
    steps = max(len(y) for y in expected)
    stacked = tensors.stack(sequences, steps, OutputSpec(name="y", dims=(2,)), "float32", keep_all=keep_all)
    assert stacked.shape == (len(chunks), steps, 2)
    for row, y in enumerate(expected):
        assert stacked[row, : len(y)].tolist() == y.tolist()
        assert not stacked[row, len(y) :].any()


@pytest.mark.parametrize("keep_all", [False, True])
def test_an_output_of_the_last_step_is_one_step_however_long_the_others_are(keep_all: bool) -> None:
    """Beside outputs of every step, each call of a long sequence gives one; all were the answer."""
    sequence = Sequence((np.zeros((3, 1)),), (), keep_all=keep_all)
    sequence.outputs = [np.full((1, 2), number, np.float32) for number in range(3)]
    last = OutputSpec(name="y", dims=(2,), steps="last")
    assert tensors.steps_of(sequence, last, 0).tolist() == [[2, 2]]
    assert tensors.stack([sequence], 3, last, "float32", keep_all=keep_all).tolist() == [[[2, 2]]]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_reply_preserves_every_bit(as_bytes: bool) -> None:
    y = np.array([[[1 / 3, -0.0]], [[1e-40, 3.4e38]]], np.float32)
    body, length = tensors.write({"model_name": "m"}, {"y": y}, {"y"} if as_bytes else set())
    head = orjson.loads(body[:length])
    output = head["outputs"][0]
    assert head["model_name"] == "m" and output["shape"] == [2, 1, 2] and output["datatype"] == "FP32"
    if as_bytes:
        assert length is not None and output["parameters"] == {"binary_data_size": y.nbytes}
        assert body[length:] == y.tobytes()
    else:
        assert np.array(output["data"], np.float32).tobytes() == y.tobytes()


def test_a_model_with_an_input_named_lengths_keeps_it() -> None:
    own = manifest_of(InputSpec(name="x", dims=(3,)), InputSpec(name="lengths", dtype="float32"))
    assert tensors.takes_lengths(ONE) and not tensors.takes_lengths(own)
    x, lens = np.ones((1, 2, 3), np.float32), np.ones((1, 2), np.float32)
    rows, _ = read([flat("x", x), flat("lengths", lens)], manifest=own)
    assert rows[0].steps[1].tolist() == [1.0, 1.0]
    assert math.prod(rows[0].steps[0].shape) == 6


def test_outputs_are_written_as_json_and_bytes_each_as_requested() -> None:
    action, value = np.array([[1, 2]], np.int64), np.array([[[0.5], [1.5]]], np.float16)
    body, length = tensors.write({}, {"action": action, "value": value}, {"value"})
    first, second = orjson.loads(body[:length])["outputs"]
    assert first == {"name": "action", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}
    assert second["datatype"] == "FP16" and second["parameters"] == {"binary_data_size": 4}
    assert length is not None and body[length:] == value.tobytes()


@pytest.mark.parametrize(
    ("dtype", "numbers", "bad"),
    [
        ("int8", [-128, 127], 128),
        ("int16", [-(2**15), 5], 2**15),
        ("int32", [-(2**31), 5], 2**31),
        ("int64", [-(2**63), 2**53 + 1], 2**63),
        ("uint8", [0, 255], -1),
        ("bool", [True, False], 1),
        ("float16", [0.5, 65504.0], 65520.0),
    ],
)
def test_every_datatype_is_read_exactly_and_within_its_range(
    dtype: str, numbers: list[Any], bad: Any
) -> None:
    model = manifest_of(InputSpec.model_validate({"name": "x", "dtype": dtype}))
    x = np.array([numbers], dtype)
    for entries, blob in (([flat("x", x)], b""), ([binary("x", x)], x.tobytes())):
        rows, _ = read(entries, blob, manifest=model)
        assert rows[0].steps[0].dtype == dtype and rows[0].steps[0].tolist() == numbers
    with pytest.raises(InvalidField):
        read([flat("x", x) | {"data": [numbers[0], bad]}], manifest=model)


def test_a_byte_of_a_boolean_is_0_or_1() -> None:
    model = manifest_of(InputSpec(name="x", dtype="bool"))
    with pytest.raises(InvalidField, match="a byte of BOOL must be 0 or 1, got 7"):
        read([binary("x", np.ones((1, 2), np.bool_))], b"\x01\x07", manifest=model)


def test_an_input_without_time_axis_has_one_value_a_row_and_may_be_absent() -> None:
    model = manifest_of(InputSpec(name="x", dims=(3,)), InputSpec(name="speaker", dims=(2,), per="sequence"))
    x, speaker = np.ones((2, 1, 3), np.float32), np.array([[1, 2], [3, 4]], np.float32)
    rows, _ = read([flat("x", x), flat("speaker", speaker)], manifest=model)
    assert [row.kept[0].tolist() for row in rows if row.kept[0] is not None] == [[1, 2], [3, 4]]
    rows, _ = read([flat("x", x)], manifest=model)
    assert [row.kept for row in rows] == [(None,), (None,)]
    for wrong in (speaker[:1], speaker[:, None], x):
        with pytest.raises(WrongShape, match=r"\[2, 2\], without a time axis"):
            read([flat("x", x), flat("speaker", wrong)], manifest=model)
    with pytest.raises(NonFinite, match=r"'speaker', at \[1, 0\]"):
        read([flat("x", x), flat("speaker", speaker) | {"data": [1, 2, 1e39, 4]}], manifest=model)


def test_a_window_has_exactly_its_steps() -> None:
    model = Manifest(
        task="forecast", axes=Axes(time_size=2), inputs=ONE.inputs, outputs=(OutputSpec(name="y"),)
    )
    rows, steps = read([flat("x", np.ones((1, 2, 3), np.float32))], manifest=model)
    assert steps == 2 and len(rows) == 1
    for lengths in ([], [flat("lengths", np.array([1], np.int32))]):
        x = np.ones((1, 2 if lengths else 3, 3), np.float32)
        with pytest.raises(WrongShape, match="exactly 2 steps"):
            read([flat("x", x), *lengths], manifest=model)


def test_numbers_for_the_categories_of_a_table_are_their_names() -> None:
    spec = InputSpec(name="ids", kind="token", dtype="int64", vocabulary=("b", "4", "0"), numbers="tokens")
    codes = np.array([[0, 4, 0], [4, 4, 0]])
    for form in (flat, nested, binary):
        blob = codes.tobytes() if form is binary else b""
        rows, _ = read([form("ids", codes)], blob, manifest_of(spec))
        assert [row.steps[0].tolist() for row in rows] == [[2, 1, 2], [1, 1, 2]]
    with pytest.raises(InvalidField, match=r"input 'ids', at \[0, 2\]: no category of 'ids' is written 1"):
        read([flat("ids", np.array([[0, 4, 1]]))], manifest=manifest_of(spec))
