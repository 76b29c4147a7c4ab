"""What every task offers. Knows nothing of networks but the shape of what they say."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet
from training.model import Network

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """How good answers are, by measure; `confusion[true, predicted]` counts, where there is one."""

    metrics: dict[str, float]
    confusion: NDArray[np.int64] | None = None


class Task:
    """A question that is asked of a sequence, or of its every step."""

    metric: ClassVar[str]  # what is watched beside the loss
    headline: ClassVar[tuple[str, ...]]  # the measures of `score` that a table of seeds shows

    def prepare(self, network: Network, data: DataSet) -> None:
        """Teach an untrained network what it must know of the training part; nothing unless a task says."""

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What counts of [batch, time, out] and the targets: [answers, out] and [answers, …]."""
        raise NotImplementedError

    def loss(self, network: Network, said: Tensor, targets: Tensor) -> Tensor:
        """The mean cost of the answers."""
        raise NotImplementedError

    def measure(self, said: Tensor, targets: Tensor) -> Tensor:
        """The `metric` of the answers."""
        raise NotImplementedError

    def score(self, network: Network, said: Floats, targets: NDArray[np.generic]) -> Scores:
        """Every measure of the answers [answers, out]."""
        raise NotImplementedError

    def summary(self, metrics: dict[str, float]) -> str:
        """One line on a finished run: `metrics` with the prefix `test_`."""
        return ", ".join(f"test {name} {metrics[f'test_{name}']:.4g}" for name in self.headline)
