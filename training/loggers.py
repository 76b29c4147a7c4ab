"""Creates the loggers of experiment trackers. Knows no network.

A logger changes no result, so it is no part of a run's configuration.
"""

from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from training.config import Config, LoggerName
from training.errors import TrainingError


class LoggerError(TrainingError):
    """The package of a logger is not installed."""


def check(name: LoggerName | None) -> None:
    """Raise LoggerError unless the package of this logger is installed."""
    if name is not None and find_spec(name) is None:
        raise LoggerError(
            f"--logger {name} needs {name}, which is not installed. In a clone: pip install -e '.[{name}]'; "
            f"from an index: pip install 'cellgate[train,{name}]'"
        )


def create(name: LoggerName | None, config: Config, folder: Path) -> Logger | None:
    """The logger of a run, with its recipe; the events are in `<folder>/tensorboard`."""
    if name is None:
        return None
    logger = TensorBoardLogger(folder, name="", version=name, default_hp_metric=False)
    logger.log_hyperparams({**config.recipe.model_dump(), "seed": config.seed})
    return logger
