"""The layer after the dense layer of a forecast: quantiles that never cross. Knows nothing of the cell.

    quantile k of a series and horizon = last value + reach · (a_0 + softplus(a_1) + … + softplus(a_k))

The reach is the usual change of the series over that horizon. So an untrained network forecasts persistence,
and all horizons weigh alike in the loss. A calibration (`training.calibration`) moves the lowest and the
highest quantile outwards by a margin, which is 0 otherwise.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.dataset import Forecast

LOWEST, STEP = -1.0, 0.54  # softplus(0.54) = 1: initially -1, 0 and 1 reaches around the last observed value


class Quantiles(nn.Module):
    """Turns the dense layer's numbers into quantiles, in the units of the series."""

    reach: Tensor
    quantiles: Tensor
    margin: Tensor  # [series · horizons], in the units of the series, 0 or more
    sides: Tensor  # [quantiles]: -1, 0, …, 0, 1

    def __init__(self, forecast: Forecast) -> None:
        super().__init__()
        self.columns = [column for column in forecast.columns for _ in forecast.horizons]
        self.count = len(forecast.quantiles)
        self.register_buffer("reach", torch.ones(len(self.columns)))
        self.register_buffer("quantiles", torch.tensor(forecast.quantiles))
        self.register_buffer("margin", torch.zeros(len(self.columns)))
        sides = torch.zeros(self.count)
        if self.count > 1:
            sides[0], sides[-1] = -1, 1
        self.register_buffer("sides", sides, persistent=False)
        self.register_load_state_dict_pre_hook(_without_margin)  # type: ignore[no-untyped-call]

    @property
    def widening(self) -> Tensor:
        """What the margins add to each quantile: [series · horizons, quantiles]."""
        return self.margin[:, None] * self.sides

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
        quantiles = level[..., self.columns, None] + self.reach[:, None] * rising
        return (quantiles + self.widening).flatten(-2)


def _without_margin(layer: Quantiles, weights: dict[str, Any], prefix: str, *_: object) -> None:
    """Weights from before there was a margin have none."""
    weights.setdefault(f"{prefix}margin", torch.zeros_like(layer.margin))


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
