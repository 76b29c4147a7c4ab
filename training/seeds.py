"""Trains one recipe with several seeds, and tabulates the results."""

import csv
from pathlib import Path
from statistics import median

from training import run
from training.config import Config
from training.tasks import of

Table = list[dict[str, float]]


def train_seeds(config: Config, folder: Path, *, count: int, force: bool = False) -> Table:
    """Train `count` seeds, starting with the configuration's, each in its own folder; skip finished runs."""
    rows: Table = []
    for seed in range(config.seed, config.seed + count):
        done = run.train(config.model_copy(update={"seed": seed}), folder / f"seed-{seed}", force=force)
        assert done is not None, "several seeds train in one process"
        rows.append({"seed": seed, **{name: done.metrics[name] for name in _columns(done)}})
    _write(rows, folder)
    return rows


def median_of(rows: Table, column: str) -> float:
    """The median of a column."""
    return median(row[column] for row in rows)


def _columns(done: run.Run) -> tuple[str, ...]:
    task = of(done.data)
    scores = (f"validation_{task.metric}", *(f"test_{name}" for name in task.headline))
    return ("epochs", "kept_epoch", *scores, "seconds")


def _write(rows: Table, folder: Path) -> None:
    columns = list(rows[0])
    with (folder / "seeds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    lines = [columns, ["---"] * len(columns)]
    lines += [[f"{row[name]:.4g}" for name in columns] for row in rows]
    lines += [["median", *(f"{median_of(rows, name):.4g}" for name in columns[1:])]]
    (folder / "seeds.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
