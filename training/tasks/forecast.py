"""Forecasts of numbers by quantiles, at every step, over several horizons."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet, Forecast
from training.model import Network
from training.tasks.bands import Banded, pinball
from training.tasks.task import Floats, Scores


class Forecasting(Banded):
    """Pinball loss, in units of the usual change over each horizon."""

    metric = "error"
    headline: tuple[str, ...] = ("loss", "error", "coverage")

    def __init__(self, series: tuple[str, ...], forecast: Forecast) -> None:
        names = [f"{one}_{horizon}".replace(" ", "") for one in series for horizon in forecast.names]
        super().__init__(names, forecast.quantiles)

    def prepare(self, network: Network, data: DataSet) -> None:
        """Set the reach: the root mean square change of each series over each horizon."""
        layer = network.quantiles
        assert layer is not None
        columns = layer.columns
        changes = [target - sequence[:, columns] for sequence, target in zip(
            data.train.sequences, data.train.targets, strict=True)]  # fmt: skip
        change = np.concatenate(changes).astype(np.float64)
        layer.reach.copy_(torch.from_numpy(np.sqrt(np.nanmean(change**2, axis=0))))

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Every step at which any target is known."""
        is_known = ~targets.isnan().all(-1)
        return y[is_known], targets[is_known]

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.loss`."""
        return pinball(network, outputs, targets)

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """Loss; errors and coverage by the outer quantiles, in all and for each horizon."""
        y, known = torch.from_numpy(outputs), torch.from_numpy(targets.astype(np.float32))
        truth = targets.astype(np.float64)
        is_within = self.is_within(outputs, truth)
        metrics = {
            "loss": float(self.loss(network.cpu(), y, known)),
            "error": float(self.measure(y, known)),
            "coverage": float(np.nanmean(is_within)),
        }
        differences = self.middle(outputs) - truth
        columns = {"error": np.sqrt(np.nanmean(differences**2, axis=0))}
        columns["mae"] = np.nanmean(np.abs(differences), axis=0)
        columns["coverage"] = np.nanmean(is_within, axis=0)
        for column, (score, values) in itertools.product(range(len(self.names)), columns.items()):
            metrics[f"{score}_{self.names[column]}"] = float(values[column])
        return Scores(metrics)
