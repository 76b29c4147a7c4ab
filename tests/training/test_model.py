"""Laws of the network: padding has no influence, cutting changes nothing, normalisation is learned once."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training import cells
from training.compress import prune
from training.data.dataset import DataSet
from training.explain import explain
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network, NetworkError, last_step, numeric_inputs, softmax

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
    layer = network.input_layer
    np.testing.assert_allclose(layer.shift, [3, 20, 5])
    np.testing.assert_allclose(1 / layer.scale, [steps[:, 0].std(), steps[:, 1].std(), 1], rtol=1e-6)


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


def test_weights_are_stored_under_the_names_of_older_runs() -> None:
    """weights.pt and checkpoints keep their keys: older runs stay readable, and vice versa."""
    data = data_of("forecast")
    network = network_for(data)
    stored = {key.split(".")[0] for key in network.state_dict()}
    assert stored == {"front", "cell", "head", "tail"}
    inside = nn.Module()
    inside.add_module("network", network)
    assert {key.split(".")[1] for key in inside.state_dict()} == stored
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"input_layer", "cell", "head"}


def test_stored_weights_are_loaded_again_also_inside_another_module() -> None:
    data = data_of("forecast")
    one, two = nn.Module(), nn.Module()
    for seed, module in enumerate((one, two)):
        torch.manual_seed(seed)
        module.add_module("network", network_for(data))
    with torch.no_grad():
        for value in one.state_dict().values():
            value.add_(1)
    two.load_state_dict(one.state_dict())
    for key, value in two.state_dict().items():
        torch.testing.assert_close(value, one.state_dict()[key], equal_nan=True)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*input_layer\.tables"):
        network_for(data_of("language")).load_state_dict(network_for(data_of("label")).state_dict())


@pytest.mark.parametrize("cell", cells.names())
def test_the_initial_state_is_zeros_of_the_declared_shapes(cell: str) -> None:
    network = network_of(cell, layers=2)
    state = network.initial_state(3)
    assert [tuple(part.shape) for part in state] == [(n, 3, width) for n, width in network.states.values()]
    assert not any(part.any() for part in state)
    assert list(network.states) == list(network.cell.states)


def test_states_of_gaps_come_first() -> None:
    network = network_for(data_of("forecast"))
    assert network.states == {"x_seen": (1, 2), "x_age": (1, 2), "h": (2, 12), "c": (2, 12)}


def test_a_number_of_features_is_one_input_of_named_numbers() -> None:
    [input_] = numeric_inputs(3)
    assert (input_.name, input_.features) == ("x", ("x_0", "x_1", "x_2"))
    assert network_of().input_layer.inputs == numeric_inputs(FEATURES)


def test_noise_is_on_the_channels_and_dropout_on_the_hidden_state() -> None:
    network, x = network_of(noise=0.5), sequence(400)[None]
    network.train()
    torch.manual_seed(0)
    captured: list[Tensor] = []
    network.cell.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    network(x, torch.tensor([400]), network.initial_state(1))
    noise = captured[0] - network.input_layer(x, torch.tensor([400]), ()).channels
    assert float(noise.std()) == pytest.approx(0.5, rel=0.1)
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)


@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 50))
def test_softmax_is_a_distribution(rows: int, classes: int, seed: int) -> None:
    logits = 10 * np.random.default_rng(seed).standard_normal((rows, classes)).astype(np.float32)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == logits.argmax(axis=1).tolist()


def language_model(**options: Any) -> tuple[Network, DataSet]:
    data = data_of("language")
    torch.manual_seed(0)
    network = Network(cell="gru", features=data.inputs, hidden=6, layers=1, out=data.out, **options)
    return network.eval(), data


def test_a_tied_head_is_the_embedding_also_after_loading() -> None:
    network, data = language_model(embedding=6, tie=True)
    other, _ = language_model(embedding=6, tie=True)
    torch.nn.init.normal_(other.head.weight)
    network.load_state_dict(other.state_dict())
    for each in (network, other):
        assert each.head.weight is each.input_layer.table("x")
    torch.testing.assert_close(network.head.weight, other.head.weight)
    assert (
        sum(weight.numel() for weight in network.parameters())
        == sum(weight.numel() for weight in language_model(embedding=6)[0].parameters())
        - network.head.weight.numel()
    )
    check(write_graph(network).SerializeToString(), network, data.test)


def test_a_tied_head_is_pruned_and_explained_as_one() -> None:
    network, data = language_model(embedding=6, tie=True)
    prune.apply(network, prune.weights_masks(network, 0.5))
    assert (network.head.weight == 0).any()
    explanation = explain(network, data, data.test.sequences[0])
    assert explanation.missing < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": 5}, "7 tokens by 5 numbers is no head of 7 outputs by 6; add --embedding 6"),
        ({"features": 3}, "--tie needs a single input of tokens; there are: numeric"),
    ],
)
def test_a_head_that_cannot_be_tied_is_refused(options: dict[str, Any], message: str) -> None:
    data = data_of("language")
    fields: dict[str, Any] = {"features": data.inputs, "out": data.out, "embedding": 6} | options
    with pytest.raises(NetworkError, match=message):
        Network(cell="gru", hidden=6, layers=1, tie=True, **fields)


def test_classes_exclude_each_other_and_labels_do_not() -> None:
    logits = torch.tensor([[0.0, 2.0]])
    classes, labels = (
        Network(cell="gru", features=2, hidden=3, layers=1, out=2, independent=one) for one in (False, True)
    )
    assert float(classes.probabilities(logits).sum()) == pytest.approx(1)
    assert labels.probabilities(logits).tolist() == [[0.5, pytest.approx(0.880797)]]
    assert "thresholds" in labels.state_dict() and "thresholds" not in classes.state_dict()
