"""Tasks that predict numbers by quantiles, of which the outer two are a band."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import Network
from training.quantiles import middle_of
from training.tasks.task import Floats, Task

Doubles = NDArray[np.float64]


class Banded(Task):
    """Numbers, each by the same quantiles; without any, by one estimate."""

    def __init__(self, names: list[str], quantiles: tuple[float, ...]) -> None:
        """`names`: of the numbers, as in the scores."""
        self.names, self._quantiles = names, quantiles
        self._middle, self._count = middle_of(quantiles), max(1, len(quantiles))

    @property
    def has_band(self) -> bool:
        """Whether there is a band between a lowest and a highest quantile."""
        return self._count > 1

    @property
    def nominal(self) -> float:
        """The share of the actual values that the band should hold."""
        return self._quantiles[-1] - self._quantiles[0]

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The root mean square error of the middle quantile over all numbers."""
        differences = outputs[..., self._middle :: self._count] - targets
        error: Tensor = differences[~differences.isnan()].square().mean().sqrt()
        return error

    def by_quantile(self, outputs: Floats) -> Floats:
        """[answers, numbers · quantiles] → [answers, numbers, quantiles]."""
        return outputs.reshape(len(outputs), -1, self._count)

    def middle(self, outputs: Floats) -> Doubles:
        """[answers, numbers · quantiles] → [answers, numbers]: the middle quantile of each number."""
        return self.by_quantile(outputs)[..., self._middle].astype(np.float64)

    def is_within(self, outputs: Floats, truth: Doubles) -> Doubles:
        """[answers, numbers]: whether the band holds the actual value, 1 or 0; NaN where it is unknown."""
        bands = self.by_quantile(outputs)
        return np.where(np.isnan(truth), np.nan, (bands[..., 0] <= truth) & (truth <= bands[..., -1]))


def pinball(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean pinball loss (Koenker, Bassett 1978) over known targets, in reaches of each number."""
    layer = network.quantiles
    assert layer is not None
    over = (targets[..., None] - layer.by_quantile(outputs)) / layer.reach[:, None]
    loss = torch.maximum(layer.quantiles * over, (layer.quantiles - 1) * over)
    return loss[~loss.isnan()].mean()
