"""The layer after the dense layer of a forecast or a regression: quantiles that never cross.

It knows nothing of the cell.

    quantile k of a number = base + reach · (a_0 + softplus(a_1) + … + softplus(a_k))

A forecast has a number for each series and horizon; its base is the last value of the series, and the reach
its usual change over that horizon. In a regression the base is the mean of the number, and the reach its
spread. So an untrained network forecasts persistence, or the mean, and all numbers weigh alike in the loss. A
calibration (`training.calibration`) moves the lowest and the highest quantile outwards by a margin, which is
0 otherwise.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.dataset import Forecast

STEP = 0.54  # softplus(0.54) = 1: initially the quantiles are one reach apart


def middle_of(quantiles: tuple[float, ...]) -> int:
    """The place of the quantile next to 0.5, the lower of two; of a number without quantiles 0."""
    distances = [abs(quantile - 0.5) for quantile in quantiles or (0.5,)]
    return distances.index(min(distances))


class Quantiles(nn.Module):
    """Turns the dense layer's numbers into quantiles, in the units of the series."""

    reach: Tensor
    quantiles: Tensor
    margin: Tensor  # [numbers], in the units of the numbers, 0 or more
    sides: Tensor  # [quantiles]: -1, 0, …, 0, 1

    def __init__(self, forecast: Forecast) -> None:
        super().__init__()
        self.columns = [column for column in forecast.columns for _ in forecast.horizons]
        self._register(len(self.columns), forecast.quantiles)

    def _register(self, numbers: int, quantiles: tuple[float, ...]) -> None:
        self.numbers, self.count, self.middle = numbers, max(1, len(quantiles)), middle_of(quantiles)
        is_kept = bool(quantiles)  # weights of a layer without quantiles have no place for them
        self.register_buffer("reach", torch.ones(numbers))
        self.register_buffer("quantiles", torch.tensor(quantiles), persistent=is_kept)
        self.register_buffer("margin", torch.zeros(numbers), persistent=is_kept)
        sides = torch.zeros(self.count)
        if self.count > 1:
            sides[0], sides[-1] = -1, 1
        self.register_buffer("sides", sides, persistent=False)
        if is_kept:
            self.register_load_state_dict_pre_hook(_without_margin)  # type: ignore[no-untyped-call]

    @property
    def widening(self) -> Tensor:
        """What the margins add to each quantile: [numbers, quantiles]."""
        return self.margin[:, None] * self.sides

    def center(self, bias: Tensor) -> None:
        """Set the dense layer's bias so that the middle quantile is the base."""
        start = torch.tensor([-float(self.middle)] + [STEP] * (self.count - 1))
        with torch.no_grad():
            bias.copy_(start.repeat(self.numbers))

    def by_quantile(self, y: Tensor) -> Tensor:
        """[…, numbers · quantiles] → […, numbers, quantiles]."""
        return y.reshape(*y.shape[:-1], -1, self.count)

    def base(self, level: Tensor) -> Tensor:
        """[batch, time, columns] → [batch, time, numbers]: the last value of the series of each number."""
        return level[..., self.columns]

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """[batch, time, numbers · quantiles]; level [batch, time, columns] → the same shape."""
        steps = self.by_quantile(y)
        rising = torch.cat([steps[..., :1], functional.softplus(steps[..., 1:])], dim=-1).cumsum(-1)
        quantiles = self.base(level)[..., None] + self.reach[:, None] * rising
        return (quantiles + self.widening).flatten(-2)


def _without_margin(layer: Quantiles, weights: dict[str, Any], prefix: str, *_: object) -> None:
    """Weights from before there was a margin have none."""
    weights.setdefault(f"{prefix}margin", torch.zeros_like(layer.margin))


class Estimates(Quantiles):
    """Turns the dense layer's numbers into numbers in units of their own, or into quantiles of them.

    There is no level: the mean and the spread of each are learned from the training part.
    """

    mean: Tensor

    def __init__(self, numbers: int, quantiles: tuple[float, ...] = ()) -> None:
        """Without `quantiles` each number has one estimate."""
        nn.Module.__init__(self)
        self.columns = []
        self._register(numbers, quantiles)
        self.register_buffer("mean", torch.zeros(numbers))

    def base(self, level: Tensor) -> Tensor:  # noqa: ARG002
        """The mean: [numbers]."""
        return self.mean
