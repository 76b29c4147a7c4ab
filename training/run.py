"""A run and its folder: trains, evaluates on the test part, and writes the results. Knows no command line.

config.json              the configuration                weights.pt           the network of the best epoch
metrics.csv              one row for each epoch           learning_curves.png
metrics.json             the result; only a finished      confusion.png
                         run has it                       reliability.png
checkpoints/             for resuming an interrupted run  forecasts.png, residuals.png
table.json               how a table is read              README.md            scores, and how to reproduce it
environment.json         the processor and the versions of packages
interface.json           what the inputs and outputs of the network are, for runs that start with its weights
"""

import json
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from training import data, devices, loggers, loop, warm_start
from training.calibration import calibrate
from training.config import CONFIG_FILE, Config, LoggerName, Table
from training.config import METRICS_FILE as METRICS_FILE
from training.config import WEIGHTS_FILE as WEIGHTS_FILE
from training.data import description
from training.data.dataset import DataSet
from training.data.file import TableError
from training.errors import TrainingError
from training.evaluate import predict
from training.figures import draw_learning_curves
from training.model import Network
from training.pictures import draw
from training.processor import processor
from training.progress import Row
from training.report import readme
from training.skill import Skill, compare
from training.tasks import Scores, of
from training.versions import package_versions

ENVIRONMENT_FILE = "environment.json"


class RunError(TrainingError):
    """The folder cannot be used for this run."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    config: Config
    data: DataSet
    network: Network
    metrics: dict[str, float]

    def test_metrics(self) -> dict[str, float]:
        """The metrics on the test part alone; they are the same for every repetition of the run."""
        return {name: value for name, value in self.metrics.items() if name.startswith("test_")}

    def skill(self) -> Skill:
        """The test metrics beside those of the baselines."""
        scores = {name.removeprefix("test_"): value for name, value in self.test_metrics().items()}
        return compare(self.data, self.data.test, scores)


def train(
    config: Config,
    folder: Path,
    *,
    force: bool = False,
    loaded: DataSet | None = None,
    logger: LoggerName | None = None,
) -> Run | None:
    """Train into a folder, or resume an interrupted run; None in DDP's helper processes.

    A finished run with the same configuration is read, and not trained again. `force` replaces a finished
    run, or one with another configuration. `loaded`: the data of the configuration, if read already.
    Raises RunError, FetchError, CellError, DeviceError, LoggerError, WarmStartError, Interrupted.
    """
    if is_finished(folder) and not force and _is_of(config, folder):
        return read(folder, loaded=loaded)
    devices.check(config)
    loggers.check(logger)
    loaded = loaded or data.load_for(config)
    if config.recipe.conformal and not loaded.has_band:
        raise RunError(
            f"--conformal: {config.data} has no bands to widen; forecasts have some, and regressions with "
            "--quantile"
        )
    if config.recipe.thresholds != "half" and loaded.task != "multilabel":
        raise RunError(f"--thresholds: {config.data} has no independent labels, only the likeliest class")
    network = loop.new_network(config, loaded)
    initial = warm_start.read_weights(config, loaded, network)
    if not loop.is_helper():
        _prepare(config, loaded, folder, force=force)
    tracker = loggers.create(None if loop.is_helper() else logger, config, folder)
    started_at = time.perf_counter()
    rows = loop.fit(config, network, loaded, folder, initial=initial, logger=tracker)
    if loop.is_helper():
        return None
    (folder / ENVIRONMENT_FILE).write_text(json.dumps(_environment(), indent=1) + "\n")
    metrics = _write_results(config, network, loaded, folder, rows, time.perf_counter() - started_at)
    loggers.add_results(folder, metrics)
    return Run(folder, config, loaded, network, metrics)


def _write_results(
    config: Config, network: Network, loaded: DataSet, folder: Path, rows: list[Row], seconds: float
) -> dict[str, float]:
    """Evaluate on the test part; write weights, pictures, README, and last the metrics; return these."""
    best = min(rows, key=lambda row: row["validation_loss"]) if config.recipe.patience else rows[-1]
    _, validation = loaded.train_and_validation(share=config.recipe.validation, seed=config.seed)
    calibration = calibrate(network, loaded, validation, config.recipe)
    task = of(loaded)
    answers = predict(network, loaded.test, task)
    scores = task.score(network, answers.outputs, answers.targets)
    compared = compare(loaded, loaded.test, scores.metrics)
    metrics = _metrics(rows, best, scores, compared, seconds) | calibration.metrics(network, task, answers)
    torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    warm_start.keep_interface(loaded, folder)
    draw_learning_curves(rows, best=int(best["epoch"]), path=folder / "learning_curves.png")
    pictures = {
        "learning_curves.png": "loss and metric over the epochs",
        **draw(network, loaded, loaded.test, answers, scores, folder),
    }
    origin = warm_start.origin(config, loaded)
    page = readme(command(config), loaded, scores, compared, metrics, pictures, origin)
    (folder / "README.md").write_text(page)
    (folder / METRICS_FILE).write_text(
        json.dumps(metrics, indent=1) + "\n"
    )  # last: it marks the run as finished
    return metrics


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run."""
    return (folder / METRICS_FILE).is_file()


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a finished run. Raises RunError."""
    if not is_finished(folder):
        raise RunError(f"{folder} holds no finished run")
    metrics: dict[str, float] = json.loads((folder / METRICS_FILE).read_text())
    return metrics


def read_environment(folder: Path) -> dict[str, Any]:
    """The `processor` and the `versions` of a run; empty for runs of before they were recorded."""
    path = folder / ENVIRONMENT_FILE
    environment: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return environment


def _environment() -> dict[str, Any]:
    return {"processor": processor(), "versions": package_versions()}


def read(folder: Path, test_data: Path | None = None, *, loaded: DataSet | None = None) -> Run:
    """Read a finished run; `test_data` is a file that replaces the test part of a table.

    `loaded`: the data of the run's configuration, if they were read already.
    Raises RunError, FetchError, TableError.
    """
    metrics = read_metrics(folder)
    config = Config.read(folder)
    if test_data is not None and config.table is None:
        raise RunError(f"{folder} was trained on the data set {config.data}, not on a table: no --data")
    loaded = loaded or data.load_for(config, test_data)
    if loaded.table is not None:
        description.check_kept(loaded.table, folder)
    network = loop.new_network(config, loaded)
    try:
        network.load_state_dict(torch.load(folder / WEIGHTS_FILE, weights_only=True))
    except RuntimeError as error:  # what torch raises where names or shapes differ
        raise RunError(
            f"{folder}/{WEIGHTS_FILE} belongs to another network than this version of cellgate builds from "
            f"{CONFIG_FILE}; train it again:\n  {command(config)} --out {folder} --force"
        ) from error
    return Run(folder, config, loaded, network, metrics)


def command(config: Config, *, is_public: bool = False) -> str:
    """The command line that trains with this configuration; a public one omits folders."""
    if is_public and config.table:
        paths = {"path": config.table.path, "test_data": config.table.test_data}
        names = {field: Path(path).name for field, path in paths.items() if path}
        without_folder = config.table.model_copy(update=names)
        config = config.model_copy(update={"table": without_folder})
    default = Config(data=config.data, recipe=data.default_recipe(config))
    words = ["cellgate-train", "train", *(_table_words(config.table) if config.table else [config.data])]
    for fields, defaults in ((config.recipe, default.recipe), (config, default)):
        for name, value in fields.model_dump(exclude={"data", "recipe", "table", "warm_start"}).items():
            if value != getattr(defaults, name):
                words += [f"--{name.replace('_', '-')}", str(value)]
    if config.warm_start:
        words += ["--from", Path(config.warm_start.run).name if is_public else config.warm_start.run]
    return shlex.join(words)


def _table_words(table: Table) -> list[str]:
    words = ["--data", table.path]
    names = {"targets": "target", "horizons": "horizon", "quantiles": "quantile", "test": "test-share"}
    for name, value in table.model_dump(
        exclude={"path", "sha256", "test_sha256", "fold"}, exclude_defaults=True
    ).items():
        for one in value if isinstance(value, tuple) else (value,):
            words += [f"--{names.get(name, name).replace('_', '-')}", str(one)]
    return words


def _prepare(config: Config, loaded: DataSet, folder: Path, *, force: bool) -> None:
    if config.warm_start and Path(config.warm_start.run).resolve() == folder.resolve():
        raise RunError(f"--from {config.warm_start.run} is the run folder itself; --out names another one")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / CONFIG_FILE).is_file():
            raise RunError(f"{folder} is not empty, and not a run folder")
        if _is_of(config, folder) and not is_finished(folder) and _can_resume(loaded, folder, force=force):
            return
        if not force:
            raise RunError(
                f"the run in {folder} was started with other options; --force trains it anew, --out names "
                "another folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder)
    if loaded.table is not None:
        description.keep(loaded.table, folder)


def _can_resume(loaded: DataSet, folder: Path, *, force: bool) -> bool:
    """Whether the data are those that the interrupted run has learnt. Raises TableError unless `force`."""
    try:
        if loaded.table is not None:
            description.check_kept(loaded.table, folder)
    except TableError:
        if not force:
            raise
        return False
    return True


def _is_of(config: Config, folder: Path) -> bool:
    try:
        return Config.read(folder) == config  # not the texts: an older one lacks the newest fields
    except (FileNotFoundError, ValidationError):
        return False


def _metrics(rows: list[Row], best: Row, scores: Scores, compared: Skill, seconds: float) -> dict[str, float]:
    validation = [name for name in sorted(best) if name.startswith("validation_")]
    return {
        "epochs": len(rows),
        "kept_epoch": int(best["epoch"]),
        **{name: best[name] for name in validation},
        **{f"test_{name}": value for name, value in scores.metrics.items()},
        **compared.metrics(),
        "seconds": round(seconds, 1),
    }
