"""What a graph's axes, states and row lengths make of the bounds for all models."""

import sys
from typing import Any

import pytest

from service.engine.batching import Batching, max_batch_for, scheduler_for
from service.engine.cost import Cost
from service.manifest import Manifest

BATCHING = Batching(max_batch=8, chunk_steps=16, max_waiting=64, max_wait_s=2.0, target_s=0.5)
STATE = {"input": "h", "output": "h_out", "shape": ["batch", 2]}


def manifest(**fields: Any) -> Manifest:
    defaults: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [2]}],
        "outputs": [{"name": "y", "dims": [2]}],
        "states": [STATE],
        "lengths": "lengths",
    }
    return Manifest.model_validate(defaults | fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 8),
        ({"lengths": None}, 8),
        ({"axes": {"batch_size": 4}}, 4),
        ({"axes": {"batch": None, "time": 0}}, 1),
        ({"states": [STATE | {"shape": [2]}]}, 1),
        ({"states": []}, 8),
        ({"causal": False}, 8),
        ({"causal": False, "lengths": None}, 1),
        ({"states": [], "lengths": None}, 1),
        ({"axes": {"batch_size": 16}}, 8),
        ({"states": [], "lengths": None, "axes": {"time": None}}, 8),
        ({"states": [], "lengths": None, "axes": {"time": None, "batch_size": 4}}, 4),
        ({"states": [], "lengths": None, "axes": {"time_size": 5}}, 8),
        ({"causal": False, "lengths": None, "axes": {"time_size": 5}}, 8),
        ({"lengths": None, "axes": {"time_size": 5}}, 8),
        ({"causal": False, "lengths": None, "axes": {"time": None}}, 8),
    ],
)
def test_a_batch_has_as_many_rows_as_the_graph_can_take(fields: dict[str, Any], expected: int) -> None:
    assert max_batch_for(manifest(**fields), BATCHING) == expected
    assert scheduler_for(manifest(**fields), BATCHING).max_batch == expected


@pytest.mark.parametrize(
    ("fields", "expected", "cuts"),
    [
        ({}, 16, True),
        ({"axes": {"time": None}}, 1, True),
        ({"axes": {"time_size": 1}}, 1, True),
        ({"axes": {"time": None}, "causal": False}, 1, True),
        ({"axes": {"time": None, "batch_size": 4}, "states": []}, 1, True),
        ({"axes": {"time": None, "batch": None}, "states": []}, 1, True),
        ({"axes": {"time": None}, "states": []}, 16, True),
        ({"axes": {"time_size": 1}, "states": []}, 16, True),
        ({"axes": {"time_size": 5}}, 5, True),
        ({"axes": {"time_size": 20}}, 20, True),
        ({"axes": {"time_size": 5}, "states": []}, sys.maxsize, False),
        ({"axes": {"time_size": 5}, "causal": False}, sys.maxsize, False),
        ({"causal": False}, sys.maxsize, False),
        ({"states": []}, sys.maxsize, False),
        ({"states": [], "inputs": [{"name": "x", "dims": [2], "carry": 1}]}, 16, True),
        ({"states": [], "inputs": [{"name": "x"}, {"name": "v", "per": "sequence"}]}, sys.maxsize, False),
    ],
)
def test_a_sequence_is_cut_only_if_its_state_can_be_carried_over(
    fields: dict[str, Any], expected: int, cuts: bool
) -> None:
    scheduler = scheduler_for(manifest(**fields), BATCHING)
    assert (scheduler.chunk_steps, scheduler.cuts) == (expected, cuts)
    assert scheduler.whole_chunks is (expected in (5, 20))


def test_rows_are_ragged_only_if_the_graph_takes_lengths_and_computes_them_well() -> None:
    assert scheduler_for(manifest(), BATCHING).ragged
    assert not scheduler_for(manifest(), BATCHING, ragged=False).ragged
    assert not scheduler_for(manifest(lengths=None), BATCHING).ragged
    assert max_batch_for(manifest(causal=False), BATCHING, ragged=False) == 1
    steps = manifest(states=[], lengths=None, axes={"time": None})
    assert scheduler_for(steps, BATCHING, ragged=False).ragged, "independent steps are not padded"


def test_the_other_bounds_and_the_cost_are_passed_on() -> None:
    cost = Cost()
    scheduler = scheduler_for(manifest(), BATCHING, cost)
    assert scheduler.cost is cost
    assert (scheduler.max_waiting, scheduler.max_wait_s, scheduler.target_s) == (64, 2.0, 0.5)
