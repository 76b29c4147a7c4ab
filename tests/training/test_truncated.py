"""Windows of series with a carried state: the steps, the values and the gradients are those of the series."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.synthetic import data_of
from training import cells, loop, optimisation
from training.batches import in_order
from training.config import Config, Recipe
from training.data.dataset import DataSet, Split, each_step
from training.data.series import join, windows
from training.model import Network, NetworkError
from training.tasks import of
from training.truncated import CarriedBatches, CarriedState, Row, Window, carried, rows_of

CAUSAL = [name for name in cells.names() if name not in ("bidirectional", "conv_lstm")]  # of two, frames
LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=12)


def dealt(lengths: list[int], rows: int, steps: int, seed: int = 0) -> list[Row]:
    return rows_of(lengths, rows=rows, steps=steps, rng=np.random.default_rng(seed))


def config_of(**recipe: Any) -> Config:
    fields: dict[str, Any] = {"hidden": 16, "embedding": 2, "bptt": 5, "batch_size": 3} | recipe
    return Config(data="synthetic", recipe=Recipe(**fields), accelerator="cpu")


def network_of(data: DataSet, **recipe: Any) -> Network:
    """In float64, in which rounding hides nothing."""
    return loop.new_network(config_of(**recipe), data).double().eval()


def batches_of(split: Split, *, steps: int, rows: int = 3) -> CarriedBatches:
    return carried(split, steps=steps, batch_size=rows, seed=1, epoch=0)


def in_float64(split: Split) -> Split:
    return replace(split, sequences=tuple(sequence.astype(np.float64) for sequence in split.sequences))


def outputs(network: Network, split: Split, *, steps: int) -> list[Tensor]:
    """The outputs of each window in turn, all of a batch one after the other."""
    state, y = CarriedState(network), []
    for batch in batches_of(split, steps=steps):
        x, lengths, _ = batch.batch
        out, after = network(x, lengths, state.before(batch))
        state.keep(batch, after)
        y += [row[:length] for row, length in zip(out, lengths, strict=True)]
    return y


def order_of(lengths: list[int], *, steps: int, rows: int = 3) -> list[Window]:
    """The windows in the order of `outputs`."""
    dealt = rows_of(lengths, rows=rows, steps=steps, rng=np.random.default_rng([1, 0]))
    places = range(max(map(len, dealt)))
    return [row[place] for place in places for row in dealt if place < len(row)]


@given(LENGTHS, st.integers(1, 6), st.integers(1, 40), st.integers(0, 3))
def test_each_step_is_in_one_window_and_each_window_continues_its_row(
    lengths: list[int], rows: int, steps: int, seed: int
) -> None:
    plan = dealt(lengths, rows, steps, seed)
    seen = [(one.series, step) for row in plan for one in row for step in range(one.start, one.stop)]
    assert sorted(seen) == [(series, step) for series, n in enumerate(lengths) for step in range(n)]
    assert 1 <= len(plan) <= rows
    for row in plan:
        assert row[0].is_first
        assert all(1 <= one.stop - one.start <= steps for one in row)
        for before, after in pairwise(row):
            assert after.is_first or (after.series, after.start) == (before.series, before.stop)


@given(LENGTHS, st.integers(1, 6), st.integers(90, 200))
def test_a_series_that_fits_into_a_window_is_not_cut(lengths: list[int], rows: int, steps: int) -> None:
    found = sorted(window for row in dealt(lengths, rows, steps) for window in row)
    assert found == [Window(series, 0, length, is_first=True) for series, length in enumerate(lengths)]


@given(st.integers(100, 2000), st.integers(1, 8), st.integers(1, 50))
def test_one_long_series_fills_all_rows_alike(length: int, rows: int, steps: int) -> None:
    plan = dealt([length], rows, steps)
    sizes = [sum(one.stop - one.start for one in row) for row in plan]
    assert max(sizes) - min(sizes) <= 1 or len(plan) < rows
    assert max(sizes) <= max(steps, -(-length // rows))


def test_order_and_cuts_are_functions_of_seed_and_epoch() -> None:
    split = data_of("label").train

    def windows_of(seed: int, epoch: int) -> list[list[int]]:
        batches = carried(split, steps=7, batch_size=3, seed=seed, epoch=epoch)
        return [one.batch.lengths.tolist() for one in batches]

    assert windows_of(0, 1) == windows_of(0, 1)
    assert windows_of(0, 1) != windows_of(0, 2)
    assert windows_of(0, 1) != windows_of(1, 1)


@given(LENGTHS, st.integers(1, 6), st.integers(1, 40), st.integers(2, 3))
def test_every_process_gets_as_many_batches_and_rows(
    lengths: list[int], rows: int, steps: int, world: int
) -> None:
    sequences = [np.full((length, 1), number, np.float32) for number, length in enumerate(lengths)]
    split = Split(tuple(sequences), each_step([one[:, 0] for one in sequences]))
    shares = [
        carried(split, steps=steps, batch_size=rows, seed=0, epoch=0, rank=rank, world=world)
        for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1
    sizes = {len(batch.rows) for share in shares for batch in share}
    assert len(sizes) == 1
    seen = {int(number) for share in shares for one in share for number in one.batch.x.flatten()}
    assert seen >= set(range(len(lengths))) - {0}


@pytest.mark.parametrize("cell", CAUSAL)
def test_windows_have_the_outputs_of_the_whole_series(cell: str) -> None:
    data = data_of("label", count=7)  # numbers with gaps, over which the last value and its age are carried
    split, network = in_float64(data.train), network_of(data, cell=cell)
    [whole] = in_order(split, batch_size=len(split))
    with torch.no_grad():
        expected, _ = network(whole.x, whole.lengths, network.initial_state(len(split)))
        found = outputs(network, split, steps=5)
    lengths = [len(sequence) for sequence in split.sequences]
    order = order_of(lengths, steps=5)
    assert sum(not window.is_first for window in order) > len(lengths)
    pieces = [one for one in order if one.is_first and one.start]  # of series longer than a row: none here
    assert not pieces
    for window, y in zip(order, found, strict=True):
        torch.testing.assert_close(y, expected[window.series, window.start : window.stop], rtol=0, atol=1e-11)


def test_a_series_has_no_influence_on_another() -> None:
    data = data_of("label", count=7)
    split, network = data.train, loop.new_network(config_of(), data).eval()
    other = list(split.sequences)
    other[2] = other[2] + 100
    changed = Split(tuple(other), split.targets)
    lengths = [len(sequence) for sequence in split.sequences]
    with torch.no_grad():
        before, after = (outputs(network, one, steps=5) for one in (split, changed))
    for window, one, two in zip(order_of(lengths, steps=5), before, after, strict=True):
        assert torch.equal(one, two) == (window.series != 2)


def gradients(network: Network, losses: list[Tensor]) -> list[Tensor]:
    network.zero_grad()
    torch.autograd.backward(losses)
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("cell", ["lstm", "gru", "layer_norm", "min_gru", "mlstm"])
def test_with_windows_as_long_as_the_series_gradients_are_those_of_full_bptt(cell: str) -> None:
    data = data_of("label", count=7)
    split, network = in_float64(data.train), network_of(data, cell=cell, bptt=30)
    task, training = of(data), optimisation.Training(network, of(data), config_of().recipe, seed=0)
    training.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    found = gradients(network, [training.training_step(batch) for batch in batches_of(split, steps=30)])
    expected = []
    for batch in batches_of(split, steps=30):
        x, lengths, targets = batch.batch
        y, _ = network(x, lengths, network.initial_state(len(lengths)))
        expected.append(task.loss(network, *task.pick(y, lengths, targets)))
    for one, two in zip(found, gradients(network, expected), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_no_gradient_passes_the_border_of_a_window_but_the_state_does() -> None:
    data = data_of("label", count=1)
    [sequence], [target] = data.train.sequences, data.train.targets
    split = in_float64(Split((sequence,), each_step([np.abs(target)])))
    network, task = network_of(data), of(data)
    batches = list(batches_of(split, steps=5, rows=1))
    training = optimisation.Training(network, task, config_of().recipe, seed=0)
    training.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    found = gradients(network, [training.training_step(batch) for batch in batches])
    losses, state = [], network.initial_state(1)
    for batch in batches:  # BPTT(h; h') by hand
        x, lengths, targets = batch.batch
        y, after = network(x, lengths, state)
        losses.append(task.loss(network, *task.pick(y, lengths, targets)))
        state = tuple(part.detach() for part in after)
    assert len(batches) > 2
    for one, two in zip(found, gradients(network, losses), strict=True):
        torch.testing.assert_close(one, two)


def test_windows_know_their_series_and_training_uses_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    long = [rng.standard_normal((length, 2)).astype(np.float32) for length in (60, 47)]
    targets = [rng.integers(0, 2, len(one)) for one in long]
    split = join([windows(x, y, steps=20, stride=10) for x, y in zip(long, targets, strict=True)])
    assert len(split) > 2 and split.series is not None
    assert [len(sequence) for sequence in split.series.sequences] == [60, 47]
    assert split.take(np.array([0])).series is None
    data = replace(data_of("label"), train=split, validation=split)
    config = config_of(epochs=1, bptt=8, batch_size=2)
    network = loop.new_network(config, data)
    seen: list[int] = []

    def count(module: Any, inputs: tuple[Tensor, ...], _: object) -> None:
        if module.training:
            assert inputs[0].shape[1] <= 8
            seen.append(int(inputs[1].sum()))

    network.register_forward_hook(count)
    loop.fit(config, network, data, tmp_path, show=False)
    assert sum(seen) == 60 + 47  # each step of the series once, though the windows of the data set overlap


def test_what_has_no_state_to_carry_is_refused() -> None:
    labels = data_of("label")
    with pytest.raises(NetworkError, match="'bidirectional' reads a sequence from its end too"):
        loop.new_network(config_of(cell="bidirectional"), labels)
    whole = Split(labels.train.sequences, np.zeros(len(labels.train), np.int64))
    with pytest.raises(NetworkError, match="one target for each whole sequence"):
        loop.new_network(config_of(), replace(labels, task="classify", train=whole, test=whole))
