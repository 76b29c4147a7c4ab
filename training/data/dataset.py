"""What every data set is turned into: sequences and targets, in a training and a test part."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Sequence = NDArray[np.float32]  # [time, features]


@dataclass(frozen=True)
class Split:
    """Sequences of different lengths, each with the index of its class."""

    sequences: tuple[Sequence, ...]
    targets: NDArray[np.int64]  # [sequences]

    def __post_init__(self) -> None:
        if len(self.sequences) != len(self.targets):
            raise ValueError(f"{len(self.sequences)} sequences for {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The part of the split that `rows` point at, in their order."""
        return type(self)(tuple(self.sequences[row] for row in rows), self.targets[rows])


@dataclass(frozen=True)
class DataSet:
    """A named data set with its official split, and what its licence asks us to say."""

    name: str
    title: str
    citation: str
    license: str
    features: tuple[str, ...]
    labels: tuple[str, ...]
    train: Split
    test: Split


def hold_out(split: Split, *, share: float, seed: int) -> tuple[Split, Split]:
    """Part a split in two, (kept, held out), each class giving up the same `share`; at least one sequence."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for target in np.unique(split.targets):
        rows = rng.permutation(np.flatnonzero(split.targets == target))
        held.extend(rows[: max(1, round(share * len(rows)))].tolist())
    is_held = np.zeros(len(split), dtype=bool)
    is_held[held] = True
    return split.take(np.flatnonzero(~is_held)), split.take(np.flatnonzero(is_held))
