"""Progress: a row for each epoch, in the file and in the checkpoint; a bar or lines."""

import csv
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import pytest
import torch
from rich.console import Console
from rich.progress import ProgressSample

from training import loop
from training.config import Config
from training.data.dataset import DataSet
from training.progress import (
    HISTORY_FILE,
    History,
    ProgressBar,
    ProgressLines,
    _duration,
    _summary,
    progress,
)

MODULE = cast(pl.LightningModule, None)
METRICS = {
    "train_loss": torch.tensor(0.5),
    "train_accuracy": torch.tensor(0.75),
    "validation_loss": torch.tensor(0.25),
    "validation_accuracy": torch.tensor(1.0),
}


def trainer_at(
    epoch: int, *, is_global_zero: bool = True, max_epochs: int = 4, **metrics: float
) -> pl.Trainer:
    """What a callback reads of a trainer in this epoch, counted from 0."""
    callback_metrics = METRICS | {name: torch.tensor(value) for name, value in metrics.items()}
    return cast(
        pl.Trainer,
        SimpleNamespace(
            current_epoch=epoch,
            callback_metrics=callback_metrics,
            is_global_zero=is_global_zero,
            max_epochs=max_epochs,
        ),
    )


def run_epochs(callback: pl.Callback, epochs: range, **fields: Any) -> None:
    for epoch in epochs:
        callback.on_train_epoch_start(trainer_at(epoch, **fields), MODULE)
        callback.on_train_epoch_end(trainer_at(epoch, **fields), MODULE)


def test_every_epoch_is_a_row_of_the_file(tmp_path: Path) -> None:
    history = History(tmp_path, "accuracy")
    run_epochs(history, range(2))
    run_epochs(history, range(2, 3), train_loss=0.125)
    with (tmp_path / HISTORY_FILE).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds"
    ]  # fmt: skip
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["train_loss"] for row in rows] == ["0.5", "0.5", "0.125"]
    assert all(0 <= float(row["seconds"]) < 10 for row in rows)


def test_the_history_continues_after_a_checkpoint(tmp_path: Path) -> None:
    first, second = History(tmp_path, "accuracy"), History(tmp_path, "accuracy")
    run_epochs(first, range(2))
    second.load_state_dict(first.state_dict())
    run_epochs(second, range(2, 3))
    assert [row["epoch"] for row in second.rows] == [1, 2, 3]
    assert len((tmp_path / HISTORY_FILE).read_text().splitlines()) == 4


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    history = History(tmp_path, "accuracy")
    run_epochs(history, range(1), is_global_zero=False)
    assert len(history.rows) == 1
    assert not (tmp_path / HISTORY_FILE).exists()


def test_lines_have_the_metrics_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    lines.on_train_start(trainer_at(0), MODULE)
    run_epochs(lines, range(4))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("epoch 1/4  loss 0.5000  val loss 0.2500  accuracy 1.0000  left ")
    assert shown[-1].endswith("left 0 s")


def test_lines_of_a_resumed_run_start_at_its_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines()
    lines.on_train_start(trainer_at(2), MODULE)
    run_epochs(lines, range(2, 3))
    assert capsys.readouterr().out.startswith("epoch 3/4  ")


def test_the_bar_starts_at_the_current_epoch_and_shows_the_metrics() -> None:
    bar = ProgressBar()
    bar.on_train_start(trainer_at(1), MODULE)
    try:
        run_epochs(bar, range(1, 3))
        assert bar.text == "loss 0.5000  val loss 0.2500  accuracy 1.0000"
        [task] = bar._bar.tasks
        assert (task.completed, task.total) == (3, 4)
    finally:
        bar.on_train_end(trainer_at(3), MODULE)


@pytest.mark.parametrize("done", [1, 2, 999])
def test_the_bar_fits_80_columns_with_the_total_and_the_time_left(done: int) -> None:
    """It was 120 columns wide: on a terminal of 80 the metrics and the time left were cut."""
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, width=80, force_terminal=True))
    trainer = trainer_at(0, max_epochs=1000, train_loss=12345.6)
    bar.on_train_start(trainer, MODULE)
    [task] = bar._bar.tasks
    bar._bar.update(task.id, completed=done, description=_summary(trainer))
    task._progress.clear()
    task._progress.extend([ProgressSample(0.0, 1), ProgressSample(20.0, 1)])  # 20 s an epoch: hours are left
    bar.on_train_end(trainer, MODULE)
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()[-1].split("\r")[-1]
    assert len(line) <= 80
    assert line.startswith(f"epoch {done}/1000 ")
    assert "loss 1.23e+04  val loss 0.2500  accuracy 1.0000 left " in line
    assert line.rstrip()[-1].isdigit() or line.rstrip().endswith(" s")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (3599, "59:59"), (36_001, "10:00:01")]
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_the_bar_is_stopped_by_an_exception() -> None:
    bar = ProgressBar()
    bar.on_train_start(trainer_at(0), MODULE)
    assert bar._bar.live.is_started
    bar.on_exception(trainer_at(0), MODULE, KeyboardInterrupt())
    assert not bar._bar.live.is_started


def test_a_terminal_gets_a_bar_and_a_pipe_lines() -> None:
    assert isinstance(progress(is_terminal=True), ProgressBar)
    assert isinstance(progress(is_terminal=False), ProgressLines)
    assert isinstance(progress(), ProgressBar if sys.stdout.isatty() else ProgressLines)


class Recorded(ProgressBar):
    """A bar that records its text after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.texts.append(self.text)


def test_a_terminal_sees_a_bar(small: Config, vowels: DataSet, tmp_path: Path) -> None:
    bar = Recorded()
    loop.fit(small, loop.new_network(small, vowels), vowels, tmp_path, show=False, callbacks=(bar,))
    assert len(bar.texts) == 4
    assert all("loss" in text and "accuracy" in text for text in bar.texts)
