"""Forecasts of numbers by quantiles, at every step, over several horizons."""

import itertools
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet, Forecast
from training.model import Network
from training.tasks.task import Floats, Scores, Task


class Forecasting(Task):
    """Pinball loss (Koenker, Bassett 1978), in units of the usual change over each horizon."""

    metric = "error"
    headline: ClassVar[tuple[str, ...]] = ("loss", "error", "coverage")

    def __init__(self, series: tuple[str, ...], forecast: Forecast) -> None:
        self._forecast = forecast
        # of the scores, by series and horizon
        self.names = [f"{one}_{horizon}".replace(" ", "") for one in series for horizon in forecast.names]
        self._middle = int(np.argmin([abs(quantile - 0.5) for quantile in forecast.quantiles]))

    @property
    def has_band(self) -> bool:
        """Whether there is a band between a lowest and a highest quantile."""
        return len(self._forecast.quantiles) > 1

    @property
    def nominal(self) -> float:
        """The share of the actual values that the band should hold."""
        return self._forecast.quantiles[-1] - self._forecast.quantiles[0]

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
        layer = network.quantiles
        assert layer is not None
        over = (targets[..., None] - layer.by_quantile(outputs)) / layer.reach[:, None]
        loss = torch.maximum(layer.quantiles * over, (layer.quantiles - 1) * over)
        return loss[~loss.isnan()].mean()

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The root mean square error of the middle quantile over all series and horizons."""
        differences = outputs[..., self._middle :: len(self._forecast.quantiles)] - targets
        error: Tensor = differences[~differences.isnan()].square().mean().sqrt()
        return error

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """Loss; errors and coverage by the outer quantiles, in all and for each horizon."""
        y, known = torch.from_numpy(outputs), torch.from_numpy(targets.astype(np.float32))
        quantiles = outputs.reshape(*targets.shape, -1)
        truth = targets.astype(np.float64)
        is_within = np.where(
            np.isnan(truth), np.nan, (quantiles[..., 0] <= truth) & (truth <= quantiles[..., -1])
        )
        metrics = {
            "loss": float(self.loss(network.cpu(), y, known)),
            "error": float(self.measure(y, known)),
            "coverage": float(np.nanmean(is_within)),
        }
        differences = quantiles[..., self._middle] - truth
        columns = {"error": np.sqrt(np.nanmean(differences**2, axis=0))}
        columns["mae"] = np.nanmean(np.abs(differences), axis=0)
        columns["coverage"] = np.nanmean(is_within, axis=0)
        for column, (score, values) in itertools.product(range(len(self.names)), columns.items()):
            metrics[f"{score}_{self.names[column]}"] = float(values[column])
        return Scores(metrics)
