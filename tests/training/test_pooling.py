"""What a class is read from: of two directions, each where it has read all steps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.training.export.test_manifest import PARITY
from tests.training.synthetic import data_of
from training.config import Config, PoolName, Recipe
from training.data.dataset import DataSet
from training.export import random_network
from training.export.manifest import describe
from training.export.network import write_graph
from training.export.parity import check
from training.loop import new_network
from training.model import Network, last_step
from training.pooling import Ends, PoolError, build

Arrays = list[NDArray[Any]]
LENGTHS = torch.tensor([7, 3])


def network_of(pool: str) -> Network:
    torch.manual_seed(0)
    return Network(cell="bidirectional", features=2, hidden=4, layers=2, out=3, pool=pool).eval()  # type: ignore[arg-type]


def classes(network: Network, x: Tensor) -> Tensor:
    y, _ = network(x, LENGTHS, network.initial_state(len(x)))
    return last_step(y, LENGTHS)


def test_the_class_is_read_from_the_last_step_ahead_and_from_step_0_back() -> None:
    network, x = network_of("ends"), torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0))
    hidden, _ = network.cell(x, LENGTHS, ())
    ends = torch.cat([last_step(hidden, LENGTHS)[:, :4], hidden[:, 0, 4:]], dim=1)
    torch.testing.assert_close(classes(network, x), network.head(ends))


@pytest.mark.parametrize(("pool", "reads_all"), [("ends", True), ("last", False)])
def test_the_direction_from_the_end_has_read_all_steps(pool: str, reads_all: bool) -> None:
    """At the last step it has read one: a class did not depend on the rest through half of the network."""
    network = network_of(pool)
    with torch.no_grad():
        network.head.weight[:, :4] = 0  # the direction ahead
        network.cell.get_parameter("rnn.weight_ih_l1")[:] = 0
        network.cell.get_parameter("rnn.weight_ih_l1_reverse")[:, :4] = 0  # nor below
    x = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes(network, x)[0].sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    reached = x.grad[0].abs().sum(dim=1) > 0
    assert reached.tolist() == ([True] * 7 if reads_all else [False] * 6 + [True])


def test_padding_does_not_influence_the_class() -> None:
    network, x = network_of("ends"), torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0))
    padded = x.clone()
    padded[1, 3:] = 1e3
    torch.testing.assert_close(classes(network, padded), classes(network, x), rtol=0, atol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_graph_reads_both_ends_too(layers: int) -> None:
    network, data = random_network(
        cell="bidirectional", features=3, hidden=8, layers=layers, classes=4, seed=0
    )
    assert network.pool.name == "ends"
    check(write_graph(network.eval()).SerializeToString(), network, data.test)


def test_the_pool_follows_the_cell_and_the_task() -> None:
    data = random_network(cell="lstm", features=3, hidden=4, layers=1, classes=4, seed=0)[1]
    for cell, expected in (("lstm", "last"), ("bidirectional", "ends")):
        config = Config(data="random", recipe=Recipe(cell=cell, hidden=4))
        network = new_network(config, data)
        assert network.pool.name == expected
        assert pool_in_manifest(network.eval(), data) == expected
        labels = data_of("label")
        assert new_network(config, labels).pool.name == "last", "each step has its own answer"
    with pytest.raises(PoolError, match="--pool ends: mine has no target of whole sequences"):
        new_network(Config(data="mine", recipe=Recipe(cell="bidirectional", hidden=4, pool="ends")), labels)
    with pytest.raises(PoolError, match="'ends' needs a cell of two directions"):
        build("ends", width=4, both_ways=False, carries=True)


def pool_in_manifest(network: Network, data: DataSet) -> str | None:
    return describe(network, data, metrics={}, parity=PARITY, command="", seed=0).pool


def test_a_run_from_before_there_were_pools_keeps_its_meaning(tmp_path: Path) -> None:
    for cell, expected in (("lstm", "auto"), ("bidirectional", "last")):
        old = json.loads(Config(data="vowels", recipe=Recipe(cell=cell)).model_dump_json())
        del old["recipe"]["pool"]
        (tmp_path / "config.json").write_text(json.dumps(old))
        assert Config.read(tmp_path).recipe.pool == expected
        new = Config(data="vowels", recipe=Recipe(cell=cell))
        new.write(tmp_path)
        assert Config.read(tmp_path) == new


def running(pool: PoolName, cell: str = "lstm") -> tuple[Network, DataSet]:
    """A network whose weights of the pool, if any, are far from equal."""
    network, data = random_network(cell=cell, features=3, hidden=12, layers=2, classes=4, seed=0, pool=pool)
    for weight in network.pool.parameters():
        torch.nn.init.normal_(weight, std=20, generator=torch.Generator().manual_seed(0))
    return network.eval(), data


@pytest.mark.parametrize("pool", ["mean", "attention"])
@pytest.mark.parametrize("cell", ["lstm", "bidirectional"])
def test_a_class_is_read_from_all_steps(pool: PoolName, cell: str) -> None:
    network, _ = running(pool, cell)
    x, lengths = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)), LENGTHS
    start = network.initial_state(2)
    hidden, _ = network.cell(x, lengths, start[: len(network.cell.states)])
    score = network.pool.score(hidden) if pool == "attention" else torch.zeros(2, 7, 1)  # type: ignore[operator]
    for row, length in enumerate(lengths):
        weights = score[row, :length].softmax(dim=0)
        pooled = (weights * hidden[row, :length]).sum(dim=0)
        y, _ = network(x, lengths, start)
        torch.testing.assert_close(y[row, length - 1], network.head(pooled), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_the_running_pool_is_the_same_for_any_pieces_and_any_batch(pool: PoolName) -> None:
    network, data = running(pool)
    model = write_graph(network)
    check(model.SerializeToString(), network, data.test)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = list(network.states)

    def run(x: NDArray[Any], lengths: list[int], state: Arrays) -> tuple[NDArray[Any], Arrays]:
        feeds = {"x": x, "lengths": np.array(lengths, np.int32), **dict(zip(names, state, strict=True))}
        y, *after = session.run(["y", *(f"{name}_out" for name in names)], feeds)
        return y, after

    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 40, 3)).astype(np.float32)
    start = [part.numpy() for part in network.initial_state(9)]
    assert [part.dtype for part in start[-len(network.pool.states) :]] == ["float64"] * len(
        network.pool.states
    )
    lengths = [40, 1, 17, 3, 40, 8, 9, 2, 30]
    together, states = run(x, lengths, start)
    for row, length in enumerate(lengths):
        state, outputs, at = [part[:, :1] for part in start], [], 0
        for size in [1, 2, 7, 30]:
            piece = x[row : row + 1, at : min(at + size, length)]
            if piece.shape[1]:
                y, state = run(piece, [piece.shape[1]], state)
                outputs.append(y)
                at += piece.shape[1]
        assert np.array_equal(np.concatenate(outputs, axis=1)[0], together[row, :length])
        assert all(np.array_equal(one[:, 0], all_[:, row]) for one, all_ in zip(state, states, strict=True))


def test_the_scores_of_attention_may_be_of_any_size() -> None:
    """The largest score is kept, and the exponential of none overflows."""
    network, data = running("attention")
    for size in (-1e4, 1e4):
        torch.nn.init.constant_(next(network.pool.parameters()), size)
        check(write_graph(network).SerializeToString(), network, data.test)


def test_attention_learns_and_is_the_mean_at_first() -> None:
    network, _ = random_network(
        cell="gru", features=3, hidden=6, layers=1, classes=2, seed=0, pool="attention"
    )
    x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 2])
    y, state = network(x, lengths, network.initial_state(2))
    assert state[-2][0, :, -1].tolist() == [5, 2], "all weights are 1"
    last_step(y, lengths).square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())


def test_a_pool_adds_no_weights() -> None:
    """Weights of older runs fit both pools."""
    assert network_of("last").state_dict().keys() == network_of("ends").state_dict().keys()
    assert isinstance(network_of("auto").pool, Ends)
