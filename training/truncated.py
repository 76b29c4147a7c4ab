"""Truncated backpropagation through time: windows of series, and their state. Knows no network.

    row 0 │ series 2: 0–63 │ 64–127         │ 128–150        │ series 0: 0–63 │ …
    row 1 │ series 1: 0–41 │ series 3: 0–63 │ 64–127         │ …
            batch 0          batch 1          batch 2

Row i of a batch continues row i of the batch before. It starts with the state at that one's end, through
which no gradient passes (Williams, Peng 1990, with h' = h steps). A series starts with the initial state. A
series that is longer than a row is cut into pieces, which run in different rows at the same time, as a text
does in the training of language models (Zaremba, Sutskever, Vinyals 2014).
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.batches import Batch, padded
from training.cells.cell import State
from training.data.dataset import Split
from training.model import Network


class Window(NamedTuple):
    """Consecutive steps of a series."""

    series: int
    start: int
    stop: int
    is_first: bool  # it starts with the initial state, else with that of the window before


Row = list[Window]


class Carried(NamedTuple):
    """A batch of windows."""

    batch: Batch
    rows: Tensor  # [batch], of the state
    is_first: Tensor  # [batch]


class CarriedBatches:
    """The windows of an epoch, batch by batch: a row that has ended is in no later batch."""

    def __init__(self, series: Split, rows: list[Row]) -> None:
        self._sequences = [torch.from_numpy(sequence) for sequence in series.sequences]
        self._targets = [torch.as_tensor(target) for target in series.targets]
        self._rows = rows

    def __len__(self) -> int:
        return max(map(len, self._rows))

    def __iter__(self) -> Iterator[Carried]:
        for place in range(len(self)):
            numbers = [number for number, row in enumerate(self._rows) if place < len(row)]
            windows = [self._rows[number][place] for number in numbers]
            batch = padded(
                [self._sequences[one.series][one.start : one.stop] for one in windows],
                [self._targets[one.series][one.start : one.stop] for one in windows],
                is_each_step=True,
            )
            yield Carried(batch, torch.tensor(numbers), torch.tensor([one.is_first for one in windows]))


class CarriedState:
    """The state of each row of an epoch, from batch to batch."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._state: State | None = None

    def clear(self) -> None:
        """Begin an epoch, whose first batch has all rows."""
        self._state = None

    def before(self, carried: Carried) -> State:
        """The state with which the windows of a batch start."""
        initial = self._network.initial_state(len(carried.rows))
        if self._state is None:
            self._state = initial
            return initial
        is_first = carried.is_first[None, :, None]
        pairs = zip(initial, self._state, strict=True)
        return tuple(torch.where(is_first, new, kept[:, carried.rows]) for new, kept in pairs)

    def keep(self, carried: Carried, after: State) -> None:
        """Keep the state at the end of the windows of a batch, without its gradient."""
        assert self._state is not None
        kept = tuple(part.clone() for part in self._state)
        for part, new in zip(kept, after, strict=True):
            part[:, carried.rows] = new.detach().to(part.dtype)
        self._state = kept


def carried(
    series: Split, *, steps: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world: int = 1
) -> CarriedBatches:
    """One process's share of an epoch, in windows of at most `steps`; the targets are those of every step.

    `batch_size` counts the rows of all processes together: rows `rank`, `rank + world`, … Every process gets
    the same number of batches, and of rows (rows that end early start over), because processes with unequal
    numbers of optimiser steps deadlock.
    """
    rng = np.random.default_rng([seed, epoch])
    lengths = [len(sequence) for sequence in series.sequences]
    rows = rows_of(lengths, rows=max(batch_size, world), steps=steps, rng=rng)
    if world > 1:
        most = max(map(len, rows))
        rows += rows[: -len(rows) % world]
        rows = [list(islice(cycle(row), most)) for row in rows]
    return CarriedBatches(series, rows[rank::world])


def rows_of(lengths: Sequence[int], *, rows: int, steps: int, rng: np.random.Generator) -> list[Row]:
    """Deal out series of these lengths to at most `rows` rows, none of them empty, in windows of `steps`.

    The order is random, and so is the length of the first window of a piece that has several: each epoch cuts
    a series elsewhere. The next piece goes to the row that has the fewest windows.
    """
    most = max(steps, -(-sum(lengths) // rows))  # steps of a piece
    dealt: list[Row] = [[] for _ in range(rows)]
    for number in rng.permutation(len(lengths)):
        length = lengths[number]
        pieces = -(-length // most)
        cuts = [length * piece // pieces for piece in range(pieces + 1)]
        for start, stop in pairwise(cuts):
            min(dealt, key=len).extend(_windows(int(number), start, stop, steps, rng))
    return [row for row in dealt if row]


def _windows(series: int, start: int, stop: int, steps: int, rng: np.random.Generator) -> Iterator[Window]:
    first = steps if stop - start <= steps else int(rng.integers(1, steps + 1))
    bounds = [start, *range(start + first, stop, steps), stop]
    for at, end in pairwise(bounds):
        yield Window(series, at, end, is_first=at == start)
