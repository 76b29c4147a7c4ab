"""The layout of a state: packed and unpacked whole, and parsed from a client's numbers or refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidField, NonFinite, SessionMismatch, WrongShape
from service.manifest import InputSpec, StateSpec
from service.sequence import State
from service.state import StateLayout, StateTensor, describe

LAYOUT = StateLayout(
    [
        StateSpec(input="h", output="h_out", shape=(1, "batch", 2)),
        StateSpec(input="c", output="c_out", dtype="float64", shape=("batch", 3), initial=0.5),
        StateSpec(input="n", output="n_out", dtype="float16", shape=("batch", 1)),
    ]
)


def test_the_layout_is_that_of_the_manifest_without_the_batch_axis() -> None:
    assert LAYOUT.tensors == (
        StateTensor(name="h", dtype="float32", shape=(1, 2)),
        StateTensor(name="c", dtype="float64", shape=(3,)),
        StateTensor(name="n", dtype="float16", shape=(1,)),
    )
    assert LAYOUT.num_bytes == 8 + 24 + 2
    assert describe(LAYOUT.tensors) == "h float32[1, 2], c float64[3], n float16[1]"


def test_the_initial_state_is_filled_with_the_manifests_values() -> None:
    h, c, n = LAYOUT.initial()
    assert (h.tolist(), c.tolist(), n.tolist()) == ([[0, 0]], [0.5] * 3, [0])
    assert [array.dtype for array in (h, c, n)] == ["float32", "float64", "float16"]
    assert LAYOUT.initial()[0] is not h, "each caller may write to its own"


@given(arrays.arrays(np.float32, (1, 2)), arrays.arrays(np.float64, (3,)), arrays.arrays(np.float16, (1,)))
def test_a_state_is_unpacked_as_it_was_packed(h: Any, c: Any, n: Any) -> None:
    packed = LAYOUT.pack((h, c, n))
    assert packed == h.tobytes() + c.tobytes() + n.tobytes()
    unpacked = LAYOUT.unpack(packed)
    assert LAYOUT.pack(unpacked) == packed
    assert [array.shape for array in unpacked] == [(1, 2), (3,), (1,)]
    assert not any(array.flags.writeable for array in unpacked)
    assert {name: array.tobytes() for name, array in LAYOUT.unpack_named(packed).items()} == {
        "h": h.tobytes(), "c": c.tobytes(), "n": n.tobytes(),
    }  # fmt: skip


def test_arrays_that_are_not_contiguous_are_packed_in_order() -> None:
    h = np.arange(4, dtype=np.float32).reshape(2, 2).T[:1]
    assert (
        LAYOUT.pack((h, np.zeros(3), np.zeros(1, np.float16)))[:8] == np.array([0, 2], np.float32).tobytes()
    )


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=2))
def test_a_clients_numbers_are_parsed_as_the_tensors(h: list[float]) -> None:
    packed = LAYOUT.parse({"n": [1], "h": [h], "c": [1, 2, 3.5]})
    state = LAYOUT.unpack_named(packed)
    assert state["h"].tolist() == [h]
    assert state["c"].tolist() == [1, 2, 3.5]


GOOD: dict[str, Any] = {"h": [[1, 2]], "c": [1, 2, 3], "n": [1]}


@pytest.mark.parametrize(
    ("change", "error", "pointer"),
    [
        ({"c": None}, InvalidField, "/state/c"),
        ({"c": ["1", "2", "3"]}, InvalidField, "/state/c"),
        ({"c": [True, False, True]}, InvalidField, "/state/c"),
        ({"x": [1]}, InvalidField, "/state"),
        ({"c": [1, 2]}, WrongShape, "/state/c"),
        ({"h": [1, 2]}, WrongShape, "/state/h"),
        ({"h": [[1], [2, 3]]}, WrongShape, "/state/h"),
        ({"n": [1e6]}, NonFinite, "/state/n"),
        ({"c": [1, 2, float("nan")]}, NonFinite, "/state/c"),
    ],
    ids=["null", "text", "booleans", "unknown name", "length", "rank", "ragged", "overflow", "NaN"],
)
def test_other_values_are_refused(change: dict[str, Any], error: type[InvalidField], pointer: str) -> None:
    with pytest.raises(error) as raised:
        LAYOUT.parse(GOOD | change)
    assert raised.value.pointer == pointer


def test_a_missing_tensor_is_refused() -> None:
    with pytest.raises(InvalidField, match="'h', 'c', 'n'"):
        LAYOUT.parse({"h": [[1, 2]], "c": [1, 2, 3]})


KEPT = StateLayout(
    [
        StateSpec(input="n", output="n_out", dtype="int64", shape=("batch", 2), initial=-1),
        StateSpec(input="seen", output="seen_out", dtype="bool", shape=("batch",), initial=True),
    ],
    [
        InputSpec(name="voice", tensor="v", dims=(2,), per="sequence"),
        InputSpec(name="x", dims=(4, 2), carry=3, dtype="int8"),
    ],
)


def test_what_is_kept_of_inputs_follows_the_graphs_own_states() -> None:
    assert describe(KEPT.tensors) == "n int64[2], seen bool[], v float32[2], x int8[3, 2]"
    assert KEPT.num_states == 2
    assert [array.tolist() for array in KEPT.initial()] == [[-1, -1], True, [0, 0], [[0, 0]] * 3]
    state = KEPT.unpack(KEPT.pack(KEPT.initial()))
    assert [(array.dtype.name, array.shape) for array in state] == [
        ("int64", (2,)), ("bool", ()), ("float32", (2,)), ("int8", (3, 2)),
    ]  # fmt: skip


def test_a_value_per_sequence_is_given_by_its_name_in_a_request() -> None:
    state = KEPT.initial()
    given = KEPT.with_values(state, {"voice": np.array([1.5, 2])})
    assert given[2].tolist() == [1.5, 2] and given[2].dtype == np.float32
    assert [given[i] is state[i] for i in (0, 1, 3)] == [True] * 3 and not state[2].any()


INTEGERS: dict[str, Any] = {"n": [1, 2**62], "seen": False, "v": [1, 2], "x": [[1, 2]] * 3}


def test_integers_and_booleans_are_parsed_exactly() -> None:
    state = KEPT.unpack_named(KEPT.parse(INTEGERS))
    assert state["n"].tolist() == [1, 2**62] and state["seen"].tolist() is False


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"n": [1.5, 2]}, InvalidField),
        ({"n": [True, False]}, InvalidField),
        ({"seen": 1}, InvalidField),
        ({"x": [[1, 200]] * 3}, NonFinite),
        ({"n": [2**63, 1]}, InvalidField),
    ],
    ids=["fraction", "booleans", "a number for a boolean", "beyond int8", "beyond int64"],
)
def test_other_numbers_are_no_integers(change: dict[str, Any], error: type[InvalidField]) -> None:
    with pytest.raises(error, match=r"expected|does not fit"):
        KEPT.parse(INTEGERS | change)


GROWING = StateLayout(
    [
        StateSpec(input="k", output="k_out", shape=("batch", 4, 2), grows=1),
        StateSpec(input="h", output="h_out", dtype="float64", shape=("batch", 1)),
        StateSpec(input="v", output="v_out", dtype="int8", shape=(2, "batch", 3), grows=2),
    ],
    [InputSpec(name="voice", tensor="s", dims=(2,), per="sequence")],
)
SIZES = st.tuples(st.integers(0, 4), st.integers(0, 3))


def growing_state(sizes: tuple[int, int]) -> State:
    k, v = sizes
    return (
        np.arange(k * 2, dtype=np.float32).reshape(k, 2),
        np.array([7.0]),
        np.arange(2 * v, dtype=np.int8).reshape(2, v),
        np.array([1, 2], np.float32),
    )


@given(SIZES)
def test_a_state_that_grows_keeps_its_shape_in_bytes_and_for_clients(sizes: tuple[int, int]) -> None:
    state = growing_state(sizes)
    packed = GROWING.pack(state)
    assert GROWING.fits(packed) and len(packed) == 8 * sizes[0] + 8 + 2 * sizes[1] + 8 + 2 * 4
    assert len(packed) <= GROWING.num_bytes
    GROWING.check_size(packed)
    unpacked = GROWING.unpack(packed)
    assert [array.shape for array in unpacked] == [array.shape for array in state]
    assert GROWING.pack(unpacked) == packed
    shown = {name: array.tolist() for name, array in GROWING.unpack_named(packed).items()}
    assert GROWING.parse(shown) == packed


def test_a_state_that_grows_is_empty_at_step_0() -> None:
    initial = GROWING.initial()
    assert [array.shape for array in initial] == [(0, 2), (1,), (2, 0), (2,)]
    assert [array.dtype.name for array in initial] == ["float32", "float64", "int8", "float32"]
    assert describe(GROWING.tensors) == "k float32[0 to 4, 2], h float64[1], v int8[2, 0 to 3], s float32[2]"


@given(st.binary(max_size=80))
def test_bytes_that_fit_are_those_that_can_be_unpacked(packed: bytes) -> None:
    if not GROWING.fits(packed):
        with pytest.raises(SessionMismatch, match="the manifest has changed"):
            GROWING.check_size(packed)
        return
    assert GROWING.pack(GROWING.unpack(packed)) == packed


def test_bytes_of_other_sizes_do_not_fit() -> None:
    packed = GROWING.pack(growing_state((2, 3)))
    others = [packed[:-1], packed[1:], packed + b"\0", b"", packed[:-8]]
    others += [
        packed[:-8] + np.array(sizes, "<u4").tobytes() for sizes in ((3, 3), (2, 2), (5, 3), (2, 2**31))
    ]
    assert not any(map(GROWING.fits, others))


GROWN: dict[str, Any] = {"k": [[1, 2]], "h": [3], "v": [[4], [5]], "s": [6, 7]}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"k": [[1, 2]] * 5}, WrongShape),
        ({"k": [[1, 2, 3]]}, WrongShape),
        ({"k": [1, 2]}, WrongShape),
        ({"k": None}, InvalidField),
        ({"k": ""}, InvalidField),
        ({"v": [[4, 5]]}, WrongShape),
        ({"v": [[1] * 4] * 2}, WrongShape),
        ({"h": []}, InvalidField),
    ],
    ids=["too long", "another width", "rank", "null", "text", "another axis", "beyond", "it does not grow"],
)
def test_a_grown_state_of_another_shape_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    assert GROWING.fits(GROWING.parse(GROWN)) and GROWING.fits(
        GROWING.parse(GROWN | {"k": [], "v": [[], []]})
    )
    with pytest.raises(error):
        GROWING.parse(GROWN | change)


WRONG_NULLS: list[Any] = [[[None, "1"]], [[None, {}]], None]


def test_null_is_read_as_nan_where_a_model_may_answer_it() -> None:
    """The state was shown with null, and could not be put back."""
    shown: dict[str, Any] = {"h": [[None, 1]], "c": [None, None, None], "n": [2.5]}
    h, c, n = LAYOUT.unpack(LAYOUT.parse(shown, allows_null=True))
    assert np.array_equal(h, np.array([[np.nan, 1]]), equal_nan=True) and np.isnan(c).all() and n == 2.5
    with pytest.raises(InvalidField, match="expected numbers"):
        LAYOUT.parse(shown)
    for wrong in WRONG_NULLS:
        with pytest.raises((InvalidField, WrongShape)):
            LAYOUT.parse(shown | {"h": wrong}, allows_null=True)
    integers = StateLayout([StateSpec(input="n", output="n_out", dtype="int64", shape=("batch", 1))])
    with pytest.raises(InvalidField, match="expected integers"):
        integers.parse({"n": [None]}, allows_null=True)
    with pytest.raises(NonFinite):
        LAYOUT.parse(shown | {"n": [1e9]}, allows_null=True)


def test_a_fault_is_what_no_server_packs() -> None:
    flags = StateLayout([StateSpec(input="f", output="f_out", shape=("batch", 2), dtype="bool")])
    assert flags.fault(b"\x00\x01") is None
    assert flags.fault(b"\x00\x02") == "the state 'f' has a byte that is neither true nor false"
    assert flags.fault(b"\x00") == "the state has 1 bytes, its tensors 2"
    assert GROWING.fault(GROWING.pack(GROWING.initial())) is None and GROWING.fault(b"") is not None
    flags.check_finite(b"\x00\x01")
    LAYOUT.check_finite(LAYOUT.pack(LAYOUT.initial()))
    with pytest.raises(NonFinite, match="the state 'c' contains NaN or an infinity"):
        h, c, n = LAYOUT.initial()
        LAYOUT.check_finite(LAYOUT.pack((h, c * np.inf, n)))
