"""Turns errors that a user can cause into one line. Knows no command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from training.errors import TrainingError, missing_package


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print a user's error as one line and exit; any other exception is a bug and keeps its traceback.

    The block that it guards imports torch, so that takes seconds, and may be missing.
    """
    if "torch" not in sys.modules:
        click.echo("loading PyTorch …", err=True)
    try:
        from training.loop import Interrupted
    except ModuleNotFoundError as error:
        raise click.ClickException(missing_package(error)) from error
    try:
        yield
    except Interrupted:
        click.echo("interrupted; the same command resumes after the last finished epoch", err=True)
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        raise click.ClickException(missing_package(error)) from error
    except (TrainingError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
