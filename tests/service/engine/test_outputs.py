"""What the graph gave, row by row; and a tensor of another shape is an error, never an answer."""

from typing import Any

import numpy as np
import pytest

from service.engine.outputs import Output, States
from service.errors import InternalError
from service.manifest import Manifest, StateSpec
from service.sequence import Array, Chunk, Sequence


def output_of(axes: dict[str, Any] | None = None, *, steps_as_rows: bool = False, **fields: Any) -> Output:
    base = {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "y", "dims": [2]} | fields]}
    manifest = Manifest.model_validate(base | {"axes": axes or {}})
    return Output(manifest.outputs[0], manifest, steps_as_rows=steps_as_rows)


def chunk(steps: int, *, keep_all: bool, more: int = 0) -> Chunk:
    x = np.zeros((steps + more, 1), np.float32)
    return Chunk(Sequence((x,), (), keep_all=keep_all), 0, steps)


def numbers(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_row_has_its_own_steps_and_its_own_memory() -> None:
    y = numbers(3, 4, 2)
    rows = output_of().split(y, [chunk(4, keep_all=True), chunk(2, keep_all=True), chunk(3, keep_all=False)])
    assert [row.tolist() for row in rows] == [y[0].tolist(), y[1, :2].tolist(), y[2, 2:3].tolist()]
    assert rows[0].base is None and rows[1].base is None


def test_rows_that_only_fill_the_batch_are_dropped() -> None:
    y = numbers(4, 3, 2)
    (row,) = output_of().split(y, [chunk(3, keep_all=False)])
    assert row.tolist() == y[0, 2:].tolist()


def test_independent_steps_are_split_by_their_numbers() -> None:
    output = output_of({"time": None}, steps_as_rows=True)
    y = output.arrange(numbers(6, 2), 6, 3)
    rows = output.split(y, [chunk(3, keep_all=True), chunk(1, keep_all=True), chunk(2, keep_all=False)])
    assert [row.tolist() for row in rows] == [
        numbers(6, 2)[:3].tolist(), numbers(6, 2)[3:4].tolist(), numbers(6, 2)[5:].tolist(),
    ]  # fmt: skip


def test_a_further_output_of_the_last_step_is_an_answer_at_the_end_of_the_sequence() -> None:
    last, every = output_of(steps="last"), output_of()
    row = numbers(1, 2)
    assert len(last.extra(row, chunk(2, keep_all=True, more=1))) == 0
    assert last.extra(row, chunk(2, keep_all=True)) is row
    assert last.extra(row, chunk(2, keep_all=False, more=1)) is row
    assert every.extra(row, chunk(2, keep_all=True, more=1)) is row


@pytest.mark.parametrize(
    ("output", "shape", "message"),
    [
        (output_of(), (2, 4, 2), None),
        (
            output_of(),
            (2, 1, 2),
            r"'y' has the shape \[2, 1, 2\], where the manifest says \[batch, time, 2\]",
        ),
        (output_of(), (2, 9, 2), r"\[2, 9, 2\]"),
        (output_of(), (1, 4, 2), r"\[1, 4, 2\]"),
        (output_of(), (2, 4, 3), r"\[2, 4, 3\]"),
        (output_of(), (2, 2), r"\[2, 2\]"),
        (output_of({"batch": 1, "time": 0}), (4, 2, 2), None),
        (output_of({"batch": 1, "time": 0}), (2, 4, 2), r"says \[time, batch, 2\]"),
        (output_of({"batch": 1, "time": 0}), (4, 2), r"says \[time, batch, 2\]"),
        (output_of(steps="last"), (2, 2), None),
        (output_of(steps="last"), (2, 4, 2), r"says \[batch, 2\] of the last step"),
    ],
)
def test_another_shape_is_an_error(output: Output, shape: tuple[int, ...], message: str | None) -> None:
    if message is None:
        output.arrange(numbers(*shape), 2, 4)
        return
    with pytest.raises(InternalError, match=message):
        output.arrange(numbers(*shape), 2, 4)


STATE = StateSpec(input="h", output="h_out", shape=(1, "batch", 2))
COUNT = StateSpec(input="n", output="n_out", shape=(1,), dtype="int64")


def test_new_states_are_split_by_their_batch_axis() -> None:
    y, h = numbers(2, 1, 2), numbers(1, 2, 2)
    states = States((STATE,), [[1, "N", 2]])
    assert [[array.tolist() for array in row] for row in states.split([y, h], 2)] == [[[[0, 1]]], [[[2, 3]]]]
    assert list(States((), []).split([y], 2)) == [(), ()]
    (row,) = States((COUNT,), [[1]]).split([y, np.array([7])], 1)
    assert row[0].tolist() == [7]
    (row,) = States((STATE,), [[1, 2, 2]], has_fixed_batch=True).split([y, h], 1)
    assert row[0].tolist() == [[0, 1]]


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 2, 2), (2, 2)])
def test_a_state_that_changes_its_shape_is_an_error(shape: tuple[int, ...]) -> None:
    states = States((STATE,), [["layers", "N", "width"]])
    with pytest.raises(InternalError, match="a state that changes its shape cannot be kept"):
        states.split([numbers(2, 1, 2), numbers(*shape)], 2)


def test_a_state_that_grows_may_have_any_size_up_to_its_bound() -> None:
    cache = StateSpec(input="k", output="k_out", shape=("batch", 2, 3), grows=1)
    states = States((cache,), [["N", 2, 3]])  # whatever size the exporter wrote
    for size in range(3):
        rows = list(states.split([numbers(2, 1, 2), numbers(2, size, 3)], 2))
        assert [row[0].shape for row in rows] == [(size, 3)] * 2
    for shape in ((2, 3, 3), (2, 2, 2)):
        with pytest.raises(InternalError, match=r"it grows beyond 2 entries"):
            states.split([numbers(2, 1, 2), numbers(*shape)], 2)
