"""The example of a manifest: which sequence, in which form, with which output."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.synthetic import data_of, encoded_data
from tests.training.test_encoders import network_for as encoded_network_for
from tests.training.test_inputs import TASKS, network_for
from training.data.dataset import DataSet, Sequence, Split, Task, each_step
from training.export import random_network
from training.export.example import EXAMPLE_STEPS, TOLERANCE, example, example_sequence, steps_of


def with_one_sequence(data: DataSet, sequence: Sequence) -> DataSet:
    """The data set with this sequence as its test part; targets do not matter for the example."""
    return replace(data, test=Split((sequence,), each_step([np.zeros(len(sequence))])))


@pytest.mark.parametrize("task", TASKS)
def test_where_every_step_counts_the_example_is_the_beginning_of_the_first_test_sequence(task: Task) -> None:
    data = data_of(task)
    longest = max(data.test.sequences, key=len)
    sequence = example_sequence(network_for(data), with_one_sequence(data, longest))
    np.testing.assert_array_equal(sequence, longest[:EXAMPLE_STEPS])


def test_a_single_input_is_a_list_and_several_are_named() -> None:
    single, data = random_network(cell="gru", features=2, hidden=3, layers=1, classes=2, seed=0)
    steps = steps_of(single, data.test.sequences[0])
    assert isinstance(steps, list)
    assert np.array_equal(np.array(steps, np.float32), data.test.sequences[0])
    mixed = data_of("forecast")
    named = steps_of(network_for(mixed), mixed.test.sequences[0])
    assert isinstance(named, dict)
    assert list(named) == ["x", "sky", "hour"]
    assert all(isinstance(token, int) for token in named["sky"])


def test_categories_of_a_table_are_sent_by_name() -> None:
    mixed = data_of("forecast")
    x, sky, hour = mixed.inputs
    by_name = replace(mixed, inputs=(x, replace(sky, numbers="tokens"), hour))
    steps = steps_of(network_for(by_name), mixed.test.sequences[0])
    ids = steps_of(network_for(mixed), mixed.test.sequences[0])
    assert isinstance(steps, dict) and isinstance(ids, dict)
    assert steps["sky"] == [sky.vocabulary[number] for number in ids["sky"]]


def test_a_missing_number_is_null_and_numbers_parse_to_the_same_float32() -> None:
    data = data_of("label")
    sequence = np.array([[0.1, np.nan], [1 / 3, 1e-20]], np.float32)
    steps = steps_of(network_for(data), sequence)
    assert isinstance(steps, list)
    assert steps[0] == [0.1, None]
    assert np.array_equal(np.array(steps[1], np.float32), sequence[1])


def test_frames_are_nested_lists() -> None:
    data = encoded_data()
    named = steps_of(encoded_network_for(data), data.test.sequences[0])
    assert isinstance(named, dict)
    frame = np.array(named["frames"][0], np.float32)
    np.testing.assert_array_equal(frame.ravel(), data.test.sequences[0][0, :35])


def test_a_classifier_has_a_label_and_probabilities() -> None:
    network, data = random_network(cell="lstm", features=3, hidden=8, layers=1, classes=4, seed=0)
    result = example(network.eval(), data)
    assert result.label == data.labels[int(np.argmax(result.output))]
    assert np.sum(result.output) == pytest.approx(1, abs=1e-6)
    assert result.tolerance == TOLERANCE


def test_the_tolerance_allows_what_float32_rounds_in_the_network() -> None:
    """Differences grow in saturated gates; a load elsewhere may be as far from the truth as PyTorch is."""
    network, data = random_network(cell="rnn", features=3, hidden=32, layers=2, classes=4, seed=0)
    with torch.no_grad():
        for parameter in network.cell.parameters():
            parameter.mul_(20)
    steps = np.tile(data.test.sequences[0][:1], (200, 1))
    steep = replace(data, test=Split((steps,), np.zeros(1, np.int64)))
    assert example(network.eval(), steep).tolerance > 10 * TOLERANCE


@pytest.mark.parametrize("size", [1e-6, 0.5, 2000.0])
def test_the_tolerance_of_a_forecast_is_relative_to_its_largest_number(size: float) -> None:
    data = data_of("forecast")
    network = network_for(data)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    network.input_layer.shift[0], network.input_layer.scale[0] = 0, 1
    assert network.quantiles is not None
    network.quantiles.reach.fill_(size)
    x = data.test.sequences[0].copy()
    x[:, 0] = size
    result = example(network, with_one_sequence(data, x))
    assert result.label is None
    assert result.tolerance == pytest.approx(TOLERANCE * np.abs(result.output).max(), rel=1e-2)
