"""Cross-validation of a table: trains once for each fold, and tabulates the results."""

from pathlib import Path
from statistics import mean, stdev

from training import run
from training.config import Config, LoggerName
from training.seeds import Table, columns_of, in_common, write


def train_folds(
    config: Config, folder: Path, *, count: int, force: bool = False, logger: LoggerName | None = None
) -> Table:
    """Train `count` folds of the configuration's table, each in its own folder; skip finished runs.

    Each sequence, or group, is in the test part of one fold; a series that is split by time has later and
    later test parts, and trains on what is before. Raises TableError, if there are too few sequences.
    """
    assert config.table is not None, "a data set has its own split"
    rows: Table = []
    for fold in range(count):
        table = config.table.model_copy(update={"folds": count, "fold": fold})
        folded, place = config.model_copy(update={"table": table}), folder / f"fold-{fold}"
        done = run.train(folded, place, force=force, logger=logger)
        assert done is not None, "the folds train in one process"
        rows.append({"fold": fold, **{name: done.metrics[name] for name in columns_of(done)}})
    rows = in_common(rows)
    write(rows, folder / "folds", summary(rows))
    return rows


def verdict(rows: Table) -> str:
    """In how many folds the network beats the baselines, in one line; each skill with its spread."""
    names = [name for name in rows[0] if name.startswith("test_skill_")]
    better = sum(all(row[name] > 0 for name in names) for row in rows)
    lines = summary(rows)
    skills = ", ".join(
        f"{name.removeprefix('test_skill_')} {lines['mean'][name]:.0%} ± {lines['±'][name]:.0%}"
        for name in names
    )
    word = "better" if better == len(rows) else "NOT better" if not better else "not always better"
    return f"{word} than the baselines: in {better} of {len(rows)} folds; skill {skills}"


def summary(rows: Table) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each column."""
    by_column = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        "mean": {name: mean(values) for name, values in by_column.items()},
        "±": {name: stdev(values) for name, values in by_column.items()},
    }
