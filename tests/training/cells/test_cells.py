"""Every cell compared with its equations in float64, and its graph with PyTorch."""

import re

import numpy as np
import onnx
import pytest
import torch

from tests.training import newer_references, references
from tests.training.references import Doubles, Parameters, State
from training import cells
from training.cells.cell import Cell
from training.export import random_network
from training.export.network import write_graph
from training.export.parity import check

FEATURES, HIDDEN = 3, 16
LENGTHS = [6, 1, 4]
REFERENCES = references.REFERENCES | newer_references.REFERENCES

every_cell = pytest.mark.parametrize("name", cells.names())
layers_1_and_3 = pytest.mark.parametrize("layers", [1, 3])


def double_cell(name: str, layers: int, projection: int = 0) -> Cell:
    torch.manual_seed(layers)
    built = cells.build(name, features=FEATURES, hidden=HIDDEN, layers=layers, projection=projection)
    return built.double().eval()


def parameters_of(cell: Cell, layer: int) -> Parameters:
    """One layer's parameters by name, without the number of the layer: `stack.1.`, or PyTorch's `_l1`."""
    parameters = {}
    for name, value in cell.named_parameters():
        parts = re.fullmatch(r"(?:stack\.(\d+)\.)?(?:rnn\.)?(.*?)(?:_l(\d+)(.*))?", name)
        assert parts is not None
        in_stack, stem, in_module, rest = parts.groups()
        if int(in_stack or in_module) == layer:
            parameters[stem + (rest or "")] = value.detach().numpy()
    return parameters


def reference(cell: Cell, name: str, x: Doubles, state: list[State]) -> tuple[Doubles, list[State]]:
    """All layers; `state` per layer."""
    ends = []
    for layer in range(cell.layers):
        x, end = REFERENCES[name](parameters_of(cell, layer), x, state[layer])
        ends.append(end)
    return x, ends


@torch.inference_mode()
def reached_state(cell: Cell, batch: int, steps: int) -> tuple[torch.Tensor, ...]:
    """The state after this many random steps from zeros."""
    state = cell.initial_state(batch)
    if steps == 0:
        return state
    x = torch.randn(batch, steps, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    _, reached = cell(3 * x, torch.full((batch,), steps), state)
    return tuple(reached)


def test_every_cell_has_a_reference() -> None:
    assert set(REFERENCES) == set(cells.names())


@pytest.mark.parametrize(
    ("name", "projection"), [*((name, 0) for name in cells.names()), ("projected", 5), ("residual", 5)]
)
@layers_1_and_3
@pytest.mark.parametrize("steps_before", [0, 4])
def test_a_cell_computes_its_equations(name: str, projection: int, layers: int, steps_before: int) -> None:
    """From zeros, and from a state that the cell can reach: a normaliser, say, is never negative."""
    cell = double_cell(name, layers, projection)
    rng = np.random.default_rng(layers)
    x = rng.standard_normal((len(LENGTHS), max(LENGTHS), FEATURES))
    state = tuple(part.numpy() for part in reached_state(cell, len(LENGTHS), steps_before))
    with torch.inference_mode():
        y, end = cell(torch.from_numpy(x), torch.tensor(LENGTHS), tuple(map(torch.from_numpy, state)))
    assert y.shape == (len(LENGTHS), max(LENGTHS), cell.width)
    for row, length in enumerate(LENGTHS):
        start = [tuple(part[layer, row] for part in state) for layer in range(layers)]
        expected, ends = reference(cell, name, x[row, :length], start)
        np.testing.assert_allclose(y[row, :length], expected, rtol=0, atol=1e-12)
        assert (y[row, length:] == 0).all()
        for layer, parts in enumerate(ends):
            for ours, theirs in zip(end, parts, strict=True):
                np.testing.assert_allclose(ours[layer, row], theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "projection"), [*((name, 0) for name in cells.names()), ("projected", 24), ("residual", 24)]
)
@layers_1_and_3
def test_a_graph_agrees_with_torch(name: str, projection: int, layers: int) -> None:
    network, data = random_network(
        cell=name, features=5, hidden=40, layers=layers, classes=4, seed=0, projection=projection
    )
    network.learn_normalisation(tuple(5 * sequence - 2 for sequence in data.train.sequences))
    differences = check(write_graph(network.eval()).SerializeToString(), network, data.test).differences
    assert set(differences) == {"logits", *(f"{state}_out" for state in network.cell.states)}
    assert max(differences.values()) > 0


@torch.inference_mode()
def run(cell: Cell) -> tuple[torch.Tensor, ...]:
    """A cell's output and states on random sequences and states."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(len(LENGTHS), max(LENGTHS), FEATURES, dtype=torch.float64, generator=rng)
    state = tuple(
        torch.randn(part.shape, dtype=part.dtype, generator=rng) for part in cell.initial_state(len(LENGTHS))
    )
    y, end = cell(x, torch.tensor(LENGTHS), state)
    return y, *end


def test_the_articles_cell_with_diagonal_matrices_is_peephole() -> None:
    article, peephole = double_cell("article", 2), double_cell("peephole", 2)
    weights = article.state_dict()
    for layer in range(2):
        own = peephole.state_dict()
        for name in ("from_x.weight", "from_x.bias", "from_h.weight"):
            weights[f"stack.{layer}.{name}"] = own[f"stack.{layer}.{name}"]
        of_in, of_forget, of_out = own[f"stack.{layer}.peepholes"]
        none = torch.zeros(HIDDEN, HIDDEN, dtype=torch.float64)
        weights[f"stack.{layer}.from_c.weight"] = torch.cat([of_in.diag(), of_forget.diag(), none])
        weights[f"stack.{layer}.out_from_c.weight"] = of_out.diag()
    article.load_state_dict(weights)
    torch.testing.assert_close(run(article), run(peephole), rtol=0, atol=1e-12)


def test_peepholes_of_zero_are_the_standard_lstm() -> None:
    peephole, lstm = double_cell("peephole", 2), double_cell("lstm", 2)
    weights, own = peephole.state_dict(), lstm.state_dict()
    for layer in range(2):
        bias = own[f"rnn.bias_ih_l{layer}"] + own[f"rnn.bias_hh_l{layer}"]
        weights[f"stack.{layer}.from_x.weight"] = own[f"rnn.weight_ih_l{layer}"]
        weights[f"stack.{layer}.from_x.bias"] = bias
        weights[f"stack.{layer}.from_h.weight"] = own[f"rnn.weight_hh_l{layer}"]
        weights[f"stack.{layer}.peepholes"].zero_()
    peephole.load_state_dict(weights)
    torch.testing.assert_close(run(peephole), run(lstm), rtol=0, atol=1e-12)


@every_cell
@layers_1_and_3
def test_nothing_in_a_graph_is_dead(name: str, layers: int) -> None:
    network, _ = random_network(cell=name, features=3, hidden=6, layers=layers, classes=2, seed=0)
    graphs = [write_graph(network.eval()).graph]
    for graph in graphs:
        graphs += [
            attribute.g for node in graph.node for attribute in node.attribute if attribute.name == "body"
        ]
    for graph in graphs:
        ends = {output.name for output in graph.output}
        used = {input_ for node in graph.node for input_ in node.input if input_} | ends
        declared = {input_.name for input_ in graph.input} | {weight.name for weight in graph.initializer}
        assert declared <= used
        assert all(used & set(node.output) for node in graph.node)  # a `Scan` always has its last state


@every_cell
def test_gradients_reach_every_parameter(name: str) -> None:
    cell = double_cell(name, 2)
    x = torch.randn(2, 5, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, _ = cell(x, torch.tensor([5, 3]), cell.initial_state(2))
    y.pow(2).sum().backward()
    for parameter, value in cell.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, parameter


@every_cell
def test_dropout_between_layers_is_for_training_only(name: str) -> None:
    torch.manual_seed(0)
    cell = cells.build(name, features=FEATURES, hidden=HIDDEN, layers=2, dropout=0.5)
    x, lengths, start = torch.ones(1, 4, FEATURES), torch.tensor([4]), cell.initial_state(1)
    assert not torch.equal(cell(x, lengths, start)[0], cell(x, lengths, start)[0])
    cell.eval()
    assert torch.equal(cell(x, lengths, start)[0], cell(x, lengths, start)[0])


@pytest.mark.parametrize("name", [name for name in cells.names() if name not in ("projected", "residual")])
def test_a_cell_without_projection_refuses_one(name: str) -> None:
    with pytest.raises(cells.CellError, match=f"the cell '{name}' has no projection"):
        cells.build(name, features=3, hidden=8, layers=1, projection=4)


def test_a_projection_narrows() -> None:
    with pytest.raises(cells.CellError, match="narrower than hidden: 8 is not below 8"):
        cells.build("projected", features=3, hidden=8, layers=1, projection=8)


def test_a_gru_resets_after_the_product_in_the_graph_too() -> None:
    """Before it, ONNX would compute Cho's form, which PyTorch does not."""
    network, _ = random_network(cell="gru", features=3, hidden=6, layers=1, classes=2, seed=0)
    [node] = [node for node in write_graph(network.eval()).graph.node if node.op_type == "GRU"]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["linear_before_reset"] == 1
