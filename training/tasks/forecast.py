"""Foretelling numbers by quantiles, at every step, over several horizons."""

import itertools
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet, Forecast
from training.model import Network
from training.tasks.task import Floats, Scores, Task


class Foretell(Task):
    """Pinball loss (Koenker, Bassett 1978), in units of the usual change over each horizon."""

    metric = "error"
    headline: ClassVar[tuple[str, ...]] = ("loss", "error", "coverage")

    def __init__(self, series: tuple[str, ...], told: Forecast) -> None:
        self._told = told
        self._names = [f"{one}_{when}".replace(" ", "") for one in series for when in told.names]
        self._middle = int(np.argmin([abs(quantile - 0.5) for quantile in told.quantiles]))

    def prepare(self, network: Network, data: DataSet) -> None:
        """Learn the reach: the root mean square change of each series over each horizon."""
        assert network.tail is not None
        columns = network.tail.columns
        gone = [target - sequence[:, columns] for sequence, target in zip(
            data.train.sequences, data.train.targets, strict=True)]  # fmt: skip
        change = np.concatenate(gone).astype(np.float64)
        network.tail.reach.copy_(torch.from_numpy(np.sqrt(np.nanmean(change**2, axis=0))))

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Every step at which anything to be foretold is known."""
        is_known = ~targets.isnan().all(-1)
        return y[is_known], targets[is_known]

    def loss(self, network: Network, said: Tensor, targets: Tensor) -> Tensor:
        """See `Task.loss`."""
        assert network.tail is not None
        tail = network.tail
        over = (targets[..., None] - tail.by_quantile(said)) / tail.reach[:, None]
        cost = torch.maximum(tail.quantiles * over, (tail.quantiles - 1) * over)
        return cost[~cost.isnan()].mean()

    def measure(self, said: Tensor, targets: Tensor) -> Tensor:
        """The root mean square error of the middle quantile, over all series and horizons."""
        away = said[..., self._middle :: len(self._told.quantiles)] - targets
        error: Tensor = away[~away.isnan()].square().mean().sqrt()
        return error

    def score(self, network: Network, said: Floats, targets: NDArray[np.generic]) -> Scores:
        """Loss; errors and the share within the outer quantiles, altogether and for each horizon."""
        y, known = torch.from_numpy(said), torch.from_numpy(targets.astype(np.float32))
        quantiles = said.reshape(*targets.shape, -1)
        truth = targets.astype(np.float64)
        is_within = np.where(
            np.isnan(truth), np.nan, (quantiles[..., 0] <= truth) & (truth <= quantiles[..., -1])
        )
        metrics = {
            "loss": float(self.loss(network.cpu(), y, known)),
            "error": float(self.measure(y, known)),
            "coverage": float(np.nanmean(is_within)),
        }
        away = quantiles[..., self._middle] - truth
        columns = {"error": np.sqrt(np.nanmean(away**2, axis=0)), "mae": np.nanmean(np.abs(away), axis=0)}
        columns["coverage"] = np.nanmean(is_within, axis=0)
        for column, (what, values) in itertools.product(range(len(self._names)), columns.items()):
            metrics[f"{what}_{self._names[column]}"] = float(values[column])
        return Scores(metrics)
