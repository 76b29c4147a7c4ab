"""Batches: every sequence once, whole, in an order that seed and epoch decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.batches import Batches, in_order, shuffled
from training.data.dataset import Split


def split_of(count: int) -> Split:
    """Sequence i is 1 + i % 4 steps of the number i, its target is i too."""
    sequences = tuple(np.full((1 + row % 4, 2), row, np.float32) for row in range(count))
    return Split(sequences, np.arange(count))


def rows_of(batches: Batches) -> list[int]:
    return [int(target) for batch in batches for target in batch.targets]


@given(st.integers(1, 50), st.integers(1, 9))
def test_in_order_gives_each_sequence_whole(count: int, batch_size: int) -> None:
    split = split_of(count)
    batches = in_order(split, batch_size=batch_size)
    assert len(list(batches)) == len(batches)
    assert rows_of(batches) == list(range(count))
    for x, lengths, targets in batches:
        assert x.shape[1] == lengths.max()
        for row, length, target in zip(x, lengths, targets, strict=True):
            assert np.array_equal(row[:length].numpy(), split.sequences[int(target)])


@given(st.integers(1, 50), st.integers(1, 16), st.integers(0, 3), st.integers(0, 3), st.integers(1, 4))
def test_the_shares_of_an_epoch_cover_it(
    count: int, batch_size: int, seed: int, epoch: int, world: int
) -> None:
    shares = [
        shuffled(split_of(count), batch_size=batch_size, seed=seed, epoch=epoch, rank=rank, world=world)
        for rank in range(world)
    ]
    taken = [rows_of(share) for share in shares]
    assert {row for rows in taken for row in rows} == set(range(count))
    assert len({(len(share), len(rows)) for share, rows in zip(shares, taken, strict=True)}) == 1
    assert sum(map(len, taken)) < count + world


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return rows_of(shuffled(split_of(30), batch_size=8, seed=seed, epoch=epoch))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_two_processes_step_on_the_same_sequences_as_one() -> None:
    one = list(shuffled(split_of(32), batch_size=8, seed=0, epoch=0))
    two = [list(shuffled(split_of(32), batch_size=8, seed=0, epoch=0, rank=rank, world=2)) for rank in (0, 1)]
    for whole, left, right in zip(one, *two, strict=True):
        assert set(whole.targets.tolist()) == {*left.targets.tolist(), *right.targets.tolist()}
