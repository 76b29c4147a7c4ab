"""The batches of each epoch, for Lightning. Knows no network."""

import lightning.pytorch as pl

from training.batches import Batches, in_order, shuffled
from training.config import Recipe
from training.data.dataset import Split
from training.truncated import CarriedBatches, carried


class Source(pl.LightningDataModule):
    """The batches of each epoch. Every process validates on the whole part, so all have equal metrics."""

    def __init__(self, train: Split, validation: Split, *, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self._train, self._validation, self._recipe, self._seed = train, validation, recipe, seed

    def train_dataloader(self) -> Batches | CarriedBatches:
        """This process's share of the next epoch."""
        trainer, recipe = self.trainer, self._recipe
        assert trainer is not None
        share: dict[str, int] = {
            "batch_size": recipe.batch_size,
            "seed": self._seed,
            "epoch": trainer.current_epoch,
            "rank": trainer.global_rank,
            "world": trainer.world_size,
        }
        if recipe.bptt:
            return carried(self._train.series or self._train, steps=recipe.bptt, **share)
        return shuffled(self._train, buckets=recipe.buckets, **share)

    def val_dataloader(self) -> Batches:
        """The whole validation part."""
        return in_order(self._validation, batch_size=256)
