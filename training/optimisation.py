"""The loss of a batch, and the steps of the optimiser, for Lightning. Knows no files."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, distributed
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from training import schedule
from training.batches import Batch
from training.cells.cell import State
from training.config import Recipe
from training.model import Network
from training.tasks import Task
from training.truncated import Carried, CarriedState


class Training(pl.LightningModule):
    """The task's loss over the known targets."""

    def __init__(
        self, network: Network, task: Task, recipe: Recipe, *, seed: int, compiled: bool = False
    ) -> None:
        super().__init__()
        self.network, self._task, self._recipe, self._seed = network, task, recipe, seed
        self._carried = CarriedState(network)
        self._compiled = torch.compile(network.forward, dynamic=True) if compiled else None

    def on_train_epoch_start(self) -> None:
        """Seed dropout and noise by (seed, epoch, process)."""
        self._carried.clear()
        entropy = np.random.SeedSequence([self._seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    def training_step(self, batch: Batch | Carried) -> Tensor:
        """The loss of a batch."""
        if isinstance(batch, Carried):
            loss, known, after = self._step(batch.batch, "train", self._carried.before(batch))
            self._carried.keep(batch, after)
        else:
            loss, known, _ = self._step(batch, "train")
        return loss * self._weight(known)

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and the metric of a batch."""
        self._step(batch, "validation")

    def _weight(self, known: Tensor) -> Tensor | float:
        """The number of known targets of this process, relative to the average of all processes.

        DDP averages the processes' gradients, each that of a mean over its own targets. With this weight the
        average is the gradient of the mean over all targets, as in one process.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return 1.0
        count = (~known.isnan()).sum().float()
        total = count.clone()
        distributed.all_reduce(total)
        return count * distributed.get_world_size() / total.clamp_min(1)  # 0 if no process has known targets

    def _step(self, batch: Batch, part: str, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """The loss of a batch, the known targets, over which it is a mean, and the state after it.

        `state`: before it; None: the initial one.
        """
        x, lengths, targets = batch
        run = self._compiled or self.network
        y, after = run(x, lengths, state or self.network.initial_state(len(x)))
        outputs, known = self._task.pick(y, lengths, targets)  # [answers, out]
        if not len(outputs):  # a batch of windows that lie in a gap
            return y.sum() * 0, known, after
        loss = self._task.loss(self.network, outputs, known)
        metrics = {f"{part}_loss": loss, f"{part}_{self._task.metric}": self._task.measure(outputs, known)}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(outputs), sync_dist=True)
        return loss, known, after

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, which without weight decay is Adam."""
        recipe = self._recipe
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        scheduler = schedule.create(recipe, optimiser)
        if scheduler is None:
            return optimiser
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "validation_loss"},
        }

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Warm up; a logger gets the learning rate."""
        batches = int(self.trainer.num_training_batches)
        share = schedule.warm_up_share(self._recipe.warm_up, epoch=epoch, batch=batch_idx, batches=batches)
        inner = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        with schedule.scaled(inner, share) as learning_rate:
            if self.trainer.loggers:
                self.log("learning_rate", learning_rate, on_step=True, on_epoch=False)
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule that needs no metric; Lightning would step others after the checkpoint."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_end(self) -> None:
        """Step a schedule that needs the validation loss, so that the checkpoint has its state."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(self.trainer.callback_metrics["validation_loss"])
