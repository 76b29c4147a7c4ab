"""The interface of a task. Knows nothing of a network but the shape of its output."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet
from training.model import Network

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Scores by name; for classes also `confusion[true, predicted]`, counts; for labels those of each."""

    metrics: dict[str, float]
    confusion: NDArray[np.int64] | None = None
    labels: tuple[Any, ...] = ()  # see `training.tasks.labels.ByLabel`


class Task:
    """A prediction for each sequence, or for each step."""

    metric: ClassVar[str]  # the score that is logged beside the loss
    headline: tuple[str, ...]  # the scores that a table of seeds shows

    def prepare(self, network: Network, data: DataSet) -> None:
        """Set what an untrained network needs from the training part; by default nothing."""

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs [batch, time, out] that count, and their targets: [answers, out] and [answers, …]."""
        raise NotImplementedError

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of the outputs [answers, out]."""
        raise NotImplementedError

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The `metric` of the outputs [answers, out]."""
        raise NotImplementedError

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """All scores of the outputs [answers, out]."""
        raise NotImplementedError

    def summary(self, metrics: dict[str, float]) -> str:
        """One line about a finished run; `metrics` have the prefix `test_`."""
        return ", ".join(f"test {name} {metrics[f'test_{name}']:.4g}" for name in self.headline)
