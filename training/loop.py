"""Trains a network with Lightning. Knows nothing of the command line, of test data, or of what export needs.

Randomness is a function of (seed, epoch, process) alone: no generator's state has to survive an interruption,
and a resumed run equals one that was never stopped.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, distributed

from training.batches import Batch, Batches, in_order, shuffled
from training.config import Config, Recipe
from training.data.dataset import DataSet, Split, hold_out
from training.errors import TrainingError
from training.model import Network
from training.progress import History, Row, progress
from training.tasks import Task, of

CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


class Interrupted(Exception):
    """Ctrl-C: the last finished epoch is in the run folder, and the same command goes on from there."""


class DeviceError(TrainingError):
    """What is to train is not there."""


def check_devices(config: Config) -> None:
    """Raise DeviceError unless the accelerator that was asked for is there, as often as asked for."""
    if config.accelerator != "cuda":
        return
    found = torch.cuda.device_count()
    if torch.version.cuda is None:
        raise DeviceError(f"--accelerator cuda: this PyTorch, {torch.__version__}, is built without CUDA")
    if found < config.devices:
        raise DeviceError(f"--accelerator cuda --devices {config.devices}: {found} CUDA devices are here")


class Training(pl.LightningModule):
    """The task's loss, where its targets are known."""

    def __init__(self, network: Network, task: Task, recipe: Recipe, *, seed: int) -> None:
        super().__init__()
        self.network, self._task, self._recipe, self._seed = network, task, recipe, seed

    def on_train_epoch_start(self) -> None:
        """Seed dropout and noise by (seed, epoch, process)."""
        entropy = np.random.SeedSequence([self._seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    def training_step(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        loss, known = self._step(batch, "train")
        return loss * self._weight(known)

    def validation_step(self, batch: Batch) -> None:
        """Log the loss and the metric of a batch."""
        self._step(batch, "validation")

    def _weight(self, known: Tensor) -> Tensor | float:
        """How many targets are known here, as a share of what a process has on average.

        DDP averages the processes' gradients, each that of a mean over its own targets. Weighed so, they are
        the gradient of the mean over all of them: what one process would learn from.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return 1.0
        count = (~known.isnan()).sum().float()
        total = count.clone()
        distributed.all_reduce(total)
        return count * distributed.get_world_size() / total.clamp_min(1)  # 0 where nobody knows any

    def _step(self, batch: Batch, part: str) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the targets that it is the mean over."""
        x, lengths, targets = batch
        y, _ = self.network(x, lengths, self.network.initial_state(len(x)))
        said, known = self._task.pick(y, lengths, targets)  # [answers, out]
        if not len(said):  # a batch of windows that lie in a gap: nothing to learn, nothing to measure
            return y.sum() * 0, known
        loss = self._task.loss(self.network, said, known)
        found = {f"{part}_loss": loss, f"{part}_{self._task.metric}": self._task.measure(said, known)}
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=len(said), sync_dist=True)
        return loss, known

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; with weight decay its decoupled form."""
        recipe = self._recipe
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        if not recipe.anneal:
            return optimiser
        return [optimiser], [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)]


class Source(pl.LightningDataModule):
    """The batches of each epoch. Every process validates on all of it: no waiting, equal figures."""

    def __init__(self, train: Split, validation: Split, *, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self._train, self._validation, self._recipe, self._seed = train, validation, recipe, seed

    def train_dataloader(self) -> Batches:
        """This process's share of the coming epoch."""
        trainer = self.trainer
        assert trainer is not None
        return shuffled(
            self._train,
            batch_size=self._recipe.batch_size,
            buckets=self._recipe.buckets,
            seed=self._seed,
            epoch=trainer.current_epoch,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )

    def val_dataloader(self) -> Batches:
        """The whole validation part."""
        return in_order(self._validation, batch_size=256)


def is_helper() -> bool:
    """Whether this process was started by DDP beside the one that the user started."""
    return bool(getattr(rank_zero_only, "rank", 0))


def new_network(config: Config, data: DataSet) -> Network:
    """An untrained network, the same for the same seed. Raises CellError."""
    recipe = config.recipe
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Network(
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
            forecast=data.forecast,
        )


def fit(
    config: Config,
    network: Network,
    data: DataSet,
    folder: Path,
    *,
    show: bool = True,
    callbacks: tuple[Callback, ...] = (),
) -> list[Row]:
    """Train a network, or go on from the folder's last checkpoint; each epoch's metrics.

    With patience its weights end as those of the best validation loss, without as the last.
    `show` tells of each epoch. Raises DeviceError, Interrupted.
    """
    torch.set_num_threads(config.threads)
    recipe = config.recipe
    task = of(data)
    train, validation = data.train, data.validation
    if validation is None:
        train, validation = hold_out(data.train, share=recipe.validation, seed=config.seed)
    network.learn_normalisation(train.sequences)
    task.prepare(network, data)
    source = Source(train, validation, recipe=recipe, seed=config.seed)
    history = History(folder, task.metric)
    trainer = _trainer(config, folder, history, show=show, more=callbacks)
    last = folder / CHECKPOINTS / LAST
    with _expected_warnings():
        try:
            trainer.fit(
                Training(network, task, recipe, seed=config.seed),
                datamodule=source,
                ckpt_path=str(last) if last.is_file() else None,
                weights_only=True,
            )
        except SystemExit as exit_:  # how Lightning ends after Ctrl-C, when all is torn down
            if trainer.state.status == TrainerStatus.INTERRUPTED:
                raise Interrupted from exit_
            raise
    kept = folder / CHECKPOINTS / (BEST if recipe.patience else LAST)
    weights = torch.load(kept, map_location="cpu", weights_only=True)["state_dict"]
    network.cpu().load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    return history.rows


def _trainer(
    config: Config, folder: Path, history: History, *, show: bool, more: tuple[Callback, ...]
) -> pl.Trainer:
    patience = config.recipe.patience
    callbacks: list[Callback] = [history, *more, *([progress()] if show and not is_helper() else [])]
    for name, measure in ((BEST, "validation_loss"), (LAST, None)):  # the last one knows what the best is
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
        strategy="ddp" if config.devices > 1 else "auto",
        callbacks=callbacks,
        gradient_clip_val=config.recipe.clip or None,
        deterministic=True,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # `shuffled` already gives each process its share
        reload_dataloaders_every_n_epochs=1,
    )


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Keep quiet about what we do on purpose, resuming among checkpoints, and about what is not ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning
        )  # Lightning
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        yield
