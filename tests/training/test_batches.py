"""Batches: every sequence once, whole, in an order that seed and epoch decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.batches import Batches, in_order, shuffled
from training.data.dataset import UNKNOWN, Split, each_step


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


def lengths_of(batches: Batches) -> list[list[int]]:
    return [batch.lengths.tolist() for batch in batches]


def ragged(count: int, seed: int) -> Split:
    """Sequences of 1 to 60 steps; the target of a sequence is its number."""
    lengths = np.random.default_rng(seed).integers(1, 61, count)
    return Split(tuple(np.ones((int(length), 1), np.float32) for length in lengths), np.arange(count))


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 20))
def test_buckets_hold_every_sequence_once_and_only_the_last_batch_is_short(
    count: int, batch_size: int, seed: int
) -> None:
    batches = shuffled(ragged(count, seed), batch_size=batch_size, seed=seed, epoch=0, buckets=True)
    assert sorted(rows_of(batches)) == list(range(count))
    sizes = [len(lengths) for lengths in lengths_of(batches)]
    assert sizes == [batch_size] * (count // batch_size) + (
        [count % batch_size] if count % batch_size else []
    )


def test_buckets_need_less_padding() -> None:
    def padding(*, buckets: bool) -> int:
        batches = shuffled(ragged(320, 0), batch_size=16, seed=0, epoch=0, buckets=buckets)
        return sum(max(lengths) * len(lengths) - sum(lengths) for lengths in lengths_of(batches))

    assert padding(buckets=True) < padding(buckets=False) / 3


def test_buckets_come_in_random_order_that_changes_with_the_epoch() -> None:
    first, second = (
        lengths_of(shuffled(ragged(320, 0), batch_size=16, seed=0, epoch=epoch, buckets=True))
        for epoch in (0, 1)
    )
    means = [np.mean(lengths) for lengths in first]
    assert means != sorted(means)
    assert first != second


def test_targets_of_every_step_are_padded_as_unknown() -> None:
    sequences = (np.zeros((3, 1), np.float32), np.zeros((1, 1), np.float32))
    classes = Split(sequences, each_step([np.array([1, 0, 1]), np.array([1])]))
    [batch] = in_order(classes, batch_size=2)
    assert batch.targets.tolist() == [[1, 0, 1], [1, UNKNOWN, UNKNOWN]]
    numbers = Split(sequences, each_step([np.ones((3, 2), np.float32), np.ones((1, 2), np.float32)]))
    [batch] = in_order(numbers, batch_size=2)
    assert batch.targets.isnan().any(dim=2).tolist() == [[False] * 3, [False, True, True]]


def test_more_processes_than_sequences_in_a_batch_still_get_one_each() -> None:
    shares = [shuffled(split_of(6), batch_size=2, seed=0, epoch=0, rank=rank, world=3) for rank in range(3)]
    assert [[len(lengths) for lengths in lengths_of(share)] for share in shares] == [[1, 1]] * 3


def test_batches_can_be_iterated_again() -> None:
    batches = in_order(split_of(5), batch_size=2)
    assert rows_of(batches) == rows_of(batches) == [0, 1, 2, 3, 4]
