"""What several commands share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.config import METRICS_FILE
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.run import Run

EXPORT_FILE = "export.json"  # of a run folder: where its network was exported to last


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
    """Export a finished run, say how near ONNX Runtime comes to PyTorch, and note where it lies now."""
    from training import export as exporter
    from training import run
    from training.export import parity

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
    (done.folder / EXPORT_FILE).write_text(json.dumps({"folder": str(folder.resolve())}) + "\n")
    click.echo(f"{folder}: exported; {parity.describe(manifest.provenance.parity, done.network)}")


def model_of(run_folder: Path) -> Path | None:
    """The folder of the model that a run was last exported to, if it is there still."""
    try:
        version = Path(json.loads((run_folder / EXPORT_FILE).read_text())["folder"])
    except FileNotFoundError:
        return None
    model = version.parent
    here = Path.cwd()
    if not model.is_dir():
        return None
    return model.relative_to(here) if model.is_relative_to(here) else model
