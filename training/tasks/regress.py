"""Numbers of a sequence, or of every step, that are no inputs: by one estimate, or by quantiles."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import DataSet
from training.model import Network, last_step
from training.quantiles import Estimates
from training.tasks.bands import Banded, Doubles, pinball
from training.tasks.task import Floats, Scores


class Regression(Banded):
    """Mean square error, or pinball loss, in spreads of each number, so that all numbers weigh alike."""

    metric = "error"
    headline: tuple[str, ...] = ("error", "mae", "r2")

    def __init__(self, names: tuple[str, ...], *, is_whole: bool, quantiles: tuple[float, ...] = ()) -> None:
        """`is_whole`: a sequence has one target as a whole, which is predicted at its last true step."""
        super().__init__([name.replace(" ", "") for name in names], quantiles)
        self._is_whole = is_whole
        if self.has_band:
            self.headline = ("error", "mae", "r2", "coverage")

    def prepare(self, network: Network, data: DataSet) -> None:
        """Set mean and spread of each number from the training part; a constant number is not scaled."""
        targets = np.concatenate(data.train.targets) if not self._is_whole else data.train.targets
        layer = _layer(network)
        spread = np.nanstd(targets.astype(np.float64), axis=0)
        layer.mean.copy_(torch.from_numpy(np.nanmean(targets.astype(np.float64), axis=0)))
        layer.reach.copy_(torch.from_numpy(np.where(spread > 0, spread, 1)))

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The last true step of each sequence, or every step, at which any number is known."""
        outputs = last_step(y, lengths) if self._is_whole else y
        is_known = ~targets.isnan().all(-1)
        return outputs[is_known], targets[is_known]

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Task.loss`."""
        if self._quantiles:
            return pinball(network, outputs, targets)
        squares = ((outputs - targets) / _layer(network).reach) ** 2
        return squares[~squares.isnan()].mean()

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """Loss; root mean square and mean absolute error, R², and coverage, in all and for each number.

        Errors are those of the middle quantile; the coverage is there if there is a band.
        R² is 1 - squared error / squared distance from the mean of the scored part; left out where the
        actual values are all equal. In all it is the mean of the numbers' R².
        """
        y, truth = self.middle(outputs), targets.astype(np.float64)
        known = torch.from_numpy(targets.astype(np.float32))
        squares, sizes = (y - truth) ** 2, np.abs(y - truth)
        metrics = {
            "loss": float(self.loss(network.cpu(), torch.from_numpy(outputs), known)),
            "error": float(np.sqrt(np.nanmean(squares))),
            "mae": float(np.nanmean(sizes)),
        }
        r2 = {}
        for column, name in enumerate(self.names):
            is_known = ~np.isnan(truth[:, column])
            if not is_known.any():
                continue
            actual, square = truth[is_known, column], squares[is_known, column]
            metrics[f"error_{name}"] = float(np.sqrt(square.mean()))
            metrics[f"mae_{name}"] = float(sizes[is_known, column].mean())
            if (around := float(np.square(actual - actual.mean()).sum())) > 0:
                r2[name] = 1 - float(square.sum()) / around
        if r2:
            metrics["r2"] = float(np.mean(list(r2.values())))
        metrics |= {f"r2_{name}": value for name, value in r2.items()}
        return Scores(metrics | self._coverage(outputs, truth))

    def _coverage(self, outputs: Floats, truth: Doubles) -> dict[str, float]:
        """The share of the actual values within the band, in all and of each number that is known."""
        if not self.has_band:
            return {}
        is_within = self.is_within(outputs, truth)
        columns = zip(self.names, is_within.T, strict=True)
        return {"coverage": float(np.nanmean(is_within))} | {
            f"coverage_{name}": float(np.nanmean(one)) for name, one in columns if not np.isnan(one).all()
        }

    def summary(self, metrics: dict[str, float]) -> str:
        """See `Task.summary`; without R² where it is not defined."""
        known = (name for name in self.headline if f"test_{name}" in metrics)
        return ", ".join(f"test {name} {metrics[f'test_{name}']:.4g}" for name in known)


def _layer(network: Network) -> Estimates:
    assert isinstance(network.quantiles, Estimates)
    return network.quantiles
