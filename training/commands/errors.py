"""Turns errors that a user can cause into one line. Knows no command."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from training.errors import TrainingError


@contextmanager
def reported_errors() -> Iterator[None]:
    """Print a user's error as one line and exit; any other exception is a bug and keeps its traceback."""
    from training.loop import Interrupted

    try:
        yield
    except Interrupted:
        click.echo("interrupted; the same command resumes after the last finished epoch", err=True)
        raise SystemExit(130) from None
    except (TrainingError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
