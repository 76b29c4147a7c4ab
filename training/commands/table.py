"""The options of `cellgate-train train` by which a table of one's own is told, and what is shown of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from training.config import Table
from training.data import table as tables
from training.data.dataset import Split

Command = Callable[..., None]

OPTIONS = (
    click.option(
        "--data", type=click.Path(path_type=Path), help="A CSV or Parquet file, a row for each step."
    ),
    click.option(
        "--target", "targets", multiple=True, help="--data: the column to be told; several to foretell."
    ),
    click.option("--id-column", help="--data: which sequence a row is of.  [default: all are one]"),
    click.option("--time-column", help="--data: when.  [default: the order of the rows]"),
    click.option(
        "--task",
        type=click.Choice(["classify", "label", "forecast"]),
        help="--data: a class of all, or at every step, or numbers to come.  [default: by the target]",
    ),
    click.option(
        "--horizon",
        "horizons",
        type=click.IntRange(1),
        multiple=True,
        help="--data: steps ahead.  [default: 1]",
    ),
    click.option("--ignore", multiple=True, help="--data: a column to leave out."),
    click.option("--categorical", multiple=True, help="--data: a column whose numbers stand for kinds."),
    click.option(
        "--test-share",
        type=click.FloatRange(0, 0.4, min_open=True),
        default=0.2,
        show_default=True,
        help="--data: the share of sequences for the test, and of the rest for validation.",
    ),
)
FIELDS = ("targets", "id_column", "time_column", "task", "horizons", "ignore", "categorical")


def table_options(command: Command) -> Command:
    """Add them to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def table_of(name: str | None, options: dict[str, Any]) -> Table | None:
    """Take these options out of `options`; None if a data set is named. Shows what each column was taken for.

    Raises click.UsageError, TableError.
    """
    path: Path | None = options.pop("data")
    told = {field: options.pop(field) for field in FIELDS}
    share = options.pop("test_share")
    if (name is None) == (path is None):
        raise click.UsageError("name a data set, or give --data FILE: one of them (--help)")
    if path is None:
        for field, value in told.items():
            if value:
                raise click.UsageError(f"--{field.rstrip('s').replace('_', '-')} goes with --data")
        return None
    told["horizons"] = tuple(sorted(set(told["horizons"]))) or (1,)
    table = Table(path=str(path.resolve()), sha256=tables.fingerprint(path), test=share, **told)
    data, rows, notes = tables.understand(table)
    grid = Grid("column", "taken for", "missing", "values", title=escape(data.title))
    for row in rows:
        grid.add_row(escape(row.column), row.taken_for, f"{row.missing:,}", escape(row.values))
    Console().print(grid)
    for note in notes:
        click.echo(f"note: {note}")
    assert data.validation is not None
    parts = (("learn from", data.train), ("validate on", data.validation), ("be tested on", data.test))
    click.echo(f"task {data.task}: " + ", ".join(f"{_size(part)} to {what}" for what, part in parts))
    return table


def _size(part: Split) -> str:
    lengths = [len(sequence) for sequence in part.sequences]
    return f"{len(lengths):,} sequences of {min(lengths)} to {max(lengths)} steps"
