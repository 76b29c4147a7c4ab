"""Drops recurrent weights in training: DropConnect of the products of h (Merity, Keskar, Socher 2018).

A share of these weights is zero in all steps of a batch, and the others are scaled up. So the memory is not
disturbed from step to step, and every cell with such a product can be trained so, PyTorch's fused ones too:
the weights are changed before the forward pass, and are back after the backward pass.
"""

import re
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from training.cells.cell import Cell
from training.errors import TrainingError

RECURRENT = re.compile(r"(^|\.)(weight_hh_l\d+(_reverse)?|from_h\.weight)$")


class WeightDropError(TrainingError):
    """The cell has no recurrent weights."""


class WeightDrop(pl.Callback):
    """Drops a share of the recurrent weights in each batch. Raises WeightDropError."""

    def __init__(self, cell: Cell, share: float, *, seed: int) -> None:
        self._weights = [weight for name, weight in cell.named_parameters() if RECURRENT.search(name)]
        if not self._weights:
            raise WeightDropError(
                f"--recurrent-dropout: {type(cell).__name__} has no matrix that multiplies the state"
            )
        self._share, self._seed = share, seed
        self._whole: list[Tensor] = []
        self._factors: list[Tensor] = []

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, __: Any, batch_idx: int) -> None:
        """See pl.Callback. All processes drop the same weights, or their gradients would not add up."""
        entropy = np.random.SeedSequence([self._seed, trainer.current_epoch, batch_idx])
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        self._whole = [weight.detach().clone() for weight in self._weights]
        self._factors = [self._factor(weight, generator) for weight in self._weights]
        with torch.no_grad():
            for weight, factor in zip(self._weights, self._factors, strict=True):
                weight.mul_(factor)

    @torch.no_grad()
    def on_after_backward(self, _: pl.Trainer, __: Any) -> None:
        """See pl.Callback: a dropped weight has no gradient."""
        for weight, factor, whole in zip(self._weights, self._factors, self._whole, strict=True):
            weight.copy_(whole)
            if weight.grad is not None:
                weight.grad.mul_(factor)

    def _factor(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        """0 for a dropped weight, else 1 / (1 - share)."""
        remains = torch.rand(weight.shape, generator=generator) >= self._share
        return (remains / (1 - self._share)).to(weight)
