"""Options that describe a table of the user's own, for `train` and `sweep`, and a summary of the table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from training.config import Table
from training.data import table as tables
from training.data import texts
from training.data.dataset import DataSet, Split

Command = Callable[..., None]
MOST_LABELS = 20  # listed by name

OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="A CSV or Parquet file, a row for each step; or a text.",
    ),
    click.option(
        "--target",
        "targets",
        multiple=True,
        help="--data: the column to predict; several numbers are possible.",
    ),
    click.option(
        "--id-column", help="--data: the column that names a row's sequence.  [default: one sequence]"
    ),
    click.option("--time-column", help="--data: the column with the time.  [default: the order of the rows]"),
    click.option(
        "--time-format",
        help="--data: how times are written: iso8601, seconds, milliseconds, number, or as in strptime, such "
        "as %d/%m/%Y.  [default: by the values]",
    ),
    click.option(
        "--time-zone",
        help="--data: the zone of times without an offset, such as Europe/Berlin.  [default: none]",
    ),
    click.option(
        "--calendar",
        multiple=True,
        help="--data: parts of the calendar that are inputs, such as hour,weekday; minute, hour, weekday, "
        "day-of-month, month, day-of-year, or auto; none: no proposals.",
    ),
    click.option(
        "--missing",
        multiple=True,
        help="--data: a text that means that there is no value, as an empty field does.  [default: NA, N/A, "
        "NaN, nan, null, NULL, ?]",
    ),
    click.option(
        "--duplicates",
        type=click.Choice(["keep", "drop", "last"]),
        help="--data: read rows of the same id and time all, without those equal to an earlier one, or the "
        "last alone.  [default: keep]",
    ),
    click.option(
        "--task",
        type=click.Choice(["classify", "label", "multilabel", "regress", "forecast", "language"]),
        help="--data: a class per sequence or per step, several labels at once, numbers that are no inputs, "
        "a forecast, or the next token of a text.  [default: by the target; language for .txt and .md]",
    ),
    click.option(
        "--separator",
        help="--task multilabel: what is between the labels in the target column, such as ';'.  [default: "
        "each label is a column of 0 and 1]",
    ),
    click.option(
        "--labels-of",
        type=click.Choice(["sequence", "step"]),
        help="--task multilabel: what has labels.  [default: sequences, if no label changes within one]",
    ),
    click.option(
        "--empty-labels",
        type=click.Choice(["none", "unknown"]),
        help="--separator: whether a field without labels has none of them, or is unknown.  [default: none]",
    ),
    click.option(
        "--tokens",
        type=click.Choice(["characters", "words", "subwords"]),
        help="--task language: the unit of a text.  [default: characters]",
    ),
    click.option(
        "--vocabulary",
        type=click.IntRange(2),
        help="--task language: the number of words or sub-words, 256 bytes included.  [default: 1000]",
    ),
    click.option(
        "--horizon",
        "horizons",
        type=click.IntRange(1),
        multiple=True,
        help="--data: forecast this many steps ahead.  [default: 1]",
    ),
    click.option(
        "--quantile",
        "quantiles",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        multiple=True,
        help="--data: a quantile of each number to forecast or regress; the outer two are a band.  "
        "[default: 0.05, 0.5 and 0.95 of a forecast; none of a regression, which estimates the mean]",
    ),
    click.option(
        "--season",
        type=click.IntRange(0),
        help="--data: steps of a season, for seasonal baselines; 0: none.  [default: found in the data]",
    ),
    click.option("--ignore", multiple=True, help="--data: a column to ignore."),
    click.option("--categorical", multiple=True, help="--data: a column whose numbers are categories."),
    click.option(
        "--known",
        multiple=True,
        help="--data: a column of numbers whose values at the horizons are known when a forecast is made.",
    ),
    click.option(
        "--static",
        multiple=True,
        help="--data: a column with one value in each sequence, which is given once.",
    ),
    click.option(
        "--test-share",
        type=click.FloatRange(0, 0.4, min_open=True),
        default=0.2,
        show_default=True,
        help="--data: share of the sequences for the test, and of the rest for validation.",
    ),
    click.option(
        "--split-by",
        type=click.Choice(["sequences", "time"]),
        help="--data: whole sequences, or the later pieces of each.  [default: by the number of sequences]",
    ),
    click.option(
        "--split-column", help="--data: the column with the part of a row: train, validation or test."
    ),
    click.option("--group-column", help="--data: the sequences of one group stay in one part."),
    click.option("--test-from", help="--data: the time of the first step of the test part."),
    click.option(
        "--test-data", type=click.Path(path_type=Path), help="--data: another file that is the test part."
    ),
)
FIELDS = (
    "targets",
    "id_column",
    "time_column",
    "time_format",
    "time_zone",
    "calendar",
    "missing",
    "duplicates",
    "task",
    "separator",
    "labels_of",
    "empty_labels",
    "tokens",
    "vocabulary",
    "horizons",
    "quantiles",
    "season",
    "ignore",
    "categorical",
    "known",
    "static",
    "split_by",
    "split_column",
    "group_column",
    "test_from",
    "test_data",
)


def table_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def table_of(name: str | None, options: dict[str, Any]) -> tuple[Table, DataSet] | tuple[None, None]:
    """Remove these options from `options` and print how each column is interpreted; None for a data set.

    Returns the data too, so that the file is not parsed again. Raises click.UsageError, TableError.
    """
    path: Path | None = options.pop("data")
    fields = {field: options.pop(field) for field in FIELDS}
    share = options.pop("test_share")
    if (name is None) == (path is None):
        raise click.UsageError("name a data set or give --data FILE: exactly one of them (--help)")
    if path is None:
        for field, value in fields.items():
            if value not in (None, ()):
                flag = {"targets": "target", "horizons": "horizon"}.get(field, field).replace("_", "-")
                raise click.UsageError(f"--{flag} requires --data")
        return None, None
    parts = ",".join(fields["calendar"] or ()).split(",")
    fields["calendar"] = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    fields["missing"] = fields["missing"] or None
    fields["duplicates"] = fields["duplicates"] or "keep"
    fields["empty_labels"] = fields["empty_labels"] or "none"
    fields["horizons"] = tuple(sorted(set(fields["horizons"]))) or (1,)
    test_data: Path | None = fields.pop("test_data")
    if test_data is not None:
        fields |= {"test_data": str(test_data.resolve()), "test_sha256": tables.fingerprint(test_data)}
    implied = "language" if texts.is_text(path) else "multilabel" if fields["separator"] else None
    fields["task"] = fields["task"] or implied
    table = Table(path=str(path.resolve()), sha256=tables.fingerprint(path), test=share, **fields)
    interpreted = tables.interpret(table)
    _show(interpreted)
    return table, interpreted.data


def _show(interpreted: tables.Interpreted) -> None:
    data, columns, notes = interpreted
    grid = Grid("column", "interpreted as", "missing", "values", title=escape(data.title))
    for column in columns:
        grid.add_row(escape(column.name), column.role, f"{column.missing:,}", escape(column.values))
    Console().print(grid)
    for note in notes:
        click.echo(f"note: {note}")
    assert data.validation is not None
    parts = (("training", data.train), ("validation", data.validation), ("test", data.test))
    click.echo(f"task {data.task}: " + ", ".join(f"{_size(part)} for {use}" for use, part in parts))
    if data.task == "multilabel":
        click.echo(_label_line(data))
    if data.forecast is not None and data.forecast.season:
        click.echo(f"season of {data.forecast.season} steps (--season), for seasonal baselines")


def _label_line(data: DataSet) -> str:
    """Each label with its frequency in the training part."""
    targets = data.train.targets if data.is_whole else np.concatenate(data.train.targets)
    shares = np.nanmean(targets, axis=0)
    shown = ", ".join(
        f"{label} {share:.1%}" for label, share in zip(data.labels[:MOST_LABELS], shares, strict=False)
    )
    more = f" and {len(data.labels) - MOST_LABELS} more" if len(data.labels) > MOST_LABELS else ""
    return f"labels of each {'sequence' if data.is_whole else 'step'}, with their frequency: {shown}{more}"


def _size(part: Split) -> str:
    lengths = [len(sequence) for sequence in part.sequences]
    return f"{len(lengths):,} sequences of {min(lengths)} to {max(lengths)} steps"
