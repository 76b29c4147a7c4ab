"""The learning rate over a training: the schedule's, times the warm-up's. Knows no network and no trainer.

The warm-up is a function of the place in the training alone. A schedule's state is in the checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from training.config import PLATEAU_EPOCHS, Recipe

PLATEAU_FACTOR = 0.5


def create(recipe: Recipe, optimiser: Optimizer) -> CosineAnnealingLR | ReduceLROnPlateau | None:
    """The schedule of a recipe, stepped once an epoch; None: a constant learning rate.

    `cosine` (Loshchilov, Hutter 2017) ends at zero after all epochs. `plateau` halves the learning rate
    whenever the validation loss was not lower for PLATEAU_EPOCHS epochs.
    """
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimiser, recipe.epochs)
    if recipe.schedule == "plateau":
        patience = PLATEAU_EPOCHS - 1  # PyTorch's: the epochs that change nothing yet
        return ReduceLROnPlateau(optimiser, factor=PLATEAU_FACTOR, patience=patience, threshold=0)
    return None


def warm_up_share(warm_up: int, *, epoch: int, batch: int, batches: int) -> float:
    """The share of the learning rate in a batch, counted from 0, of the `batches` of an epoch.

    It grows linearly with each batch, to 1 in the last batch of `warm_up` epochs (Goyal et al. 2017).
    """
    return min(1.0, (epoch * batches + batch + 1) / (warm_up * batches)) if warm_up else 1.0


@contextmanager
def scaled(optimiser: Optimizer, share: float) -> Iterator[float]:
    """Multiply the learning rate by a share for one step, unseen by the schedule; yield the product."""
    before = [group["lr"] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"] *= share
    try:
        yield optimiser.param_groups[0]["lr"]
    finally:
        for group, learning_rate in zip(optimiser.param_groups, before, strict=True):
            group["lr"] = learning_rate
