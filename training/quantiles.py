"""The layer after the dense layer of a forecast: quantiles that never cross. Knows nothing of the cell.

    quantile k of a series and horizon = last value + reach · (a_0 + softplus(a_1) + … + softplus(a_k))

The reach is the usual change of the series over that horizon. So an untrained network forecasts persistence,
and all horizons weigh alike in the loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.dataset import Forecast

LOWEST, STEP = -1.0, 0.54  # softplus(0.54) = 1: initially -1, 0 and 1 reaches around the last observed value


class Quantiles(nn.Module):
    """Turns the dense layer's numbers into quantiles, in the units of the series."""

    reach: Tensor
    quantiles: Tensor

    def __init__(self, forecast: Forecast) -> None:
        super().__init__()
        self.columns = [column for column in forecast.columns for _ in forecast.horizons]
        self.count = len(forecast.quantiles)
        self.register_buffer("reach", torch.ones(len(self.columns)))
        self.register_buffer("quantiles", torch.tensor(forecast.quantiles))

    def set_persistence(self, bias: Tensor) -> None:
        """Set the dense layer's bias so that the middle quantile is the last observed value."""
        start = torch.tensor([LOWEST] + [STEP] * (self.count - 1))
        with torch.no_grad():
            bias.copy_(start.repeat(len(self.columns)))

    def by_quantile(self, y: Tensor) -> Tensor:
        """[…, series · horizons · quantiles] → […, series · horizons, quantiles]."""
        return y.reshape(*y.shape[:-1], -1, self.count)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """[batch, time, series · horizons · quantiles]; level [batch, time, columns] → the same shape."""
        steps = self.by_quantile(y)
        rising = torch.cat([steps[..., :1], functional.softplus(steps[..., 1:])], dim=-1).cumsum(-1)
        return (level[..., self.columns, None] + self.reach[:, None] * rising).flatten(-2)


class Estimates(Quantiles):
    """Turns the dense layer's numbers into numbers in units of their own: mean + reach · y.

    There is one number for each output, and no level: the mean and the spread of each are learned from the
    training part.
    """

    mean: Tensor

    def __init__(self, size: int) -> None:
        nn.Module.__init__(self)
        self.columns, self.count = [], 1
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("reach", torch.ones(size))

    def forward(self, y: Tensor, level: Tensor) -> Tensor:  # noqa: ARG002
        """[batch, time, out] → the same shape; the level counts for a forecast alone."""
        return self.mean + self.reach * y
