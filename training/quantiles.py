"""What stands behind the dense layer of a forecast: quantiles that never cross. Knows nothing of the cell.

    quantile k of a series, a horizon = last seen value + reach · (a_0 + softplus(a_1) + … + softplus(a_k))

The reach is how much the series usually changes over that horizon. So an untrained network already says what
persistence says, and horizons weigh alike in the loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.dataset import Forecast

LOWEST, STEP = -1.0, 0.54  # softplus(0.54) = 1: at the start -1, 0, 1 reaches around what was seen


class Quantiles(nn.Module):
    """Turns the dense layer's numbers into quantiles, in the units of the series."""

    reach: Tensor
    quantiles: Tensor

    def __init__(self, told: Forecast) -> None:
        super().__init__()
        self.columns = [column for column in told.columns for _ in told.horizons]
        self.count = len(told.quantiles)
        self.register_buffer("reach", torch.ones(len(self.columns)))
        self.register_buffer("quantiles", torch.tensor(told.quantiles))

    def start(self, bias: Tensor) -> None:
        """Set the dense layer's bias to what persistence would say."""
        start = torch.tensor([LOWEST] + [STEP] * (self.count - 1))
        with torch.no_grad():
            bias.copy_(start.repeat(len(self.columns)))

    def by_quantile(self, y: Tensor) -> Tensor:
        """[…, series · horizons · quantiles] → […, series · horizons, quantiles]."""
        return y.reshape(*y.shape[:-1], -1, self.count)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """[batch, time, series · horizons · quantiles]; level [batch, time, columns] → the same shape."""
        told = self.by_quantile(y)
        rising = torch.cat([told[..., :1], functional.softplus(told[..., 1:])], dim=-1).cumsum(-1)
        return (level[..., self.columns, None] + self.reach[:, None] * rising).flatten(-2)
