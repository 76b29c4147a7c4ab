"""Loggers: a missing package is one line; the real one writes every epoch."""

from pathlib import Path

import pytest

from tests.training.synthetic import data_of
from training import loggers, loop
from training.config import Config, Recipe

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
    with pytest.raises(loggers.LoggerError, match=r"pip install 'cellgate\[train,tensorboard\]'"):
        loggers.check("tensorboard")


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
