"""The input layer: gaps filled as by hand, tokens embedded, older weights accepted."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.synthetic import MIXED, data_of, encoded_data, gapped
from training.data.dataset import DataSet, Input, Split, Task, each_step
from training.export.network import write_graph
from training.export.parity import check
from training.inputs import InputLayer
from training.model import Network
from training.tasks import of

TASKS: tuple[Task, ...] = ("forecast", "language", "label", "regress", "multilabel")


def network_for(data: DataSet, cell: str = "lstm") -> Network:
    torch.manual_seed(0)
    network = Network(
        cell=cell, features=data.inputs, hidden=12, layers=2, out=data.out, embedding=5,
        forecast=data.forecast, estimates=data.task == "regress", independent=data.task == "multilabel",
        quantiles=data.quantiles,
    ).eval()  # fmt: skip
    network.learn_normalisation(data.train.sequences)
    of(data).prepare(network, data)
    return network


def test_gaps_are_filled_with_the_last_observed_value_decaying_to_the_mean() -> None:
    front = InputLayer((Input(features=("a",), has_gaps=True),), embedding=1)
    front.shift.fill_(10)
    nan = math.nan
    x = torch.tensor([[[nan], [12], [nan], [nan], [7], [nan]]])
    read = front(x, torch.tensor([6]), (torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)))
    left = math.exp(-math.log1p(math.exp(-4.6)))  # share of an observed value that remains one step later
    filled = [0, 2, 2 * left, 2 * left**2, -3, -3 * left]
    torch.testing.assert_close(read.channels[0, :, 0], torch.tensor(filled))
    assert read.channels[0, :, 1].tolist() == [0, 1, 0, 0, 1, 0]
    assert read.level[0, :, 0].tolist() == [10, 12, 12, 12, 7, 7]
    assert [float(part) for part in read.state] == [-3, 1]


@given(st.integers(2, 25), st.integers(0, 50), st.data())
def test_cutting_a_sequence_does_not_change_its_filled_gaps(
    steps: int, seed: int, data: st.DataObject
) -> None:
    front = InputLayer((Input(features=("a", "b"), has_gaps=True),), embedding=1).eval()
    x = torch.from_numpy(gapped(np.random.default_rng(seed), steps, share=0.6))[None]
    start = (torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    whole = front(x, torch.tensor([steps]), start)
    cut = data.draw(st.integers(1, steps - 1))
    first = front(x[:, :cut], torch.tensor([cut]), start)
    second = front(x[:, cut:], torch.tensor([steps - cut]), first.state)
    torch.testing.assert_close(torch.cat([first.channels, second.channels], dim=1), whole.channels)
    torch.testing.assert_close(second.state, whole.state)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", ["lstm", "layer_norm", "bidirectional"])
def test_a_graph_of_any_input_and_task_agrees_with_torch(task: Task, cell: str) -> None:
    data = data_of(task)
    network = network_for(data, cell)
    differences = check(write_graph(network).SerializeToString(), network, data.test).differences
    assert {name.removesuffix("_out") for name in differences} >= set(network.states)


@pytest.mark.parametrize("padding", [0.0, math.nan])
def test_padding_does_not_influence_filled_gaps(padding: float) -> None:
    data = data_of("label")
    network = network_for(data)
    x = torch.full((2, 9, 2), padding)
    for row, length in enumerate((9, 4)):
        x[row, :length] = torch.from_numpy(gapped(np.random.default_rng(row), length))
    y, state = network(x, torch.tensor([9, 4]), network.initial_state(2))
    alone, its_state = network(x[1:, :4], torch.tensor([4]), network.initial_state(1))
    torch.testing.assert_close(y[1:, :4], alone)
    torch.testing.assert_close([part[:, 1:] for part in state], list(its_state))


def test_tokens_are_not_scaled_and_numbers_are() -> None:
    data = data_of("forecast")
    front = network_for(data).input_layer
    assert front.scale[2] == 1
    assert front.shift[2] == 0
    assert (front.scale[[0, 1, 3]] != 1).all()
    assert [input_.columns for input_ in MIXED] == [2, 1, 1]


@pytest.mark.parametrize("cell", ["lstm", "article"])
def test_an_input_may_have_any_name(cell: str) -> None:
    """torch accepts no key with a dot or of an attribute; tensors were once named like the input."""
    names = ("type", "wind.dir", "steps", "time", "h", "lengths", "y", "numbers_seen", "numbers_by_time")
    inputs = (
        Input("numbers", features=("a",), has_gaps=True),
        *(
            Input(name, tensor=f"category_{number}", kind="token", vocabulary=("a", "b"))
            for number, name in enumerate(names)
        ),
    )
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 2, (6, len(names)))
    sequence = np.hstack([gapped(rng, 6)[:, :1], tokens]).astype(np.float32)
    split = Split((sequence,), each_step([tokens[:, 0]]))
    data = dataclasses.replace(data_of("label"), inputs=inputs, train=split, test=split)
    network = network_for(data, cell)
    check(write_graph(network).SerializeToString(), network, data.test)  # raises where they differ


def test_weights_of_an_older_run_are_read() -> None:
    """They were keyed by the inputs' names, not by their positions."""
    names = ("frames", "wide", "holes")
    encoders = {f"encoders.{place}": f"encoders.{name}" for place, name in enumerate(names)}
    for data, olds in (
        (data_of("forecast"), {"tables.1": "tables.sky", "rates.0": "rates.x"}),
        (encoded_data(), encoders | {"rates.2": "rates.holes"}),
    ):
        network, other = network_for(data), network_for(data)
        older = {}
        for key, value in network.state_dict().items():
            new = next((new for new in olds if key.startswith(f"front.{new}")), None)
            older[key.replace(new, olds[new]) if new else key] = value + 1
        assert not older.keys() & {f"front.{new}" for new in olds}
        other.load_state_dict(older)
        for key, value in other.state_dict().items():
            torch.testing.assert_close(value, network.state_dict()[key] + 1)


def test_names_that_are_numbers_are_not_mistaken_for_positions() -> None:
    inputs = tuple(Input(name, kind="token", vocabulary=("a", "b")) for name in ("1", "0"))
    one, two = (InputLayer(inputs, embedding=2) for _ in range(2))
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(two.table("1"), one.table("1"))
