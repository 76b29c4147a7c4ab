"""Sequences of different lengths in padded batches. Knows nothing of networks."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from training.data.dataset import UNKNOWN, Split


class Batch(NamedTuple):
    """A batch. Each row past its length is padding, which must not influence any result."""

    x: Tensor  # [batch, time, columns]
    lengths: Tensor  # [batch]
    targets: Tensor  # [batch] or [batch, targets]; if every step has one, [batch, time, …], else unknown


class Batches:
    """The batches of a split in a fixed order, the last one smaller. Can be iterated repeatedly."""

    def __init__(self, split: Split, *, order: NDArray[np.int64], batch_size: int) -> None:
        self._sequences = [torch.from_numpy(sequence) for sequence in split.sequences]
        self._targets = [torch.as_tensor(target) for target in split.targets]
        self._is_each_step = split.targets.dtype == object
        self._cuts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

    def __len__(self) -> int:
        return len(self._cuts)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self._cuts:
            yield padded(
                [self._sequences[row] for row in rows],
                [self._targets[row] for row in rows],
                is_each_step=self._is_each_step,
            )


def padded(sequences: list[Tensor], targets: list[Tensor], *, is_each_step: bool) -> Batch:
    """A batch of sequences, each [time, columns]; `is_each_step`: each target is [time, …] too."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    x = pad_sequence(sequences, batch_first=True)
    return Batch(x, lengths, _padded(targets) if is_each_step else torch.stack(targets))


def _padded(targets: list[Tensor]) -> Tensor:
    unknown = float("nan") if targets[0].is_floating_point() else UNKNOWN
    return pad_sequence(targets, batch_first=True, padding_value=unknown)


def _in_buckets(
    split: Split, order: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The order sorted by length within pools of 16 batches; batches are shuffled, a short one is last."""
    lengths = np.array([len(sequence) for sequence in split.sequences])
    cuts: list[NDArray[np.int64]] = []
    for start in range(0, len(order), 16 * batch_size):
        pool = order[start : start + 16 * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        cuts += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    whole = [cut for cut in cuts if len(cut) == batch_size]
    short = [cut for cut in cuts if len(cut) < batch_size]
    return np.concatenate([*(whole[row] for row in rng.permutation(len(whole))), *short])


def in_order(split: Split, *, batch_size: int) -> Batches:
    """The batches of a split in its own order."""
    return Batches(split, order=np.arange(len(split)), batch_size=batch_size)


def shuffled(
    split: Split,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    buckets: bool = False,
) -> Batches:
    """One process's share of an epoch: rows `rank`, `rank + world`, … in an order set by seed and epoch.

    `batch_size` counts the sequences of all processes together. Every process gets the same number of
    sequences (the order wraps around), because processes with unequal numbers of optimiser steps deadlock.
    With `buckets` the sequences of a batch have similar lengths, and the batches come in random order.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(split))
    if buckets:
        order = _in_buckets(split, order, batch_size, rng)
    order = np.resize(order, -(-len(order) // world) * world)
    return Batches(split, order=order[rank::world], batch_size=max(1, batch_size // world))
