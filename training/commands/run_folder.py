"""Finds the run folder that a command names. Imports no torch, so a wrong name is reported at once."""

from pathlib import Path

import click

from training.config import METRICS_FILE


def finished_run(name: str) -> Path:
    """The folder of a finished run, by its path or by its name in runs/. Raises ClickException."""
    folder = Path(name) if Path(name).is_dir() else Path("runs") / name
    if not (folder / METRICS_FILE).is_file():
        raise click.ClickException(f"{folder} holds no finished run")
    return folder
