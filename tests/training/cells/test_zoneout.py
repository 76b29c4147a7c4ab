"""Zoneout: a step leaves a random share of the state as it was, in evaluation and in the graph its mean."""

import numpy as np
import pytest
import torch

from training import cells
from training.cells.cell import Cell, CellError
from training.export import random_network
from training.export.network import write_graph
from training.export.parity import check

SHARE = 0.3
ABLE = ["article", "layer_norm", "lstm", "peephole", "residual"]
able = pytest.mark.parametrize("name", ABLE)


def cell_of(name: str, zoneout: float = SHARE, layers: int = 1) -> Cell:
    torch.manual_seed(0)
    return cells.build(name, features=3, hidden=16, layers=layers, zoneout=zoneout).double()


def one_step(cell: Cell) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(5, 1, 3, dtype=torch.float64, generator=rng)
    state = tuple(torch.randn(part.shape, dtype=part.dtype, generator=rng) for part in cell.initial_state(5))
    with torch.no_grad():
        y, after = cell(x, torch.ones(5, dtype=torch.int64), state)
    return y[:, 0], *state, *after


@able
def test_a_step_mixes_the_old_and_the_new_state(name: str) -> None:
    without, zoned = cell_of(name, 1e-300), cell_of(name)
    zoned.load_state_dict(without.state_dict())
    _, h, c, new_h, new_c = one_step(without.eval())
    y, *_, mean_h, mean_c = one_step(zoned.eval())
    for old, new, mean in ((h, new_h, mean_h), (c, new_c, mean_c)):
        torch.testing.assert_close(mean, (1 - SHARE) * new + SHARE * old)
    assert torch.equal(y, mean_h[0])
    torch.manual_seed(7)
    y, *_, some_h, some_c = one_step(zoned.train())
    for old, new, some in ((h, new_h, some_h), (c, new_c, some_c)):
        was_left = some == old
        assert 0.1 < was_left.double().mean() < 0.5
        torch.testing.assert_close(some, torch.where(was_left, old, new))
    assert torch.equal(y, some_h[0])
    torch.manual_seed(7)
    assert torch.equal(one_step(zoned)[-1], some_c), "the seed decides what is left"


def test_the_stepped_lstm_is_the_lstm() -> None:
    lstm, stepped = cell_of("lstm", 0, layers=2).eval(), cell_of("lstm", 1e-300, layers=2).eval()
    own, weights = lstm.state_dict(), {}
    for layer in range(2):
        place = f"stack.{layer}"
        weights[f"{place}.from_x.weight"] = own[f"rnn.weight_ih_l{layer}"]
        weights[f"{place}.from_h.weight"] = own[f"rnn.weight_hh_l{layer}"]
        weights[f"{place}.from_x.bias"] = own[f"rnn.bias_ih_l{layer}"] + own[f"rnn.bias_hh_l{layer}"]
    stepped.load_state_dict(weights)
    x, lengths = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor([6, 1, 4])
    with torch.no_grad():
        one, two = (cell(x, lengths, cell.initial_state(3)) for cell in (lstm, stepped))
    torch.testing.assert_close(one, two)


@able
@pytest.mark.parametrize("layers", [1, 2])
def test_the_graph_computes_the_mean(name: str, layers: int) -> None:
    network, data = random_network(
        cell=name, features=5, hidden=24, layers=layers, classes=4, seed=0, zoneout=SHARE
    )
    differences = check(write_graph(network.eval()).SerializeToString(), network, data.test).differences
    assert set(differences) == {"logits", "h_out", "c_out"}
    [sequence] = data.test.sequences[:1]
    y, _ = network(torch.from_numpy(sequence)[None], torch.tensor([len(sequence)]), network.initial_state(1))
    with torch.no_grad():
        network.cell.zoneout = 0.0
        other, _ = network(
            torch.from_numpy(sequence)[None], torch.tensor([len(sequence)]), network.initial_state(1)
        )
    assert np.abs((y - other).detach().numpy()).max() > 1e-4


@able
def test_the_inside_of_a_layer_is_that_of_its_passes(name: str) -> None:
    cell = cell_of(name).eval()
    x = torch.randn(6, 3, dtype=torch.float64)
    with torch.no_grad():
        y, _ = cell(x[None], torch.tensor([6]), cell.initial_state(1))
        _, traced = cell.trace(0, x, tuple(part[0] for part in cell.initial_state(1)))
    torch.testing.assert_close(traced, y[0])


@pytest.mark.parametrize("name", sorted(set(cells.names()) - set(ABLE)))
def test_other_cells_are_refused(name: str) -> None:
    with pytest.raises(
        CellError, match=rf"--zoneout: the cell '{name}'.*article, layer_norm, lstm, peephole, res"
    ):
        cells.build(name, features=4, hidden=16, layers=1, zoneout=SHARE)
