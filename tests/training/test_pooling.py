"""What a class is read from: of two directions, each where it has read all steps."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.export.test_manifest import PARITY
from tests.training.synthetic import data_of
from training.config import Config, Recipe
from training.data.dataset import DataSet
from training.export import random_network
from training.export.manifest import describe
from training.export.network import write_graph
from training.export.parity import check
from training.loop import new_network
from training.model import Network, last_step
from training.pooling import Ends, PoolError, build

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
    with pytest.raises(PoolError, match="--pool ends: mine has no classes of whole sequences"):
        new_network(Config(data="mine", recipe=Recipe(cell="bidirectional", hidden=4, pool="ends")), labels)
    with pytest.raises(PoolError, match="'ends' needs a cell of two directions"):
        build("ends", width=4, both_ways=False)


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


def test_a_pool_adds_no_weights() -> None:
    """Weights of older runs fit both pools."""
    assert network_of("last").state_dict().keys() == network_of("ends").state_dict().keys()
    assert isinstance(network_of("auto").pool, Ends)
