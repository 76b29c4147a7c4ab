"""Creates the loggers of experiment trackers. Knows no network.

A logger changes no result, so it is no part of a run's configuration.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from training.config import Config, LoggerName
from training.errors import TrainingError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MLFLOW_URI = "MLFLOW_TRACKING_URI"  # MLflow's own variable, which names a server or another store
NO_TELEMETRY = ("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reports its use to its makers unless this is set
MLFLOW_RUN_FILE = "mlflow_run.txt"  # in a run folder: the id of its run in MLflow, which is resumed too
NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_/. -]")  # of a metric in MLflow; horizons have a "+"
FILES = ("*.json", "*.md", "*.png", "metrics.csv")  # of a run folder, which are artifacts


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
    """The logger of a run, with its recipe.

    TensorBoard's events are in `<folder>/tensorboard`. MLflow's store is `mlflow.db`, with `mlartifacts/`,
    beside the run folder, or the one that MLFLOW_TRACKING_URI names.
    """
    if name is None:
        return None
    logger: Logger
    if name == "mlflow":
        logger = _mlflow(config, folder)
    else:
        logger = TensorBoardLogger(folder, name="", version=name, default_hp_metric=False)
    logger.log_hyperparams({**config.recipe.model_dump(), "seed": config.seed})
    return logger


def add_results(folder: Path, metrics: dict[str, float]) -> None:
    """Add the test metrics and the small files of a finished run to its run in MLflow, if it has one."""
    if client := _client(folder):
        for name, value in metrics.items():
            if name.startswith("test_"):
                client.log_metric(_run_id(folder), NOT_IN_A_NAME.sub("_", name), value)
        _add_files(client, folder, folder, None)


def add_model(model: Path, folder: Path) -> None:
    """Add the manifest of an exported run to its run in MLflow, if it has one."""
    if client := _client(folder):
        _add_files(client, model, folder, "model")


def _mlflow(config: Config, folder: Path) -> MLFlowLogger:
    os.environ.setdefault(*NO_TELEMETRY)
    is_resumed = (folder / MLFLOW_RUN_FILE).is_file()
    is_local = MLFLOW_URI not in os.environ
    logger = MLFlowLogger(
        config.data,
        run_name=folder.name,
        tracking_uri=_store(folder),
        artifact_location=(folder.resolve().parent / "mlartifacts").as_uri() if is_local else None,
        tags={"folder": str(folder.resolve())},
        run_id=_run_id(folder) if is_resumed else None,
    )
    assert logger.run_id is not None
    (folder / MLFLOW_RUN_FILE).write_text(logger.run_id + "\n")
    logger.experiment.update_run(logger.run_id, status="RUNNING")
    return logger


def _client(folder: Path) -> "MlflowClient | None":
    if not (folder / MLFLOW_RUN_FILE).is_file() or find_spec("mlflow") is None:
        return None
    os.environ.setdefault(*NO_TELEMETRY)
    from mlflow.tracking import MlflowClient

    return MlflowClient(_store(folder))


def _add_files(client: "MlflowClient", source: Path, folder: Path, place: str | None) -> None:
    for path in sorted({path for pattern in FILES for path in source.glob(pattern)}):
        client.log_artifact(_run_id(folder), str(path), place)


def _run_id(folder: Path) -> str:
    return (folder / MLFLOW_RUN_FILE).read_text().strip()


def _store(folder: Path) -> str:
    return os.environ.get(MLFLOW_URI) or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
