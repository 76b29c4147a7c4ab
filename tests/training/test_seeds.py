"""Several seeds: one folder each, finished ones skipped, and a table with medians."""

import csv
from pathlib import Path

import pytest

from training import run
from training.config import Config
from training.seeds import median_of, train_seeds


@pytest.fixture(scope="module")
def quick(small: Config) -> Config:
    return small.model_copy(update={"recipe": small.recipe.model_copy(update={"epochs": 1, "hidden": 4})})


@pytest.fixture
def trained(quick: Config, tmp_path: Path) -> Path:
    train_seeds(quick, tmp_path, count=2)
    return tmp_path


def modified(folder: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.glob(f"seed-*/{run.METRICS_FILE}"))]


def test_seeds_start_with_that_of_the_configuration(quick: Config, tmp_path: Path) -> None:
    rows = train_seeds(quick.model_copy(update={"seed": 7}), tmp_path, count=2)
    assert [row["seed"] for row in rows] == [7, 8]
    assert [Config.read(tmp_path / f"seed-{seed}").seed for seed in (7, 8)] == [7, 8]


def test_a_longer_table_extends_a_shorter_one(quick: Config, trained: Path) -> None:
    before = modified(trained)
    rows = train_seeds(quick, trained, count=3)
    assert modified(trained)[:2] == before
    assert len(rows) == 3


def test_force_trains_finished_seeds_again(quick: Config, trained: Path) -> None:
    before = modified(trained)
    train_seeds(quick, trained, count=2, force=True)
    assert all(now > then for now, then in zip(modified(trained), before, strict=True))


def test_a_finished_seed_with_other_options_is_not_reused(quick: Config, trained: Path) -> None:
    other = quick.model_copy(update={"recipe": quick.recipe.model_copy(update={"hidden": 5})})
    with pytest.raises(run.RunError, match="started with other options"):
        train_seeds(other, trained, count=2)


def test_the_table_has_the_scores_of_each_run_and_their_medians(quick: Config, trained: Path) -> None:
    rows = train_seeds(quick, trained, count=2)
    with (trained / "seeds.csv").open() as file:
        assert [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)] == rows
    assert list(rows[0]) == [
        "seed", "epochs", "kept_epoch", "validation_accuracy", "test_accuracy", "test_loss",
        "test_skill_accuracy", "test_skill_macro_f1", "seconds"
    ]  # fmt: skip
    for row in rows:
        metrics = run.read_metrics(trained / f"seed-{row['seed']:.0f}")
        assert row["test_accuracy"] == metrics["test_accuracy"]
    *_, last = (trained / "seeds.md").read_text().splitlines()
    assert last.startswith(f"| median | 1 | 1 | {median_of(rows, 'validation_accuracy'):.4g} |")


def test_a_median_is_that_of_its_column() -> None:
    rows = [{"a": 1.0, "b": 9.0}, {"a": 5.0, "b": 7.0}, {"a": 2.0, "b": 8.0}]
    assert (median_of(rows, "a"), median_of(rows, "b")) == (2, 8)
