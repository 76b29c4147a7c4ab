"""A sweep: parses its space, ranks by validation loss, and resumes."""

import csv
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from training.__main__ import main
from training.config import Config, Recipe
from training.run import train
from training.sweep import OUTCOME_FILE, SweepError, Trial, ranked, read_space, sweep

SMALL = Config(data="vowels", recipe=Recipe(hidden=4, epochs=1, batch_size=64))
SPACE = read_space(("hidden=4,8", "learning_rate=1e-3..1e-1"))


def test_the_space_is_parsed_with_the_types_of_the_recipe() -> None:
    options = ("hidden=8..512", "learning-rate=1e-4..1e-2", "dropout=0..0.5", "cell=lstm,gru", "layers=1,2")
    assert read_space(options) == {
        "hidden": IntDistribution(8, 512, log=True),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "dropout": FloatDistribution(0, 0.5),
        "cell": CategoricalDistribution(["lstm", "gru"]),
        "layers": CategoricalDistribution([1, 2]),
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("hiden=3", "expected FIELD=VALUES with a field of the recipe, one of cell, hidden"),
        ("hidden", "expected FIELD=VALUES"),
        ("hidden=big", "hidden=big: Input should be a valid integer"),
        ("hidden=0", "hidden=0: Input should be greater than or equal to 1"),
        ("hidden=64..32", "expected two numbers, the smaller first"),
        ("cell=a..b", "expected two numbers"),
    ],
)
def test_an_invalid_option_is_refused(option: str, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        read_space((option,))


def test_a_resumed_sweep_equals_an_undisturbed_one(tmp_path: Path) -> None:
    whole = list(sweep(SMALL, SPACE, tmp_path / "whole", count=4))
    assert {trial.tried["hidden"] for trial in whole} <= {4, 8}
    for trial, _ in zip(sweep(SMALL, SPACE, tmp_path / "broken", count=4), range(2), strict=False):
        assert trial == whole[trial.number]
    shutil.rmtree(tmp_path / "broken" / "trial-001")  # as after Ctrl-C, or less
    assert list(sweep(SMALL, SPACE, tmp_path / "broken", count=4)) == whole
    modified = (tmp_path / "whole" / "trial-000" / OUTCOME_FILE).stat().st_mtime_ns
    assert list(sweep(SMALL, SPACE, tmp_path / "whole", count=4)) == whole
    assert (tmp_path / "whole" / "trial-000" / OUTCOME_FILE).stat().st_mtime_ns == modified


def test_the_loss_is_that_of_the_run_and_the_test_part_is_not_measured(tmp_path: Path) -> None:
    [trial] = sweep(SMALL, SPACE, tmp_path / "sweep", count=1)
    done = train(trial.config, tmp_path / "run")
    assert done is not None
    assert trial.loss == done.metrics["validation_loss"]
    assert "test" not in (tmp_path / "sweep" / "trial-000" / OUTCOME_FILE).read_text()


def test_another_sweep_in_the_folder_is_refused(tmp_path: Path) -> None:
    list(sweep(SMALL, SPACE, tmp_path, count=1))
    with pytest.raises(SweepError, match="belongs to another sweep; --out"):
        list(sweep(SMALL.model_copy(update={"seed": 7}), SPACE, tmp_path, count=1))


def test_diverged_trials_rank_last() -> None:
    def trial(number: int, loss: float) -> Trial:
        return Trial(number, {}, SMALL, loss)

    trials = [trial(0, float("nan")), trial(1, 2.0), trial(2, 1.0)]
    assert [one.number for one in ranked(trials)] == [2, 1, 0]


def test_the_command_names_the_best_and_draws_a_picture(tmp_path: Path) -> None:
    words: list[Any] = ["sweep", "vowels", "--try", "hidden=4,8", "--trials", 2, "--out", tmp_path]
    result = CliRunner().invoke(main, [*map(str, words), "--try", "epochs=1,2"])
    assert result.exit_code == 0, result.output
    assert "trial 2/2  hidden " in result.output
    command = result.output.splitlines()[-1]
    assert command.startswith("cellgate-train train vowels --hidden")
    trained = CliRunner().invoke(main, shlex.split(command)[1:])
    assert trained.exit_code == 0, "runs/vowels may hold another run: the command names a folder"
    assert (tmp_path / "best" / "metrics.json").is_file()
    assert (tmp_path / "sweep.png").stat().st_size > 1000
    with (tmp_path / "sweep.csv").open() as file:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    assert losses == sorted(losses)
    assert len(losses) == 2


def test_a_sweep_runs_on_a_users_table(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("x,y\n" + "".join(f"{row % 5},{row % 7}\n" for row in range(100)))
    words: list[Any] = [
        "sweep",
        "--data",
        table,
        "--target",
        "y",
        "--try",
        "hidden=2,4",
        "--try",
        "epochs=1,2",
    ]
    result = CliRunner().invoke(main, [*map(str, words), "--trials", "1", "--out", str(tmp_path / "sweep")])
    assert result.exit_code == 0, result.output
    assert f"cellgate-train train --data {table} --target y --hidden " in result.output
