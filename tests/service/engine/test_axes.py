"""The order of a graph's axes: there and back again, whatever the order."""

import itertools

import numpy as np
import pytest

from service.engine.axes import Order, input_order, output_order, takes_one_step, takes_steps_as_rows
from service.manifest import Axes, InputSpec, Manifest, OutputSpec

POSITIONS = [None, 0, 1, 2, 3]
PAIRS = [pair for pair in itertools.product(POSITIONS, repeat=2) if pair[0] is None or pair[0] != pair[1]]


@pytest.mark.parametrize(("batch", "time"), PAIRS)
@pytest.mark.parametrize("num_dims", [0, 1, 2])
def test_the_way_back_undoes_the_way_there(batch: int | None, time: int | None, num_dims: int) -> None:
    order = Order(batch, time, num_dims)
    dims = (5, 6)[:num_dims]
    x = np.random.default_rng(0).normal(size=(1 if batch is None else 3, 1 if time is None else 4, *dims))
    there = order.to_graph(x)
    assert there.ndim == order.rank == num_dims + (batch is not None) + (time is not None)
    assert there.flags.c_contiguous
    assert np.array_equal(order.from_graph(there), x)
    sizes = {"batch": 3, "time": 4, "0": 5, "1": 6}
    assert there.shape == tuple(sizes[label] for label in order.labels)
    dims_in_order = [label for label in order.labels if label.isdigit()]
    assert dims_in_order == sorted(dims_in_order), "the dims keep their order"


def test_a_position_is_that_of_the_axis_in_the_graph_or_the_last() -> None:
    assert Order(0, 2, 1).labels == ["batch", "0", "time"]
    assert Order(2, 0, 1).labels == ["time", "0", "batch"]
    assert Order(0, 2, 0).labels == ["batch", "time"], "a tensor without dims has only two axes"
    assert Order(0, 1, 2).is_plain and not Order(1, 0, 2).is_plain and not Order(0, None, 1).is_plain


def test_a_shape_is_described_with_the_sizes_that_are_fixed() -> None:
    assert Order(1, 0, 1).describe((12,)) == ["time", "batch", "12"]
    assert Order(1, 0, 1).describe((12,), batch=4, time=1) == ["1", "4", "12"]


@pytest.mark.parametrize(
    ("axes", "labels"),
    [
        (Axes(), ["batch", "0"]),
        (Axes(batch=1, time=0), ["batch", "0"]),
        (Axes(batch=0, time=2), ["batch", "0"]),
        (Axes(batch=2, time=1), ["0", "batch"]),
        (Axes(batch=1, time=None), ["0", "batch"]),
        (Axes(batch=None, time=0), ["0"]),
    ],
)
def test_without_the_time_axis_the_axes_behind_it_move_up(axes: Axes, labels: list[str]) -> None:
    speaker = InputSpec(name="v", dims=(6,), per="sequence")
    assert input_order(speaker, axes).labels == labels
    assert output_order(OutputSpec(name="y", dims=(6,), steps="last"), axes).labels == labels


def test_an_output_may_have_axes_of_its_own() -> None:
    kept = OutputSpec(name="y", dims=(6,), steps="last", axes=Axes(batch=1, time=0))
    assert output_order(kept, Axes()).labels == ["time", "batch", "0"]
    assert output_order(OutputSpec(name="y", dims=(6,)), Axes(batch=1, time=0)).labels == [
        "time",
        "batch",
        "0",
    ]


@pytest.mark.parametrize(
    ("axes", "states", "one_step", "as_rows"),
    [
        ({"time": None}, [], True, True),
        ({"time_size": 1}, [], True, True),
        ({"time": None, "batch_size": 4}, [], True, False),
        ({"time": None, "batch": None}, [], True, False),
        ({"time": None}, [{"input": "h", "output": "o", "shape": ["batch", 2]}], True, False),
        ({"time_size": 3}, [], False, False),
        ({}, [], False, False),
    ],
)
def test_independent_steps_are_rows_of_a_dynamic_batch(
    axes: dict[str, int | None], states: list[dict[str, object]], one_step: bool, as_rows: bool
) -> None:
    fields = {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    manifest = Manifest.model_validate(fields | {"axes": axes, "states": states})
    assert (takes_one_step(manifest), takes_steps_as_rows(manifest)) == (one_step, as_rows)
