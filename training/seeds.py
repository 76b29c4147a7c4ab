"""Trains one recipe with several seeds, and tabulates the results."""

import csv
from pathlib import Path
from statistics import median

from training import run
from training.config import Config, LoggerName
from training.data.dataset import DataSet
from training.tasks import of

Table = list[dict[str, float]]


def train_seeds(
    config: Config,
    folder: Path,
    *,
    count: int,
    force: bool = False,
    loaded: DataSet | None = None,
    logger: LoggerName | None = None,
) -> Table:
    """Train `count` seeds, starting with the configuration's, each in its own folder; skip finished runs.

    `loaded`: the data of the configuration, if they were read already.
    """
    rows: Table = []
    for seed in range(config.seed, config.seed + count):
        place, seeded = folder / f"seed-{seed}", config.model_copy(update={"seed": seed})
        done = run.train(seeded, place, force=force, loaded=loaded, logger=logger)
        assert done is not None, "several seeds train in one process"
        rows.append({"seed": seed, **{name: done.metrics[name] for name in columns_of(done)}})
    rows = in_common(rows)
    write(rows, folder / "seeds", {"median": {name: median_of(rows, name) for name in rows[0]}})
    return rows


def median_of(rows: Table, column: str) -> float:
    """The median of a column."""
    return median(row[column] for row in rows)


def columns_of(done: run.Run) -> tuple[str, ...]:
    """The metrics of a run that a table of runs shows."""
    task = of(done.data)
    scores = (f"validation_{task.metric}", *(f"test_{name}" for name in task.headline))
    skills = (name for name in done.metrics if name.startswith("test_skill_"))
    columns = ("epochs", "kept_epoch", *scores, *skills, "seconds")
    return tuple(name for name in columns if name in done.metrics)  # some are not defined on every test part


def in_common(rows: Table) -> Table:
    """The rows with the columns that all of them have."""
    columns = [name for name in rows[0] if all(name in row for row in rows)]
    return [{name: row[name] for name in columns} for row in rows]


def write(rows: Table, path: Path, summary: dict[str, dict[str, float]]) -> None:
    """Write the rows as `path`.csv, and with the lines of the summary, by their name, as `path`.md."""
    columns = list(rows[0])
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    lines = [columns, ["---"] * len(columns)]
    lines += [[f"{row[name]:.4g}" for name in columns] for row in rows]
    lines += [[name, *(f"{line[one]:.4g}" for one in columns[1:])] for name, line in summary.items()]
    path.with_suffix(".md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
