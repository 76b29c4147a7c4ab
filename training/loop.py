"""Trains a network with Lightning. Knows nothing of the command line, of test data, or of export.

Randomness is a function of (seed, epoch, process) alone: no generator's state has to survive an interruption,
and a resumed run equals an undisturbed one.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities import rank_zero_only

from training.config import Config
from training.data.dataset import DataSet
from training.model import Network, NetworkError
from training.optimisation import Training
from training.pooling import PoolError
from training.progress import History, Row, progress
from training.source import Source
from training.tasks import of
from training.warm_start import Weights
from training.weight_drop import WeightDrop

CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


class Interrupted(Exception):
    """Ctrl-C: the last finished epoch is in the run folder, and the same command resumes after it."""


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
            zoneout=recipe.zoneout,
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
    network.input_layer.learn_unknown(train.sequences)
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
