"""Trains a network with Lightning. Knows nothing of the command line, of test data, or of export.

Randomness is a function of (seed, epoch, process) alone: no generator's state has to survive an interruption,
and a resumed run equals an undisturbed one.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, distributed
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from training import schedule
from training.batches import Batch
from training.cells.cell import State
from training.config import Config, Recipe
from training.data.dataset import DataSet
from training.model import Network, NetworkError
from training.pooling import PoolError
from training.progress import History, Row, progress
from training.source import Source
from training.tasks import Task, of
from training.truncated import Carried, CarriedState
from training.warm_start import Weights
from training.weight_drop import WeightDrop

CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


class Interrupted(Exception):
    """Ctrl-C: the last finished epoch is in the run folder, and the same command resumes after it."""


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


def is_helper() -> bool:
    """Whether this process was started by DDP, not by the user."""
    return bool(getattr(rank_zero_only, "rank", 0))


def new_network(config: Config, data: DataSet) -> Network:
    """An untrained network, the same for the same seed. Raises CellError, PoolError, NetworkError."""
    recipe = config.recipe
    if recipe.tie and data.task != "language":
        raise NetworkError(f"--tie: the outputs of {config.data} are not the tokens of its input")
    if not data.is_whole and recipe.pool not in ("auto", "last"):
        raise PoolError(f"--pool {recipe.pool}: {config.data} has no target of whole sequences to read")
    if recipe.bptt and data.is_whole:
        raise NetworkError(
            f"--bptt: {config.data} has one target for each whole sequence, at its end: windows before it "
            "would have nothing to learn"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Network(
            cell=recipe.cell,
            features=data.inputs,
            hidden=recipe.hidden,
            layers=recipe.layers,
            out=data.out,
            projection=recipe.projection,
            embedding=recipe.embedding,
            input_projection=recipe.input_projection,
            dropout=recipe.dropout,
            layer_dropout=recipe.layer_dropout,
            noise=recipe.noise,
            pool=recipe.pool if data.is_whole else "last",
            forecast=data.forecast,
            estimates=data.task == "regress",
            quantiles=data.quantiles,
            independent=data.task == "multilabel",
            tie=recipe.tie,
        )
    if recipe.bptt and not network.cell.causal:
        raise NetworkError(
            f"--bptt: the cell {recipe.cell!r} reads a sequence from its end too, so it has no state to carry"
        )
    if config.compile and not network.cell.compiles:
        raise NetworkError(
            f"--compile: torch.compile would unroll the steps of the cell {recipe.cell!r}, for minutes and "
            "anew for each length of a batch; it accepts the cells that PyTorch has itself"
        )
    return network


def fit(
    config: Config,
    network: Network,
    data: DataSet,
    folder: Path,
    *,
    show: bool = True,
    callbacks: tuple[Callback, ...] = (),
    initial: Weights | None = None,
    logger: Logger | None = None,
) -> list[Row]:
    """Train a network, or resume from the folder's last checkpoint; return the metrics of each epoch.

    With patience the network ends with the weights of the best validation loss, without with the last ones.
    `initial`: weights to start with, and the normalisation with which they were learnt. `show` prints
    progress. Raises Interrupted.
    """
    torch.set_num_threads(config.threads)
    recipe = config.recipe
    task = of(data, recipe)
    train, validation = data.train_and_validation(share=recipe.validation, seed=config.seed)
    network.learn_normalisation(train.sequences)
    task.prepare(network, data)
    if initial is not None:
        network.load_state_dict(initial)
    network.clear_calibration()
    source = Source(train, validation, recipe=recipe, seed=config.seed)
    history = History(folder, task.metric)
    if recipe.recurrent_dropout:
        callbacks += (WeightDrop(network.cell, recipe.recurrent_dropout, seed=config.seed),)
    trainer = _trainer(config, folder, history, show=show, more=callbacks, logger=logger)
    last = folder / CHECKPOINTS / LAST
    with _expected_warnings():
        try:
            trainer.fit(
                Training(network, task, recipe, seed=config.seed, compiled=config.compile),
                datamodule=source,
                ckpt_path=str(last) if last.is_file() else None,
                weights_only=True,
            )
        except SystemExit as exit_:  # how Lightning ends after Ctrl-C, after its teardown
            if trainer.state.status == TrainerStatus.INTERRUPTED:
                raise Interrupted from exit_
            raise
    path = folder / CHECKPOINTS / (BEST if recipe.patience else LAST)
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network.cpu().load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    return history.rows


def _trainer(
    config: Config,
    folder: Path,
    history: History,
    *,
    show: bool,
    more: tuple[Callback, ...],
    logger: Logger | None,
) -> pl.Trainer:
    patience = config.recipe.patience
    callbacks: list[Callback] = [history, *more, *([progress()] if show and not is_helper() else [])]
    for name, measure in (
        (BEST, "validation_loss"),
        (LAST, None),
    ):  # the last checkpoint includes the state of the best
        callbacks.append(
            ModelCheckpoint(
                dirpath=folder / CHECKPOINTS,
                filename=Path(name).stem,
                monitor=measure,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    if patience:
        callbacks.append(EarlyStopping("validation_loss", patience=patience))
    return pl.Trainer(
        max_epochs=config.recipe.epochs,
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,
        strategy="ddp" if config.devices > 1 else "auto",
        callbacks=callbacks,
        gradient_clip_val=config.recipe.clip or None,
        deterministic=True,
        logger=logger or False,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # `shuffled` already gives each process its share
        reload_dataloaders_every_n_epochs=1,
    )


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Ignore warnings about resuming among checkpoints, which is intended, and about Lightning itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning
        )  # Lightning
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        yield
