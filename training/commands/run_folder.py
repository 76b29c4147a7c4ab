"""Finds the run folder that a command names, and checks where results go.

Imports no torch, so a wrong name is reported at once.
"""

import os
from pathlib import Path

import click

from training.config import METRICS_FILE


def check_writable(folder: Path) -> None:
    """Create a folder for results before they are computed. Raises ClickException."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"{folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"{folder}: cannot be written")


def finished_run(name: str) -> Path:
    """The folder of a finished run, by its path or by its name in runs/. Raises ClickException."""
    folder = Path(name) if Path(name).is_dir() else Path("runs") / name
    if not (folder / METRICS_FILE).is_file():
        raise click.ClickException(f"{folder} holds no finished run")
    return folder
