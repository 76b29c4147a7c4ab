"""Measurements of a graph: scores equal to PyTorch's, differences, latency, and the report's decision."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.training.synthetic import data_of
from tests.training.test_inputs import TASKS, network_for
from training import evaluate
from training.compress import Measured, Plan, Report
from training.compress.measure import BATCHED, SHAPES, SINGLE, difference, last_output, latencies, scores
from training.data.dataset import Task
from training.export.network import write_graph
from training.model import Network


def graph_of(network: Network) -> bytes:
    graph: bytes = write_graph(network).SerializeToString()
    return graph


@pytest.mark.parametrize("task", TASKS)
def test_the_scores_of_a_graph_are_those_of_its_network(task: Task) -> None:
    data = data_of(task)
    network = network_for(data)
    expected = evaluate.evaluate(network, data, data.test).metrics
    assert scores(graph_of(network), network, data, data.test) == pytest.approx(
        expected, rel=1e-4, nan_ok=True
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_last_output_is_that_of_the_network(task: Task) -> None:
    data = data_of(task)
    network = network_for(data)
    sequence = data.test.sequences[1]
    with torch.no_grad():
        x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
        y, _ = network(x, lengths, network.initial_state(1))
    expected = y[0, -1] if network.quantiles else network.probabilities(y[0, -1])
    np.testing.assert_allclose(
        last_output(graph_of(network), network, sequence), expected, rtol=1e-4, atol=1e-5
    )


def test_a_graph_does_not_differ_from_itself_and_the_difference_is_symmetric() -> None:
    data = data_of("label")
    network, other = network_for(data), network_for(data)
    with torch.no_grad():
        other.head.bias.add_(torch.tensor([0.25, -0.5]))
    one, two = graph_of(network), graph_of(other)
    assert set(difference(one, one, network, data.test).values()) == {0.0}
    changed = difference(one, two, network, data.test)
    assert changed == difference(two, one, network, data.test)
    assert changed["logits"] == pytest.approx(0.5, rel=1e-4)
    assert changed["h_out"] == 0, "the state does not depend on the head"


def test_latencies_are_positive_for_every_graph_and_shape() -> None:
    data = data_of("label")
    network = network_for(data)
    graph = graph_of(network)
    times = latencies({"before": graph, "after": graph}, network, 2)
    assert set(times) == {"before", "after"}
    for by_shape in times.values():
        assert set(by_shape) == set(SHAPES) == {SINGLE, BATCHED}
        assert 0 < by_shape[SINGLE] < by_shape[BATCHED]


def measured(**validation: float) -> Measured:
    return Measured(validation, {}, 0, 0, 0, 0, {})


@pytest.mark.parametrize(
    ("measure", "before", "after", "drop"),
    [
        ("accuracy", 0.9, 0.85, 0.05),
        ("accuracy", 0.8, 0.9, -0.1),
        ("error", 2.0, 2.1, 0.05),
        ("bits", 4.0, 3.0, -0.25),
    ],
)
def test_a_drop_is_accuracy_lost_or_the_relative_growth_of_an_error(
    measure: str, before: float, after: float, drop: float
) -> None:
    report = Report("", measure, measured(**{measure: before}), measured(**{measure: after}))
    assert report.drop == pytest.approx(drop)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"units": 0.5}, "50% of the units removed"),
        (
            {"units": 0.25, "weights": 0.5, "bits": "int8"},
            "25% of the units removed, 50% of the weights zero, INT8",
        ),
    ],
)
def test_a_plan_is_described_in_its_order(fields: dict[str, Any], text: str) -> None:
    assert Plan(**fields).describe() == text
