"""What all cells share: names of layers, states, and the registry."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training import cells
from training.cells.cell import Layer, gates_and_state, in_time, state_out, weights_of
from training.cells.fused import in_order, run_packed


def test_names_of_a_layer_are_its_own() -> None:
    layers = [Layer(number, "x", "lengths", [], []) for number in range(3)]
    assert len({layer.name("gates") for layer in layers}) == 3
    assert state_out("h") == "h_out"


def test_steps_of_a_trace_are_joined_in_time() -> None:
    steps = [{"h": torch.full((1, 2), float(step)), "c": torch.zeros(1, 3)} for step in range(4)]
    inside = in_time(steps)
    assert inside["h"].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert inside["c"].shape == (4, 3)


def test_gates_and_state_are_named_as_in_the_equations() -> None:
    values = [torch.tensor(float(number)) for number in range(6)]
    inside = gates_and_state(*values)
    assert list(inside) == ["in_gate", "forget_gate", "in_transform", "out_gate", "c", "h"]
    assert [float(value) for value in inside.values()] == list(range(6))


def test_weights_are_read_in_float64() -> None:
    parameter = torch.nn.Parameter(torch.tensor([0.1]))
    weights = weights_of(parameter)
    assert weights.dtype == np.float64
    assert weights[0] == float(np.float32(0.1))


@given(st.permutations(range(4)), st.integers(1, 3))
def test_gates_are_reordered_in_blocks(order: list[int], hidden: int) -> None:
    stacked = np.repeat(np.arange(4.0), hidden)[:, None] * np.ones((1, 2))
    blocks = in_order(stacked, tuple(order)).reshape(4, hidden, 2)
    assert [block[0, 0] for block in blocks] == order
    assert (blocks == blocks[:, :1, :1]).all()


@pytest.mark.parametrize(
    ("module", "count"),
    [(torch.nn.LSTM, 2), (torch.nn.GRU, 1), (torch.nn.RNN, 1)],
    ids=["lstm", "gru", "rnn"],
)
def test_a_packed_module_returns_as_many_states_as_it_gets(
    module: type[torch.nn.RNNBase], count: int
) -> None:
    rnn = module(2, 3, 1, batch_first=True)  # type: ignore[arg-type]
    state = tuple(torch.zeros(1, 2, 3) for _ in range(count))
    y, end = run_packed(rnn, torch.ones(2, 5, 2), torch.tensor([5, 2]), state)
    assert y.shape == (2, 5, 3)
    assert not y[1, 2:].any()
    assert [tuple(part.shape) for part in end] == [(1, 2, 3)] * count
    assert run_packed(rnn, torch.ones(1, 2, 2), torch.tensor([2]), ())[1] == ()


@pytest.mark.parametrize("name", cells.names())
def test_the_width_of_a_cell_and_of_its_states(name: str) -> None:
    cell = cells.build(name, features=3, hidden=8, layers=2)
    y, end = cell(torch.ones(1, 4, 3), torch.tensor([4]), cell.initial_state(1))
    assert y.shape == (1, 4, cell.width)
    for state, part in zip(cell.states, end, strict=True):
        assert part.shape == (2, 1, cell.state_width(state))


def test_helper_modules_are_no_cells() -> None:
    assert not set(cells.names()) & {"cell", "fused", "scan", "stepped"}
    with pytest.raises(cells.CellError, match=r"no cell 'fused'; there are: article, .*skip"):
        cells.build("fused", features=1, hidden=1, layers=1)
