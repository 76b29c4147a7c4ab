"""What is known of later steps reaches the head, and never the state."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from training.compress.prune import CompressError, largest_units
from training.data.dataset import Forecast, Input, Split, each_step
from training.export import parity
from training.export.network import LENGTHS, OUTPUT, feeds, write_graph
from training.model import Network

Floats = NDArray[np.float32]
Tensors = dict[str, NDArray[np.float32]]

NUMBERS, KNOWN = Input("numbers", features=("y", "z")), Input("known", features=("z+1", "z+2"), is_ahead=True)
FORECAST = Forecast((0,), (1, 2), ("+1 step", "+2 steps"))


def network_of(*, has_gaps: bool) -> Network:
    torch.manual_seed(0)
    inputs = (NUMBERS, replace(KNOWN, has_gaps=has_gaps))
    network = Network(cell="lstm", features=inputs, hidden=8, layers=1, out=6, forecast=FORECAST)
    network.learn_normalisation(tuple(sequences(has_gaps=has_gaps)))
    return network.eval()


def sequences(*, has_gaps: bool, count: int = 12) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    made = [rng.normal(3, 2, (int(steps), 4)).astype(np.float32) for steps in rng.integers(1, 40, count)]
    for one in made if has_gaps else ():
        one[:, 2:][rng.random((len(one), 2)) < 0.3] = np.nan
    return made


@pytest.mark.parametrize("has_gaps", [False, True])
def test_the_graph_is_the_network(has_gaps: bool) -> None:
    network, own = network_of(has_gaps=has_gaps), sequences(has_gaps=has_gaps)
    targets = each_step([np.zeros((len(one), 2), np.float32) for one in own])
    graph = write_graph(network).SerializeToString()
    checked = parity.check(graph, network, Split(tuple(own), targets))
    assert checked.differences[OUTPUT] < 1e-4


def test_an_untrained_network_forecasts_the_last_value_whatever_is_known() -> None:
    network = network_of(has_gaps=False)
    with torch.no_grad():
        network.head.weight.zero_()
        y, _ = network(torch.ones(1, 3, 4), torch.tensor([3]), network.initial_state(1))
    assert y[..., [1, 4]].numpy() == pytest.approx(1, abs=1e-2)


def test_the_state_does_not_depend_on_what_is_known_and_the_output_does() -> None:
    network, [one] = network_of(has_gaps=False), sequences(has_gaps=False, count=1)
    other = one.copy()
    other[:, 2:] += 1
    with torch.no_grad():
        (y, state), (other_y, other_state) = (
            network(torch.from_numpy(x)[None], torch.tensor([len(x)]), network.initial_state(1))
            for x in (one, other)
        )
    assert all(torch.equal(a, b) for a, b in zip(state, other_state, strict=True))
    assert (y != other_y).all()


def test_pieces_give_the_bits_of_the_whole_sequence() -> None:
    network = network_of(has_gaps=True)
    session = ort.InferenceSession(write_graph(network).SerializeToString())
    for one in sequences(has_gaps=True):
        whole = run(session, network, one, {})
        state: Tensors = {}
        pieces = []
        for at in range(0, len(one), 7):
            after = run(session, network, one[at : at + 7], state)
            pieces.append(after[OUTPUT])
            state = {name: after[f"{name}_out"] for name in network.states}
        assert np.concatenate(pieces, axis=1).tobytes() == whole[OUTPUT].tobytes()


def run(session: ort.InferenceSession, network: Network, x: Floats, state: Tensors) -> Tensors:
    """The outputs of the graph by name."""
    zeros = dict(zip(network.states, (part.numpy() for part in network.initial_state(1)), strict=True))
    given = feeds(network, x[None]) | {LENGTHS: np.array([len(x)], np.int32)} | zeros | state
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def test_units_below_a_decoder_are_not_removed() -> None:
    with pytest.raises(CompressError, match="known values of later steps"):
        largest_units(network_of(has_gaps=False), 0.5)
