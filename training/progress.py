"""Records the metrics of each epoch, and shows them on the terminal. Knows nothing of the network."""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import click
import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

HISTORY_FILE = "metrics.csv"

Row = dict[str, float]


class History(pl.Callback):
    """One row of metrics an epoch. It is part of the checkpoint, so a resumed run has its whole history."""

    def __init__(self, folder: Path, metric: str) -> None:
        self._path = folder / HISTORY_FILE
        self._columns = [f"{part}_{name}" for part in ("train", "validation") for name in ("loss", metric)]
        self._started_at = 0.0
        self.rows: list[Row] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the epoch's clock."""
        self._started_at = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Add the epoch's row, and write all rows to `metrics.csv`."""
        metrics = {column: float(trainer.callback_metrics[column]) for column in self._columns}
        seconds = round(time.perf_counter() - self._started_at, 4)
        self.rows.append({"epoch": trainer.current_epoch + 1, **metrics, "seconds": seconds})
        if trainer.is_global_zero:
            with self._path.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.rows[0])
                writer.writeheader()
                writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The part of the checkpoint that is ours."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the epochs before the interruption."""
        self.rows = state_dict["rows"]


def _summary(trainer: pl.Trainer) -> str:
    metrics = trainer.callback_metrics
    shown = {"loss": "train_loss", "val loss": "validation_loss"}
    others = (key for key in metrics if key.startswith("validation_") and key != "validation_loss")
    shown |= {key.removeprefix("validation_"): key for key in others}  # of the validation part too
    return "  ".join(f"{name} {_short(float(metrics[key]))}" for name, key in shown.items() if key in metrics)


def _short(value: float) -> str:
    """Four decimals, or three digits of a large number: at most eight characters."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    """`48 s`, `3:05` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


class _Left(ProgressColumn):
    """The time left until the last possible epoch, as short as it can be."""

    def render(self, task: Task) -> Text:
        """`left 3:05`, or nothing before the first epoch has ended."""
        remaining = task.time_remaining
        return Text("" if remaining is None else f"left {_duration(remaining)}", no_wrap=True)


class ProgressBar(pl.Callback):
    """A bar over all epochs with loss, metric and the time left until the last possible epoch."""

    def __init__(self, console: Console | None = None) -> None:
        # One line of 80 columns: the bar shrinks to nothing before the numbers are cut.
        self._bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.description}"),
            _Left(table_column=Column(no_wrap=True)),
            expand=True,
            console=console,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Show the bar, starting at the current epoch."""
        self._task = self._bar.add_task("", total=trainer.max_epochs, completed=trainer.current_epoch)
        self._bar.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Advance by one epoch."""
        self._bar.update(self._task, advance=1, description=_summary(trainer))

    @property
    def text(self) -> str:
        """The text beside the bar."""
        return self._bar.tasks[self._task].description

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Leave the last state of the bar on the screen."""
        self._bar.stop()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        """Restore the terminal."""
        self._bar.stop()


class ProgressLines(pl.Callback):
    """A plain line for each epoch, for logs and pipes."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the clock for the time left."""
        self._started_at, self._first = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Print the line."""
        done, most = trainer.current_epoch + 1, trainer.max_epochs or 0
        pace = (time.perf_counter() - self._started_at) / (done - self._first)
        click.echo(f"epoch {done}/{most}  {_summary(trainer)}  left {_duration(pace * (most - done))}")


def progress(*, is_terminal: bool | None = None) -> pl.Callback:
    """The bar on a terminal, plain lines elsewhere; by default standard output decides."""
    is_terminal = sys.stdout.isatty() if is_terminal is None else is_terminal
    return ProgressBar() if is_terminal else ProgressLines()
