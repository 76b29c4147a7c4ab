"""Laws of the network: padding has no influence, cutting changes nothing, normalisation is learned once."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training import cells
from training.model import Network, last_step

FEATURES, OUT = 3, 4


def network_of(cell: str = "lstm", layers: int = 1, **more: Any) -> Network:
    torch.manual_seed(0)
    return Network(cell=cell, features=FEATURES, hidden=8, layers=layers, out=OUT, **more).eval()


def sequence(steps: int, seed: int = 0) -> Tensor:
    return torch.randn(steps, FEATURES, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def answer(network: Network, x: Tensor, lengths: list[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    y, state = network(x, torch.tensor(lengths), network.initial_state(len(x)))
    return y, state


cells_and_layers = pytest.mark.parametrize(
    ("cell", "layers"), [(c, n) for c in cells.names() for n in (1, 2)]
)


@cells_and_layers
@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan"), float("inf")])
def test_padding_influences_nothing(cell: str, layers: int, padding: float) -> None:
    network = network_of(cell, layers)
    lengths = [5, 1, 3]
    x = torch.full((3, 7, FEATURES), padding)
    for row, length in enumerate(lengths):
        x[row, :length] = sequence(length, row)
    y, state = answer(network, x, lengths)
    for row, length in enumerate(lengths):
        alone, its_state = answer(network, x[row : row + 1, :length], [length])
        torch.testing.assert_close(y[row, :length], alone[0])
        for whole, own in zip(state, its_state, strict=True):
            torch.testing.assert_close(whole[:, row], own[:, 0])


def test_padding_has_no_gradient() -> None:
    network = network_of().train()
    x = torch.full((2, 6, FEATURES), 7.0, requires_grad=True)
    lengths = torch.tensor([6, 2])
    y, _ = network(x, lengths, network.initial_state(2))
    [grad] = torch.autograd.grad(last_step(y, lengths).sum(), x)
    assert (grad[1, 2:] == 0).all()
    assert (grad[1, :2] != 0).all()


@given(st.integers(2, 20), st.data())
def test_any_cut_of_a_sequence_gives_the_same(steps: int, data: st.DataObject) -> None:
    network, x = network_of(layers=2), sequence(steps)[None]
    whole, end = answer(network, x, [steps])
    cut = data.draw(st.integers(1, steps - 1))
    state, outputs = network.initial_state(1), []
    with torch.inference_mode():
        for part in (x[:, :cut], x[:, cut:]):
            y, state = network(part, torch.tensor([part.shape[1]]), state)
            outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole)
    torch.testing.assert_close(state, end)


def test_the_last_step_is_that_of_the_true_length() -> None:
    y = torch.arange(24.0).reshape(2, 4, 3)
    assert last_step(y, torch.tensor([2, 4])).tolist() == [[3, 4, 5], [21, 22, 23]]


def test_normalisation_is_learned_over_steps_and_skips_constants() -> None:
    steps = np.array([[1, 10, 5], [3, 30, 5], [5, 20, 5]], np.float32)
    network = network_of()
    network.learn_normalisation((steps[:1], steps[1:]))
    shift, scale = network.normalisation()
    np.testing.assert_allclose(shift, [3, 20, 5])
    np.testing.assert_allclose(1 / scale, [steps[:, 0].std(), steps[:, 1].std(), 1], rtol=1e-6)


def test_normalisation_is_saved_with_the_weights_but_not_trained() -> None:
    network = network_of()
    assert {"front.shift", "front.scale"} <= set(network.state_dict())
    assert {"front.shift", "front.scale"}.isdisjoint(name for name, _ in network.named_parameters())


def test_noise_and_dropout_are_for_training_only() -> None:
    network, x = network_of(noise=1.0, dropout=0.5), sequence(5)[None]
    assert torch.equal(answer(network, x, [5])[0], answer(network, x, [5])[0])
    network.train()
    assert not torch.equal(answer(network, x, [5])[0], answer(network, x, [5])[0])


def test_the_error_names_an_unknown_cell() -> None:
    with pytest.raises(cells.CellError, match=r"no cell 'brain'; there are: .*lstm"):
        network_of("brain")
