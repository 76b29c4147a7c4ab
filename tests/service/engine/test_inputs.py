"""The tensors of a call: padded, filled up, carried over and repeated."""

from typing import Any

import numpy as np
import pytest

from service.engine.inputs import Inputs
from service.errors import WrongShape
from service.manifest import Manifest
from service.sequence import Chunk, Sequence
from service.state import StateLayout

STATE = {"input": "h", "output": "h_out", "shape": ["batch", 2]}


def manifest(**fields: Any) -> Manifest:
    base: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [2]}],
        "outputs": [{"name": "y"}],
        "states": [STATE],
    }
    return Manifest.model_validate(base | fields)


def chunks_of(model: Manifest, lengths: list[int]) -> list[Chunk]:
    """Row r counts from 100 r; its state is r."""
    layout = StateLayout(model.states, model.kept_inputs)
    chunks = []
    for row, steps in enumerate(lengths):
        x = 100 * row + np.arange(2 * steps, dtype=np.float32).reshape(steps, 2)
        state = tuple(np.full_like(array, row) for array in layout.initial())
        chunks.append(Chunk(Sequence((x,), state), 0, steps))
    return chunks


def feeds(model: Manifest, lengths: list[int], **options: Any) -> dict[str, Any]:
    inputs = Inputs(model, **options)
    return inputs.feeds(chunks_of(model, lengths), max(lengths), inputs.new_buffers())


def test_a_shorter_row_ends_in_zeros_and_has_its_length() -> None:
    fed = feeds(manifest(lengths="n"), [2, 1], lengths_dtype="int64")
    assert fed["x"].tolist() == [[[0, 1], [2, 3]], [[100, 101], [0, 0]]]
    assert fed["n"].tolist() == [2, 1] and fed["n"].dtype == np.int64
    assert fed["h"].tolist() == [[0, 0], [1, 1]]


def test_a_fixed_batch_is_filled_up_with_its_last_row() -> None:
    fed = feeds(manifest(lengths="n", axes={"batch_size": 4}), [1, 1])
    assert fed["x"][:, 0, 0].tolist() == [0, 100, 100, 100]
    assert fed["h"][:, 0].tolist() == [0, 1, 1, 1] and fed["n"].tolist() == [1] * 4
    assert Inputs(manifest(axes={"batch_size": 4})).num_rows(chunks_of(manifest(), [1, 1])) == 4


def test_independent_steps_are_rows_without_padding() -> None:
    speaker = {"name": "v", "per": "sequence"}
    model = manifest(inputs=[{"name": "x", "dims": [2]}, speaker], states=[], axes={"time": None})
    fed = feeds(model, [2, 1, 2])
    assert fed["x"].tolist() == [[0, 1], [2, 3], [100, 101], [200, 201], [202, 203]]
    assert fed["v"].tolist() == [0, 0, 1, 2, 2]
    assert Inputs(model).num_rows(chunks_of(model, [2, 1, 2])) == 5


@pytest.mark.parametrize(
    ("carry", "expected"), [(1, [[9, 0, 1], [1, 2, 3]]), (3, [[9, 9, 9, 0, 1], [9, 0, 1, 2, 3]])]
)
def test_a_window_begins_before_its_step(carry: int, expected: list[list[int]]) -> None:
    model = manifest(inputs=[{"name": "x", "dims": [2], "carry": carry}])
    inputs = Inputs(model)
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    chunk = Chunk(Sequence((x,), (np.zeros(2), np.full(carry, 9, np.float32))), 0, 2)
    assert inputs.feeds([chunk], 2, inputs.new_buffers())["x"].tolist() == [expected]
    (kept,) = inputs.kept(chunk)
    assert kept.tolist() == expected[1][-carry:] and kept.base is None


def test_the_carry_of_a_dim_is_that_of_the_first() -> None:
    model = manifest(inputs=[{"name": "x", "dims": [2, 3], "carry": 1}], states=[])
    inputs = Inputs(model)
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    chunk = Chunk(Sequence((x,), (np.zeros((1, 3), np.float32),)), 0, 2)
    fed = inputs.feeds([chunk], 2, inputs.new_buffers())["x"]
    assert fed.shape == (1, 2, 3, 3) and fed[0, 1].tolist() == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize(
    ("fields", "lengths", "message"),
    [
        ({"axes": {"time": None}}, [1, 2], "exactly 1 step in a call, got 2"),
        ({"axes": {"time_size": 3}}, [3, 2], "exactly 3 steps in a call, got 2"),
        ({"axes": {"time_size": 1}}, [2], "exactly 1 step in a call, got 2"),
    ],
)
def test_steps_that_the_graph_does_not_take_are_refused(
    fields: dict[str, Any], lengths: list[int], message: str
) -> None:
    with pytest.raises(WrongShape, match=message):
        feeds(manifest(**fields), lengths)
