"""What several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.config import METRICS_FILE
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.run import Run


def finished_run(name: str) -> Path:
    """The folder of a finished run, by its path or by its name in runs/.

    Looks before torch is imported, so that a slip is told at once. Raises ClickException.
    """
    folder = Path(name) if Path(name).is_dir() else Path("runs") / name
    if not (folder / METRICS_FILE).is_file():
        raise click.ClickException(f"{folder} holds no finished run")
    return folder


@contextmanager
def errors() -> Iterator[None]:
    """Turn what a user can cause into one line; anything else is a bug and keeps its traceback."""
    from training.loop import Interrupted

    try:
        yield
    except Interrupted:
        click.echo("interrupted; the same command goes on from the last finished epoch", err=True)
        raise SystemExit(130) from None
    except (TrainingError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error


def export_run(done: "Run", folder: Path, *, force: bool) -> None:
    """Export a finished run, and say how near ONNX Runtime comes to PyTorch."""
    from training import export as exporter
    from training import run

    told = f"{run.command(done.config, is_public=True)} --export {folder}"
    manifest = exporter.export(
        done.network,
        done.data,
        folder,
        metrics=done.test_metrics(),
        command=told,
        seed=done.config.seed,
        force=force,
    )
    assert manifest.provenance is not None
    worst = max(manifest.provenance.parity.values())
    click.echo(f"{folder}: exported; PyTorch and ONNX Runtime differ by at most {worst:.2g}")
