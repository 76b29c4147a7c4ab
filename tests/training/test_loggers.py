"""Loggers: a missing package is one line; the real one writes every epoch."""

from pathlib import Path
from typing import get_args

import pytest

from tests.training.synthetic import data_of
from training import loggers, loop
from training.config import Config, LoggerName, Recipe

CONFIG = Config(
    data="synthetic",
    recipe=Recipe(hidden=4, epochs=3, batch_size=8, warm_up=2, learning_rate=0.5),
    accelerator="cpu",
)


def test_no_logger_needs_no_package(tmp_path: Path) -> None:
    loggers.check(None)
    assert loggers.create(None, CONFIG, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_reported_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    for name in get_args(LoggerName):
        with pytest.raises(loggers.LoggerError, match=rf"pip install 'cellgate\[train,{name}\]'"):
            loggers.check(name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages that TensorBoard imports
def test_tensorboard_gets_the_metrics_of_every_epoch_and_the_learning_rate(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = data_of("label")
    logger = loggers.create("tensorboard", CONFIG, tmp_path)
    rows = loop.fit(CONFIG, loop.new_network(CONFIG, data), data, tmp_path, show=False, logger=logger)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"):
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx([row[name] for row in rows]), name
    rates = [event.value for event in events.Scalars("learning_rate")]
    warm = 2 * len(rates) // 3
    assert rates == pytest.approx([0.5 * min(1, (step + 1) / warm) for step in range(len(rates))])


@pytest.mark.filterwarnings("ignore")  # of MLflow, SQLAlchemy and what they import
def test_mlflow_gets_parameters_metrics_and_files_and_a_resumed_run_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv(loggers.MLFLOW_URI, raising=False)
    data, folder, model = data_of("label"), tmp_path / "runs" / "first", tmp_path / "model"
    folder.mkdir(parents=True)
    for epochs in (2, 3):
        recipe = CONFIG.recipe.model_copy(update={"epochs": epochs})
        config = CONFIG.model_copy(update={"recipe": recipe})
        logger = loggers.create("mlflow", CONFIG, folder)
        rows = loop.fit(config, loop.new_network(config, data), data, folder, show=False, logger=logger)
    loggers.add_results(folder, {"test_loss": 0.25, "test_error_é_+4weeks": 2.0, "seconds": 3.0})
    model.mkdir()
    (model / "model.json").write_text("{}")
    loggers.add_model(model, folder)

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("synthetic")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params["learning_rate"] == "0.5"
    assert run.data.metrics["test_error____4weeks"] == 2.0
    assert run.data.metrics["test_loss"] == 0.25 and "seconds" not in run.data.metrics
    for name in ("train_loss", "validation_accuracy"):
        logged = [one.value for one in client.get_metric_history(run.info.run_id, name)]
        assert logged == pytest.approx([row[name] for row in rows]), name
    assert "metrics.csv" in [one.path for one in client.list_artifacts(run.info.run_id)]
    assert [one.path for one in client.list_artifacts(run.info.run_id, "model")] == ["model/model.json"]


def test_a_run_without_mlflow_needs_no_package_at_its_end(tmp_path: Path) -> None:
    loggers.add_results(tmp_path, {"test_loss": 0.25})
    loggers.add_model(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())
