"""A named initial state is read from the file that an export wrote, or another program, or it is refused."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidField, NonFinite, WrongShape
from service.manifest import InputSpec, StateSpec
from service.sequence import Array
from service.sessions import Binding, initial
from service.state import StateLayout

LAYOUT = StateLayout(
    [
        StateSpec(input="h", output="h_out", shape=(1, "batch", 2), initial=0.5),
        StateSpec(input="n", output="n_out", shape=("batch", 2), dtype="int64"),
        StateSpec(input="seen", output="seen_out", shape=("batch", 2), dtype="bool"),
        StateSpec(input="k", output="k_out", shape=("batch", 3, 2), grows=1),
    ],
    [
        InputSpec(name="speaker", tensor="s", dims=(2,), per="sequence"),
        InputSpec(name="x", dims=(1,), carry=2),
    ],
)
STATE = (
    np.array([[1, 2]], np.float32),
    np.array([2**53 + 1, -(2**63)]),
    np.array([False, True]),
    np.arange(4, dtype=np.float32).reshape(2, 2),
    np.array([7, 8], np.float32),
    np.array([[9], [10]], np.float32),
)
METADATA = initial.metadata_of(Binding("m", "1", bytes(8)), 145)


def file(**changes: Array | None) -> bytes:
    """With other tensors, or without some."""
    tensors = safetensors.numpy.load(initial.write(LAYOUT.pack(STATE), LAYOUT, METADATA))
    return safetensors.numpy.save({name: a for name, a in (tensors | changes).items() if a is not None})


def test_an_export_is_read_back_without_the_inputs_that_each_sequence_gives() -> None:
    blob = initial.write(LAYOUT.pack(STATE), LAYOUT, METADATA)
    state = initial.read(blob, LAYOUT)
    assert LAYOUT.pack(state) == LAYOUT.pack((*STATE[:4], np.zeros(2, np.float32), STATE[5]))
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    assert header.pop("__metadata__") == {
        "model": "m", "version": "1", "fingerprint": "0" * 16, "step": "145",
    }  # fmt: skip
    assert set(header) == {"h", "n", "seen", "k", "x"}
    assert len(blob) <= initial.max_bytes(LAYOUT)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"h": None}, InvalidField, "expected exactly the states 'h', 'k', 'n', 'seen', 'x', got 'k', 'n'"),
        ({"s": np.zeros(2, np.float32)}, InvalidField, "expected exactly the states"),
        ({"h": np.zeros((1, 2), np.float64)}, InvalidField, "the state 'h' is float64, the graph's float32"),
        ({"n": np.zeros(2, np.int32)}, InvalidField, "the state 'n' is int32, the graph's int64"),
        ({"h": np.zeros((1, 3), np.float32)}, WrongShape, r"'h' has the shape \[1, 3\], not \[1, 2\]"),
        ({"h": np.zeros((1, 1, 2), np.float32)}, WrongShape, r"'h' has the shape \[1, 1, 2\]"),
        ({"k": np.zeros((4, 2), np.float32)}, WrongShape, r"'k' has the shape \[4, 2\], not \[0 to 3, 2\]"),
        ({"h": np.full((1, 2), np.nan, np.float32)}, NonFinite, "the state 'h' contains NaN"),
        ({"seen": np.array([2, 1], np.uint8).view(np.bool_)}, InvalidField, "neither true nor false"),
    ],
    ids=["missing", "given once", "dtype", "integer", "shape", "batch axis", "grown", "NaN", "boolean"],
)
def test_a_file_that_does_not_fit_the_graph_is_refused(
    changes: dict[str, Array | None], error: type[InvalidField], message: str
) -> None:
    with pytest.raises(error, match=message):
        initial.read(file(**changes), LAYOUT)


def test_a_model_that_may_answer_nan_may_begin_from_it() -> None:
    nan = np.full((1, 2), np.nan, np.float32)
    assert np.isnan(np.asarray(initial.read(file(h=nan), LAYOUT, allows_non_finite=True)[0])).all()


@given(st.one_of(st.binary(max_size=200), st.integers(0, 100).map(lambda end: file()[:end])))
def test_what_is_no_such_file_is_refused(blob: bytes) -> None:
    with pytest.raises(InvalidField, match="not a safetensors file"):
        initial.read(blob, LAYOUT)


def test_a_dtype_that_no_state_has_is_refused() -> None:
    text = b'{"h":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    text += b" " * (-len(text) % 8)
    with pytest.raises(InvalidField, match="a dtype that no state has"):
        initial.read(struct.pack("<Q", len(text)) + text + b"\0", LAYOUT)
